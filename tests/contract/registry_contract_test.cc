// The registry's table: complete help, defaults in range, and the same parameters as the message of
// the same name in engram/v1/strategy.proto.
#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "engram/v1/strategy.pb.h"
#include "gtest/gtest.h"
#include "strategies/api/options.h"
#include "strategies/core/parameters.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

class RegistryContractTest : public testing::TestWithParam<size_t> {
 protected:
  const StrategyEntry& entry() const { return StrategyTable()[GetParam()]; }
};

TEST_P(RegistryContractTest, SaysWhatTheStrategyIs) {
  const StrategyHelp& help = entry().help;
  EXPECT_FALSE(help.name.empty());
  EXPECT_FALSE(help.family.empty());
  EXPECT_FALSE(help.paper.empty());
  EXPECT_FALSE(help.idea.empty());
  EXPECT_FALSE(help.memory.empty());
  EXPECT_FALSE(help.time.empty());
  EXPECT_FALSE(help.when.empty());
  EXPECT_LE(std::count(help.idea.begin(), help.idea.end(), '\n'), 2);
  EXPECT_EQ((*FindStrategy(help.name))->help.name, help.name);
}

TEST_P(RegistryContractTest, ParametersHaveTextsAndDefaultsInRange) {
  StrategySpec spec;
  spec.name = entry().help.name;
  for (const ParameterHelp& parameter : entry().help.parameters) {
    EXPECT_FALSE(parameter.help.empty()) << parameter.name;
    spec.parameters[parameter.name] = parameter.default_value;
  }
  const auto resolved = StrategyParameters::Resolve(entry().help, spec);
  ASSERT_TRUE(resolved.ok()) << resolved.status();
  EXPECT_EQ(resolved->values().size(), entry().help.parameters.size());
}

TEST_P(RegistryContractTest, TestParametersResolve) {
  StrategySpec spec;
  spec.name = entry().help.name;
  spec.parameters = entry().test_parameters;
  const auto resolved = StrategyParameters::Resolve(entry().help, spec);
  EXPECT_TRUE(resolved.ok()) << resolved.status();
}

TEST_P(RegistryContractTest, ValuesOutOfRangeOrOfAnotherKindAreRefusedByName) {
  for (const ParameterHelp& parameter : entry().help.parameters) {
    std::vector<ParameterValue> bad;
    switch (parameter.kind) {
      case ParameterKind::kInteger:
        bad = {static_cast<int64_t>(parameter.min) - 1, static_cast<int64_t>(parameter.max) + 1,
               std::string("1")};
        break;
      case ParameterKind::kNumber:
        bad = {parameter.min - 1, parameter.max * 2 + 1, std::nan(""), std::string("1")};
        break;
      case ParameterKind::kChoice:
        bad = {std::string("no such choice"), int64_t{0}};
        break;
      case ParameterKind::kBool:
        bad = {std::string("true")};
        break;
    }
    for (const ParameterValue& value : bad) {
      StrategySpec spec;
      spec.name = entry().help.name;
      spec.parameters[parameter.name] = value;
      const auto resolved = StrategyParameters::Resolve(entry().help, spec);
      EXPECT_EQ(resolved.status().code(), absl::StatusCode::kInvalidArgument) << parameter.name;
      EXPECT_TRUE(absl::StrContains(resolved.status().message(), parameter.name));
    }
  }
}

std::set<std::string> LowerCaseValues(const EnumDescriptor& choices) {
  std::set<std::string> names;
  for (int i = 0; i < choices.value_count(); ++i) {
    names.insert(absl::AsciiStrToLower(choices.value(i)->name()));
  }
  return names;
}

TEST_P(RegistryContractTest, ParametersAreTheFieldsOfTheMessageOfTheSameName) {
  const FieldDescriptor* member =
      engram::v1::StrategySpec::descriptor()->FindFieldByName(entry().help.name);
  ASSERT_NE(member, nullptr);
  const Descriptor& message = *member->message_type();
  std::set<std::string> fields, parameters;
  for (int i = 0; i < message.field_count(); ++i) fields.insert(message.field(i)->name());
  for (const ParameterHelp& parameter : entry().help.parameters) parameters.insert(parameter.name);
  EXPECT_EQ(fields, parameters);
  for (const ParameterHelp& parameter : entry().help.parameters) {
    const FieldDescriptor* field = message.FindFieldByName(parameter.name);
    ASSERT_NE(field, nullptr) << parameter.name;
    switch (parameter.kind) {
      case ParameterKind::kBool:
        EXPECT_EQ(field->cpp_type(), FieldDescriptor::CPPTYPE_BOOL) << parameter.name;
        break;
      case ParameterKind::kInteger:
        EXPECT_EQ(field->cpp_type(), FieldDescriptor::CPPTYPE_INT64) << parameter.name;
        break;
      case ParameterKind::kNumber:
        EXPECT_EQ(field->cpp_type(), FieldDescriptor::CPPTYPE_DOUBLE) << parameter.name;
        break;
      case ParameterKind::kChoice:
        ASSERT_EQ(field->cpp_type(), FieldDescriptor::CPPTYPE_ENUM) << parameter.name;
        EXPECT_EQ(LowerCaseValues(*field->enum_type()),
                  std::set<std::string>(parameter.choices.begin(), parameter.choices.end()));
        // The first value of an enum is what an unset field means.
        EXPECT_EQ(absl::get<std::string>(parameter.default_value),
                  absl::AsciiStrToLower(field->enum_type()->value(0)->name()));
        break;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registry, RegistryContractTest,
                         testing::Range(size_t{0}, StrategyTable().size()),
                         [](const testing::TestParamInfo<size_t>& test) {
                           return StrategyTable()[test.param].help.name;
                         });

TEST(RegistryTest, NamesAreUniqueAndEveryMessageHasAnEntry) {
  std::set<std::string> names, messages;
  for (const StrategyEntry& entry : StrategyTable()) {
    EXPECT_TRUE(names.insert(entry.help.name).second) << entry.help.name;
  }
  const Descriptor& spec = *engram::v1::StrategySpec::descriptor();
  for (int i = 0; i < spec.field_count(); ++i) messages.insert(spec.field(i)->name());
  EXPECT_EQ(names, messages);
}

TEST(RegistryTest, AnUnknownNameIsNotFoundAndTheKnownOnesAreNamed) {
  const auto entry = FindStrategy("telepathy");
  EXPECT_EQ(entry.status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(absl::StrContains(entry.status().message(), "telepathy"));
  EXPECT_TRUE(absl::StrContains(entry.status().message(), "experience_replay"));
}

}  // namespace
}  // namespace engram::strategies
