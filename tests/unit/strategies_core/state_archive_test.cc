#include "strategies/core/state_archive.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace engram::strategies {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Archive(const std::string& header, const std::string& body) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i)));
  return bytes + header + body;
}

void ExpectBroken(const std::string& bytes, const std::string& rule) {
  const auto reader = StateReader::Open(bytes);
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kDataLoss) << bytes;
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr(rule));
}

TEST(StateArchiveTest, WhatWasPutComesBackBitForBit) {
  StateWriter writer;
  const at::Tensor floats = at::tensor({1.5f, -0.0f, 1e-40f, 3e38f}).view({2, 2});
  writer.PutTensor("floats", floats);
  writer.PutTensor("bytes", at::tensor({1, 2, 3}, at::kByte));
  writer.PutTensor("empty", at::empty({0, 7}, at::kFloat));
  writer.PutInts("ints", {-5, 6});
  writer.PutUnsigned("words", {UINT64_MAX, 0});
  writer.PutInteger("steps", -12);
  writer.PutNumber("lambda", 0.1);
  writer.PutText("name", "quote \" and \n newline");
  const std::string bytes = writer.Finish();
  const auto reader = StateReader::Open(bytes);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_TRUE(reader->GetTensor("floats")->equal(floats));
  EXPECT_TRUE(std::signbit((*reader->GetTensor("floats")).view({-1})[1].item<float>()));
  EXPECT_EQ(reader->GetTensor("empty")->size(1), 7);
  EXPECT_THAT(*reader->GetInts("ints"), ElementsAre(-5, 6));
  EXPECT_THAT(*reader->GetUnsigned("words"), ElementsAre(UINT64_MAX, 0u));
  EXPECT_EQ(*reader->GetInteger("steps"), -12);
  EXPECT_EQ(*reader->GetNumber("lambda"), 0.1);
  EXPECT_EQ(*reader->GetText("name"), "quote \" and \n newline");
}

TEST(StateArchiveTest, ScopesPrefixNames) {
  StateWriter writer;
  StateWriter inner = writer.Scoped("strategy/0/").Scoped("memory/");
  inner.PutInts("keys", {1});
  inner.PutInteger("seen", 3);
  const std::string bytes = writer.Finish();
  const auto reader = StateReader::Open(bytes);
  ASSERT_TRUE(reader.ok());
  EXPECT_TRUE(reader->Has("strategy/0/memory/keys"));
  EXPECT_EQ(*reader->Scoped("strategy/0/memory/").GetInteger("seen"), 3);
  EXPECT_FALSE(reader->Scoped("strategy/1/").Has("memory/keys"));
}

TEST(StateArchiveTest, AViewIsStoredAsWhatItShows) {
  const at::Tensor base = at::arange(12, at::kFloat).view({3, 4});
  StateWriter writer;
  writer.PutTensor("column", base.narrow(1, 1, 2));
  const std::string bytes = writer.Finish();
  const auto reader = StateReader::Open(bytes);
  EXPECT_TRUE(reader->GetTensor("column")->equal(base.narrow(1, 1, 2)));
  at::Tensor target = at::zeros({3, 4});
  EXPECT_TRUE(reader->GetTensor("column", target.narrow(1, 2, 2)).ok());
  EXPECT_TRUE(target.narrow(1, 2, 2).equal(base.narrow(1, 1, 2)));
}

