#include "server/token_table.h"

#include <sys/stat.h>

#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/sha256.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Line(const std::string& who, const std::string& token) {
  return absl::StrCat(who, " ", storage::Sha256Hex(token), "\n");
}

TEST(TokenTableTest, FindsWhoCarriesAToken) {
  const auto table = TokenTable::Parse(absl::StrCat(
      "# who may\n\n", Line("reader dashboard", "r"), "  ", Line("writer ingest\t", "w"),
      "admin root ", absl::AsciiStrToUpper(storage::Sha256Hex("a")), "  # upper case\r\n"));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_EQ(table->size(), 3u);
  ASSERT_NE(table->Find("w"), nullptr);
  EXPECT_EQ(table->Find("w")->role, Role::kWriter);
  EXPECT_EQ(table->Find("w")->name, "ingest");
  EXPECT_EQ(table->Find("r")->role, Role::kReader);
  EXPECT_EQ(table->Find("a")->role, Role::kAdmin);
  for (const char* token : {"", "W", "w ", "w\n", "rw"}) EXPECT_EQ(table->Find(token), nullptr);
  EXPECT_EQ(table->Find(storage::Sha256Hex("w")), nullptr) << "the hash is no token";
}

TEST(TokenTableTest, TwoTokensOfOneIdentityLiveAndNoThird) {
  const std::string two = Line("reader a", "1") + Line("reader a", "2");
  const auto table = TokenTable::Parse(two + Line("writer a", "3") + Line("reader b", "4"));
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_NE(table->Find("1"), nullptr);
  EXPECT_NE(table->Find("2"), nullptr);
  EXPECT_THAT(std::string(TokenTable::Parse(two + Line("reader a", "5")).status().message()),
              HasSubstr("line 3: reader a has two tokens already"));
}

TEST(TokenTableTest, WhatIsWrongIsNamedByLineAndNeverRepeated) {
  const std::string good = Line("reader a", "1");
  const struct {
    std::string line;
    const char* words;
  } table[] = {
      {"reader a secret-in-the-clear", "64 hexadecimal digits"},
      {"reader secret-in-the-clear", "got 2 words"},
      {"root a secret-in-the-clear", "reader, writer or admin"},
      {"reader ../secret-in-the-clear " + storage::Sha256Hex("x"), "must match"},
      {Line("reader a", "1"), "a token that came before"},
      {"anybody a " + storage::Sha256Hex("x"), "reader, writer or admin"},
  };
  for (const auto& row : table) {
    const auto parsed = TokenTable::Parse(good + row.line);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << row.line;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("line 2: ")) << row.line;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(row.words)) << row.line;
    EXPECT_THAT(std::string(parsed.status().message()), Not(HasSubstr("secret"))) << row.line;
  }
  EXPECT_EQ(TokenTable::Parse("# nobody\n").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenTableTest, AFileThatOthersMayTouchIsRefused) {
  const std::string path = ::testing::TempDir() + "/token_table_test";
  std::ofstream(path) << Line("reader a", "1");
  for (const mode_t mode : {0644, 0640, 0604, 0620, 0601}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    const auto table = TokenTable::Read(path);
    EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument) << mode;
    EXPECT_THAT(std::string(table.status().message()), HasSubstr("mode 0600")) << mode;
  }
  for (const mode_t mode : {0600, 0400}) {
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
    EXPECT_TRUE(TokenTable::Read(path).ok()) << mode;
  }
  EXPECT_EQ(TokenTable::Read(path + ".none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(TokenTable::Read(::testing::TempDir()).ok());
}

}  // namespace
}  // namespace engram::server
