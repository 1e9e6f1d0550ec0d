// How the accuracy chart is painted at a sequence number (arguments[0]), from top to bottom: the
// share of pixels with ink, and the ink's colour as [red, green, blue].
const chart = Chart.getChart('accuracy');
const { top, height } = chart.chartArea;
const scale = chart.currentDevicePixelRatio;
const left = Math.round(chart.scales.x.getPixelForValue(arguments[0]) * scale) - 2;
const rows = Math.round(height * scale);
// A copy: of a canvas that is read again and again without saying so at first, Chromium complains.
const copy = document.createElement('canvas');
[copy.width, copy.height] = [4, rows];
const pen = copy.getContext('2d', { willReadFrequently: true });
pen.drawImage(chart.canvas, left, Math.round(top * scale), 4, rows, 0, 0, 4, rows);
const { data: pixels } = pen.getImageData(0, 0, 4, rows);
let inked = 0;
const sum = [0, 0, 0];
for (let row = 0; row < rows; ++row) {
  // The darkest of the four: an upright line of a pixel lies on two.
  const starts = [0, 1, 2, 3].map((column) => 4 * (4 * row + column));
  const [darkest] = starts.sort((a, b) => pixels[b + 3] - pixels[a + 3]);
  if (pixels[darkest + 3] < 70) continue;
  inked += 1;
  for (let channel = 0; channel < 3; ++channel) sum[channel] += pixels[darkest + channel];
}
return { share: inked / rows, colour: sum.map((total) => total / Math.max(inked, 1)) };
