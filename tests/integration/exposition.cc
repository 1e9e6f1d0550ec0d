#include "tests/integration/exposition.h"

#include <cmath>
#include <limits>
#include <regex>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "storage/base/status_macros.h"

namespace engram::integration {
namespace {

absl::Status Bad(absl::string_view why) { return absl::InvalidArgumentError(why); }

// A cursor over one sample line.
class SampleReader {
 public:
  explicit SampleReader(absl::string_view line) : rest_(line) {}

  absl::StatusOr<Sample> Read() {
    Sample sample;
    ENGRAM_ASSIGN_OR_RETURN(sample.name, Name("[a-zA-Z_:][a-zA-Z0-9_:]*"));
    if (absl::ConsumePrefix(&rest_, "{")) ENGRAM_RETURN_IF_ERROR(Labels(&sample.labels));
    if (!absl::ConsumePrefix(&rest_, " ")) return Bad("no blank before the value");
    const std::pair<std::string, std::string> words =
        absl::StrSplit(rest_, absl::MaxSplits(' ', 1));
    int64_t time = 0;
    if (!words.second.empty() && !absl::SimpleAtoi(words.second, &time)) return Bad("bad time");
    ENGRAM_ASSIGN_OR_RETURN(sample.value, Value(words.first));
    return sample;
  }

 private:
  absl::StatusOr<std::string> Name(const char* pattern) {
    const std::regex name(pattern);
    std::cmatch match;
    if (!std::regex_search(rest_.data(), rest_.data() + rest_.size(), match, name,
                           std::regex_constants::match_continuous)) {
      return Bad("bad name");
    }
    rest_.remove_prefix(static_cast<size_t>(match.length()));
    return match.str();
  }

