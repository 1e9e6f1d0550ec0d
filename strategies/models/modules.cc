#include "strategies/models/modules.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "strategies/core/kernels.h"
#include "strategies/models/initialise.h"
#include "strategies/models/products.h"
#include "strategies/models/row_groups.h"

namespace engram::strategies {
namespace {

at::Tensor Rows(int64_t rows, int64_t columns) { return at::empty({rows, columns}, at::kFloat); }

void AddTo(float* sum, const float* more, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += more[i];
}

// relu(W input + b).
void RunModule(const float* weight, const float* bias, const float* input, int64_t rows,
               int64_t out, int64_t in, float* output) {
  ForwardProduct(input, weight, rows, out, in, output);
  ActiveKernels().add_bias(output, bias, rows, out, true);
}

}  // namespace

class Modules::Pass : public ForwardPass {
 public:
  Pass(const Modules& modules, at::Tensor flat)
      : flat_(std::move(flat)),
        by_task_(modules.heads_.by_task()),
        latest_(modules.active_),
        units_(modules.units_),
        options_(modules.options_) {
    const auto place = [&](ParameterId id) {
      return flat_.data_ptr<float>() + modules.arena_->slot(id).offset;
    };
    for (const int64_t width : options_.hidden) widest_ = std::max(widest_, width);
    for (size_t h = 0; h < modules.heads_.size(); ++h) {
      Answer answer;
      const ModulePath& path = modules.routes_[h].path;
      for (size_t i = 0; i < path.size(); ++i) {
        const Module& module = modules.grid_[i / options_.active][path[i]];
        answer.modules.push_back({place(module.weight), place(module.bias)});
      }
      const TaskHeads::Head& head = modules.heads_[h];
      answer.head = {place(head.weight), place(head.bias)};
      answer.in = head.in;
      answer.units = head.units;
      answers_.push_back(std::move(answer));
    }
  }

  void Run(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
           ForwardScratch* scratch, float* logits) const override {
    ForEachGroup(rows, tasks, [&](int64_t begin, int64_t count, size_t index) {
      const Answer& answer = answers_[index];
      const float* input =
          RunHidden(features + begin * options_.feature_count, count, answer, scratch);
      const int64_t out = static_cast<int64_t>(answer.units.size());
      std::vector<float>& outputs = scratch->back;
      if (outputs.size() < static_cast<size_t>(count * out)) outputs.resize(count * out);
      ForwardProduct(input, answer.head.weight, count, out, answer.in, outputs.data());
      ActiveKernels().add_bias(outputs.data(), answer.head.bias, count, out, false);
      SpreadUnits(outputs.data(), count, answer.units, units_, logits + begin * units_);
    });
  }

  int64_t embedding_width() const override {
    return options_.hidden.empty() ? options_.feature_count : options_.hidden.back();
  }
  void Embed(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
             ForwardScratch* scratch, float* embeddings) const override {
    const int64_t width = embedding_width();
    ForEachGroup(rows, tasks, [&](int64_t begin, int64_t count, size_t index) {
      std::copy_n(RunHidden(features + begin * options_.feature_count, count, answers_[index],
                            scratch),
                  count * width, embeddings + begin * width);
    });
  }

  absl::optional<NetworkProgram::Value> Describe(int32_t task, const std::vector<int64_t>& units,
                                                 NetworkProgram* program) const override {
    const Answer& answer = AnswerOf(task);
    const NetworkProgram::Value outputs =
        program->Linear(DescribeHidden(answer, program), answer.head.weight, answer.head.bias,
                        static_cast<int64_t>(answer.units.size()), answer.in);
    return program->Pick(outputs, RowsOfUnits(answer.units, units));
  }
  absl::optional<NetworkProgram::Value> DescribeEmbedding(int32_t task,
                                                          NetworkProgram* program) const override {
    return DescribeHidden(AnswerOf(task), program);
  }

 private:
  struct Places {
    const float* weight = nullptr;
    const float* bias = nullptr;
  };
  struct Answer {
    std::vector<Places> modules;  // as ModulePath
    Places head;
    int64_t in = 0;
    std::vector<int64_t> units;
  };

  const Answer& AnswerOf(int32_t task) const {
    const auto found = by_task_.find(task);
    return answers_[found == by_task_.end() ? latest_ : found->second];
  }

