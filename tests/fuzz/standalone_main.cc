// Runs a fuzz target without libFuzzer: every seed as it is, then so many mutations of them, drawn
// from a seed that is printed. What crashes is written to a file, as libFuzzer does.
//
//   TARGET_fuzz [-runs=N] [-seed=N] [-max_len=N] FILE_OR_FOLDER...
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

struct Options {
  uint64_t runs = 10000;
  uint64_t seed = 0;
  uint64_t max_len = 1 << 16;
  std::vector<std::string> paths;
};

// Small numbers and borders, as varints, fixed numbers and text.
const std::string kTokens[] = {
    std::string(4, '\0'), std::string(8, '\xff'), "\xff\xff\xff\xff\x0f", "\x80\x80\x04",
    std::string("\0\0\xc0\x7f", 4), std::string("\0\0\x80\x7f", 4), "-1", "18446744073709551615",
    "1e309", "{}", "[]", "\"", ",", ":", "\n", "F32", "nan"};

class Mutator {
 public:
  Mutator(uint64_t seed, const std::vector<std::string>* corpus, size_t max_len)
      : random_(seed), corpus_(corpus), max_len_(max_len) {}

  std::string Next() {
    std::string input = (*corpus_)[Draw(corpus_->size())];
    // Mostly one: what is changed in many places is refused at the first of them.
    do {
      Mutate(&input);
    } while (Draw(3) == 0);
    input.resize(std::min(input.size(), max_len_));
    return input;
  }

 private:
  uint64_t Draw(uint64_t below) { return below == 0 ? 0 : random_() % below; }

  void Mutate(std::string* input) {
    const size_t at = Draw(input->size() + 1);
    const size_t length = Draw(std::min<size_t>(input->size() - at, 64) + 1);
    const std::string& other = (*corpus_)[Draw(corpus_->size())];
    switch (Draw(8)) {
      case 0:
        if (at < input->size()) (*input)[at] = static_cast<char>((*input)[at] ^ 1 << Draw(8));
        break;
      case 1:
        if (at < input->size()) (*input)[at] = static_cast<char>(Draw(256));
        break;
      case 2:
        input->erase(at, length);
        break;
      case 3:
        input->insert(at, input->substr(at, length));
        break;
      case 4:
        input->insert(at, kTokens[Draw(std::size(kTokens))]);
        break;
      case 5:
        input->replace(at, length, kTokens[Draw(std::size(kTokens))]);
        break;
      case 6:
        input->replace(at, std::string::npos, other, Draw(other.size()), std::string::npos);
        break;
      default:
        if (at < input->size()) (*input)[at] = static_cast<char>((*input)[at] + (Draw(2) ? 1 : -1));
    }
  }

  std::mt19937_64 random_;
  const std::vector<std::string>* const corpus_;
  const size_t max_len_;
};

// What runs now, for the handler.
const std::string* running = nullptr;

void WriteCrash(int signal) {
  const char name[] = "crash-input";
  const int file = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (file >= 0 && running != nullptr) {
    (void)!write(file, running->data(), running->size());
    const char text[] = "the input is in ./crash-input\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
  }
  ::signal(signal, SIG_DFL);
  raise(signal);
}

void RunOne(const std::string& input) {
  running = &input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

bool ReadOption(absl::string_view argument, absl::string_view name, uint64_t* value) {
  return absl::ConsumePrefix(&argument, name) && absl::SimpleAtoi(argument, value);
}

std::vector<std::string> ReadCorpus(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    if (!std::filesystem::is_directory(path)) {
      files.push_back(path);
      continue;
    }
    for (const auto& entry : std::filesystem::directory_iterator(path)) {
      files.push_back(entry.path().string());
    }
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> corpus;
  for (const std::string& file : files) {
    std::ifstream in(file, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return corpus;
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    if (ReadOption(argv[i], "-runs=", &options.runs) ||
        ReadOption(argv[i], "-seed=", &options.seed) ||
        ReadOption(argv[i], "-max_len=", &options.max_len)) {
      continue;
    }
    if (absl::StartsWith(argv[i], "-")) {
      std::fprintf(stderr, "%s: -runs=N, -seed=N, -max_len=N, then files or folders\n", argv[i]);
      return 2;
    }
    options.paths.push_back(argv[i]);
  }
  const std::vector<std::string> corpus = ReadCorpus(options.paths);
  if (corpus.empty()) {
    std::fprintf(stderr, "no seeds: name the folder that holds them\n");
    return 2;
  }
  if (options.seed == 0) options.seed = std::random_device{}();
  std::printf("%zu seeds, -runs=%lu -seed=%lu\n", corpus.size(), options.runs, options.seed);
  std::fflush(stdout);
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) ::signal(signal, WriteCrash);
  for (const std::string& input : corpus) RunOne(input);
  Mutator mutator(options.seed, &corpus, options.max_len);
  for (uint64_t run = 0; run < options.runs; ++run) RunOne(mutator.Next());
  std::printf("%lu executions, none crashed\n", corpus.size() + options.runs);
  return 0;
}

}  // namespace
}  // namespace engram::fuzz

int main(int argc, char** argv) { return engram::fuzz::Main(argc, argv); }
