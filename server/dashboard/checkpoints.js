// The checkpoints of a model, and going back to one: first what it would undo, then the rollback
// itself, which the server refuses when the model has moved on since it was asked.
import { Code, modelPath, post } from './api.js';
import { announce, byId, make, setPairs, setText, whenChanged } from './elements.js';
import { bytes, checkpointName, count, duration, moment } from './format.js';

const namesShown = 20;

export class Checkpoints {
  // `changed` is called after a rollback.
  constructor(changed) {
    this.changed = changed;
    this.model = '';
    this.dialog = byId('rollback');
    byId('rollback-cancel').addEventListener('click', () => this.dialog.close());
    byId('rollback-confirm').addEventListener('click', () => this.#rollBack());
    byId('checkpoints').addEventListener('click', ({ target }) => {
      const button = target.closest('button');
      if (button) this.#ask(this.kept.find((each) => each.id === button.value));
    });
  }

  show(model, checkpoints) {
    if (model !== this.model && this.dialog.open) this.dialog.close();
    this.model = model;
    this.kept = checkpoints;
    whenChanged(byId('checkpoints').tBodies[0], [model, checkpoints], (body) => {
      const focused = body.contains(document.activeElement) ? document.activeElement.value : '';
      body.replaceChildren(...checkpoints.map(rowOf));
      if (checkpoints.length === 0)
        body.append(
          make(
            'tr',
            {},
            make('td', { colspan: 8, class: 'none' }, 'None yet: one is made at every boundary.'),
          ),
        );
      [...body.querySelectorAll('button')].find((button) => button.value === focused)?.focus();
    });
  }

  // Whoever may not roll back is told why, and is not offered it; '' allows it.
  allow(why) {
    byId('checkpoints').classList.toggle('no-rollback', Boolean(why));
    byId('rollback-why').hidden = !why;
    setText(byId('rollback-why'), why);
  }

  #call(wishes) {
    return post(`${modelPath(this.asked.model)}/rollback`, {
      checkpoint: this.asked.checkpoint.id,
      ...wishes,
    });
  }

  async #ask(checkpoint) {
    this.asked = { model: this.model, checkpoint };
    byId('rollback-anyway').checked = false;
    byId('rollback-anyway-label').hidden = true;
    try {
      await this.#showPlan();
    } catch (error) {
      if (error.code === Code.permissionDenied || error.code === Code.unauthenticated) {
        this.allow(`No rollback from here: ${error.message}`);
      } else this.#fail(error);
    }
  }

  // The dry run, as the dialog shows it. Not when another checkpoint was asked for meanwhile.
  async #showPlan() {
    const { asked } = this;
    const plan = await this.#call({ dry_run: true });
    if (asked !== this.asked) return;
    this.plan = plan;
    setText(
      byId('rollback-title'),
      `Roll ${this.asked.model} back to ${checkpointName(this.asked.checkpoint)}?`,
    );
    this.#note('');
    setPairs(byId('rollback-facts'), factsOf(plan));
    byId('rollback-confirm').hidden = false;
    this.#open();
  }

  #open() {
    if (this.dialog.open) return;
    this.dialog.showModal();
    byId('rollback-cancel').focus();
  }

  #note(text) {
    byId('rollback-note').hidden = !text;
    setText(byId('rollback-note'), text);
  }

  #fail(error) {
    setText(byId('rollback-title'), 'No rollback');
    this.#note(error.message);
    setPairs(byId('rollback-facts'), []);
    byId('rollback-confirm').hidden = true;
    this.#open();
  }

  async #rollBack() {
    const confirm = byId('rollback-confirm');
    confirm.disabled = true;
    const version = byId('rollback-anyway').checked ? '0' : this.plan.previous_version;
    try {
      const done = await this.#call({ expected_current_version: version });
      this.dialog.close();
      announce(
        `Rolled back to ${checkpointName(this.asked.checkpoint)} in ${duration(done.seconds)}: ` +
          `${count(done.dropped_examples)} examples dropped.`,
      );
      this.changed();
    } catch (error) {
      await this.#explain(error);
    } finally {
      confirm.disabled = false;
    }
  }

  async #explain(error) {
    if (error.code !== Code.aborted) return this.#fail(error);
    try {
      await this.#showPlan();
    } catch (second) {
      return this.#fail(second);
    }
    byId('rollback-anyway-label').hidden = false;
    return this.#note('The model has learned on since. These are the new figures:');
  }
}

function factsOf(plan) {
  const { dropped, undone_boundaries: undone = [] } = plan;
  const range =
    Number(plan.dropped_examples) > 0 && dropped
      ? `, of the log's ${count(dropped.first)} to ${count(dropped.last)}`
      : '';
  const names = undone.slice(0, namesShown).join(', ') + (undone.length > namesShown ? ', …' : '');
  return [
    ['Version now', count(plan.previous_version)],
    ['Goes back to', `sequence ${count(plan.restored_sequence)}`],
    ['Examples dropped', `${count(plan.dropped_examples)}${range}`],
    ['Boundaries undone', undone.length === 0 ? 'none' : `${undone.length}: ${names}`],
    ['What stays', 'the log lists what was dropped; the checkpoint stays'],
  ];
}

function rowOf(checkpoint) {
  const name = checkpointName(checkpoint);
  return make(
    'tr',
    {},
    make(
      'th',
      { scope: 'row', title: checkpoint.id },
      make('span', { class: checkpoint.label ? '' : 'id' }, name),
    ),
    ...[
      count(checkpoint.applied_sequence),
      checkpoint.current_task,
      moment(checkpoint.create_time_ms),
      bytes(checkpoint.bytes),
      count(checkpoint.exemplars),
      checkpoint.automatic ? 'server' : 'request',
    ].map((text) => make('td', {}, text)),
    make(
      'td',
      {},
      make(
        'button',
        { type: 'button', value: checkpoint.id, 'aria-label': `Roll back to ${name}` },
        'Roll back…',
      ),
    ),
  );
}
