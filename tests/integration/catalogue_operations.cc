// Numbers 78-83: erasures, configuration, refusals to start, pages.
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/integration/bad_input.h"
#include "tests/integration/catalogue.h"
#include "tests/testing/process/http_get.h"
#include "tests/testing/process/subprocess.h"

namespace engram::integration {
namespace {

using testing::Call;

// --- erasures ---

testing::Outcome<v1::EraseResponse> Erase(CatalogueRig* rig,
                                          const std::function<void(v1::EraseRequest*)>& edit) {
  v1::EraseRequest request;
  request.set_model("erased");
  edit(&request);
  return Call(*rig->stubs().learning, &v1::Learning::Stub::Erase, request);
}

void NothingToErase(CatalogueRig* rig) {
  rig->Model("erased");
  const auto nobody = Erase(rig, [](v1::EraseRequest* r) { r->set_subject_id("nobody"); });
  rig->ExpectOk("an unknown subject", nobody.status);
  EXPECT_EQ(nobody->data(), v1::EraseResponse::NOTHING_FOUND);
  EXPECT_EQ(nobody->erased_examples(), 0);
  rig->Expect("no selector", Erase(rig, [](v1::EraseRequest*) {}).status, grpc::INVALID_ARGUMENT,
              {"selector", "would match everything"});
  rig->Expect("an empty selector",
              Erase(rig, [](v1::EraseRequest* r) { r->set_example_id(""); }).status,
              grpc::INVALID_ARGUMENT, {"selector", "would match everything"});
  rig->Expect("129 bytes", Erase(rig, [](v1::EraseRequest* r) {
                r->set_example_id(std::string(129, 'x'));
              }).status,
              grpc::INVALID_ARGUMENT, {"example_id", "128", "129"});
  rig->Expect("129 bytes of a producer", Erase(rig, [](v1::EraseRequest* r) {
                r->set_producer(std::string(129, 'x'));
              }).status,
              grpc::INVALID_ARGUMENT, {"producer", "128", "129"});
}

void EraseTwice(CatalogueRig* rig) {
  v1::LearnBatchRequest request;
  request.set_model("erased");
  request.set_producer("p");
  request.set_producer_sequence(1);
  for (int i = 0; i < 2; ++i) *request.add_examples() = GoodExample();
  request.mutable_examples(0)->set_id("one");
  ASSERT_TRUE(Call(*rig->stubs().learning, &v1::Learning::Stub::LearnBatch, request).ok());
  const auto first = Erase(rig, [](v1::EraseRequest* r) { r->set_example_id("one"); });
  rig->ExpectOk("an example", first.status);
  EXPECT_EQ(first->erased_examples(), 1);
  const auto again = Erase(rig, [](v1::EraseRequest* r) { r->set_example_id("one"); });
  rig->ExpectOk("the same again", again.status);
  EXPECT_EQ(again->SerializeAsString(), first->SerializeAsString());
}

// --- configuration ---

grpc::Status CreateWithRate(CatalogueRig* rig, double rate) {
  v1::CreateModelRequest request;
  request.set_name("rated");
  *request.mutable_spec() = ToySpec();
  request.mutable_spec()->mutable_optimizer()->set_learning_rate(rate);
  return Call(*rig->stubs().models, &v1::Models::Stub::CreateModel, request).status;
}

grpc::Status ReloadFrom(CatalogueRig* rig, const std::string& config) {
  std::ofstream(rig->Folder("store") + ".textproto", std::ios::trunc) << config;
  return Call(*rig->stubs().admin, &v1::Admin::Stub::ReloadConfig, v1::ReloadConfigRequest())
      .status;
}

std::string TaskLimit(CatalogueRig* rig) {
  const auto told =
      Call(*rig->stubs().admin, &v1::Admin::Stub::GetLimits, v1::GetLimitsRequest());
  for (const v1::Limit& limit : told->limits()) {
    if (limit.name() == "tasks") return limit.value();
  }
  return "";
}

void BadConfiguration(CatalogueRig* rig) {
  for (const double rate : {std::nan(""), 0.0, -1.0, 1e9}) {
    rig->Expect(absl::StrCat("learning_rate ", rate), CreateWithRate(rig, rate),
                grpc::INVALID_ARGUMENT,
                {"spec.optimizer.learning_rate", "must be in", absl::StrCat("got ", rate)});
  }
  const std::string good = testing::ReadWholeFile(rig->Folder("store") + ".textproto");
  const auto refused = [rig](const std::string& what, const std::string& config,
                             const std::vector<std::string>& words) {
    rig->Expect(what, ReloadFrom(rig, config), grpc::INVALID_ARGUMENT, words);
    EXPECT_EQ(TaskLimit(rig), "3") << "the old one stays";
  };
  refused("an unknown key", "limits { taks: 2 }", {"line 1", "taks"});
  refused("a text for a number", "limits { tasks: \"two\" }", {"line 1", "two"});
  refused("above the range", "limits { tasks: 10001 }",
          {"limits.tasks: must be in [1, 10000], got 10001"});
  rig->ExpectOk("the old file", ReloadFrom(rig, good));
}

// --- refusals to start ---

class Refusals {
 public:
  explicit Refusals(CatalogueRig* rig) : rig_(rig), output_(rig->Folder("output")) {}

