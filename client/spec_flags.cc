#include "client/spec_flags.h"

#include <cctype>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::OneofDescriptor;
using google::protobuf::Reflection;

constexpr char kReplayShort[] = "replay";
constexpr char kReplay[] = "experience_replay";

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

std::vector<std::string> MemberNames(const OneofDescriptor& oneof) {
  std::vector<std::string> names;
  for (int i = 0; i < oneof.field_count(); ++i) names.push_back(oneof.field(i)->name());
  return names;
}

std::string AllowedNames(const std::vector<std::string>& names) {
  return names.empty() ? "it has none" : absl::StrCat("one of ", absl::StrJoin(names, ", "));
}

absl::Status BadValue(absl::string_view name, absl::string_view text, absl::string_view kind) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected ", kind, ", got \"", text, "\""));
}

absl::Status SetEnum(absl::string_view text, const FieldDescriptor* field, Message* message) {
  const EnumDescriptor* type = field->enum_type();
  const auto* value = type->FindValueByName(absl::AsciiStrToUpper(text));
  if (value == nullptr) {
    std::vector<std::string> names;
    for (int i = 0; i < type->value_count(); ++i) names.push_back(type->value(i)->name());
    return BadValue(field->name(), text, AllowedNames(names));
  }
  message->GetReflection()->SetEnum(message, field, value);
  return absl::OkStatus();
}

// Parses with `parse` and stores with `set`, or says what was expected.
template <typename T>
absl::Status SetNumber(absl::string_view text, const FieldDescriptor* field, Message* message,
                       bool (*parse)(absl::string_view, T*),
                       void (Reflection::*set)(Message*, const FieldDescriptor*, T) const,
                       absl::string_view kind) {
  T value;
  if (!parse(text, &value)) return BadValue(field->name(), text, kind);
  (message->GetReflection()->*set)(message, field, value);
  return absl::OkStatus();
}

// "key=value,key=value" into the fields of a message; `name` starts what is said of a wrong one.
absl::Status SetFields(absl::string_view name, absl::string_view pairs, Message* message) {
  for (const absl::string_view pair : absl::StrSplit(pairs, ',')) {
    const std::vector<absl::string_view> sides = absl::StrSplit(pair, absl::MaxSplits('=', 1));
    if (sides.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": expected key=value, got \"", pair, "\""));
    }
    const absl::Status set = SetFieldFromText(sides[0], sides[1], message);
    if (!set.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ".", set.message()));
  }
  return absl::OkStatus();
}

// Sets the member of `oneof` that `text` names, as NAME or NAME:key=value,...
absl::Status SetMember(absl::string_view text, const OneofDescriptor& oneof, Message* message) {
  const std::vector<std::string> halves = absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::string name = halves[0] == kReplayShort ? kReplay : halves[0];
  const FieldDescriptor* member = nullptr;
  for (int i = 0; i < oneof.field_count(); ++i) {
    if (oneof.field(i)->name() == name) member = oneof.field(i);
  }
  if (member == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown name \"", name, "\", expected ", AllowedNames(MemberNames(oneof))));
  }
  Message* inner = message->GetReflection()->MutableMessage(message, member);
  return halves.size() == 1 ? absl::OkStatus() : SetFields(name, halves[1], inner);
}

// Sets the enum field `kind` and others: KIND or KIND:key=value,...
absl::Status SetKind(absl::string_view name, absl::string_view text, Message* message) {
  const std::vector<std::string> halves = absl::StrSplit(text, absl::MaxSplits(':', 1));
  const absl::Status set = SetFieldFromText("kind", halves[0], message);
  if (!set.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", set.message()));
  return halves.size() == 1 ? absl::OkStatus() : SetFields(name, halves[1], message);
}

std::string FieldText(const Message& message, const FieldDescriptor* field) {
  std::string text;
  google::protobuf::TextFormat::PrintFieldValueToString(message, field, -1, &text);
  return text;
}

std::string FormatMember(const Message& message, const FieldDescriptor* member) {
  const Message& inner = message.GetReflection()->GetMessage(message, member);
  std::vector<const FieldDescriptor*> set;
  inner.GetReflection()->ListFields(inner, &set);
  std::vector<std::string> pairs;
  for (const FieldDescriptor* field : set) {
    pairs.push_back(absl::StrCat(field->name(), "=", FieldText(inner, field)));
  }
  if (pairs.empty()) return member->name();
  return absl::StrCat(member->name(), ":", absl::StrJoin(pairs, ","));
}

// Keeps the first complaint of the text format parser.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (text_.empty()) text_ = absl::StrCat(line + 1, ":", column + 1, ": ", message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

absl::Status SetFieldFromText(absl::string_view name, absl::string_view text, Message* message) {
  const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(std::string(name));
  if (field == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " is no parameter, expected ", AllowedNames(FieldNames(*message->GetDescriptor()))));
  }
  if (field->is_repeated()) return BadValue(name, text, "a field that is set in a spec file");
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return SetNumber<int32_t>(text, field, message, absl::SimpleAtoi<int32_t>,
                                &Reflection::SetInt32, "a whole number");
    case FieldDescriptor::CPPTYPE_INT64:
      return SetNumber<int64_t>(text, field, message, absl::SimpleAtoi<int64_t>,
                                &Reflection::SetInt64, "a whole number");
    case FieldDescriptor::CPPTYPE_UINT32:
      return SetNumber<uint32_t>(text, field, message, absl::SimpleAtoi<uint32_t>,
                                 &Reflection::SetUInt32, "a whole number from 0");
    case FieldDescriptor::CPPTYPE_UINT64:
      return SetNumber<uint64_t>(text, field, message, absl::SimpleAtoi<uint64_t>,
                                 &Reflection::SetUInt64, "a whole number from 0");
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return SetNumber<double>(text, field, message, absl::SimpleAtod, &Reflection::SetDouble,
                               "a number");
    case FieldDescriptor::CPPTYPE_FLOAT:
      return SetNumber<float>(text, field, message, absl::SimpleAtof, &Reflection::SetFloat,
                              "a number");
    case FieldDescriptor::CPPTYPE_BOOL:
      return SetNumber<bool>(text, field, message, absl::SimpleAtob, &Reflection::SetBool,
                             "true or false");
    case FieldDescriptor::CPPTYPE_ENUM:
      return SetEnum(text, field, message);
    case FieldDescriptor::CPPTYPE_STRING:
      message->GetReflection()->SetString(message, field, std::string(text));
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return BadValue(name, text, "a field that is set in a spec file");
  }
  return absl::OkStatus();
}

