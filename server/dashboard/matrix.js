// The R matrix as a heat map: a table, so that it is read by eye, ear and keyboard alike.
import { byId, make, setText, whenChanged } from './elements.js';
import { count, isNumber, percent } from './format.js';
import { isUndone } from './history.js';

const levels = 10;
const shownAtFirst = 40;
const shownMax = 250; // 62 500 cells are what a page can carry

const levelOf = (ratio) => Math.min(levels, Math.floor(ratio * levels + 1e-9));

// Draws on change only; the newest rows and columns unless `all`.
export function showMatrix(report, reading, all) {
  const value = (cell) => (reading === 'task' ? cell?.task_accuracy : cell?.accuracy);
  const limit = all ? shownMax : shownAtFirst;
  const columns = report.tasks.map((_, column) => column).slice(-limit);
  const rows = report.rows.slice(-limit);
  showSwitch(report, all);
  const key = [
    report.model,
    reading,
    limit,
    columns.length,
    rows.map((row) => [
      row.sequence,
      row.undone_by,
      columns.map((column) => value(row.cells[column])),
    ]),
  ];
  const drawn = whenChanged(byId('matrix'), key, (element) => {
    if (report.tasks.length === 0)
      return element.replaceChildren(
        make(
          'p',
          { class: 'none' },
          'No boundary and no held-out row yet: the first boundary makes the first row.',
        ),
      );
    const table = make(
      'table',
      { class: columns.length > 7 ? 'heat many' : 'heat' },
      headOf(report, columns),
      make('tbody', {}, ...rows.map((row) => rowOf(row, report, columns, value))),
    );
    if (reading === 'class') table.append(make('tfoot'));
    return element.replaceChildren(table);
  });
  showNow(report, columns);
  const view = byId('matrix');
  if (drawn) view.scrollTo(view.scrollWidth, view.scrollHeight); // the newest are there
}

// The last row: what the served model has, which changes more often than the rows of R.
function showNow(report, columns) {
  const foot = byId('matrix').querySelector('tfoot');
  if (!foot) return;
  const ratios = columns.map((column) => report.tasks[column].accuracy);
  whenChanged(foot, ratios, () =>
    foot.replaceChildren(
      make(
        'tr',
        {},
        make('th', { scope: 'row' }, 'now'),
        ...ratios.map((ratio) => cellOf(ratio, false)),
      ),
    ),
  );
}

function showSwitch(report, all) {
  const button = byId('matrix-all');
  const size = Math.max(report.rows.length, report.tasks.length);
  button.hidden = size <= shownAtFirst;
  setText(
    button,
    all
      ? `newest ${shownAtFirst} only`
      : `show ${size > shownMax ? `newest ${shownMax}` : `all ${size}`}`,
  );
}

function headOf(report, columns) {
  const heads = columns.map((column) => {
    const { task } = report.tasks[column];
    return make('th', { scope: 'col', title: task }, make('span', {}, task));
  });
  return make('thead', {}, make('tr', {}, make('th', { scope: 'col' }, 'after'), ...heads));
}

function rowOf(row, report, columns, value) {
  const undone = isUndone(row);
  const notes = [];
  if (row.drift)
    notes.push(make('small', { title: 'The drift detector set this boundary' }, 'drift'));
  if (undone) {
    notes.push(
      make('small', { title: `Undone by the rollback at ${count(row.undone_by)}` }, '↶ undone'),
    );
  }
  const head = make(
    'th',
    { scope: 'row', title: `${row.ended_task}, sequence ${row.sequence}` },
    make('span', {}, row.ended_task),
    ...notes,
  );
  const cells = columns.map((column) => {
    const own = report.tasks[column].task === row.ended_task;
    return cellOf(value(row.cells[column]), own);
  });
  return make('tr', { class: undone ? 'undone' : undefined }, head, ...cells);
}

function cellOf(ratio, own) {
  if (!isNumber(ratio)) return make('td', { class: 'absent' }, '·');
  const text = ratio === 1 ? '100' : percent(ratio);
  return make('td', { class: `level-${levelOf(ratio)}${own ? ' own' : ''}` }, text);
}

export function showLegend() {
  const steps = Array.from({ length: levels + 1 }, (_, level) =>
    make('i', { class: `step level-${level}` }),
  );
  byId('matrix-legend').replaceChildren(
    make('span', { class: 'scale' }, '0 ', ...steps, ' 100'),
    make('span', {}, make('i', { class: 'step own' }), ' right after its own task'),
    make('span', {}, make('i', { class: 'step struck' }), ' undone by a rollback'),
  );
}