TEST(StateArchiveTest, AnotherShapeOrTypeNamesBoth) {
  StateWriter writer;
  writer.PutTensor("w", at::zeros({2, 3}));
  const std::string bytes = writer.Finish();
  const auto reader = StateReader::Open(bytes);
  const absl::Status status = reader->GetTensor("w", at::zeros({3, 2}));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("[2,3]"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("[3,2]"));
  EXPECT_EQ(reader->GetTensor("w", at::zeros({2, 3}, at::kInt)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(reader->GetTensor("v").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(reader->GetInts("w").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(reader->GetText("w").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(StateArchiveTest, NumbersThatDoNotParseAreDataLoss) {
  StateWriter writer;
  writer.PutText("steps", "many");
  const std::string bytes = writer.Finish();
  const auto reader = StateReader::Open(bytes);
  EXPECT_EQ(reader->GetInteger("steps").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(reader->GetNumber("steps").status().code(), absl::StatusCode::kDataLoss);
}

TEST(StateArchiveTest, LengthFieldsAreChecked) {
  ExpectBroken("", "length field");
  ExpectBroken("1234567", "length field");
  ExpectBroken(std::string(8, '\xff') + "{}", "exceeds the limit");
  ExpectBroken(std::string("\x09\0\0\0\0\0\0\0{}", 10), "cut off");
}

TEST(StateArchiveTest, HeaderMustBeAJsonObjectWithoutRepeatedNames) {
  ExpectBroken(Archive("[]", ""), "not a JSON object");
  ExpectBroken(Archive("{", ""), "not a JSON object");
  ExpectBroken(Archive("{\"a\":{},\"a\":{}}", ""), "twice");
  ExpectBroken(Archive(R"({"__metadata__":{"x":"1","x":"2"}})", ""), "twice");
  ExpectBroken(Archive(R"({"__metadata__":{"x":1}})", ""), "not a string");
  ExpectBroken(Archive(R"({"__metadata__":[]})", ""), "not an object");
  EXPECT_TRUE(StateReader::Open(Archive("{}", "")).ok());
}

TEST(StateArchiveTest, HostileNestingIsRefusedWithoutHarm) {
  ExpectBroken(Archive(std::string(100000, '['), ""), "nests deeper");
  ExpectBroken(Archive("{\"a\":" + std::string(50000, '[') + std::string(50000, ']') + "}", ""),
               "nests deeper");
}

TEST(StateArchiveTest, AHeaderThatSaysMoreThanItsLimitIsNotHeldInMemory) {
  std::string numbers = "{\"t\":[0";
  for (int i = 0; i < 2000; ++i) numbers += ",0";
  std::string names = "{\"t\":0";
  for (int i = 0; i < 2000; ++i) names += ",\"t" + std::to_string(i) + "\":0";
  const ArchiveLimits limits{1 << 20, 100};
  for (const std::string& header : {numbers + "]}", names + "}"}) {
    const auto reader = StateReader::Open(Archive(header, ""), limits);
    EXPECT_THAT(std::string(reader.status().message()), HasSubstr("more than 100 tensors"));
  }
  const ArchiveLimits narrow{64, 100};
  EXPECT_THAT(
      std::string(StateReader::Open(Archive(std::string(65, ' '), ""), narrow).status().message()),
      HasSubstr("header length 65 exceeds the limit of 64"));
}

TEST(StateArchiveTest, TensorsAreListedByName) {
  StateWriter writer;
  writer.Scoped("b/").PutTensor("w", at::zeros({2, 3}));
  writer.PutTensor("a", at::zeros({4}, at::kDouble));
  const std::string bytes = writer.Finish();
  const auto tensors = StateReader::Open(bytes)->Tensors();
  ASSERT_EQ(tensors.size(), 2u);
  EXPECT_EQ(tensors[0].name, "a");
  EXPECT_EQ(tensors[0].dtype, "F64");
  EXPECT_EQ(tensors[1].name, "b/w");
  EXPECT_THAT(tensors[1].shape, ElementsAre(2, 3));
}

std::string Entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(StateArchiveTest, EachMalformedTensorIsRefused) {
  struct Case {
    std::string entry, rule;
  };
  const Case cases[] = {
      {"{}", "needs exactly"},
      {R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"extra":1})", "needs exactly"},
      {"17", "needs exactly"},
      {Entry("I8", "[1]", "[0,4]"), "unknown dtype"},
      {Entry("F16", "[1]", "[0,4]"), "shape needs 2"},
      {Entry("F32", "[-1]", "[0,4]"), "bad shape"},
      {Entry("F32", "[1.0]", "[0,4]"), "bad shape"},
      {Entry("F32", "\"1\"", "[0,4]"), "bad shape"},
      {Entry("F32", "[1,1,1,1,1]", "[0,4]"), "bad shape"},
      {Entry("F32", "[18446744073709551615]", "[0,4]"), "bad shape"},
      {Entry("F32", "[4611686018427387904,4]", "[0,4]"), "overflows"},
      {Entry("F32", "[2]", "[0,4]"), "shape needs 8"},
      {Entry("F32", "[1]", "[4,0]"), "out of bounds"},
      {Entry("F32", "[2]", "[0,8]"), "out of bounds"},
      {Entry("F32", "[1]", "[0,18446744073709551615]"), "out of bounds"},
      {Entry("F32", "[1]", "[0]"), "bad data_offsets"},
      {Entry("F32", "[1]", "[-4,0]"), "bad data_offsets"},
      {Entry("F32", "[1]", "{}"), "bad data_offsets"},
  };
  for (const Case& bad : cases) {
    ExpectBroken(Archive("{\"t\":" + bad.entry + "}", std::string(4, 'x')), bad.rule);
  }
  EXPECT_TRUE(
      StateReader::Open(Archive("{\"t\":" + Entry("F32", "[1]", "[0,4]") + "}", "abcd")).ok());
  ExpectBroken(
      Archive("{\"" + std::string(300, 'n') + "\":" + Entry("F32", "[1]", "[0,4]") + "}", "abcd"),
      "too long");
}

TEST(StateArchiveTest, OverlapHoleAndTrailingBytesAreRefused) {
  const auto two = [](const std::string& first, const std::string& second, size_t body) {
    return Archive(
        "{\"a\":" + Entry("U8", "[4]", first) + ",\"b\":" + Entry("U8", "[4]", second) + "}",
        std::string(body, 'x'));
  };
  EXPECT_TRUE(StateReader::Open(two("[0,4]", "[4,8]", 8)).ok());
  EXPECT_TRUE(StateReader::Open(two("[4,8]", "[0,4]", 8)).ok());
  ExpectBroken(two("[0,4]", "[2,6]", 8), "overlap");
  ExpectBroken(two("[0,4]", "[0,4]", 4), "overlap");
  ExpectBroken(two("[0,4]", "[5,9]", 9), "hole");
  ExpectBroken(two("[1,5]", "[5,9]", 9), "hole");
  ExpectBroken(two("[0,4]", "[4,8]", 9), "after the last");
}

TEST(StateArchiveTest, EveryTruncationIsRefused) {
  StateWriter writer;
  writer.PutTensor("w", at::ones({3, 5}));
  writer.PutText("k", "v");
  const std::string whole = writer.Finish();
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    EXPECT_FALSE(StateReader::Open(cut).ok()) << size;
  }
}

}  // namespace
}  // namespace engram::strategies
