#include "client/datasets/digit_generator.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/datasets/glyphs.h"
#include "client/datasets/seeded_random.h"
#include "storage/base/status_macros.h"

namespace engram::datasets {
namespace {

constexpr int kSide = 28;
constexpr int kPixels = kSide * kSide;
constexpr int kClasses = 10;
constexpr int64_t kMaxPerClass = 100000;
// The glyph's unit box is drawn this many pixels wide, as in the usual sets of digits.
constexpr double kGlyphPixels = 20.0;
constexpr int kCurvePieces = 5;

// How differently hands write. Chosen so that one pass of an MLP leaves a few per cent of errors.
constexpr double kPointShake = 0.035;
constexpr double kRotation = 0.15;
constexpr double kShear = 0.17;
constexpr double kScaleSpread = 0.10;
constexpr double kShiftPixels = 0.9;
constexpr double kNoise = 0.05;

// x' = a x + b y + e, y' = c x + d y + f: from the unit box to pixels.
struct Affine {
  double a, b, c, d, e, f;
  Point operator()(Point p) const { return {a * p.x + b * p.y + e, c * p.x + d * p.y + f}; }
};

Affine RandomAffine(SeededRandom* random) {
  const double angle = kRotation * random->Normal();
  const double shear = kShear * random->Normal();
  const double width = kGlyphPixels * std::exp(kScaleSpread * random->Normal());
  const double height = kGlyphPixels * std::exp(kScaleSpread * random->Normal());
  const double cosine = std::cos(angle);
  const double sine = std::sin(angle);
  // Slant, then scale, then rotate about the centre of the box.
  Affine map{};
  map.a = cosine * width;
  map.b = cosine * width * shear - sine * height;
  map.c = sine * width;
  map.d = sine * width * shear + cosine * height;
  const double centre = (kSide - 1) / 2.0;
  map.e = centre - 0.5 * (map.a + map.b) + kShiftPixels * random->Normal();
  map.f = centre - 0.5 * (map.c + map.d) + kShiftPixels * random->Normal();
  return map;
}

// Catmull-Rom through the points; the ends are doubled.
std::vector<Point> Curve(const std::vector<Point>& points) {
  std::vector<Point> curve;
  const size_t last = points.size() - 1;
  for (size_t i = 0; i < last; ++i) {
    const Point& p0 = points[i == 0 ? 0 : i - 1];
    const Point& p1 = points[i];
    const Point& p2 = points[i + 1];
    const Point& p3 = points[std::min(i + 2, last)];
    for (int piece = 0; piece < kCurvePieces; ++piece) {
      const double t = static_cast<double>(piece) / kCurvePieces;
      const auto at = [t](double v0, double v1, double v2, double v3) {
        return 0.5 * (2 * v1 + t * (v2 - v0) + t * t * (2 * v0 - 5 * v1 + 4 * v2 - v3) +
                      t * t * t * (3 * v1 - v0 - 3 * v2 + v3));
      };
      curve.push_back({at(p0.x, p1.x, p2.x, p3.x), at(p0.y, p1.y, p2.y, p3.y)});
    }
  }
  curve.push_back(points.back());
  return curve;
}

double SquaredDistance(Point p, Point from, Point to) {
  const double dx = to.x - from.x;
  const double dy = to.y - from.y;
  const double length = dx * dx + dy * dy;
  double t = length > 0 ? ((p.x - from.x) * dx + (p.y - from.y) * dy) / length : 0.0;
  t = std::clamp(t, 0.0, 1.0);
  const double ex = p.x - from.x - t * dx;
  const double ey = p.y - from.y - t * dy;
  return ex * ex + ey * ey;
}

// Ink in [0, 1] a pixel; strokes overlay by maximum, edges fade over one pixel.
class Canvas {
 public:
  explicit Canvas(double pen_radius) : radius_(pen_radius), ink_(kPixels, 0.0) {}

