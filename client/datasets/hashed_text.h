// Texts as numbers of a fixed width: words and pairs of words, counted in hashed places with a
// hashed sign (Weinberger et al. 2009, "Feature Hashing for Large Scale Multitask Learning"), then
// scaled to length 1. Without a vocabulary a new word costs nothing and the stream needs no first
// pass.
//
// A word is a run of letters, digits, apostrophes and bytes beyond ASCII, in lower case; what
// stands between < and > (the line breaks of reviews) is no text.
//
// Threading: free functions without state. Ownership: writes into what is passed.
// Failure: none; a text without a word gives zeros. Bounds: linear in the text.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace engram::datasets {

// Overwrites `out`, whose size is the width.
void HashText(absl::string_view text, absl::Span<float> out);

}  // namespace engram::datasets
