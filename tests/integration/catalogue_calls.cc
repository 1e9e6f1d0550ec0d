// Numbers 1-20: what any call may get wrong.
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <signal.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/integration/bad_input.h"
#include "tests/integration/catalogue.h"
#include "tests/testing/process/health.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/status_details.h"

namespace engram::integration {
namespace {

using testing::Call;

grpc::Status ListModels(const testing::ServerProcess& server,
                        const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
  return testing::CallRaw(server.NewChannel(credentials), "/engram.v1.Models/ListModels", "",
                          absl::Seconds(5))
      .status;
}

grpc::Status LearnBatch(const testing::Stubs& stubs, const v1::LearnBatchRequest& request,
                        absl::Duration deadline = absl::Seconds(10)) {
  return Call(*stubs.learning, &v1::Learning::Stub::LearnBatch, request, deadline).status;
}

v1::LearnBatchRequest OneExample(const std::string& model, const std::string& producer,
                                 uint64_t sequence = 1) {
  v1::LearnBatchRequest request;
  request.set_model(model);
  request.set_producer(producer);
  request.set_producer_sequence(sequence);
  *request.add_examples() = GoodExample();
  return request;
}

bool EndsWithin(testing::ServerProcess* server, absl::Duration patience) {
  const absl::Time end = absl::Now() + patience;
  while (!server->Poll().has_value() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(5));
  return server->Poll().has_value();
}

bool Says(const testing::ServerProcess& server, const std::string& words) {
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (absl::Now() < end) {
    if (absl::StrContains(server.Output(), words)) return true;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return false;
}

// --- who calls ---

void NoCertificate(CatalogueRig* rig) {
  rig->Expect("no client certificate",
              ListModels(rig->mutual(), rig->credentials().Channel("", "")), grpc::UNAVAILABLE, {});
}

void Plaintext(CatalogueRig* rig) {
  rig->Expect("plaintext to the TLS port",
              ListModels(rig->mutual(), grpc::InsecureChannelCredentials()), grpc::UNAVAILABLE, {});
}

// The administrator's certificate of the rig's authority, valid from and until these days from now.
std::string CertificateOf(const Credentials& credentials, int from_days, int until_days) {
  constexpr long kDay = 24 * 3600;
  const auto open = [&credentials](const char* name) {
    const std::string text = testing::ReadWholeFile(credentials.File(name));
    BIO* const bio = BIO_new(BIO_s_mem());
    BIO_write(bio, text.data(), static_cast<int>(text.size()));
    return std::unique_ptr<BIO, decltype(&BIO_free)>(bio, &BIO_free);
  };
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(
      PEM_read_bio_X509(open("admin.pem").get(), nullptr, nullptr, nullptr), &X509_free);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> authority(
      PEM_read_bio_PrivateKey(open("ca.key").get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from_days * kDay);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), until_days * kDay);
  X509_sign(certificate.get(), authority.get(), EVP_sha256());
  const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), &BIO_free);
  PEM_write_bio_X509(out.get(), certificate.get());
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out.get(), &bytes);
  return std::string(bytes, static_cast<size_t>(size));
}

void BadCertificates(CatalogueRig* rig) {
  const Credentials& own = rig->credentials();
  const Credentials strangers(rig->Folder("strangers"));
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = testing::ReadWholeFile(own.File("ca.pem"));
  const auto with = [&](const std::string& certificate, const std::string& key) {
    tls.pem_cert_chain = certificate;
    tls.pem_private_key = testing::ReadWholeFile(key);
    return ListModels(rig->mutual(), grpc::SslCredentials(tls));
  };
  rig->ExpectOk("a good one", with(CertificateOf(own, -1, 1), own.File("admin.key")));
  rig->Expect("expired", with(CertificateOf(own, -2, -1), own.File("admin.key")),
              grpc::UNAVAILABLE, {});
  rig->Expect("not yet valid", with(CertificateOf(own, 1, 2), own.File("admin.key")),
              grpc::UNAVAILABLE, {});
  rig->Expect("of another authority",
              with(testing::ReadWholeFile(strangers.File("admin.pem")),
                   strangers.File("admin.key")),
              grpc::UNAVAILABLE, {});
  ASSERT_TRUE(Says(rig->mutual(), "certificate verify failed")) << rig->mutual().Output();
  for (const absl::string_view line : absl::StrSplit(rig->mutual().Output(), '\n')) {
    if (!absl::StrContains(line, "certificate verify failed")) continue;
    std::printf("      the log: %s\n", std::string(line).c_str());
    break;
  }
}

