// Chart.js as this page wants it: no animation, quiet grid, colours from the style sheet.
/* global Chart */
import { count } from './format.js';
import { colour, dark, lineStyle } from './theme.js';

const charts = new Set();

function applyTheme() {
  Chart.defaults.color = colour('muted');
  Chart.defaults.borderColor = colour('line');
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 11;
  Chart.defaults.animation = false;
}

// A chart that is made anew when the theme changes; `configure()` gives its Chart.js configuration.
export class ThemedChart {
  constructor(canvas, configure) {
    this.canvas = canvas;
    this.configure = configure;
    this.#draw();
    charts.add(this);
  }

  #draw() {
    applyTheme();
    this.chart = new Chart(this.canvas, this.configure());
  }

  redraw() {
    const { datasets, labels } = this.chart.data;
    this.chart.destroy();
    this.#draw();
    this.chart.data.labels = labels;
    this.chart.data.datasets.forEach((dataset, i) => {
      dataset.data = datasets[i].data;
    });
    this.chart.update('none');
  }

  // `description` is what the picture says, for people who do not see it.
  show(description) {
    this.canvas.setAttribute('aria-label', description);
    this.chart.update('none');
  }
}

dark.addEventListener('change', () => {
  for (const each of charts) each.redraw();
});

export const axis = (options = {}) => ({
  grid: { drawBorder: false, tickLength: 4 },
  ...options,
  ticks: { maxRotation: 0, autoSkipPadding: 12, includeBounds: false, ...options.ticks },
});

const ago = (seconds) => (seconds === 0 ? 'now' : `${Math.round(-seconds)} s ago`);

// Lines up to now, one a name; x is in seconds, now is 0.
export function liveLines(canvas, names, { y }) {
  const configure = () => ({
    type: 'line',
    data: { datasets: names.map((name, i) => liveLine(name, i, names.length)) },
    options: {
      responsive: true,
      maintainAspectRatio: false,
      parsing: false,
      interaction: { mode: 'index', intersect: false },
      scales: {
        x: axis({ type: 'linear', max: 0, ticks: { callback: ago, maxTicksLimit: 5 } }),
        y: axis({ beginAtZero: true, ...y, ticks: { maxTicksLimit: 5, ...y.ticks } }),
      },
      plugins: {
        legend: {
          display: names.length > 1,
          align: 'start',
          onClick: null,
          labels: { usePointStyle: true, pointStyleWidth: 26, boxHeight: 6, generateLabels },
        },
        tooltip: { callbacks: { title: (items) => ago(items[0]?.parsed.x ?? 0) } },
      },
    },
  });
  return new ThemedChart(canvas, configure);
}

// As the lines are drawn: Chart.js leaves out the dash.
function generateLabels(chart) {
  return chart.data.datasets.map((dataset, datasetIndex) => ({
    text: dataset.label,
    datasetIndex,
    pointStyle: 'line',
    lineDash: dataset.borderDash,
    lineWidth: 2,
    strokeStyle: dataset.borderColor,
    fontColor: colour('muted'),
  }));
}

function liveLine(name, index, lines) {
  const style = lineStyle(index);
  return {
    label: name,
    data: [],
    borderWidth: 1.75,
    borderDash: lines > 1 ? style.dash : [],
    pointRadius: 0,
    borderColor: index === 0 ? colour('accent') : style.colour,
    backgroundColor: index === 0 ? colour('accent') : style.colour,
  };
}

export function bars(canvas) {
  const configure = () => ({
    type: 'bar',
    data: {
      labels: [],
      datasets: [
        {
          label: 'exemplars',
          data: [],
          backgroundColor: colour('accent'),
          categoryPercentage: 0.9,
          barPercentage: 0.9,
          maxBarThickness: 36,
        },
      ],
    },
    options: {
      responsive: true,
      maintainAspectRatio: false,
      scales: {
        x: axis({ grid: { display: false }, ticks: { callback: shortLabel } }),
        y: axis({
          beginAtZero: true,
          ticks: { precision: 0, maxTicksLimit: 5, callback: (value) => count(value) },
        }),
      },
      plugins: { legend: { display: false } },
    },
  });
  return new ThemedChart(canvas, configure);
}

function shortLabel(value) {
  const text = String(this.getLabelForValue(value));
  return text.length > 14 ? `${text.slice(0, 13)}…` : text;
}
