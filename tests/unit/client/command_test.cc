#include "client/command.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "client/json.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/client/fake_engram.h"

namespace engram::client {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

class CommandTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> args, const std::string& input = "") {
    return RunOn(server_, std::move(args), input);
  }

  int RunOn(const FakeEngram& server, std::vector<std::string> args,
            const std::string& input = "") {
    in_.str(input);
    in_.clear();
    out_.str("");
    err_.str("");
    VerbContext context;
    context.connection.target = server.target();
    context.connection.retry = QuickRetry();
    context.in = &in_;
    context.out = &out_;
    context.err = &err_;
    return RunCommand(context, args);
  }

  FakeEngram server_;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
};

TEST_F(CommandTest, WrongUsageExitsWithTwo) {
  EXPECT_EQ(Run({}), kExitUsage);
  EXPECT_EQ(Run({"fly"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("unknown verb \"fly\""));
  EXPECT_EQ(Run({"model"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("model create"));
  EXPECT_EQ(Run({"model", "show"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("missing argument MODEL"));
  EXPECT_EQ(Run({"model", "show", "x", "--bogus"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("unknown flag --bogus"));
  EXPECT_EQ(Run({"model", "create", "x", "--strategy", "ewk"}), kExitUsage);
  EXPECT_EQ(Run({"doctor", "--server"}), kExitUsage);
  EXPECT_EQ(Run({"doctor", "--deadline", "-1"}), kExitUsage);
  EXPECT_EQ(Run({"doctor", "--token_file", "/nonexistent/token"}), kExitUsage);
  EXPECT_THAT(out_.str(), IsEmpty());
}

TEST_F(CommandTest, AMistypedVerbIsGuessed) {
  EXPECT_EQ(Run({"lern", "digits"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("unknown verb \"lern\"; did you mean \"learn\"?"));
  EXPECT_EQ(Run({"modle", "list"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("did you mean \"model list\"?"));
  EXPECT_EQ(Run({"model", "fly"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("\"fly\" is none of them"));
  EXPECT_THAT(err_.str(), HasSubstr("  model create"));
  EXPECT_EQ(Run({"xyzzy"}), kExitUsage);
  EXPECT_THAT(err_.str(), Not(HasSubstr("did you mean")));
}

TEST_F(CommandTest, WrongUsageSaysHowItIsCalledAndWhereItIsExplained) {
  EXPECT_EQ(Run({"model", "show"}), kExitUsage);
  EXPECT_EQ(err_.str(),
            "engram: missing argument MODEL\n"
            "usage: engram model show MODEL\n"
            "\"engram help model show\" explains the flags\n");
}

TEST_F(CommandTest, HelpIsAManualPageToo) {
  EXPECT_EQ(Run({"help", "--man"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr(".TH ENGRAM 1"));
  EXPECT_EQ(Run({"help", "--man", "engramd"}, "no help"), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("engramd --help"));
  EXPECT_EQ(Run({"help", "--man", "nothing"}), kExitUsage);
}

TEST_F(CommandTest, CompletionIsForTwoShells) {
  EXPECT_EQ(Run({"completion", "bash"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("complete -F _engram engram"));
  EXPECT_EQ(Run({"completion", "zsh"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("#compdef engram"));
  EXPECT_EQ(Run({"completion", "fish"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("expected bash or zsh, got \"fish\""));
}

TEST_F(CommandTest, AModelIsMadeFromAFileOfWeights) {
  const std::string path = ::testing::TempDir() + "/command_test.safetensors";
  std::ofstream(path, std::ios::binary) << std::string("\0\1\2weights", 10);
  ASSERT_EQ(Run({"model", "create", "m", "--features", "3", "--weights", path, "--json"}), kExitOk)
      << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("\"scope\":\"TRUNK\""));
  EXPECT_THAT(out_.str(), HasSubstr("1 chunks"));
  ASSERT_EQ(Run({"model", "create", "m", "--weights", path, "--weights_scope", "strict", "--json"}),
            kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("\"scope\":\"STRICT\""));
  EXPECT_EQ(Run({"model", "create", "m", "--weights", path, "--weights_scope", "all"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("must be trunk or strict, got \"all\""));
  EXPECT_EQ(Run({"model", "create", "m", "--weights_scope", "strict"}), kExitUsage);
  EXPECT_EQ(Run({"model", "create", "m", "--weights", path + ".none"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--weights: cannot read"));
  std::remove(path.c_str());
}

TEST_F(CommandTest, EveryVerbExplainsItself) {
  for (const Verb& verb : AllVerbs()) {
    std::vector<std::string> args = {"help"};
    std::istringstream words(verb.name);
    for (std::string word; words >> word;) args.push_back(word);
    EXPECT_EQ(Run(args), kExitOk) << verb.name;
    EXPECT_THAT(out_.str(), HasSubstr("usage: engram " + verb.name)) << verb.name;
  }
  EXPECT_EQ(Run({"help"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("checkpoint create"));
}

TEST_F(CommandTest, FailedCallsExitWithOneAndNameTheCode) {
  EXPECT_EQ(Run({"model", "show", "letters"}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("engram: NOT_FOUND: no such model [letters]"));
  EXPECT_THAT(out_.str(), IsEmpty());
}

TEST_F(CommandTest, ACertificateNeedsItsKeyAndAnAuthority) {
  const std::string file = ::testing::TempDir() + "/command_test.pem";
  std::ofstream(file) << "not read before the flags are right";
  EXPECT_EQ(Run({"doctor", "--tls_ca", file, "--tls_certificate", file}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("a client certificate and its key go together"));
  EXPECT_EQ(Run({"doctor", "--tls_certificate", file, "--tls_key", file}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("needs the server's CA file too"));
  EXPECT_EQ(Run({"doctor", "--tls_ca", file, "--tls_certificate", file, "--tls_key", file + "x"}),
            kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("cannot read"));
  std::remove(file.c_str());
}

TEST_F(CommandTest, GlobalFlagsStandAnywhere) {
  for (const auto& args : std::vector<std::vector<std::string>>{{"--json", "strategy", "list"},
                                                                {"strategy", "list", "--json"}}) {
    ASSERT_EQ(Run(args), kExitOk) << err_.str();
    EXPECT_EQ(out_.str(),
              "{\"name\":\"ewc\",\"family\":\"regularisation\",\"paper\":\"Kirkpatrick et al. "
              "2017\",\"memory\":\"2 floats a parameter\",\"time\":\"O(P) a step\"}\n");
  }
  std::vector<std::string> args = {"learn", "--server=1.2.3.4:5", "m", "--", "--json"};
  VerbContext context;
  ASSERT_TRUE(TakeGlobalFlags(&args, &context).ok());
  EXPECT_EQ(context.connection.target, "1.2.3.4:5");
  EXPECT_FALSE(context.json);
  EXPECT_THAT(args, ElementsAre("learn", "m", "--", "--json"));
}

TEST_F(CommandTest, ModelCreateSendsTheSpecOfItsFlags) {
  ASSERT_EQ(Run({"model", "create", "digits", "--features", "784", "--hidden", "256,256", "--head",
                 "growing", "--optimizer", "sgd:momentum=0.9", "--lr", "0.05", "--strategy",
                 "experience_replay:memory_size=1000", "--strategy", "ewc:lambda=3", "--json"}),
            kExitOk)
      << err_.str();
  const Json model = Json::parse(out_.str());
  EXPECT_EQ(model["name"], "digits");
  const Json& spec = model["spec"];
  EXPECT_EQ(spec["feature_count"], 784);
  EXPECT_EQ(spec["mlp"]["hidden"].dump(), "[256,256]");
  EXPECT_EQ(spec["optimizer"]["learning_rate"], 0.05);
  EXPECT_EQ(spec["optimizer"]["sgd"]["momentum"], 0.9);
  EXPECT_EQ(spec["strategies"][0]["experience_replay"]["memory_size"], 1000);
  EXPECT_EQ(spec["strategies"][1]["ewc"]["lambda"], 3.0);
  EXPECT_FALSE(spec.contains("max_batch_wait_ms"));
}

TEST_F(CommandTest, ModelCreateSendsTheTuneOfItsFlags) {
  ASSERT_EQ(Run({"model", "create", "m", "--features", "4", "--candidate",
                 "name=wide hidden=64,64 strategy=ewc:lambda=3+replay", "--candidate", "lr=1.5",
                 "--grid", "ewc.lambda=1,1e+2", "--tune_tasks", "3", "--tune_promote", "--json"}),
            kExitOk)
      << err_.str();
  const Json tune = Json::parse(out_.str())["spec"]["tune"];
  EXPECT_EQ(tune["tasks"], 3);
  EXPECT_EQ(tune["policy"], "PROMOTE");
  ASSERT_EQ(tune["candidates"].size(), 2u);
  EXPECT_EQ(tune["candidates"][0]["name"], "wide");
  EXPECT_EQ(tune["candidates"][0]["spec"]["mlp"]["hidden"].dump(), "[64,64]");
  EXPECT_EQ(tune["candidates"][0]["spec"]["strategies"].size(), 2u);
  EXPECT_EQ(tune["candidates"][1]["spec"]["optimizer"]["learning_rate"], 1.5);
  EXPECT_EQ(tune["grid"][0]["parameter"], "ewc.lambda");
  EXPECT_EQ(tune["grid"][0]["values"].dump(), "[1.0,100.0]");
  EXPECT_EQ(Run({"model", "create", "m", "--candidate", "speed=9"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--candidate \"speed=9\": unknown flag --speed"));
  EXPECT_EQ(Run({"model", "create", "m", "--grid", "ewc.lambda=high"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("expected PARAMETER=number,number,..."));
}

TEST_F(CommandTest, FlagsWinOverTheSpecFile) {
  const std::string path = ::testing::TempDir() + "/engram_command_spec.txtpb";
  std::ofstream(path) << "feature_count: 10 batch_size: 32 strategies { ewc { lambda: 1 } }";
  ASSERT_EQ(Run({"model", "create", "m", "--spec", path, "--features=20", "--strategy",
                 "ewc:lambda=5", "--json"}),
            kExitOk)
      << err_.str();
  std::remove(path.c_str());
  const Json spec = Json::parse(out_.str())["spec"];
  EXPECT_EQ(spec["feature_count"], 20);
  EXPECT_EQ(spec["batch_size"], 32);
  ASSERT_EQ(spec["strategies"].size(), 1u);
  EXPECT_EQ(spec["strategies"][0]["ewc"]["lambda"], 5.0);
}

TEST_F(CommandTest, LearnStreamsRowsInMessages) {
  ASSERT_EQ(Run({"learn", "digits", "--batch", "2", "--task", "t1", "--json"},
                "3,0.5,1\n4,0.25,1\n3,0,0\n"),
            kExitOk)
      << err_.str();
  const Json result = Json::parse(out_.str());
  EXPECT_EQ(result["event"], "learned");
  EXPECT_EQ(result["examples"], 3);
  const auto stored = server_.learning().stored();
  ASSERT_THAT(stored, SizeIs(2));
  EXPECT_THAT(stored[0].examples(), SizeIs(2));
  EXPECT_THAT(stored[1].examples(), SizeIs(1));
  EXPECT_EQ(stored[1].examples(0).task(), "t1");
}

TEST_F(CommandTest, LearnRefusesRowsItCannotRead) {
  EXPECT_EQ(Run({"learn", "digits"}, "3,0.5\n4,x\n"), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("INVALID_ARGUMENT: line 2"));
  const std::string path = ::testing::TempDir() + "/command_test_rows.csv";
  std::ofstream(path) << "3,0.5\n4,x\n";
  EXPECT_EQ(Run({"learn", "digits", "--file", path}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("INVALID_ARGUMENT: " + path + ": line 2"));
  std::remove(path.c_str());
  EXPECT_EQ(Run({"learn", "digits", "--batch", "2000"}), kExitUsage);
  EXPECT_EQ(Run({"learn", "digits", "--file", "/nonexistent"}), kExitUsage);
  EXPECT_EQ(Run({"learn", "digits", "--format", "xml"}), kExitUsage);
}

// A file of 1 000 rows, four messages of at most 256.
class LearnFilesTest : public CommandTest {
 protected:
  // Its cases run at the same time, each in a process of its own.
  LearnFilesTest() : path_(absl::StrCat(::testing::TempDir(), "/learn_files_", getpid(), ".csv")) {
    std::ofstream file(path_);
    for (int i = 0; i < 1000; ++i) file << i << ",0.5\n";
  }
  ~LearnFilesTest() override { std::remove(path_.c_str()); }

  // Every row once, in order.
  static void ExpectAllRows(const std::vector<v1::LearnMessage>& stored) {
    int64_t next = 0;
    for (const v1::LearnMessage& message : stored) {
      for (const v1::Example& example : message.examples()) {
        ASSERT_EQ(example.label().number(), next++);
      }
    }
    EXPECT_EQ(next, 1000);
  }

  const std::string path_;
  std::set<std::string> producers_;
};

TEST_F(LearnFilesTest, TheSameCommandGoesOnAfterABreak) {
  LearnScript script;
  script.cut_stream = 1;
  script.cut_after_messages = 2;
  script.cut_status = grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "the disk is full");
  FakeEngram server(script);
  ASSERT_EQ(RunOn(server, {"learn", "digits", "--csv", path_}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("the disk is full"));
  EXPECT_THAT(err_.str(), HasSubstr("of 1000 rows are durable, the same command goes on"));
  ASSERT_EQ(RunOn(server, {"learn", "digits", "--csv", path_, "--json"}), kExitOk) << err_.str();
  const Json result = Json::parse(out_.str());
  EXPECT_EQ(result["rows_before"], 512);
  EXPECT_EQ(result["examples"], 488);
  ExpectAllRows(server.learning().stored());
  ASSERT_EQ(RunOn(server, {"learn", "digits", "--csv", path_}), kExitOk) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("1000 rows, 1000 of them answered before; 0 examples"));
  ExpectAllRows(server.learning().stored());
}

TEST_F(LearnFilesTest, TheProducerIsTheFileAndHowItIsLearned) {
  for (const std::vector<std::string>& more : std::vector<std::vector<std::string>>{
           {}, {"--pass", "2"}, {"--task", "t"}, {"--held_out"}, {"--producer", "line-4"}}) {
    std::vector<std::string> args = {"learn", "digits", "--csv", path_};
    args.insert(args.end(), more.begin(), more.end());
    FakeEngram server;
    ASSERT_EQ(RunOn(server, args), kExitOk) << err_.str();
    producers_.insert(server.learning().hellos()[0].producer());
  }
  EXPECT_THAT(producers_, SizeIs(5));
  EXPECT_THAT(producers_, Contains(StartsWith("line-4-")));
}

TEST_F(LearnFilesTest, AFileThatIsShorterThanWhatTheServerHasIsNotTheSame) {
  LearnScript script;
  script.last_sequence = 5;
  FakeEngram server(script);
  EXPECT_EQ(RunOn(server, {"learn", "digits", "--csv", path_}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("the server has 5 messages"));
}

TEST_F(LearnFilesTest, SeveralFilesFollowEachOther) {
  FakeEngram server;
  const std::string other = path_ + ".jsonl";
  std::ofstream(other) << "{\"features\": [1], \"label\": 7}\n";
  EXPECT_EQ(RunOn(server, {"learn", "digits", "--jsonl", other, path_}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr(path_ + ": line 1"));
  EXPECT_EQ(RunOn(server, {"learn", "digits", "--csv", path_, "--jsonl", other}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("exclude each other"));
  EXPECT_EQ(RunOn(server, {"learn", "digits", "--csv", path_, "-"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--file - learns it"));
  EXPECT_EQ(RunOn(server, {"learn", "digits", path_}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("say --csv, --jsonl or --idx before a file"));
  EXPECT_EQ(RunOn(server, {"learn", "digits", "--csv", path_, "--batch", "9"}), kExitUsage);
  EXPECT_EQ(RunOn(server, {"learn", "digits", "--pass", "2"}), kExitUsage);
  EXPECT_EQ(RunOn(server, {"learn", "digits", "--idx", path_}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("an even number of files, got 1"));
  std::remove(other.c_str());
}

TEST_F(CommandTest, StrategyExplainNamesWhatThereIs) {
  EXPECT_EQ(Run({"strategy", "explain", "ewc"}), kExitOk);
  EXPECT_THAT(out_.str(), HasSubstr("lambda"));
  EXPECT_EQ(Run({"strategy", "explain", "magic"}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("NOT_FOUND: strategy \"magic\" is not one of ewc"));
}

}  // namespace
}  // namespace engram::client
