#include "tests/integration/catalogue.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <regex>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/testing/process/subprocess.h"

namespace engram::integration {
namespace {

constexpr char kSmallLimits[] = "limits { tasks: 3 checkpoints: 4 weights_bytes: 1048576 }";

// One line of what came, as an operator would read it.
void Print(const std::string& what, absl::string_view code, absl::string_view text) {
  const std::string line = absl::StrJoin(absl::StrSplit(text, '\n', absl::SkipEmpty()), " / ");
  std::printf("      %-34s %-20s %s\n", what.c_str(), std::string(code).c_str(),
              line.substr(0, 400).c_str());
}

void ExpectWords(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    EXPECT_NE(text.find(word), std::string::npos) << "\"" << word << "\" is not in: " << text;
  }
}

}  // namespace

const char* CodeName(grpc::StatusCode code) {
  static const auto* const names = new std::vector<std::string>([] {
    std::vector<std::string> made;
    for (int i = 0; i <= 16; ++i) {
      made.push_back(absl::StatusCodeToString(static_cast<absl::StatusCode>(i)));
    }
    return made;
  }());
  return (*names)[static_cast<size_t>(code)].c_str();
}

CatalogueRig::CatalogueRig() {
  for (const auto& [name, value] : std::vector<std::pair<const char*, const char*>>{
           {"OMP_NUM_THREADS", "1"},
           {"OPENBLAS_NUM_THREADS", "1"},
           {"OMP_WAIT_POLICY", "passive"},
           {"GOMP_SPINCOUNT", "0"},
           {"OMP_DYNAMIC", "false"}}) {
    setenv(name, value, 1);
  }
}

// Without its server an entry has nothing to ask: the program ends.
std::unique_ptr<testing::ServerProcess> CatalogueRig::Start(testing::ServerOptions options) {
  auto started = testing::ServerProcess::Start(std::move(options));
  if (started.ok()) return *std::move(started);
  std::cerr << started.status() << std::endl;
  std::abort();
}

testing::ServerProcess& CatalogueRig::server() {
  if (server_ != nullptr) return *server_;
  testing::ServerOptions options;
  options.data_dir = Folder("store");
  options.config = kSmallLimits;
  server_ = Start(options);
  stubs_ = std::make_unique<testing::Stubs>(server_->NewChannel());
  toy_ = std::make_unique<ToyModel>(stubs_.get(), "toy");
  v1::ModelSpec spec = ToySpec();
  spec.add_strategies()->mutable_ewc()->set_lambda(1);
  toy_->Create(spec);
  toy_->Learn({0, 1}, 200);
  toy_->Boundary("b");
  toy_->WaitApplied();
  toy_->Checkpoint("kept");
  witness_ = std::make_unique<ToyModel>(stubs_.get(), "witness");
  witness_->Create(ToySpec());
  witness_->Learn({0, 1}, 20);
  witness_->WaitApplied();
  return *server_;
}

const testing::Stubs& CatalogueRig::stubs() {
  server();
  return *stubs_;
}

ToyModel& CatalogueRig::toy() {
  server();
  return *toy_;
}

ToyModel CatalogueRig::Model(const std::string& name,
                             const std::function<void(v1::ModelSpec*)>& edit) {
  ToyModel model(&stubs(), name);
  v1::ModelSpec spec = ToySpec();
  edit(&spec);
  model.Create(spec);
  return model;
}

const Credentials& CatalogueRig::credentials() {
  if (credentials_ == nullptr) credentials_ = std::make_unique<Credentials>(Folder("credentials"));
  return *credentials_;
}

testing::ServerProcess& CatalogueRig::secured() {
  if (secured_ != nullptr) return *secured_;
  testing::ServerOptions options;
  options.data_dir = Folder("secured");
  options.config = credentials().Config();
  options.credentials = credentials().Channel("", credentials().Token("admin"));
  secured_ = Start(options);
  return *secured_;
}

testing::ServerProcess& CatalogueRig::mutual() {
  if (mutual_ != nullptr) return *mutual_;
  testing::ServerOptions options;
  options.data_dir = Folder("mutual");
  options.config = credentials().Config(/*mutual=*/true);
  options.credentials = credentials().Channel("admin", "");
  mutual_ = Start(options);
  return *mutual_;
}

testing::FaultBox& CatalogueRig::faults() {
  if (faults_ != nullptr) return *faults_;
  faulty_store_ = Folder("faulty");
  faults_ = std::make_unique<testing::FaultBox>(Folder("faults"), faulty_store_);
  faults_->PlayFreeBytes(-1);
  return *faults_;
}

