#include "storage/codec.h"

#include "gtest/gtest.h"
#include "storage/checkpoint_id.h"
#include "storage/checkpoint_row.h"
#include "storage/crc32c.h"
#include "storage/log_index.h"
#include "storage/log_record.h"
#include "storage/sha256.h"

namespace engram::storage {
namespace {

TEST(Crc32cTest, MatchesThePublishedCheckValue) {
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(ExtendCrc32cPortable(0, "123456789"), 0xe3069283u);
}

TEST(Crc32cTest, PortableAndFastAgreeOnEveryLength) {
  std::string bytes;
  for (int i = 0; i < 70; ++i) {
    EXPECT_EQ(Crc32c(bytes), ExtendCrc32cPortable(0, bytes)) << i;
    bytes.push_back(static_cast<char>(i * 37));
  }
}

TEST(Crc32cTest, ExtendingEqualsTheWhole) {
  EXPECT_EQ(ExtendCrc32c(Crc32c("hello "), "world"), Crc32c("hello world"));
}

TEST(Sha256Test, MatchesThePublishedVector) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(OrderedTextTest, KeepsTheOrderOfTheTextsAndComesBack) {
  const std::vector<std::string> texts = {
      "", std::string("\0", 1), std::string("\0a", 2), "a", std::string("a\0", 2), "a\x01", "ab",
      "b"};
  std::string last;
  for (const std::string& text : texts) {
    std::string key;
    AppendOrderedText(&key, text);
    EXPECT_LT(last, key);
    last = key;
    key += "rest";
    absl::string_view view = key;
    EXPECT_EQ(TakeOrderedText(&view), text);
    EXPECT_EQ(view, "rest");
  }
}

TEST(OrderedTextTest, RefusesATextThatDoesNotEnd) {
  absl::string_view unended = "abc";
  EXPECT_EQ(TakeOrderedText(&unended), absl::nullopt);
  absl::string_view malformed("a\0\x02", 3);
  EXPECT_EQ(TakeOrderedText(&malformed), absl::nullopt);
}

TEST(ByteReaderTest, ReadsBackWhatWasWritten) {
  ByteWriter writer;
  for (const uint64_t value : {uint64_t{0}, uint64_t{127}, uint64_t{128}, UINT64_MAX}) {
    writer.Varint(value);
  }
  for (const int64_t value : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    writer.SignedVarint(value);
  }
  writer.Fixed64(0x0123456789abcdef);
  writer.Text("text");
  ByteReader reader(writer.bytes());
  for (const uint64_t value : {uint64_t{0}, uint64_t{127}, uint64_t{128}, UINT64_MAX}) {
    EXPECT_EQ(reader.Varint(), value);
  }
  for (const int64_t value : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX}) {
    EXPECT_EQ(reader.SignedVarint(), value);
  }
  EXPECT_EQ(reader.Fixed64(), 0x0123456789abcdefu);
  EXPECT_EQ(reader.Text(), "text");
  EXPECT_TRUE(reader.ok() && reader.AtEnd());
}

TEST(ByteReaderTest, EveryCutIsNoticed) {
  ByteWriter writer;
  writer.Fixed64(5);
  writer.Text("some text");
  for (size_t size = 0; size < writer.bytes().size(); ++size) {
    ByteReader reader(absl::string_view(writer.bytes()).substr(0, size));
    reader.Fixed64();
    reader.Text();
    EXPECT_FALSE(reader.ok()) << size;
  }
}

TEST(ByteReaderTest, AVarintWithoutEndIsNoticed) {
  ByteReader reader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
  reader.Varint();
  EXPECT_FALSE(reader.ok());
}

TEST(SealTest, OtherKeyOrAnyFlippedBitDoesNotPass) {
  const std::string sealed = Seal("key", "body");
  EXPECT_EQ(Unseal("key", sealed), absl::string_view("body"));
  EXPECT_EQ(Unseal("kez", sealed), absl::nullopt);
  EXPECT_EQ(Unseal("key", "abc"), absl::nullopt);
  for (size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    std::string damaged = sealed;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(Unseal("key", damaged), absl::nullopt) << bit;
  }
}

TEST(PrefixEndTest, IsAboveEveryStringWithThePrefix) {
  EXPECT_EQ(PrefixEnd("ab"), "ac");
  EXPECT_EQ(PrefixEnd("a\xff\xff"), "b");
}

TEST(LogRecordTest, ComesBackUnderItsOwnKeyOnly) {
  const LogKey key = MakeLogKey(3, 9);
  std::string header;
  MakeRecordHeader(key, {5, 1234, "sensor-7"}, Crc32c("payload"), &header);
  const std::string value = std::string(header.data(), header.size()) + "payload";
  const absl::optional<RecordView> record = ParseRecord(ToView(key), value);
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->kind, 5);
  EXPECT_EQ(record->time_ms, 1234);
  EXPECT_EQ(record->payload, "payload");
  EXPECT_EQ(record->sender, "sensor-7");
  EXPECT_EQ(SequenceOf(ToView(key)), 9u);
  EXPECT_FALSE(ParseRecord(ToView(MakeLogKey(3, 10)), value).has_value());
  EXPECT_FALSE(ParseRecord(ToView(key), value.substr(0, value.size() - 1)).has_value());
  EXPECT_FALSE(ParseRecord(ToView(key), "short").has_value());
  for (size_t i = 0; i < value.size(); ++i) {
    std::string flipped = value;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x20);
    EXPECT_FALSE(ParseRecord(ToView(key), flipped).has_value()) << i;
    EXPECT_FALSE(ParseRecord(ToView(key), value.substr(0, i)).has_value()) << i;
  }
}