grpc::Status CallAs(CatalogueRig* rig, const std::string& token, const std::string& method) {
  const auto channel = rig->secured().NewChannel(rig->credentials().Channel("", token));
  return testing::CallRaw(channel, method, "", absl::Seconds(5)).status;
}

void NoToken(CatalogueRig* rig) {
  rig->Expect("no token", CallAs(rig, "", "/engram.v1.Models/ListModels"), grpc::UNAUTHENTICATED,
              {"missing or invalid credentials"});
}

void WrongTokens(CatalogueRig* rig) {
  const std::string method = "/engram.v1.Models/ListModels";
  const std::string good = rig->credentials().Token("reader");
  rig->ExpectOk("a good one", CallAs(rig, good, method));
  for (const auto& [what, token] : std::vector<std::pair<std::string, std::string>>{
           {"another", std::string(64, '0')},
           {"one character short", good.substr(0, 63)},
           {"a blank after it", good + " x"}}) {
    rig->Expect(what, CallAs(rig, token, method), grpc::UNAUTHENTICATED,
                {"missing or invalid credentials"});
  }
  rig->Expect("1 MB", CallAs(rig, std::string(1 << 20, 'x'), method), grpc::RESOURCE_EXHAUSTED,
              {});
}

void WrongRoles(CatalogueRig* rig) {
  const std::string reader = rig->credentials().Token("reader");
  for (const char* method : {"Learning/LearnBatch", "Learning/Learn", "Checkpoints/Rollback"}) {
    rig->Expect(absl::StrCat("a reader calls ", method),
                CallAs(rig, reader, absl::StrCat("/engram.v1.", method)), grpc::PERMISSION_DENIED,
                {"role reader may not call ", std::string(method).substr(strcspn(method, "/") + 1),
                 "; needs "});
  }
}

// --- what is sent ---

grpc::Status Raw(CatalogueRig* rig, const std::string& method, const std::string& body) {
  return testing::CallRaw(rig->stubs().channel, method, body).status;
}

void UnknownMethods(CatalogueRig* rig) {
  for (const char* method :
       {"/engram.v1.Learning/Unlearn", "/engram.v1.Nothing/Learn", "/../../etc/passwd"}) {
    rig->Expect(method, Raw(rig, method, ""), grpc::UNIMPLEMENTED, {});
  }
}

void LargeMessage(CatalogueRig* rig) {
  v1::LearnBatchRequest request = OneExample("toy", "large");
  request.mutable_examples(0)->mutable_features()->set_dense(std::string(5 << 20, 'x'));
  rig->Expect("5 MiB",
              Raw(rig, "/engram.v1.Learning/LearnBatch", request.SerializeAsString()),
              grpc::RESOURCE_EXHAUSTED, {"larger than max", "4194304"});
}

void CompressedMessages(CatalogueRig* rig) {
  for (const auto& [name, algorithm] : std::vector<std::pair<std::string, int>>{
           {"gzip", GRPC_COMPRESS_GZIP}, {"deflate", GRPC_COMPRESS_DEFLATE}}) {
    grpc::ClientContext context;
    context.set_compression_algorithm(static_cast<grpc_compression_algorithm>(algorithm));
    v1::PredictRequest request;
    request.set_model("toy");
    request.mutable_features()->set_dense(std::string(1 << 20, '\0'));
    v1::PredictResponse response;
    rig->Expect(name, rig->stubs().prediction->Predict(&context, request, &response),
                grpc::UNIMPLEMENTED, {name, "is disabled"});
  }
}

// On a connection of its own, which may be closed after such a call.
void LargeMetadata(CatalogueRig* rig) {
  const testing::Stubs stubs(rig->server().NewChannel());
  grpc::ClientContext context;
  context.AddMetadata("x-filler", std::string(16384, 'x'));
  v1::ListModelsResponse response;
  rig->Expect("16 KiB", stubs.models->ListModels(&context, {}, &response),
              grpc::RESOURCE_EXHAUSTED, {"metadata size exceeds"});
}

