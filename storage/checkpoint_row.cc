#include "storage/checkpoint_row.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/codec.h"

namespace engram::storage {
namespace {

void EncodeMembers(const std::vector<ExemplarKey>& members, ByteWriter* writer) {
  writer->Varint(members.size());
  ExemplarKey last;
  for (const ExemplarKey& member : members) {
    // The lowest bit says whether memory and revision follow.
    const bool changed = member.memory != last.memory || member.revision != last.revision;
    const auto step = static_cast<int64_t>(member.sequence - last.sequence);
    const uint64_t zigzag = (static_cast<uint64_t>(step) << 1) ^ static_cast<uint64_t>(step >> 63);
    writer->Varint((zigzag << 1) | (changed ? 1 : 0));
    if (changed) {
      writer->Varint(member.memory);
      writer->Varint(member.revision);
    }
    last = member;
  }
}

std::vector<ExemplarKey> DecodeMembers(ByteReader* reader) {
  std::vector<ExemplarKey> members;
  const uint64_t count = reader->Varint();
  if (count > reader->Remaining()) return members;  // a byte at least each; AtEnd fails below
  members.reserve(count);
  ExemplarKey member;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t code = reader->Varint();
    const uint64_t zigzag = code >> 1;
    member.sequence += (zigzag >> 1) ^ (~(zigzag & 1) + 1);
    if ((code & 1) != 0) {
      member.memory = static_cast<uint32_t>(reader->Varint());
      member.revision = static_cast<uint32_t>(reader->Varint());
    }
    members.push_back(member);
  }
  return members;
}

}  // namespace

std::string EncodeCheckpointRow(absl::string_view key, const CheckpointRow& row) {
  ByteWriter writer;
  writer.Varint(static_cast<uint64_t>(row.format_version));
  writer.Text(row.label);
  writer.Varint(row.automatic ? 1 : 0);
  writer.Varint(row.applied);
  writer.SignedVarint(row.create_time_ms);
  writer.Text(row.file);
  writer.SignedVarint(row.bytes);
  writer.Text(row.sha256);
  writer.Text(row.compute);
  writer.Text(row.stream_state);
  EncodeMembers(row.members, &writer);
  return Seal(key, writer.Take());
}

absl::StatusOr<CheckpointRow> DecodeCheckpointRow(absl::string_view key, absl::string_view id,
                                                  absl::string_view value) {
  const absl::Status damaged =
      absl::DataLossError(absl::StrCat("checkpoint ", id, ": its row fails its checksum"));
  const absl::optional<absl::string_view> body = Unseal(key, value);
  if (!body.has_value()) return damaged;
  ByteReader reader(*body);
  CheckpointRow row;
  row.id = std::string(id);
  row.format_version = static_cast<int32_t>(reader.Varint());
  if (row.format_version > CheckpointStore::kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("checkpoint ", id, ": format ", row.format_version,
                     " is newer than the supported ", CheckpointStore::kFormatVersion));
  }
  row.label = reader.Text();
  row.automatic = reader.Varint() != 0;
  row.applied = reader.Varint();
  row.create_time_ms = reader.SignedVarint();
  row.file = reader.Text();
  row.bytes = reader.SignedVarint();
  row.sha256 = reader.Text();
  row.compute = reader.Text();
  row.stream_state = reader.Text();
  row.members = DecodeMembers(&reader);
  if (!reader.ok() || !reader.AtEnd()) return damaged;
  return row;
}

}  // namespace engram::storage
