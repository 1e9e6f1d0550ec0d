#include "client/datasets/imdb_reader.h"

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

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Files = std::vector<std::pair<std::string, std::string>>;

std::string Urls(const std::vector<std::string>& films) {
  std::string urls;
  for (const std::string& film : films) {
    urls += "http://www.imdb.com/title/tt" + film + "/usercomments\n";
  }
  return urls;
}

// As archives list them: in no order.
Files Small() {
  return {
      {"aclImdb/README", "nothing"},
      {"aclImdb/train/pos/1_9.txt", "fine"},
      {"aclImdb/train/pos/0_7.txt", "good"},
      {"aclImdb/train/neg/0_2.txt", "bad"},
      {"aclImdb/train/unsup/0_0.txt", "unknown"},
      {"aclImdb/test/neg/0_4.txt", "dull"},
      {"aclImdb/test/pos/0_10.txt", "great"},
      {"aclImdb/train/urls_pos.txt", Urls({"0000010", "0453418"})},
      {"aclImdb/train/urls_neg.txt", Urls({"0064354"})},
      {"aclImdb/test/urls_pos.txt", Urls({"0000001"})},
      {"aclImdb/test/urls_neg.txt", Urls({"0000002"})},
  };
}

class ImdbReaderTest : public FileTest {
 protected:
  absl::StatusOr<RowSplit> Load(const Files& files, ReviewGroup group = ReviewGroup::kRating) {
    return LoadImdb(WriteZipped("reviews.tar.gz", Tar(files)), group, 64);
  }

  // Of the small archive with one more file.
  std::string RefusalOf(const std::string& name, const std::string& content) {
    Files files = Small();
    files.push_back({name, content});
    const absl::Status status = Load(files).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(status.message(), AllOf(HasSubstr("reviews.tar.gz"), HasSubstr(name)));
    return std::string(status.message());
  }
};

TEST_F(ImdbReaderTest, ReviewsComeByLabelAndId) {
  const auto split = Load(Small());
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->train.texts, ElementsAre("bad", "good", "fine"));
  EXPECT_THAT(split->train.labels, ElementsAre(0, 1, 1));
  EXPECT_THAT(split->train.groups, ElementsAre(2, 7, 9));
  EXPECT_THAT(split->test.texts, ElementsAre("dull", "great"));
  EXPECT_EQ(split->train.FeatureCount(), 64);
}

TEST_F(ImdbReaderTest, FilmsAreFoundByTheLineOfTheReviewsId) {
  const auto split = Load(Small(), ReviewGroup::kFilm);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->train.groups, ElementsAre(64354, 10, 453418));
  EXPECT_THAT(split->test.groups, ElementsAre(2, 1));
}

TEST_F(ImdbReaderTest, ReviewWithoutAFilmIsRefusedWhereFilmsAreAsked) {
  Files files = Small();
  files.push_back({"aclImdb/train/neg/1_1.txt", "worse"});
  EXPECT_TRUE(Load(files).ok());
  EXPECT_THAT(Load(files, ReviewGroup::kFilm).status().message(),
              AllOf(HasSubstr("train: review 1"), HasSubstr("found 1 films")));
}

TEST_F(ImdbReaderTest, BadNamesRatingsAndListsAreRefused) {
  EXPECT_THAT(RefusalOf("aclImdb/train/pos/x_9.txt", ""), HasSubstr("ID_RATING.txt"));
  EXPECT_THAT(RefusalOf("aclImdb/train/pos/5.txt", ""), HasSubstr("ID_RATING.txt"));
  EXPECT_THAT(RefusalOf("aclImdb/test/neg/5_7.txt", ""),
              HasSubstr("expected a rating 1 to 4, got 7"));
  EXPECT_THAT(RefusalOf("aclImdb/train/pos/1_8.txt", ""), HasSubstr("expected one review 1"));
  EXPECT_THAT(RefusalOf("aclImdb/test/urls_pos.txt", "http://somewhere\n"),
              HasSubstr("/title/ttNUMBER"));
}

TEST_F(ImdbReaderTest, ArchiveWithoutReviewsIsRefused) {
  EXPECT_THAT(Load({{"aclImdb/README", "nothing"}}).status().message(),
              HasSubstr("train: expected reviews, found none"));
}

}  // namespace
}  // namespace engram::datasets