constexpr const char* kUnaryMethods[] = {
    "Models/CreateModel",        "Models/GetModel",           "Models/UpdateModel",
    "Models/DeleteModel",        "Models/PauseTraining",      "Learning/LearnBatch",
    "Learning/MarkBoundary",     "Learning/WaitApplied",      "Learning/Erase",
    "Prediction/Predict",        "Evaluation/GetReport",      "Evaluation/Evaluate",
    "Checkpoints/GetCheckpoint", "Checkpoints/Rollback",      "Checkpoints/CreateCheckpoint",
    "Admin/AcknowledgeLoss"};

void Garbage(CatalogueRig* rig) {
  const std::string garbage("\x0a\xff\xff\xff\xff\x0f", 6);
  for (const char* method : kUnaryMethods) {
    rig->Expect(method, Raw(rig, absl::StrCat("/engram.v1.", method), garbage),
                grpc::INVALID_ARGUMENT, {"request is not a valid ", "Request", "(6 bytes)"});
  }
}

// The log has a bounded number of lines of what clients sent, all in the server's own form.
void NotUtf8(CatalogueRig* rig) {
  const std::string name("\x0a\x02\xc3\x28", 4);
  for (const char* method : {"Models/GetModel", "Learning/LearnBatch", "Prediction/Predict"}) {
    rig->Expect(method, Raw(rig, absl::StrCat("/engram.v1.", method), name),
                grpc::INVALID_ARGUMENT, {"request is not a valid ", "(4 bytes)"});
  }
  for (int i = 0; i < 300; ++i) Raw(rig, "/engram.v1.Models/GetModel", name);
  int lines = 0;
  for (const absl::string_view line : absl::StrSplit(rig->server().Output(), '\n')) {
    if (!absl::StrContains(line, "UTF-8")) continue;
    ++lines;
    EXPECT_TRUE(absl::StrContains(line, "event=protobuf")) << line;
  }
  EXPECT_GT(lines, 0);
  EXPECT_LT(lines, 100) << "a client can fill the log";
}

void DeeplyNested(CatalogueRig* rig) {
  std::string body;
  for (int i = 0; i < 150; ++i) body += "\xc3\x3e";  // field 1000 begins a group
  for (int i = 0; i < 150; ++i) body += "\xc4\x3e";  // and ends it
  rig->Expect("150 levels", Raw(rig, "/engram.v1.Models/ListModels", body), grpc::INVALID_ARGUMENT,
              {"request is not a valid ListModelsRequest message (600 bytes)"});
}

void UnknownFields(CatalogueRig* rig) {
  const std::string unknown("\xc0\x3e\x07", 3);  // field 1000 is 7
  rig->ExpectOk("a field that nobody knows",
                Raw(rig, "/engram.v1.Learning/LearnBatch",
                    OneExample("toy", rig->NewProducer()).SerializeAsString() + unknown));
  v1::CreateModelRequest request;
  request.set_name("unknown-kind");
  *request.mutable_spec() = ToySpec();
  request.mutable_spec()->mutable_head()->set_kind(static_cast<v1::Head::Kind>(99));
  rig->Expect("an enum's value that nobody knows",
              Call(*rig->stubs().models, &v1::Models::Stub::CreateModel, request).status,
              grpc::INVALID_ARGUMENT, {"spec.head.kind", "unknown value 99"});
}

void EmptyMessages(CatalogueRig* rig) {
  const auto empty = [rig](const char* method, grpc::StatusCode code,
                           const std::vector<std::string>& words) {
    rig->Expect(absl::StrCat("empty ", method), Raw(rig, absl::StrCat("/engram.v1.", method), ""),
                code, words);
  };
  for (const char* method : {"Learning/LearnBatch", "Learning/MarkBoundary", "Prediction/Predict",
                             "Evaluation/GetReport", "Checkpoints/Rollback"}) {
    empty(method, grpc::INVALID_ARGUMENT, {"model: required"});
  }
  empty("Models/GetModel", grpc::INVALID_ARGUMENT, {"name: required"});
  empty("Models/CreateModel", grpc::INVALID_ARGUMENT, {"name:"});
  rig->Expect("an empty example",
              LearnOnce(rig->stubs(), rig->NewProducer(),
                        [](v1::LearnBatchRequest* request) {
                          request->mutable_examples(0)->Clear();
                        }),
              grpc::INVALID_ARGUMENT, {"examples[0].features: required"});
}

