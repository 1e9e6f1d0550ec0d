// The model in a line, and the numbers of forgetting.
import { byId, make, setPairs, setText, whenChanged } from './elements.js';
import { count, percent, points, strategyNames } from './format.js';

const states = {
  SERVING: '● serving',
  RECOVERING: '◌ recovering',
  READ_ONLY: '▲ read-only',
  FAILED: '✕ failed',
  LOCKED: '▲ locked',
};

export function showFacts(model, report) {
  const state = model.paused ? '❚❚ paused' : (states[model.state] ?? model.state);
  const lag = Math.max(0, Number(model.durable_sequence) - Number(model.version));
  setPairs(byId('facts'), [
    ['State', state, model.state_reason],
    ['Strategy', strategyNames(model.spec)],
    ['Version', count(model.version), 'Sequence number up to which the served model has learned'],
    ['Durable', count(model.durable_sequence), 'Last sequence number of the log that is durable'],
    ['Lag', count(lag), 'Durable records that are not learned yet'],
    ['Task', model.current_task],
    ['Tasks', count(report.tasks.length)],
    ['Classes', count(model.classes?.length ?? 0)],
    ['Parameters', count(model.parameters)],
    ['Learned', `${count(report.train_examples)} examples`],
    ['Dropped', `${count(report.dropped_examples)} examples`, 'By rollbacks, in all'],
    [
      'Skipped',
      `${count(report.skipped_batches)} batches`,
      'Kept away from the weights by the guard',
    ],
  ]);
}

const tiles = [
  ['acc', 'ACC', '%', 'mean accuracy over tasks', percent],
  ['forgetting', 'Forgetting', 'points', 'mean fall from the best', percent],
  ['bwt', 'BWT', 'points', 'what later tasks did to earlier ones', points],
  ['fwt', 'FWT', 'points', 'what earlier tasks did for later ones', points],
];

export function showTiles(report, reading) {
  const summary = (reading === 'task' ? report.task_summary : report.summary) ?? {};
  const prequential = report.prequential_accuracy;
  const numbers = [
    ...tiles.map(([key, name, unit, meaning, format]) => [
      name,
      unit,
      meaning,
      format(summary[key]),
      key,
    ]),
    [
      'Prequential',
      '%',
      'right before it was learned, lately',
      percent(prequential),
      'prequential',
    ],
  ];
  const list = byId('tiles');
  whenChanged(list, 'tiles', () =>
    list.replaceChildren(
      ...numbers.map(([name, unit, meaning, , key]) =>
        make(
          'div',
          { id: `tile-${key}` },
          make('dt', {}, name),
          make('dd', {}, make('b'), ' ', make('span', {}, unit)),
          make('dd', { class: 'meaning' }, meaning),
        ),
      ),
    ),
  );
  for (const [, , , text, key] of numbers) setText(byId(`tile-${key}`).querySelector('b'), text);
}

// What keeps a model from learning, in a sentence; empty when nothing does.
export function obstacleOf(model, report) {
  if (model.state_reason) return `${states[model.state] ?? model.state}: ${model.state_reason}`;
  if (model.paused) return 'Training is paused: examples are accepted and wait in the log.';
  if (report.pending_evaluations > 0)
    return `${report.pending_evaluations} boundaries are being evaluated.`;
  return '';
}
