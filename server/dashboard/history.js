// What one model's accuracies were along its log. Rows of R are the server's history; between them
// are the values seen while the page is open.

const livePointsMax = 400;

export const isUndone = (row) => Number(row.undone_by) > 0;

// [first, last] of what each rollback undid, in log order.
export function undoneSpans(report) {
  return (report.rollbacks ?? []).map((rollback) => [
    Number(rollback.restored_sequence),
    Number(rollback.sequence),
  ]);
}

export class History {
  constructor() {
    this.live = new Map(); // task -> [{x, y}]
  }

  // Keeps a task's accuracy when it is another than before.
  record(report) {
    const x = Number(report.model_version);
    for (const [column, task] of report.tasks.entries()) {
      if (task.accuracy === undefined) continue;
      if (task.accuracy === this.#lastKnown(report, column, task.task)) continue;
      const points = this.live.get(task.task) ?? [];
      points.push({ x, y: task.accuracy, live: true });
      if (points.length > livePointsMax)
        this.live.set(
          task.task,
          points.filter((_, i) => i % 2 === 1),
        );
      else this.live.set(task.task, points);
    }
  }

  #lastKnown(report, column, task) {
    const live = this.live.get(task)?.at(-1);
    const row = report.rows.at(-1);
    const measured = row?.cells[column]?.accuracy;
    if (!live || (measured !== undefined && Number(row.sequence) >= live.x)) return measured;
    return live.y;
  }

  // The points of a column in log order: measured at boundaries, seen live, and brought back by
  // rollbacks. `undone` marks what no longer counts.
  points(report, column) {
    const task = report.tasks[column];
    const spans = undoneSpans(report);
    const points = [...(this.live.get(task.task) ?? [])];
    for (const row of report.rows) {
      const y = row.cells[column]?.accuracy;
      if (y !== undefined) points.push({ x: Number(row.sequence), y, row });
    }
    points.sort((a, b) => a.x - b.x);
    const all = withRollbacks(points, spans);
    if (task.accuracy !== undefined && all.length > 0) {
      all.push({
        x: Math.max(Number(report.model_version), all.at(-1).x),
        y: task.accuracy,
        live: true,
      });
    }
    for (const point of all) {
      point.undone = point.row
        ? isUndone(point.row)
        : spans.some(([first, last]) => point.x > first && point.x < last);
    }
    return all;
  }
}

// At a rollback the accuracy is again what it was at the restored sequence.
function withRollbacks(points, spans) {
  let all = points.map((point) => ({ ...point }));
  for (const [restored, sequence] of spans) {
    const before = all.filter((point) => point.x <= restored).at(-1);
    if (!before) continue;
    const later = all.findIndex((point) => point.x > sequence);
    all.splice(later < 0 ? all.length : later, 0, { x: sequence, y: before.y, restored: true });
  }
  return all;
}

// Everything that happened to a model, by sequence.
export function eventsOf(report, checkpoints) {
  const events = [];
  const labels = new Map(checkpoints.map(({ id, label }) => [id, label]));
  for (const row of report.rows) {
    events.push({
      sequence: Number(row.sequence),
      kind: row.drift ? 'drift' : 'boundary',
      name: row.ended_task,
      undoneBy: Number(row.undone_by),
    });
  }
  for (const checkpoint of checkpoints) {
    events.push({
      sequence: Number(checkpoint.applied_sequence),
      kind: 'checkpoint',
      name: checkpoint.label || checkpoint.id,
      automatic: checkpoint.automatic,
    });
  }
  for (const rollback of report.rollbacks ?? []) {
    events.push({
      sequence: Number(rollback.sequence),
      kind: 'rollback',
      name: labels.get(rollback.checkpoint) || rollback.checkpoint,
      restored: Number(rollback.restored_sequence),
      dropped: Number(rollback.dropped_examples),
    });
  }
  for (const canary of report.canaries ?? []) {
    events.push({
      sequence: Number(canary.version),
      kind: 'canary',
      name: canary.task,
      best: canary.best,
      now: canary.now,
      outcome: canary.outcome,
    });
  }
  return events.sort((a, b) => a.sequence - b.sequence);
}