// --- when it comes ---

void Expired(CatalogueRig* rig) {
  ToyModel model = rig->Model("expired");
  const v1::LearnBatchRequest request = OneExample("expired", "p");
  rig->Expect("a deadline that is over", LearnBatch(rig->stubs(), request, absl::Seconds(-1)),
              grpc::DEADLINE_EXCEEDED, {});
  rig->ExpectOk("the same again", LearnBatch(rig->stubs(), request));
  model.WaitApplied();
  EXPECT_EQ(model.Report().train_examples(), 1);
}

void Cancelled(CatalogueRig* rig) {
  ToyModel model = rig->Model("cancelled");
  grpc::ClientContext context;
  v1::WaitAppliedRequest wait;
  wait.set_model("cancelled");
  wait.set_sequence(1000);
  v1::WaitAppliedResponse waited;
  std::thread canceller([&context] {
    absl::SleepFor(absl::Milliseconds(50));
    context.TryCancel();
  });
  rig->Expect("a wait", rig->stubs().learning->WaitApplied(&context, wait, &waited),
              grpc::CANCELLED, {});
  canceller.join();
  {
    testing::LearnSession session(rig->stubs().channel);
    ASSERT_TRUE(session.Open("cancelled", "p"));
    v1::LearnMessage message;
    message.set_producer_sequence(1);
    for (int i = 0; i < 100; ++i) *message.add_examples() = GoodExample();
    session.Write(message);
    session.Cancel();
    rig->Expect("a stream", session.Finish(), grpc::CANCELLED, {});
  }
  v1::LearnBatchRequest again = OneExample("cancelled", "p");
  for (int i = 1; i < 100; ++i) *again.add_examples() = GoodExample();
  rig->ExpectOk("the same again", LearnBatch(rig->stubs(), again));
  model.WaitApplied();
  EXPECT_EQ(model.Report().train_examples(), 100) << "all of it, once";
}

void Draining(CatalogueRig* rig) {
  testing::ServerProcess& server = rig->secured();
  const testing::Stubs stubs(server.NewChannel());
  ToyModel model(&stubs, "toy");
  model.Create(ToySpec());
  model.Learn({0, 1}, 20);
  testing::LearnSession open(stubs.channel);
  ASSERT_TRUE(open.Open("toy", "s"));
  // What keeps the server draining: a checkpoint of a sequence that does not come.
  v1::CreateCheckpointRequest never;
  never.set_model("toy");
  never.set_min_applied_sequence(1000);
  std::thread waiting([&] {
    EXPECT_FALSE(
        Call(*stubs.checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, never).ok());
  });
  const auto joiner = absl::MakeCleanup([&waiting] { waiting.join(); });
  absl::SleepFor(absl::Milliseconds(100));
  ASSERT_TRUE(server.Signal(SIGTERM).ok());
  ASSERT_TRUE(Says(server, "event=draining"));
  const grpc::Status refused = LearnBatch(stubs, OneExample("toy", "q"));
  rig->Expect("while it drains", refused, grpc::UNAVAILABLE, {"shutting down, retry elsewhere"});
  EXPECT_TRUE(testing::FindDetail<google::rpc::RetryInfo>(refused).has_value());
  rig->Expect("an open stream", open.Finish(), grpc::UNAVAILABLE, {"shutting down"});
  ASSERT_TRUE(server.Signal(SIGTERM).ok()) << "a second one hurries";
  ASSERT_TRUE(EndsWithin(&server, absl::Seconds(20)));
  EXPECT_EQ(server.Poll()->code, 0) << server.Output();
}