  testing::ServerOptions Options(const std::string& config = "",
                                 std::vector<std::string> flags = {}) {
    testing::ServerOptions options;
    options.data_dir = rig_->Folder(absl::StrCat("refused-", ++runs_));
    options.config = config;
    options.flags = std::move(flags);
    return options;
  }
  void Expect(const std::string& what, const testing::ServerOptions& options, int code,
              const std::vector<std::string>& words) {
    ExpectCommand(what, testing::ServerCommand(options), code, words);
  }
  // One line says why; what else there is are lines of the log.
  void ExpectCommand(const std::string& what, const std::vector<std::string>& command, int code,
                     const std::vector<std::string>& words) {
    const auto finished = testing::RunToEnd(command, absl::Seconds(30),
                                            absl::StrCat(output_, "/start.", ++runs_));
    ASSERT_TRUE(finished.ok()) << what << ": " << finished.status();
    std::vector<std::string> reasons;
    for (const absl::string_view line : absl::StrSplit(finished->output, '\n', absl::SkipEmpty())) {
      if (!absl::StartsWith(line, "time=")) reasons.emplace_back(line);
    }
    rig_->Expect(what, finished->code, code, absl::StrJoin(reasons, "\n"), words);
    EXPECT_EQ(reasons.size(), 1u) << finished->output;
  }

