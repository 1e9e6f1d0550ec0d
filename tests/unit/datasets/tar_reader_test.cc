#include "client/datasets/tar_reader.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/datasets/file_test.h"
#include "tests/unit/datasets/tar_bytes.h"

namespace engram::datasets {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

class TarReaderTest : public FileTest {
 protected:
  absl::Status Walk(const std::string& path) {
    seen_.clear();
    return WalkTar(path, [this](const std::string& name, std::string content) {
      seen_.emplace_back(name, std::move(content));
      return absl::OkStatus();
    });
  }

  std::vector<std::pair<std::string, std::string>> seen_;
};

TEST_F(TarReaderTest, FilesComeInTheOrderOfTheArchive) {
  const std::string long_text(1500, 'x');
  const std::string bytes = TarEntry("folder/", "", '5') + TarEntry("folder/b", long_text) +
                            TarEntry("a", "") + TarEntry("c", "see") + TarEnd();
  for (const std::string& path : {WritePlain("a.tar", bytes), WriteZipped("a.tar.gz", bytes)}) {
    ASSERT_TRUE(Walk(path).ok());
    EXPECT_THAT(seen_, ElementsAre(Pair("folder/b", long_text), Pair("a", ""), Pair("c", "see")));
  }
}

TEST_F(TarReaderTest, EveryCutIsDataLoss) {
  const std::string whole = TarEntry("a", "text") + TarEnd();
  for (const size_t length : {size_t{0}, size_t{1}, size_t{511}, size_t{512}, size_t{700},
                              size_t{1024}, size_t{1200}}) {
    EXPECT_EQ(Walk(WritePlain("cut.tar", whole.substr(0, length))).code(),
              absl::StatusCode::kDataLoss)
        << length;
  }
}

TEST_F(TarReaderTest, DamagedHeaderIsDataLoss) {
  std::string bytes = Tar({{"a", "text"}});
  bytes[0] = 'b';
  EXPECT_EQ(Walk(WritePlain("flip.tar", bytes)).code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(seen_, IsEmpty());
}

TEST_F(TarReaderTest, LinksAreRefused) {
  const absl::Status status = Walk(WritePlain("l.tar", TarEntry("link", "", '2') + TarEnd()));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("link: expected a file or a folder, got type '2'"));
}

TEST_F(TarReaderTest, VisitorsStatusEndsTheWalk) {
  const std::string path = WritePlain("a.tar", Tar({{"a", ""}, {"b", ""}}));
  int visits = 0;
  const absl::Status status = WalkTar(path, [&](const std::string&, std::string) {
    ++visits;
    return absl::InvalidArgumentError("enough");
  });
  EXPECT_EQ(status.message(), "enough");
  EXPECT_EQ(visits, 1);
}

}  // namespace
}  // namespace engram::datasets
