// The table of tasks, which is also the legend of the accuracy chart: a box a task.
import { byId, make, makeSvg, setText, whenChanged } from './elements.js';
import { count, percent } from './format.js';
import { dark, lineStyle } from './theme.js';

const pickedAtFirst = 8;

function swatch(index) {
  const style = lineStyle(index);
  const line = makeSvg('line', {
    x1: 1,
    x2: 27,
    y1: 6,
    y2: 6,
    stroke: style.colour,
    'stroke-width': 2,
    'stroke-dasharray': style.dash.join(' ') || 'none',
  });
  const outlines = {
    circle: 'M10 6a4 4 0 1 0 8 0a4 4 0 1 0-8 0',
    rect: 'M10.5 2.5h7v7h-7z',
    triangle: 'M14 2l4.5 8h-9z',
    rectRot: 'M14 1l5 5l-5 5l-5-5z',
  };
  const point = makeSvg('path', { d: outlines[style.shape], fill: style.colour });
  return makeSvg(
    'svg',
    { viewBox: '0 0 28 12', width: 28, height: 12, 'aria-hidden': 'true' },
    line,
    point,
  );
}

// Which tasks the chart draws. `changed` is called when a person chose others.
export class Tasks {
  constructor(changed) {
    this.changed = changed;
    this.rule = 'newest';
    this.picked = new Set();
    for (const button of document.querySelectorAll('[data-pick]')) {
      button.addEventListener('click', () => {
        this.rule = button.dataset.pick;
        changed();
      });
    }
    byId('tasks').addEventListener('change', ({ target }) => {
      this.rule = 'own';
      if (target.checked) this.picked.add(Number(target.value));
      else this.picked.delete(Number(target.value));
      changed();
    });
    dark.addEventListener('change', () => {
      byId('tasks').tBodies[0].drawnKey = undefined;
      changed();
    });
  }

  // Another model: boxes set by hand were those of its columns.
  forget() {
    if (this.rule === 'own') this.rule = 'newest';
  }

  // A rule is applied again with every report; boxes set by hand stay.
  columns(report) {
    const all = report.tasks.map((_, column) => column);
    const fallen = (column) => report.tasks[column].forgetting ?? -1;
    if (this.rule === 'newest') this.picked = new Set(all.slice(-pickedAtFirst));
    if (this.rule === 'all') this.picked = new Set(all);
    if (this.rule === 'forgotten') {
      this.picked = new Set(all.sort((a, b) => fallen(b) - fallen(a)).slice(0, pickedAtFirst));
    }
    return [...this.picked].filter((column) => column < report.tasks.length).sort((a, b) => a - b);
  }

  show(report) {
    const picked = new Set(this.columns(report));
    const body = byId('tasks').tBodies[0];
    whenChanged(body, [report.model, report.tasks.map((task) => task.task)], () => {
      body.replaceChildren(...report.tasks.map(rowOf));
    });
    report.tasks.forEach((task, column) => {
      const row = body.rows[column];
      row.querySelector('input').checked = picked.has(column);
      [
        percent(task.accuracy),
        percent(task.best_accuracy),
        percent(task.forgetting),
        count(task.train_examples),
        count(task.held_out_rows),
        count(task.exemplars),
      ].forEach((text, i) => setText(row.cells[i + 1], text));
    });
    for (const button of document.querySelectorAll('[data-pick]')) {
      button.setAttribute('aria-pressed', String(button.dataset.pick === this.rule));
    }
  }
}

function rowOf({ task }, column) {
  const box = make('input', { type: 'checkbox', value: column });
  return make(
    'tr',
    {},
    make(
      'th',
      { scope: 'row', title: task },
      make('label', {}, box, swatch(column), make('span', {}, task)),
    ),
    ...Array.from({ length: 6 }, () => make('td')),
  );
}