  void Line(Point from, Point to) {
    const double reach = radius_ + 0.5;
    const int left = Clip(std::floor(std::min(from.x, to.x) - reach));
    const int right = Clip(std::ceil(std::max(from.x, to.x) + reach));
    const int top = Clip(std::floor(std::min(from.y, to.y) - reach));
    const int bottom = Clip(std::ceil(std::max(from.y, to.y) + reach));
    for (int y = top; y <= bottom; ++y) {
      for (int x = left; x <= right; ++x) {
        const double squared =
            SquaredDistance({static_cast<double>(x), static_cast<double>(y)}, from, to);
        if (squared >= reach * reach) continue;
        double& ink = ink_[static_cast<size_t>(y * kSide + x)];
        ink = std::max(ink, std::min(1.0, reach - std::sqrt(squared)));
      }
    }
  }

  double InkAt(int pixel) const { return ink_[static_cast<size_t>(pixel)]; }

 private:
  static int Clip(double at) {
    return static_cast<int>(std::clamp(at, 0.0, static_cast<double>(kSide - 1)));
  }

  double radius_;
  std::vector<double> ink_;
};

// About normal, from the eight bytes of one draw (variance 8 x (256^2 - 1) / 12): a pixel of noise
// must not cost a logarithm.
double CheapNormal(SeededRandom* random) {
  uint64_t bits = random->Next();
  int sum = 0;
  for (int i = 0; i < 8; ++i, bits >>= 8) sum += static_cast<int>(bits & 0xff);
  return (sum - 1020.0) / 209.0;
}

void DrawDigit(int digit, SeededRandom* random, uint8_t* pixels) {
  const std::vector<Glyph>& styles = GlyphsOf(digit);
  const Glyph& glyph = styles[random->Below(styles.size())];
  const Affine map = RandomAffine(random);
  Canvas canvas(random->Uniform(0.7, 1.6));
  for (const Stroke& stroke : glyph) {
    std::vector<Point> points = stroke.points;
    for (Point& point : points) {
      point.x += kPointShake * random->Normal();
      point.y += kPointShake * random->Normal();
      point = map(point);
    }
    if (stroke.smooth) points = Curve(points);
    for (size_t i = 1; i < points.size(); ++i) canvas.Line(points[i - 1], points[i]);
  }
  const double contrast = random->Uniform(0.75, 1.0);
  for (int pixel = 0; pixel < kPixels; ++pixel) {
    const double value = contrast * canvas.InkAt(pixel) + kNoise * CheapNormal(random);
    pixels[pixel] = static_cast<uint8_t>(std::lround(255.0 * std::clamp(value, 0.0, 1.0)));
  }
}

RowSet GenerateSet(uint64_t seed, uint64_t set, int64_t per_class) {
  RowSet images;
  images.rows = per_class * kClasses;
  images.width = kSide;
  images.height = kSide;
  images.pixels.resize(static_cast<size_t>(images.rows) * kPixels);
  images.labels.resize(static_cast<size_t>(images.rows));
  for (int64_t row = 0; row < images.rows; ++row) {
    const int digit = static_cast<int>(row % kClasses);
    SeededRandom random(seed, static_cast<uint64_t>(row) * 2 + set);
    DrawDigit(digit, &random, images.pixels.data() + static_cast<size_t>(row) * kPixels);
    images.labels[static_cast<size_t>(row)] = static_cast<uint8_t>(digit);
  }
  return images;
}

absl::Status CheckCount(absl::string_view field, int64_t count) {
  if (count >= 1 && count <= kMaxPerClass) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": expected 1 to ", kMaxPerClass, ", got ", count));
}

}  // namespace

absl::StatusOr<RowSplit> GenerateDigits(const DigitGeneratorOptions& options) {
  ENGRAM_RETURN_IF_ERROR(CheckCount("train_per_class", options.train_per_class));
  ENGRAM_RETURN_IF_ERROR(CheckCount("test_per_class", options.test_per_class));
  RowSplit split;
  split.train = GenerateSet(options.seed, 0, options.train_per_class);
  split.test = GenerateSet(options.seed, 1, options.test_per_class);
  return split;
}

}  // namespace engram::datasets
