// Columns of a stream that is learned in the order of its rows, each a function of the rows before
// and of the row itself, so that nothing of the future is in them.
//
// Threading: free functions; one caller a set. Ownership: change the set in place.
// Failure: none; a set of pictures or texts is the caller's bug. Bounds: two doubles a column.
#pragma once

#include "client/datasets/row_set.h"

namespace engram::datasets {

// (x - mean) / standard deviation, each over the rows up to this one (Welford 1962); 0 while a
// column has not varied, and never beyond +-10: the first rows would be enormous.
void StandardiseOnline(RowSet* set);

// Adds a column: the label of the row before, as -1 or 1 of two classes; 0 in the first row.
void AppendPreviousLabel(RowSet* set);

}  // namespace engram::datasets
