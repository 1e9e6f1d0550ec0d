// The episodic memory: exemplars by task and by class.
import { bars } from './charts.js';
import { byId, make, setText, whenChanged } from './elements.js';
import { bytes, count, labelText } from './format.js';
import { valueOf } from './metrics.js';

export class Memory {
  constructor() {
    this.tasks = bars(byId('memory-tasks'));
    this.classes = bars(byId('memory-classes'));
  }

  show(report, families) {
    const tasks = report.tasks.map((task) => [task.task, Number(task.exemplars)]);
    const classes = (report.classes ?? []).map((each) => [
      labelText(each.label),
      Number(each.exemplars),
    ]);
    const held = tasks.reduce((sum, [, exemplars]) => sum + exemplars, 0);
    const size = valueOf(families, 'engram_episodic_bytes');
    byId('memory-plots').hidden = held === 0;
    byId('memory-list').hidden = classes.length === 0;
    setText(
      byId('memory-now'),
      held === 0
        ? 'no exemplars are kept'
        : `${count(held)} exemplars of ${count(classes.length)} classes, ${bytes(size)}`,
    );
    draw(this.tasks, tasks, 'task');
    draw(this.classes, classes, 'class');
    const list = byId('memory-list').querySelector('ul');
    whenChanged(list, classes, () =>
      list.replaceChildren(
        ...classes.map(([name, exemplars]) =>
          make('li', {}, make('bdi', {}, name), ' ', make('b', {}, count(exemplars))),
        ),
      ),
    );
  }
}

function draw(themed, pairs, kind) {
  whenChanged(themed.canvas, pairs, () => {
    themed.chart.data.labels = pairs.map(([name]) => name);
    [themed.chart.data.datasets[0].data] = [pairs.map(([, exemplars]) => exemplars)];
    const sorted = [...pairs].sort((a, b) => b[1] - a[1]);
    const most = sorted[0];
    const least = sorted.at(-1);
    themed.show(
      most
        ? `Exemplars by ${kind}: ${pairs.length}, from ${least[1]} (${least[0]}) to ` +
            `${most[1]} (${most[0]})`
        : `No exemplars by ${kind}`,
    );
  });
}