void Recovering(CatalogueRig* rig) {
  testing::ServerOptions options;
  options.data_dir = rig->Folder("recovering");
  auto server = rig->Start(options);
  {
    const testing::Stubs stubs(server->NewChannel());
    ToyModel model(&stubs, "wide");
    v1::ModelSpec spec = ToySpec();
    // A replay of seconds.
    spec.mutable_mlp()->set_hidden(0, 2048);
    spec.mutable_mlp()->add_hidden(2048);
    model.Create(spec);
    model.Learn({0, 1}, 2000);
  }
  server->Kill();
  auto launched = testing::ServerProcess::Launch(options);
  ASSERT_TRUE(launched.ok()) << launched.status();
  server = *std::move(launched);
  ASSERT_TRUE(server->WaitListening().ok()) << server->Output();
  const testing::Stubs stubs(server->NewChannel());
  grpc::Status refused;
  do {
    refused = LearnBatch(stubs, OneExample("wide", "q"));
    // Until the trainer has looked at the log.
  } while (refused.error_message() == "recovering: 0/0 records");
  rig->Expect("Learn while it replays", refused, grpc::UNAVAILABLE,
              {"recovering: ", "/2000 records"});
  EXPECT_TRUE(testing::FindDetail<google::rpc::RetryInfo>(refused).has_value());
  EXPECT_EQ(*testing::CheckHealth(stubs.channel, "wide"), testing::ServingStatus::kNotServing);
  EXPECT_TRUE(server->WaitReady("wide").ok()) << server->Output();
  rig->ExpectOk("once it serves", LearnBatch(stubs, OneExample("wide", "q")));
}

void ReadOnly(CatalogueRig* rig) {
  testing::ServerProcess& server = rig->faulty();
  const testing::Stubs stubs(server.NewChannel());
  ToyModel model(&stubs, "toy");
  model.Create(ToySpec());
  model.Learn({0, 1}, 20);
  model.WaitApplied();
  rig->faults().FailCall(testing::IoCall::kSync, 1, EIO, /*sticky=*/true);
  rig->Expect("the write that fails", LearnBatch(stubs, OneExample("toy", "q")),
              grpc::FAILED_PRECONDITION, {"storage is read-only", "restart required"});
  const grpc::Status refused = LearnBatch(stubs, OneExample("toy", "q"));
  rig->Expect("the next one", refused, grpc::FAILED_PRECONDITION,
              {"storage is read-only: ", "restart required"});
  EXPECT_TRUE(testing::FindDetail<google::rpc::PreconditionFailure>(refused).has_value());
  EXPECT_EQ(model.Predict({0, 1}).predictions_size(), 2) << "predictions go on";
  rig->faults().FailNothing();
  rig->StopFaulty();
}

}  // namespace

std::vector<Entry> CallEntries() {
  return {
      {1, "no client certificate", NoCertificate,
       {"TlsTest.WithoutAGoodCertificateThereIsNoConnection"}},
      {2, "plaintext to the TLS port", Plaintext, {"TlsTest.InTheClearNobodyGetsThrough"}},
      {3, "a certificate that is expired, not yet valid, or a stranger's", BadCertificates},
      {4, "no token", NoToken, {"AuthTest.EveryMethodIsOpenToItsRolesAndNobodyElse"}},
      {5, "a wrong token", WrongTokens, {"AuthorityTest.MissingAndInvalidCredentialsReadAlike"}},
      {6, "a role that may not", WrongRoles, {"AuthTest.EveryMethodIsOpenToItsRolesAndNobodyElse"}},
      {7, "an unknown method or service", UnknownMethods},
      {8, "a message above the limit", LargeMessage,
       {"LimitsTest.AtEachLimitAllIsWellAndOnePastItIsRefused"}},
      {9, "a compressed message", CompressedMessages},
      {10, "16 KiB of metadata", LargeMetadata},
      {11, "a body that is no message", Garbage,
       {"ServicesTest.EveryUnaryCallNamesABodyThatDoesNotParse",
        "MutatedRequestsTest.UnaryCallsAreAnswered"}},
      {12, "a string that is not UTF-8", NotUtf8,
       {"LibraryLogsTest.AFloodOfLinesIsCountedNotWritten"}},
      {13, "a message nested too deep", DeeplyNested},
      {14, "an unknown field, an unknown enum value", UnknownFields,
       {"ServicesTest.AnUnknownEnumValueDeepInAListIsNamed"}},
      {15, "an empty message where something is required", EmptyMessages},
      {16, "a deadline that is over", Expired},
      {17, "a client that cancels", Cancelled,
       {"LearnStreamTest.ACancelledStreamLeavesNothingBehind"}},
      {18, "a server that drains", Draining, {"ListenerTest.NothingServesAfterWithdrawing"}},
      {19, "a server that replays", Recovering, {"RecoveryTest.AnswersUnavailableUntilItServes"}},
      {20, "storage that turned read-only", ReadOnly,
       {"SampleLogFaultTest.AFailedSyncIsNeverAcknowledgedAndSticks"}},
  };
}

}  // namespace engram::integration