// Splits at '+', but not inside a number like 1e+3: a strategy starts with a letter.
std::vector<absl::string_view> SplitStrategyList(absl::string_view text) {
  std::vector<absl::string_view> parts;
  size_t start = 0;
  for (size_t at = 0; at + 1 < text.size(); ++at) {
    if (text[at] == '+' && std::isalpha(static_cast<unsigned char>(text[at + 1])) != 0) {
      parts.push_back(text.substr(start, at - start));
      start = at + 1;
    }
  }
  parts.push_back(text.substr(start));
  return parts;
}

absl::StatusOr<engram::v1::StrategySpec> ParseStrategy(absl::string_view text) {
  engram::v1::StrategySpec spec;
  const absl::Status set = SetMember(text, *spec.GetDescriptor()->FindOneofByName("kind"), &spec);
  if (!set.ok()) return absl::InvalidArgumentError(absl::StrCat("strategy: ", set.message()));
  return spec;
}

absl::StatusOr<std::vector<engram::v1::StrategySpec>> ParseStrategyList(absl::string_view text) {
  std::vector<engram::v1::StrategySpec> specs;
  for (const absl::string_view part : SplitStrategyList(text)) {
    ENGRAM_ASSIGN_OR_RETURN(specs.emplace_back(), ParseStrategy(part));
  }
  return specs;
}

std::string FormatStrategies(
    const google::protobuf::RepeatedPtrField<engram::v1::StrategySpec>& strategies) {
  std::vector<std::string> texts;
  for (const engram::v1::StrategySpec& spec : strategies) {
    const auto* oneof = spec.GetDescriptor()->FindOneofByName("kind");
    const auto* member = spec.GetReflection()->GetOneofFieldDescriptor(spec, oneof);
    if (member != nullptr) texts.push_back(FormatMember(spec, member));
  }
  return texts.empty() ? "finetune" : absl::StrJoin(texts, "+");
}

std::vector<std::string> StrategyNames() {
  return MemberNames(*engram::v1::StrategySpec::descriptor()->FindOneofByName("kind"));
}

absl::Status SetOptimizer(absl::string_view text, engram::v1::Optimizer* optimizer) {
  const absl::Status set =
      SetMember(text, *optimizer->GetDescriptor()->FindOneofByName("kind"), optimizer);
  if (!set.ok()) return absl::InvalidArgumentError(absl::StrCat("optimizer: ", set.message()));
  return set;
}

absl::Status SetSchedule(absl::string_view text, engram::v1::Schedule* schedule) {
  return SetKind("schedule", text, schedule);
}

absl::Status SetPenaltySchedule(absl::string_view text, engram::v1::PenaltySchedule* schedule) {
  return SetKind("penalty_schedule", text, schedule);
}

absl::Status SetAugmentation(absl::string_view text, engram::v1::Augmentation* augmentation) {
  return SetFields("augmentation", text, augmentation);
}

absl::Status SetHead(absl::string_view text, engram::v1::Head* head) {
  return SetFieldFromText("kind", text, head);
}

absl::StatusOr<engram::v1::ModelSpec> ReadSpecFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::ostringstream contents;
  contents << file.rdbuf();
  engram::v1::ModelSpec spec;
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(contents.str(), &spec)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ":", error.text()));
  }
  return spec;
}

}  // namespace engram::client
