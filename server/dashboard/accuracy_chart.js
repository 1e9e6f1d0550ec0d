// Accuracy of the chosen tasks along the log, with what happened marked on it.
import { ThemedChart, axis } from './charts.js';
import { count, percent } from './format.js';
import { undoneSpans } from './history.js';
import { colour, faded, lineStyle } from './theme.js';

const shortestLog = 10; // records that the axis shows at least
const roomAtEnd = 1.03; // what a rollback brought back is seen right after it
const crowded = 30; // boundaries beyond which their lines grow faint

// Draws behind the lines: undone spans shaded, boundaries and rollbacks upright, checkpoints below.
const marks = {
  id: 'marks',
  beforeDatasetsDraw(chart) {
    const { spans, events } = chart.options.plugins.marks;
    const {
      ctx: pen,
      chartArea: area,
      scales: { x },
    } = chart;
    const at = (sequence) => x.getPixelForValue(sequence);
    const shown = events.filter(({ sequence }) => sequence >= x.min && sequence <= x.max);
    const lines = shown.filter(({ kind }) => kind !== 'checkpoint');
    pen.save();
    pen.font = `11px ${getComputedStyle(chart.canvas).fontFamily}`;
    for (const [first, last] of spans) shade(pen, area, at(Math.max(first, x.min)), at(last));
    pen.fillStyle = colour('muted');
    pen.textAlign = 'center';
    for (const { sequence, kind } of shown) {
      if (kind === 'checkpoint') pen.fillText('▲', at(sequence), area.bottom - 2);
    }
    const faint = Math.min(1, crowded / lines.length);
    for (const event of lines) upright(pen, area, at(event.sequence), event, faint);
    nameAll(pen, area, lines, at);
    pen.restore();
  },
};

const isAlarm = ({ kind }) => kind === 'rollback' || kind === 'canary';
const inkOf = (event) => colour(isAlarm(event) ? 'warn' : 'muted');

function shade(pen, area, left, right) {
  pen.fillStyle = faded(colour('warn'), 0.12);
  pen.fillRect(left, area.top, Math.max(right - left, 2), area.bottom - area.top);
}

function upright(pen, area, left, event, faint) {
  pen.globalAlpha = isAlarm(event) ? 1 : 0.8 * faint;
  pen.strokeStyle = inkOf(event);
  pen.lineWidth = isAlarm(event) ? 2 : 1; // a canary lies on the boundary that showed it
  pen.setLineDash(event.kind === 'drift' ? [3, 3] : []);
  pen.beginPath();
  pen.moveTo(left, area.top);
  pen.lineTo(left, area.bottom);
  pen.stroke();
  pen.globalAlpha = 1;
}

// Names above the lines, rollbacks first, where there is room.
function nameAll(pen, area, events, at) {
  const taken = [];
  pen.textAlign = 'left';
  for (const event of [...events].sort((a, b) => rank(a) - rank(b))) {
    const text = titles[event.kind] ?? shortened(event.name);
    const width = pen.measureText(text).width;
    const start = Math.min(at(event.sequence) - width / 2, area.right - width);
    if (taken.some(([from, to]) => start < to && start + width > from)) continue;
    taken.push([start - 6, start + width + 6]);
    pen.fillStyle = inkOf(event);
    pen.fillText(text, start, area.top - 4);
  }
}

const titles = { rollback: '↶', canary: '!' };
const rank = ({ kind }) => ({ rollback: 0, canary: 1 })[kind] ?? 2;
const shortened = (name) => (name.length > 12 ? `${name.slice(0, 11)}…` : name);

function titleOf(items) {
  const point = items[0]?.raw;
  if (!point) return '';
  const where = point.row
    ? `after ${point.row.ended_task}`
    : point.restored
      ? 'brought back by a rollback'
      : 'live';
  return `${count(point.x)}, ${where}${point.undone ? ', undone' : ''}`;
}

function configure() {
  return {
    type: 'line',
    data: { datasets: [] },
    plugins: [marks],
    options: {
      responsive: true,
      maintainAspectRatio: false,
      parsing: false,
      layout: { padding: { top: 16 } },
      interaction: { mode: 'nearest', intersect: false },
      scales: {
        x: axis({
          type: 'linear',
          ticks: { callback: (value) => count(value), maxTicksLimit: 7 },
          title: { display: true, text: 'sequence number' },
        }),
        y: axis({ min: 0, max: 1, ticks: { callback: (value) => 100 * value, stepSize: 0.25 } }),
      },
      plugins: {
        legend: { display: false },
        marks: { spans: [], events: [] },
        tooltip: {
          callbacks: {
            title: titleOf,
            label: (item) => `${item.dataset.label}: ${percent(item.parsed.y)} %`,
          },
        },
      },
    },
  };
}

function lineOf(task, index, points) {
  const style = lineStyle(index);
  const ink = (undone) => (undone ? faded(style.colour, 0.4) : style.colour);
  return {
    label: task,
    data: points,
    borderWidth: 2,
    pointStyle: style.shape,
    borderColor: style.colour,
    borderDash: style.dash,
    segment: {
      borderColor: ({ p1 }) => ink(p1.raw?.undone),
      borderWidth: ({ p1 }) => (p1.raw?.undone ? 1 : 2),
    },
    pointRadius: ({ raw }) => (raw?.row ? 4 : 0),
    pointHitRadius: 6,
    clip: 8, // a point at 100 % is drawn whole
    pointBorderColor: ({ raw }) => ink(raw?.undone),
    pointBackgroundColor: ({ raw }) => (raw?.undone ? 'transparent' : style.colour),
  };
}

export class AccuracyChart {
  constructor(canvas) {
    this.themed = new ThemedChart(canvas, configure);
  }

  // `columns`: which tasks of the report are drawn.
  show(report, history, events, columns) {
    const { chart } = this.themed;
    chart.data.datasets = columns.map((column) =>
      lineOf(report.tasks[column].task, column, history.points(report, column)),
    );
    chart.options.plugins.marks.spans = undoneSpans(report);
    chart.options.plugins.marks.events = events;
    chart.options.scales.x.min = 0;
    chart.options.scales.x.max = Math.max(roomAtEnd * Number(report.model_version), shortestLog);
    this.themed.show(describe(report, columns));
  }
}

function describe(report, columns) {
  const each = columns
    .map((column) => report.tasks[column])
    .map((task) => `${task.task} ${percent(task.accuracy)} %`);
  return (
    `Accuracy of ${each.length} of ${report.tasks.length} tasks over ${report.rows.length} ` +
    `boundaries, now: ${each.join(', ') || 'none yet'}. The table of tasks has the numbers.`
  );
}