  // As RunHidden.
  NetworkProgram::Value DescribeHidden(const Answer& answer, NetworkProgram* program) const {
    NetworkProgram::Value input = NetworkProgram::kFeatures;
    int64_t in = options_.feature_count;
    size_t next = 0;
    for (const int64_t width : options_.hidden) {
      std::vector<NetworkProgram::Value> outputs;
      for (int64_t n = 0; n < options_.active; ++n, ++next) {
        const Places& module = answer.modules[next];
        outputs.push_back(
            program->Relu(program->Linear(input, module.weight, module.bias, width, in)));
      }
      input = program->Sum(outputs);
      in = width;
    }
    return input;
  }

  template <typename Body>
  void ForEachGroup(int64_t rows, absl::Span<const int32_t> tasks, Body body) const {
    const auto answer_of = [&](int64_t row) {
      const auto found = tasks.empty() ? by_task_.end() : by_task_.find(tasks[row]);
      return found == by_task_.end() ? latest_ : found->second;
    };
    ForEachRowGroup(rows, answer_of, body);
  }

  // The last layer's sum. scratch->front holds two sums and one module's outputs.
  const float* RunHidden(const float* features, int64_t rows, const Answer& answer,
                         ForwardScratch* scratch) const {
    const int64_t block = rows * widest_;
    if (scratch->front.size() < static_cast<size_t>(3 * block)) scratch->front.resize(3 * block);
    float* output = scratch->front.data() + 2 * block;
    const float* input = features;
    int64_t in = options_.feature_count;
    size_t next = 0;
    for (size_t l = 0; l < options_.hidden.size(); ++l) {
      const int64_t width = options_.hidden[l];
      float* sum = scratch->front.data() + static_cast<int64_t>(l % 2) * block;
      for (int64_t n = 0; n < options_.active; ++n, ++next) {
        const Places& module = answer.modules[next];
        RunModule(module.weight, module.bias, input, rows, width, in, n == 0 ? sum : output);
        if (n > 0) AddTo(sum, output, rows * width);
      }
      input = sum;
      in = width;
    }
    return input;
  }

