// A report of forgetting for people: the R matrix, the figures, and what each figure means.
//
// Threading: free functions, safe from any thread. Ownership: nothing is kept. Failure: none.
// Bounds: none; a wide matrix makes wide lines.
#pragma once

#include <string>

#include "engram/v1/evaluation.pb.h"

namespace engram::client {

// The whole report, definitions included.
std::string ReportText(const engram::v1::Report& report);

// Rows of R that no rollback undid, undone ones marked; `task_incremental` reads the masked
// accuracy.
std::string MatrixText(const engram::v1::Report& report, bool task_incremental);

// "ACC 91.2  BWT -4.1  FWT 0.3  forgetting 4.5" in percent; "-" where undefined.
std::string SummaryText(const engram::v1::Summary& summary);

// What ACC, BWT, FWT and forgetting mean: four lines.
std::string DefinitionsText();

// One event of WatchReport as one line.
std::string EventText(const engram::v1::ReportEvent& event);

}  // namespace engram::client
