// Reads the film reviews of Maas et al. (ACL 2011) from their archive:
// aclImdb/{train,test}/{pos,neg}/ID_RATING.txt, and urls_{pos,neg}.txt beside them, whose line ID
// names the film. Training and test reviews are about different films, but for one.
//
// Threading: free functions without state.
// Ownership: the result owns its texts; the archive is closed before the return.
// Failure: as WalkTar; INVALID_ARGUMENT for a review whose name has no id and rating, whose rating
//   does not fit its folder (1 to 4 negative, 7 to 10 positive), or that its list of films leaves
//   out.
// Bounds: as WalkTar; all texts in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"

namespace engram::datasets {

// What a review's group is.
enum class ReviewGroup {
  kRating,  // 1 to 4, 7 to 10
  kFilm,    // the number of the film at IMDb: it rises with the year that a film was entered
};

// Labels: 0 negative, 1 positive. Texts are hashed to `columns` numbers where they are read. Rows
// are in the order of (label, id), whatever the archive's is. Reviews without a label are left out.
absl::StatusOr<RowSplit> LoadImdb(const std::string& archive, ReviewGroup group, int64_t columns);

}  // namespace engram::datasets