  absl::Status Labels(LabelSet* labels) {
    while (!absl::ConsumePrefix(&rest_, "}")) {
      ENGRAM_ASSIGN_OR_RETURN(const std::string name, Name("[a-zA-Z_][a-zA-Z0-9_]*"));
      if (!absl::ConsumePrefix(&rest_, "=\"")) return Bad("no =\" after a label's name");
      ENGRAM_ASSIGN_OR_RETURN(std::string value, Quoted());
      if (!labels->emplace(name, std::move(value)).second) return Bad("a label twice");
      if (!absl::ConsumePrefix(&rest_, ",") && !absl::StartsWith(rest_, "}")) {
        return Bad("no comma between labels");
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Quoted() {
    std::string value;
    for (size_t i = 0; i < rest_.size(); ++i) {
      if (rest_[i] == '"') {
        rest_.remove_prefix(i + 1);
        return value;
      }
      if (rest_[i] != '\\') {
        value.push_back(rest_[i]);
        continue;
      }
      const char escaped = ++i < rest_.size() ? rest_[i] : ' ';
      if (escaped != '\\' && escaped != '"' && escaped != 'n') return Bad("unknown escape");
      value.push_back(escaped == 'n' ? '\n' : escaped);
    }
    return Bad("a label's value does not end");
  }

  static absl::StatusOr<double> Value(const std::string& word) {
    if (word == "+Inf") return std::numeric_limits<double>::infinity();
    if (word == "-Inf") return -std::numeric_limits<double>::infinity();
    if (word == "NaN" || word == "Nan") return std::nan("");
    double value = 0;
    if (!absl::SimpleAtod(word, &value)) return Bad(absl::StrCat("not a number: ", word));
    return value;
  }

  absl::string_view rest_;
};

// One series of a histogram: everything but le.
struct Series {
  std::vector<std::pair<double, double>> buckets;
  absl::optional<double> sum;
  absl::optional<double> count;
};

absl::Status CheckSeries(const Series& series) {
  if (!series.sum.has_value() || !series.count.has_value()) return Bad("no _sum or no _count");
  if (series.buckets.empty() || !std::isinf(series.buckets.back().first)) return Bad("no +Inf");
  for (size_t i = 1; i < series.buckets.size(); ++i) {
    if (series.buckets[i].first <= series.buckets[i - 1].first) return Bad("le out of order");
    if (series.buckets[i].second < series.buckets[i - 1].second) return Bad("buckets fall");
  }
  if (series.buckets.back().second != *series.count) return Bad("+Inf is not the count");
  return absl::OkStatus();
}

absl::Status CheckHistogram(const MetricFamily& family) {
  std::map<LabelSet, Series> all;
  for (const Sample& sample : family.samples) {
    LabelSet labels = sample.labels;
    if (sample.name == family.name + "_bucket") {
      const std::string le = labels["le"];
      labels.erase("le");
      double bound = std::numeric_limits<double>::infinity();
      if (le != "+Inf" && !absl::SimpleAtod(le, &bound)) return Bad("le is not a number");
      all[labels].buckets.emplace_back(bound, sample.value);
    } else if (sample.name == family.name + "_sum") {
      all[labels].sum = sample.value;
    } else if (sample.name == family.name + "_count") {
      all[labels].count = sample.value;
    } else {
      return Bad(absl::StrCat(sample.name, " in a histogram"));
    }
  }
  for (const auto& [labels, series] : all) ENGRAM_RETURN_IF_ERROR(CheckSeries(series));
  return absl::OkStatus();
}

absl::Status CheckFamily(const MetricFamily& family) {
  if (family.help.empty()) return Bad("no HELP");
  if (family.type == "histogram") return CheckHistogram(family);
  if (family.type != "counter" && family.type != "gauge") return Bad("TYPE " + family.type);
  std::set<LabelSet> seen;
  for (const Sample& sample : family.samples) {
    if (sample.name != family.name) return Bad(sample.name + " is not of this family");
    if (!seen.insert(sample.labels).second) return Bad("a sample twice");
    if (family.type == "counter" && !(sample.value >= 0)) return Bad("a counter below zero");
  }
  if (family.type == "counter" && !absl::EndsWith(family.name, "_total")) {
    return Bad("a counter without _total");
  }
  return absl::OkStatus();
}

class ExpositionReader {
 public:
  absl::StatusOr<Exposition> Read(absl::string_view text) {
    if (!absl::EndsWith(text, "\n")) return Bad("the last line does not end");
    text.remove_suffix(1);
    size_t number = 0;
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      ++number;
      const absl::Status status = Line(line);
      if (!status.ok())
        return Bad(absl::StrCat("line ", number, ": ", status.message(), ": ", line));
    }
    for (const auto& [name, family] : out_.families) {
      const absl::Status status = CheckFamily(family);
      if (!status.ok()) return Bad(absl::StrCat(name, ": ", status.message()));
    }
    return std::move(out_);
  }

 private:
  absl::Status Line(absl::string_view line) {
    if (line.empty()) return absl::OkStatus();
    if (absl::ConsumePrefix(&line, "# HELP ")) return Begin(line, &MetricFamily::help);
    if (absl::ConsumePrefix(&line, "# TYPE ")) return Begin(line, &MetricFamily::type);
    if (absl::StartsWith(line, "#")) return absl::OkStatus();
    ENGRAM_ASSIGN_OR_RETURN(Sample sample, SampleReader(line).Read());
    return Add(std::move(sample));
  }

  absl::Status Begin(absl::string_view line, std::string MetricFamily::*field) {
    const std::pair<std::string, std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (words.first != current_ && out_.families.count(words.first) > 0) {
      return Bad("a family in two places");
    }
    current_ = words.first;
    MetricFamily& family = out_.families[current_];
    family.name = current_;
    if (!(family.*field).empty() || !family.samples.empty()) return Bad("HELP or TYPE too late");
    family.*field = words.second;
    return absl::OkStatus();
  }

  absl::Status Add(Sample sample) {
    const auto found = out_.families.find(current_);
    if (found == out_.families.end() || found->second.type.empty()) return Bad("no TYPE before it");
    if (!absl::StartsWith(sample.name, current_)) return Bad("a sample outside its family");
    found->second.samples.push_back(std::move(sample));
    return absl::OkStatus();
  }

  Exposition out_;
  std::string current_;
};

}  // namespace

absl::optional<double> Exposition::Find(const std::string& sample_name,
                                        const LabelSet& labels) const {
  for (const auto& [name, family] : families) {
    for (const Sample& sample : family.samples) {
      if (sample.name == sample_name && sample.labels == labels) return sample.value;
    }
  }
  return absl::nullopt;
}

bool Exposition::Has(const std::string& family) const {
  const auto found = families.find(family);
  return found != families.end() && !found->second.samples.empty();
}

absl::StatusOr<Exposition> ParseExposition(absl::string_view text) {
  return ExpositionReader().Read(text);
}

}  // namespace engram::integration
