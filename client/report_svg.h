// A report as a picture: the accuracy of every task over the log, with boundaries and rollbacks
// marked, and the R matrix below. One SVG file that needs nothing else.
//
// It follows the reader's light or dark scheme where the viewer knows one, says nothing by colour
// alone (tasks differ in markers and dashes too, cells hold their numbers), and carries a title and
// a description for those who do not see it.
//
// Threading: a free function, safe from any thread. Ownership: nothing is kept. Failure: none.
// Bounds: the last 16 tasks and the last 32 boundaries; what is left out is said in the picture.
#pragma once

#include <string>

#include "engram/v1/evaluation.pb.h"

namespace engram::client {

std::string ReportSvg(const engram::v1::Report& report);

}  // namespace engram::client
