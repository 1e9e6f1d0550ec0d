#include "strategies/core/augmentation.h"

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_map.h"

namespace engram::strategies {
namespace {

// What a row's draws are for; each has a generator of its own.
constexpr uint64_t kTransforms = 1;
constexpr uint64_t kMixing = 2;

Generator GeneratorFor(uint64_t row_key, uint64_t purpose) {
  return Generator(MixBits(row_key ^ MixBits(purpose)));
}

// One for each row: of the step, its sequence and how many rows before it have the same one.
void WriteRowKeys(uint64_t step_key, absl::Span<const uint64_t> sequences,
                  std::vector<uint64_t>* keys) {
  absl::flat_hash_map<uint64_t, uint64_t> seen;
  keys->clear();
  for (const uint64_t sequence : sequences) {
    keys->push_back(MixBits(MixBits(step_key ^ MixBits(sequence + 1)) + seen[sequence]++));
  }
}

bool Coin(Generator* random) { return random->Below(2) == 1; }

int64_t Offset(int64_t padding, Generator* random) {
  return static_cast<int64_t>(random->Below(static_cast<uint64_t>(2 * padding + 1))) - padding;
}

// Uniform in [-reach, reach).
double Spread(double reach, Generator* random) {
  return reach * (2 * static_cast<double>(random->Uniform()) - 1);
}

ImageShape ShapeOf(const AugmentationOptions& options) {
  return {options.height, options.width, options.channels};
}

double DrawGamma(double shape, Generator* random) {
  if (shape < 1) {
    const double power = std::pow(static_cast<double>(random->Uniform()), 1 / shape);
    return DrawGamma(shape + 1, random) * power;
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    float normal = 0;
    random->FillNormal(&normal, 1);
    const double root = 1 + c * normal, cube = root * root * root;
    const double level = 1 - static_cast<double>(random->Uniform());
    if (cube <= 0) continue;
    if (std::log(level) < 0.5 * normal * normal + d * (1 - cube + std::log(cube))) return d * cube;
  }
}

}  // namespace

double DrawBeta(double alpha, Generator* random) {
  const double first = DrawGamma(alpha, random), second = DrawGamma(alpha, random);
  if (first + second > 0) return first / (first + second);
  return Coin(random) ? 1 : 0;  // both underflow: a small alpha leaves nothing between
}

void Augmentation::Apply(const AugmentationOptions& options, uint64_t step_key,
                         TrainingBatch* batch) {
  WriteRowKeys(step_key, batch->sequences(), &row_keys_);
  const int64_t width = batch->feature_count();
  float* views = batch->AddViews();
  for (int64_t row = 0; row < batch->rows(); ++row) {
    Generator random = GeneratorFor(row_keys_[static_cast<size_t>(row)], kTransforms);
    TransformRow(options, batch->row(row), width, &random, views + row * width);
  }
  if (options.mixes()) MixRows(options, batch, views);
}

void Augmentation::TransformRow(const AugmentationOptions& options, const float* row,
                                int64_t width, Generator* random, float* view) {
  const ImageShape shape = ShapeOf(options);
  PixelMove move;
  move.mirror_columns = options.flip_horizontal && Coin(random);
  move.mirror_rows = options.flip_vertical && Coin(random);
  if (options.crop_padding > 0) {
    move.down = Offset(options.crop_padding, random);
    move.right = Offset(options.crop_padding, random);
  }
  const bool moves =
      options.flip_horizontal || options.flip_vertical || options.crop_padding > 0;
  const float* source = row;
  if (moves && options.turns()) {
    moved_.resize(static_cast<size_t>(width));
    MovePixels(row, shape, move, moved_.data());
    source = moved_.data();
  } else if (moves) {
    MovePixels(row, shape, move, view);
  }
  if (options.turns()) {
    const double degrees = Spread(options.rotate_degrees, random);
    TurnImage(source, shape, degrees, 1 + Spread(options.scale, random), view);
  } else if (!moves) {
    std::copy(row, row + width, view);
  }
  if (options.noise <= 0) return;
  moved_.resize(static_cast<size_t>(width));
  random->FillNormal(moved_.data(), width);
  const float deviation = static_cast<float>(options.noise);
  for (int64_t i = 0; i < width; ++i) view[i] += deviation * moved_[static_cast<size_t>(i)];
}

void Augmentation::MixRows(const AugmentationOptions& options, TrainingBatch* batch,
                           float* views) {
  const int64_t rows = batch->rows(), width = batch->feature_count();
  unmixed_.assign(views, views + rows * width);
  const std::vector<int64_t> groups = batch->MixingGroups();
  absl::flat_hash_map<int64_t, std::vector<int64_t>> members;
  for (int64_t row = 0; row < rows; ++row) members[groups[static_cast<size_t>(row)]].push_back(row);
  const ImageShape shape = ShapeOf(options);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t group = groups[static_cast<size_t>(row)];
    if (group < 0) continue;
    Generator random = GeneratorFor(row_keys_[static_cast<size_t>(row)], kMixing);
    const bool cuts =
        options.cutmix_alpha > 0 && (options.mixup_alpha <= 0 || Coin(&random));
    const double share =
        DrawBeta(cuts ? options.cutmix_alpha : options.mixup_alpha, &random);
    const std::vector<int64_t>& others = members[group];
    const int64_t other = others[random.Below(others.size())];
    if (other == row) continue;
    const float* source = unmixed_.data() + other * width;
    float* view = views + row * width;
    if (cuts) {
      const int64_t y = static_cast<int64_t>(random.Below(static_cast<uint64_t>(shape.height)));
      const int64_t x = static_cast<int64_t>(random.Below(static_cast<uint64_t>(shape.width)));
      const double pasted =
          PasteBox(source, BoxAround(y, x, 1 - share, shape), shape, view);
      batch->MixTargets(row, other, static_cast<float>(1 - pasted));
      continue;
    }
    const float own = static_cast<float>(share);
    for (int64_t i = 0; i < width; ++i) view[i] = own * view[i] + (1 - own) * source[i];
    batch->MixTargets(row, other, own);
  }
}

}  // namespace engram::strategies
