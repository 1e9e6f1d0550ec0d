// CHECK for our own bugs, never for input: prints the condition and where, then aborts.
#pragma once

#include <cstdio>
#include <cstdlib>

#define ENGRAM_CHECK(condition)                                                               \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);      \
      std::abort();                                                                           \
    }                                                                                         \
  } while (false)