  at::Tensor flat_;
  std::vector<Answer> answers_;
  absl::flat_hash_map<int32_t, size_t> by_task_;
  size_t latest_;
  int64_t units_;
  ModulesOptions options_;
  int64_t widest_ = 1;
};

Modules::Modules(const ModulesOptions& options, ParameterArena* arena, Generator* generator)
    : options_(options), arena_(arena), heads_(arena) {
  for (int64_t l = 0; l < layers(); ++l) {
    grid_.emplace_back(options_.modules);
    for (int64_t m = 0; m < options_.modules; ++m) {
      const std::string name = absl::StrCat("layer", l, ".module", m);
      const int64_t width = options_.hidden[l];
      grid_[l][m].weight = arena_->Add(name + ".weight", width, Inputs(l), width);
      grid_[l][m].bias = arena_->Add(name + ".bias", width, 1, width);
    }
    for (int64_t n = 0; n < options_.active; ++n) path_.push_back(n);
  }
  AddHead(TaskHeads::kNoTask);
  arena_->Allocate();
  InitialiseFree(generator);
  FollowActive();
}

int64_t Modules::free_modules() const {
  int64_t free = 0;
  for (const auto& layer : grid_) {
    free += std::count_if(layer.begin(), layer.end(), [](const Module& m) { return !m.frozen; });
  }
  return free;
}

void Modules::AddHead(int32_t task) {
  heads_.Add(task, Inputs(layers()), Inputs(layers()));
  routes_.push_back({path_, false});
}

void Modules::Place(const std::vector<UnitMap::Owner>& owners, Generator* generator) {
  if (heads_.placed() == static_cast<int64_t>(owners.size())) return;
  while (heads_.placed() < static_cast<int64_t>(owners.size())) {
    const int32_t task = owners[static_cast<size_t>(heads_.placed())].task;
    size_t head = heads_.Find(task);
    if (head == heads_.size() && heads_[0].task == TaskHeads::kNoTask) {
      heads_.Name(head = 0, task);
    } else if (head == heads_.size()) {
      AddHead(task);
      arena_->Extend();
    }
    heads_.PlaceUnit(head, generator);
  }
  FollowActive();
}

void Modules::Activate(int32_t task, const ModulePath& path) {
  const size_t head = heads_.Find(task);
  ENGRAM_CHECK(head < heads_.size());
  if (head == active_ && path == path_) return;
  active_ = head;
  path_ = path;
  FollowActive();
}

void Modules::SetPath(int32_t task, const ModulePath& path) {
  routes_[heads_.Find(task)].path = path;
}

const ModulePath* Modules::ClosedPath(int32_t task) const {
  const size_t head = heads_.Find(task);
  return head < heads_.size() && routes_[head].closed ? &routes_[head].path : nullptr;
}

void Modules::Close(int32_t task, Generator* generator) {
  Route& route = routes_[heads_.Find(task)];
  route.closed = true;
  for (size_t i = 0; i < route.path.size(); ++i) {
    grid_[i / options_.active][route.path[i]].frozen = true;
  }
  InitialiseFree(generator);
  FollowActive();
}

void Modules::InitialiseFree(Generator* generator) {
  for (int64_t l = 0; l < layers(); ++l) {
    for (const Module& module : grid_[l]) {
      if (module.frozen) continue;
      InitialiseRows(arena_, module.weight, 0, Inputs(l), generator);
      InitialiseRows(arena_, module.bias, 0, Inputs(l), generator);
    }
  }
}

void Modules::Reinitialise(Generator* generator) {
  InitialiseFree(generator);
  for (size_t h = 0; h < heads_.size(); ++h) heads_.Reinitialise(h, generator);
}

void Modules::FollowActive() {
  std::vector<ParameterId> trained = {heads_[active_].weight, heads_[active_].bias};
  for (int64_t l = 0; l < layers(); ++l) {
    for (int64_t n = 0; n < options_.active; ++n) {
      if (!At(l, n).frozen) trained.insert(trained.end(), {At(l, n).weight, At(l, n).bias});
    }
  }
  arena_->SetTrained(std::move(trained));
  rows_ = 0;
}

void Modules::ShapeBuffers(int64_t rows) {
  ENGRAM_CHECK(rows > 0 && heads_.placed() == units_);
  if (rows == rows_) return;
  rows_ = rows;
  traces_.clear();
  outputs_.clear();
  deltas_.clear();
  sums_.clear();
  sum_deltas_.clear();
  int64_t widest = 1;
  for (int64_t l = 0; l < layers(); ++l) {
    const int64_t width = options_.hidden[l];
    widest = std::max(widest, width);
    for (int64_t n = 0; n < options_.active; ++n) {
      outputs_.push_back(Rows(rows, width));
      deltas_.push_back(Rows(rows, width));
      if (At(l, n).frozen) continue;
      const at::Tensor input = l == 0 ? at::Tensor() : sums_.back();
      traces_.push_back({input, deltas_.back(), At(l, n).weight, At(l, n).bias});
    }
    sums_.push_back(Rows(rows, width));
    sum_deltas_.push_back(Rows(rows, width));
  }
  share_.resize(static_cast<size_t>(rows * std::max(widest, options_.feature_count)));
  const TaskHeads::Head& head = heads_[active_];
  head_output_ = Rows(rows, static_cast<int64_t>(head.units.size()));
  head_delta_ = Rows(rows, static_cast<int64_t>(head.units.size()));
  logits_ = Rows(rows, units_);
  traces_.push_back(
      {sums_.empty() ? at::Tensor() : sums_.back(), head_delta_, head.weight, head.bias});
}

const at::Tensor& Modules::Forward(const at::Tensor& features) {
  const int64_t rows = features.size(0);
  ShapeBuffers(rows);
  for (LayerTrace& trace : traces_) {
    if (layers() == 0 || trace.weight <= grid_[0].back().weight) trace.input = features;
  }
  const float* input = features.data_ptr<float>();
  for (int64_t l = 0; l < layers(); ++l) {
    const int64_t width = options_.hidden[l];
    sums_[l].zero_();
    for (int64_t n = 0; n < options_.active; ++n) {
      float* output = outputs_[l * options_.active + n].data_ptr<float>();
      RunModule(Values(At(l, n).weight), Values(At(l, n).bias), input, rows, width, Inputs(l),
                output);
      AddTo(sums_[l].data_ptr<float>(), output, rows * width);
    }
    input = sums_[l].data_ptr<float>();
  }
  const TaskHeads::Head& head = heads_[active_];
  const int64_t out = head_output_.size(1);
  float* outputs = head_output_.data_ptr<float>();
  ForwardProduct(input, Values(head.weight), rows, out, head.in, outputs);
  ActiveKernels().add_bias(outputs, Values(head.bias), rows, out, false);
  SpreadUnits(outputs, rows, head.units, units_, logits_.data_ptr<float>());
  return logits_;
}

void Modules::Backward(const at::Tensor& logit_gradient, const at::Tensor& embedding_gradient) {
  const TaskHeads::Head& head = heads_[active_];
  CollectUnits(logit_gradient.data_ptr<float>(), rows_, head.units, units_,
               head_delta_.data_ptr<float>());
  if (layers() == 0) return;
  BackwardProduct(head_delta_.data_ptr<float>(), Values(head.weight), rows_, head_delta_.size(1),
                  head.in, sum_deltas_.back().data_ptr<float>());
  if (embedding_gradient.defined()) sum_deltas_.back().add_(embedding_gradient);
  for (int64_t l = layers() - 1; l >= 0; --l) {
    const int64_t count = rows_ * options_.hidden[l];
    for (int64_t n = 0; n < options_.active; ++n) {
      const int64_t place = l * options_.active + n;
      float* delta = deltas_[place].data_ptr<float>();
      std::copy_n(sum_deltas_[l].data_ptr<float>(), count, delta);
      ActiveKernels().mask_by_activation(delta, outputs_[place].data_ptr<float>(), count);
    }
    if (l > 0) BackwardLayer(l, sum_deltas_[l - 1].data_ptr<float>());
  }
}

void Modules::BackwardLayer(int64_t layer, float* below) {
  const int64_t in = Inputs(layer);
  for (int64_t n = 0; n < options_.active; ++n) {
    float* share = n == 0 ? below : share_.data();
    BackwardProduct(deltas_[layer * options_.active + n].data_ptr<float>(),
                    Values(At(layer, n).weight), rows_, options_.hidden[layer], in, share);
    if (n > 0) AddTo(below, share, rows_ * in);
  }
}

void Modules::WriteInputGradient(const at::Tensor& gradient) {
  if (layers() > 0) return BackwardLayer(0, gradient.data_ptr<float>());
  const TaskHeads::Head& head = heads_[active_];
  BackwardProduct(head_delta_.data_ptr<float>(), Values(head.weight), rows_, head_delta_.size(1),
                  head.in, gradient.data_ptr<float>());
}

std::unique_ptr<const ForwardPass> Modules::Bind(const at::Tensor& flat) const {
  return std::make_unique<Pass>(*this, flat);
}

void Modules::SaveState(StateWriter* writer) const {
  heads_.SaveState(writer);
  writer->PutInteger("active", static_cast<int64_t>(active_));
  writer->PutInts("path", path_);
  std::vector<int64_t> paths, closed, frozen;
  for (const Route& route : routes_) {
    paths.insert(paths.end(), route.path.begin(), route.path.end());
    closed.push_back(route.closed ? 1 : 0);
  }
  for (const auto& layer : grid_) {
    for (const Module& module : layer) frozen.push_back(module.frozen ? 1 : 0);
  }
  writer->PutInts("paths", paths);
  writer->PutInts("closed", closed);
  writer->PutInts("frozen", frozen);
}

absl::Status Modules::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(const TaskHeads::Saved saved, TaskHeads::Read(reader));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t active, reader.GetInteger("active"));
  ENGRAM_ASSIGN_OR_RETURN(const ModulePath path, reader.GetInts("path"));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> paths, reader.GetInts("paths"));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> closed, reader.GetInts("closed"));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> frozen, reader.GetInts("frozen"));
  const size_t heads = saved.tasks.size(), genes = path_.size();
  const auto no_module = [&](int64_t m) { return m < 0 || m >= options_.modules; };
  if (active < 0 || active >= static_cast<int64_t>(heads) || path.size() != genes ||
      paths.size() != heads * genes || closed.size() != heads ||
      frozen.size() != static_cast<size_t>(layers() * options_.modules) ||
      std::any_of(path.begin(), path.end(), no_module) ||
      std::any_of(paths.begin(), paths.end(), no_module)) {
    return absl::FailedPreconditionError(
        absl::StrCat("modules: saved paths of ", path.size(), " modules among ", frozen.size(),
                     ", this model has ", genes, " among ", layers() * options_.modules));
  }
  for (size_t i = 0; i < frozen.size(); ++i) {
    grid_[i / options_.modules][i % options_.modules].frozen = frozen[i] != 0;
  }
  if (saved.tasks[0] != TaskHeads::kNoTask) heads_.Name(0, saved.tasks[0]);
  for (size_t h = 1; h < heads; ++h) AddHead(saved.tasks[h]);
  for (size_t h = 0; h < heads; ++h) {
    const auto begin = paths.begin() + static_cast<int64_t>(h * genes);
    routes_[h] = {ModulePath(begin, begin + static_cast<int64_t>(genes)), closed[h] != 0};
  }
  arena_->Extend();
  for (const size_t head : saved.head_of_unit) heads_.PlaceUnit(head, nullptr);
  units_ = heads_.placed();
  active_ = static_cast<size_t>(active);
  path_ = path;
  FollowActive();
  return absl::OkStatus();
}

}  // namespace engram::strategies