testing::ServerProcess& CatalogueRig::faulty() {
  if (faulty_ != nullptr) return *faulty_;
  testing::ServerOptions options;
  options.environment = faults().Environment();
  options.data_dir = faulty_store_;
  faulty_ = Start(options);
  return *faulty_;
}

const std::string& CatalogueRig::stopped_store() {
  if (!stopped_store_.empty()) return stopped_store_;
  stopped_store_ = Folder("stopped");
  testing::ServerOptions options;
  options.data_dir = stopped_store_;
  const auto server = Start(options);
  const testing::Stubs stubs(server->NewChannel());
  ToyModel model(&stubs, "toy");
  model.Create(ToySpec());
  model.Learn({0, 1}, 100);
  model.Checkpoint();
  const auto code = server->Drain();
  EXPECT_TRUE(code.ok() && *code == 0) << server->Output();
  return stopped_store_;
}

std::string CatalogueRig::Folder(const std::string& name) const {
  const std::string folder = scratch_.path() + "/" + name;
  return std::filesystem::exists(folder) ? folder : scratch_.Subfolder(name);
}

std::string CatalogueRig::NewProducer() { return absl::StrCat("producer-", ++producers_); }

void CatalogueRig::Expect(const std::string& what, const grpc::Status& status,
                          grpc::StatusCode code, const std::vector<std::string>& words) {
  SCOPED_TRACE(what);
  const std::string text = status.error_message();
  Print(what, CodeName(status.error_code()), text);
  EXPECT_EQ(status.error_code(), code) << text;
  ExpectWords(text, words);
  // Neither control characters of a caller's nor the server's own places.
  EXPECT_TRUE(std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; }));
  EXPECT_EQ(text.find(scratch_.path()), std::string::npos) << text;
}

void CatalogueRig::ExpectOk(const std::string& what, const grpc::Status& status) {
  Expect(what, status, grpc::OK, {});
}

void CatalogueRig::Expect(const std::string& what, int got, int code, const std::string& text,
                          const std::vector<std::string>& words) {
  SCOPED_TRACE(what);
  Print(what, absl::StrCat(got), text);
  EXPECT_EQ(got, code) << text;
  ExpectWords(text, words);
}

void CatalogueRig::ExpectServes() {
  server();
  EXPECT_FALSE(server_->Poll().has_value()) << server_->Output();
  EXPECT_EQ(witness_->Predict({0, 1}).predictions_size(), 2);
  witness_->Learn({0, 1}, 1);
  EXPECT_EQ(toy_->Describe().state(), v1::Model::SERVING);
}

std::string ExchangeBytes(const std::string& address, const std::string& bytes,
                          absl::Duration patience) {
  const std::vector<std::string> host_port = absl::StrSplit(address, ':');
  int port = 0;
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  EXPECT_TRUE(absl::SimpleAtoi(host_port.back(), &port));
  EXPECT_EQ(inet_pton(AF_INET, host_port.front().c_str(), &to.sin_addr), 1);
  to.sin_port = htons(static_cast<uint16_t>(port));
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto closer = absl::MakeCleanup([connection] { close(connection); });
  const timeval wait = absl::ToTimeval(patience);
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
  EXPECT_EQ(connect(connection, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
  // A listener that has read enough may close before it has all of it.
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t part = send(connection, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (part <= 0) break;
    sent += static_cast<size_t>(part);
  }
  std::string reply;
  char piece[4096];
  ssize_t got = 0;
  while ((got = recv(connection, piece, sizeof(piece), 0)) > 0) {
    reply.append(piece, static_cast<size_t>(got));
  }
  const bool still_open = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  return still_open ? reply + "(still open)" : reply;
}

std::map<std::string, std::string> FilesOf(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().filename() == "LOCK") continue;
    files[entry.path().string()] = testing::ReadWholeFile(entry.path().string());
  }
  return files;
}

std::vector<std::string> TestNames(const std::string& folder) {
  static const auto* const cases =
      new std::regex("\\bTEST(?:_F|_P)?\\(\\s*(\\w+)\\s*,\\s*(\\w+)\\s*\\)");
  static const auto* const programs =
      new std::regex("\\b(?:add_test\\(NAME|engram_add_(?:crash_test|net_harness)\\() *(\\w+)");
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const bool source = entry.path().extension() == ".cc";
    if (!source && entry.path().filename() != "CMakeLists.txt") continue;
    const std::string text = testing::ReadWholeFile(entry.path().string());
    const std::regex& pattern = source ? *cases : *programs;
    for (std::sregex_iterator at(text.begin(), text.end(), pattern), end; at != end; ++at) {
      names.push_back(source ? absl::StrCat((*at)[1].str(), ".", (*at)[2].str())
                             : (*at)[1].str());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace engram::integration
