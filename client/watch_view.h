// What `engram watch` shows on a terminal: a model's state, rates and lag, a sparkline of accuracy
// for each task, and what happened last. It takes what the server answers and makes lines of it; it
// knows neither server nor terminal.
//
// Threading: one thread, or a lock around it. Ownership: copies what it keeps.
// Failure: none; what is not known yet is shown as "-".
// Bounds: the last 256 accuracies of each task, the last 64 events, ten seconds of rates.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/screen.h"
#include "engram/v1/checkpoints.pb.h"
#include "engram/v1/evaluation.pb.h"
#include "engram/v1/model.pb.h"

namespace engram::client {

class WatchView {
 public:
  // One look at the server.
  void Update(const v1::Model& model, const v1::Report& report,
              const std::vector<v1::Checkpoint>& checkpoints, absl::Time now);
  // The server did not answer; what was seen last stays.
  void SetTrouble(std::string what);

  // Towards older tasks (below 0) or newer ones, where not all of them fit.
  void Scroll(int tasks);

  std::vector<ScreenLine> Lines(int width, int height, bool unicode) const;

 private:
  // By log sequence.
  using Accuracies = std::map<uint64_t, double>;
  struct Sample {
    absl::Time time;
    uint64_t durable = 0;
    int64_t trained = 0;
    uint64_t lag = 0;
  };
  struct Event {
    uint64_t sequence = 0;
    std::string text;
    Ink ink = Ink::kPlain;
  };

  void KeepAccuracies(const v1::Report& report);
  void KeepEvents(const v1::Report& report, const std::vector<v1::Checkpoint>& checkpoints);

  ScreenLine TitleLine() const;
  std::vector<ScreenLine> StateLines(bool unicode) const;
  ScreenLine TaskLine(const v1::TaskReport& task, int name_width, int spark_width,
                      bool unicode) const;
  std::vector<ScreenLine> TaskLines(int width, int rows, bool unicode) const;
  double RateOf(double (*amount)(const Sample&)) const;

  v1::Model model_;
  v1::Report report_;
  std::map<std::string, Accuracies> accuracies_;
  std::deque<Sample> samples_;
  std::vector<Event> events_;
  std::string trouble_;
  // Tasks below the last one that are shown last.
  int scroll_ = 0;
};

// One character a value, low to high over [0, highest]; the last `width` of them.
std::string Sparkline(const std::vector<double>& values, double highest, int width, bool unicode);

}  // namespace engram::client