 private:
  CatalogueRig* const rig_;
  const std::string output_;
  int runs_ = 0;
};

// `command` behind a line of shell.
std::vector<std::string> Behind(const std::string& line, const std::vector<std::string>& command) {
  std::vector<std::string> words = {"/bin/sh", "-c", line + "; exec \"$@\"", "sh"};
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

void BadFlags(Refusals* refusals) {
  refusals->Expect("an unknown flag", refusals->Options("", {"--no_such_flag=1"}), 78,
                   {"no_such_flag"});
  refusals->Expect("no host to listen on", refusals->Options("", {"--listen=nowhere"}), 78,
                   {"--listen", "nowhere"});
  refusals->Expect("a config that does not parse", refusals->Options("limits { taks: 2 }"), 78,
                   {"line 1", "taks"});
  refusals->Expect("a limit out of range", refusals->Options("limits { tasks: 10001 }"), 78,
                   {"limits.tasks: must be in [1, 10000], got 10001"});
}

void BadFiles(CatalogueRig* rig, Refusals* refusals) {
  const std::string config = rig->credentials().Config();
  const auto with = [&](const std::string& from, const std::string& to) {
    return refusals->Options(absl::StrReplaceAll(config, {{from, to}}));
  };
  refusals->Expect("no such key", with("server.key", "none.key"), 78,
                   {"tls.key_file", "cannot read", "none.key"});
  const std::string tokens = rig->credentials().File("tokens");
  ASSERT_EQ(chmod(tokens.c_str(), 0640), 0);
  refusals->Expect("a token file that the group may read", refusals->Options(config), 78,
                   {"authentication.token_file", "0640", "mode 0600"});
  ASSERT_EQ(chmod(tokens.c_str(), 0600), 0);
}

void BadFolders(CatalogueRig* rig, Refusals* refusals) {
  refusals->ExpectCommand("no data folder", {testing::ServerBinary()}, 78,
                          {"--data_dir: required"});
  testing::ServerOptions options = refusals->Options();
  options.data_dir = rig->Folder("store");
  refusals->Expect("in use", options, 73, {"in use", absl::StrCat(rig->server().pid())});
  options = refusals->Options();
  ASSERT_EQ(chmod(options.data_dir.c_str(), 0770), 0);
  refusals->Expect("that others may write", options, 78, {"0770"});
  options.data_dir += "/none/below";
  refusals->Expect("that cannot be made", options, 73, {"cannot make"});
  options = refusals->Options();
  if (std::system("unshare -rm true 2>/dev/null") != 0) return;
  std::vector<std::string> command = {"/usr/bin/unshare", "-rm"};
  for (const std::string& word :
       Behind(absl::StrCat("mount -t tmpfs -o mode=0700,ro none ", options.data_dir),
              testing::ServerCommand(options))) {
    command.push_back(word);
  }
  refusals->ExpectCommand("on a read-only file system", command, 73, {"Read-only file system"});
}

void BadPorts(CatalogueRig* rig, Refusals* refusals) {
  for (const auto& [flag, address] : std::vector<std::pair<std::string, std::string>>{
           {"--listen", rig->server().grpc_address()},
           {"--http_listen", rig->server().http_address()}}) {
    refusals->Expect(flag + " in use", refusals->Options("", {absl::StrCat(flag, "=", address)}),
                     69, {address, "in use"});
  }
  refusals->ExpectCommand("100 files only",
                          Behind("ulimit -n 100", testing::ServerCommand(refusals->Options())), 71,
                          {"100", "limits.connections"});
}

void RefusedStarts(CatalogueRig* rig) {
  Refusals refusals(rig);
  BadFlags(&refusals);
  BadFiles(rig, &refusals);
  BadFolders(rig, &refusals);
  BadPorts(rig, &refusals);
}

void DamagedStore(CatalogueRig* rig) {
  const std::string manifest = [rig] {
    for (const auto& [path, bytes] : FilesOf(rig->stopped_store() + "/db")) {
      if (absl::StrContains(path, "/MANIFEST-")) return path;
    }
    return std::string();
  }();
  const std::string good = testing::ReadWholeFile(manifest);
  ASSERT_GT(good.size(), 100u);
  std::ofstream(manifest, std::ios::binary | std::ios::trunc) << good.substr(0, good.size() - 3);
  const auto before = FilesOf(rig->stopped_store());
  testing::ServerOptions options;
  options.data_dir = rig->stopped_store();
  Refusals refusals(rig);
  refusals.Expect("MANIFEST 3 bytes short", options, 65,
                  {"refusing to open the store: ", "last good checkpoint", "nothing was modified"});
  EXPECT_EQ(FilesOf(rig->stopped_store()), before);
}

// --- pages ---

int HttpCode(const std::string& reply) {
  const std::vector<std::string> words = absl::StrSplit(reply, ' ');
  int code = 0;
  return words.size() > 1 && absl::SimpleAtoi(words[1], &code) ? code : 0;
}

std::string FirstLine(const std::string& reply) { return reply.substr(0, reply.find('\r')); }

void Pages(CatalogueRig* rig) {
  const std::string address = rig->server().http_address();
  const auto ask = [&](const std::string& what, const std::string& request, int code) {
    const std::string reply = ExchangeBytes(address, request);
    rig->Expect(what, HttpCode(reply), code, FirstLine(reply), {});
  };
  ask("GET /metrics", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200);
  ask("POST /metrics", "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405);
  ask("another path", "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404);
  ask("no HTTP at all", "\x16\x03\x01 what is this\r\n\r\n", 400);
  const std::string large =
      ExchangeBytes(address, absl::StrCat("GET /", std::string(1 << 20, 'x'), " HTTP/1.1\r\n\r\n"));
  // Its bytes that nobody read may cost the client the reply.
  rig->Expect("1 MB request line", large.empty() ? 400 : HttpCode(large), 400, FirstLine(large),
              {});
  const absl::Time begun = absl::Now();
  std::string slow;
  std::thread client([&] { slow = ExchangeBytes(address, "GET /met"); });
  const auto beside = testing::HttpGet(address, "/metrics");
  client.join();
  rig->Expect("a scrape beside a slow client", beside.ok() ? beside->code : 0, 200, "", {});
  EXPECT_FALSE(absl::StrContains(slow, "still open")) << slow;
  EXPECT_LT(absl::Now() - begun, absl::Seconds(5));
}

}  // namespace

std::vector<Entry> OperationsEntries() {
  return {
      {78, "erasing nothing, or everything", NothingToErase,
       {"AuthTest.EveryMethodIsOpenToItsRolesAndNobodyElse"}},
      {79, "erasing twice", EraseTwice,
       {"EraseTest.ItWaitsForARollbackAndARollbackForIt", "erase_kill9"}},
      {80, "configuration out of range, unknown, of another type", BadConfiguration,
       {"ReloadTest.AFileWithAnythingWrongChangesNothing"}},
      {81, "a start that cannot be", RefusedStarts,
       {"TlsTest.WhatCouldNotProtectIsRefusedAtStart"}},
      {82, "a damaged store", DamagedStore, {"damage_matrix"}},
      {83, "what is no page", Pages, {"HttpTest.SlowClientsDoNotHoldUpAScrape"}},
  };
}

}  // namespace engram::integration
