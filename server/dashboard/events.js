// What happened to the model, newest first, in words.
import { byId, make, whenChanged } from './elements.js';
import { count, percent } from './format.js';

const shownMax = 200;

const signs = { boundary: '│', drift: '┆', checkpoint: '▲', rollback: '↶', canary: '!' };

const outcomes = {
  REPORTED: 'reported',
  ROLLBACK: 'a rollback was asked for',
  ROLLBACK_AND_PAUSE: 'a rollback was asked for, and training paused',
};

const sentences = {
  boundary: (event) => `Task ${event.name} ended${undone(event)}.`,
  drift: (event) => `Drift: task ${event.name} ended${undone(event)}.`,
  checkpoint: (event) => `Checkpoint ${event.name}${event.automatic ? ', automatic' : ''}.`,
  rollback: (event) =>
    `Rolled back to ${event.name}, sequence ${count(event.restored)}: ` +
    `${count(event.dropped)} examples dropped.`,
  canary: (event) =>
    `Task ${event.name} fell from ${percent(event.best)} % to ${percent(event.now)} %: ` +
    `${outcomes[event.outcome] ?? 'reported'}.`,
};

const undone = (event) =>
  event.undoneBy ? `, undone by the rollback at ${count(event.undoneBy)}` : '';

export const sentenceOf = (event) => sentences[event.kind](event);

export function showEvents(model, events) {
  const newest = events.slice(-shownMax).reverse();
  whenChanged(byId('events'), [model, newest], (list) => {
    if (newest.length === 0)
      return list.replaceChildren(make('li', { class: 'none' }, 'Nothing yet.'));
    return list.replaceChildren(
      ...newest.map((event) =>
        make(
          'li',
          { class: event.kind },
          make('span', { class: 'sign', 'aria-hidden': 'true' }, signs[event.kind]),
          make('span', { class: 'when' }, count(event.sequence)),
          sentenceOf(event),
        ),
      ),
    );
  });
}