TEST(LogRecordTest, WithoutASenderItIsWhatFormat1Wrote) {
  std::string header;
  MakeRecordHeader(MakeLogKey(3, 9), {1, 1234, ""}, Crc32c("payload"), &header);
  ASSERT_EQ(header.size(), kRecordHeaderSize);
  const absl::optional<RecordView> record =
      ParseRecord(ToView(MakeLogKey(3, 9)), header + "payload");
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->kind, 1);
  EXPECT_EQ(record->sender, "");
}

TEST(CheckpointIdTest, IdsAreWellFormedAndSortByCreation) {
  CheckpointIds ids;
  std::string last;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = ids.Next(1700000000000 + i / 100);
    EXPECT_TRUE(IsCheckpointId(id)) << id;
    EXPECT_LT(last, id);
    last = id;
  }
  EXPECT_LT(last, ids.Next(5)) << "also when the clock goes back";
}

TEST(CheckpointIdTest, HoldsTheTimeInItsFirstTenCharacters) {
  CheckpointIds ids;
  EXPECT_EQ(ids.Next(1469918176385).substr(0, 10), "01ARYZ6S41");
}

TEST(CheckpointIdTest, AnythingElseIsNotAnId) {
  for (const absl::string_view bad :
       {"", "..", "01ARYZ6S41TSV4RRFFQ69G5FA", "01ARYZ6S41TSV4RRFFQ69G5FAVX",
        "81ARYZ6S41TSV4RRFFQ69G5FAV", "01ARYZ6S41TSV4RRFFQ69G5FAI", "01aryz6s41tsv4rrffq69g5fav",
        "../../../../etc/passwd0000", "01ARYZ6S41TSV4RRFFQ69G5FA\n"}) {
    EXPECT_FALSE(IsCheckpointId(bad)) << bad;
  }
  EXPECT_TRUE(IsCheckpointId("01ARYZ6S41TSV4RRFFQ69G5FAV"));
}

CheckpointRow SomeRow() {
  CheckpointRow row;
  row.id = "01ARYZ6S41TSV4RRFFQ69G5FAV";
  row.label = "label";
  row.automatic = true;
  row.applied = 123456;
  row.create_time_ms = 1700000000000;
  row.file = row.id + ".safetensors";
  row.bytes = 99;
  row.sha256 = "ab";
  row.format_version = 1;
  row.compute = "compute";
  row.stream_state = std::string("\0state", 6);
  row.members = {{0, 500000, 0}, {0, 3, 0}, {1, 3, 2}, {1, UINT64_MAX, 2}, {0, 0, 0}};
  return row;
}

TEST(CheckpointRowTest, ComesBackWithItsMembersInOrder) {
  const CheckpointRow row = SomeRow();
  const auto decoded = DecodeCheckpointRow("key", row.id, EncodeCheckpointRow("key", row));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->id, row.id);
  EXPECT_EQ(decoded->label, row.label);
  EXPECT_TRUE(decoded->automatic);
  EXPECT_EQ(decoded->applied, row.applied);
  EXPECT_EQ(decoded->create_time_ms, row.create_time_ms);
  EXPECT_EQ(decoded->file, row.file);
  EXPECT_EQ(decoded->bytes, row.bytes);
  EXPECT_EQ(decoded->sha256, row.sha256);
  EXPECT_EQ(decoded->compute, row.compute);
  EXPECT_EQ(decoded->stream_state, row.stream_state);
  EXPECT_EQ(decoded->members, row.members);
}

TEST(CheckpointRowTest, AMemberTakesAtMostEightBytes) {
  CheckpointRow row = SomeRow();
  row.members.clear();
  const size_t without = EncodeCheckpointRow("key", row).size();
  constexpr size_t kMembers = 1000;
  for (Sequence i = 0; i < kMembers; ++i) row.members.push_back({0, (i * 7919) % 10000000, 0});
  EXPECT_LE(EncodeCheckpointRow("key", row).size() - without, kMembers * 8);
}

TEST(CheckpointRowTest, ANewerFormatIsNamed) {
  CheckpointRow row = SomeRow();
  row.format_version = 5;
  const auto decoded = DecodeCheckpointRow("key", row.id, EncodeCheckpointRow("key", row));
  EXPECT_EQ(decoded.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(decoded.status().message().find("format 5"), absl::string_view::npos);
}

TEST(LogIndexTest, FindsTheLastPositionThatTheLimitsAllow) {
  LogIndex index;
  index.Reset({10, 100, 5});
  index.Append({20, 200, 6});
  index.Append({30, 300, 7});
  EXPECT_EQ(index.Before(9).sequence, 10u) << "never below the mark";
  EXPECT_EQ(index.Before(20).sequence, 20u);
  EXPECT_EQ(index.Before(29).sequence, 20u);
  CutLimits limits;
  limits.sequence_max = 100;
  limits.bytes_max = 299;
  limits.time_ms_max = 100;
  EXPECT_EQ(index.LastAllowed(limits).sequence, 20u);
  limits.time_ms_max = 5;
  EXPECT_EQ(index.LastAllowed(limits).sequence, 10u);
}

TEST(LogIndexTest, TrimForgetsPositionsUpToTheMark) {
  LogIndex index;
  index.Reset({});
  index.Append({20, 200, 6});
  index.Append({30, 300, 7});
  index.TrimTo({25, 250, 6});
  EXPECT_EQ(index.mark().sequence, 25u);
  EXPECT_EQ(index.Before(29).sequence, 25u);
  EXPECT_EQ(index.last().sequence, 30u);
  index.TrimTo({40, 400, 8});
  EXPECT_EQ(index.last().sequence, 40u);
}

}  // namespace
}  // namespace engram::storage
