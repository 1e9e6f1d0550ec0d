// The stream as it is now, from /metrics and the report: rates, lag, latencies, accuracy.
import { liveLines } from './charts.js';
import { byId, make, setText, whenChanged } from './elements.js';
import { count, duration, percent, rate } from './format.js';
import { bucketsOf, bucketsSince, callsIn, quantile, valueOf } from './metrics.js';

const shownSeconds = 180;
const shownAtFirst = 30;
const rateSeconds = 6; // long enough that a rate is calm, short enough that it is now
const latencySeconds = 60;

const operations = [
  ['Prediction', 'engram_predict_seconds'],
  ['Append, to durable', 'engram_ingest_append_seconds'],
  ['Training step', 'engram_train_step_seconds'],
  ['Checkpoint', 'engram_checkpoint_seconds'],
];

const counters = {
  ingest: (families) => valueOf(families, 'engram_ingest_examples_total', { result: 'accepted' }),
  training: (families) => valueOf(families, 'engram_train_examples_total'),
  predictions: (families) => valueOf(families, 'engram_predict_batch_size_sum'),
};

export class Stream {
  constructor() {
    this.charts = {
      prequential: liveLines(byId('prequential'), ['prequential accuracy'], {
        y: { max: 1, ticks: { callback: (value) => Math.round(100 * value) } },
      }),
      rates: liveLines(byId('rates'), Object.keys(counters), { y: { ticks: { callback: rate } } }),
      lag: liveLines(byId('lag'), ['lag'], {
        y: { suggestedMax: 10, ticks: { precision: 0, callback: (value) => count(value) } },
      }),
      latency: liveLines(byId('latency'), ['p50', 'p95', 'p99'], {
        y: { ticks: { callback: duration } },
      }),
    };
    this.forget();
  }

  // Another model: nothing of the one before is its past.
  forget() {
    this.samples = [];
  }

  show(families, report, nowMs) {
    this.samples.push(sampleOf(families, report, nowMs));
    this.samples = this.samples.filter((sample) => nowMs - sample.ms <= shownSeconds * 1000);
    const now = this.samples.at(-1);
    now.rates = this.#rates(now);
    now.latency = this.#latency(operations[0][1], now).values;
    this.#showNumbers(now);
    this.#draw('prequential', [(sample) => sample.prequential], nowMs);
    this.#draw(
      'rates',
      Object.keys(counters).map((name) => (sample) => sample.rates[name]),
      nowMs,
    );
    this.#draw('lag', [(sample) => sample.lag], nowMs);
    this.#draw(
      'latency',
      [0, 1, 2].map((i) => (sample) => sample.latency[i]),
      nowMs,
    );
    this.#showLatencies(now);
  }

  // The oldest sample that is at most `seconds` older than `now`, or the one before it.
  #before(now, seconds) {
    const at = this.samples.findIndex((sample) => now.ms - sample.ms <= seconds * 1000);
    return this.samples[Math.max(0, Math.min(at, this.samples.length - 2))];
  }

  #rates(now) {
    const before = this.#before(now, rateSeconds);
    const seconds = (now.ms - before.ms) / 1000;
    const rates = {};
    for (const name of Object.keys(counters)) {
      const gained = now.counts[name] - before.counts[name];
      // Fewer than before: the server started anew in between.
      if (seconds > 0 && gained >= 0) rates[name] = gained / seconds;
    }
    return rates;
  }

  // Percentiles of the last minute; of all since the server's start where that had no call.
  #latency(family, now) {
    const all = now.buckets[family];
    const recent = bucketsSince(all, this.#before(now, latencySeconds).buckets[family]);
    const isRecent = callsIn(recent) > 0;
    const buckets = isRecent ? recent : all;
    return {
      values: [0.5, 0.95, 0.99].map((q) => quantile(q, buckets)),
      calls: callsIn(buckets),
      isRecent,
    };
  }

  #showNumbers(now) {
    setText(
      byId('prequential-now'),
      now.prequential === undefined ? '–' : `${percent(now.prequential)} %`,
    );
    setText(
      byId('rates-now'),
      Object.entries(now.rates)
        .map(([name, value]) => `${name} ${rate(value)}`)
        .join(' · ') || 'measuring',
    );
    setText(byId('lag-now'), count(now.lag));
    setText(
      byId('latency-now'),
      `p50 ${duration(now.latency[0])} · p99 ${duration(now.latency[2])}`,
    );
  }

  #draw(name, readers, nowMs) {
    const {
      data: { datasets },
      options: {
        scales: { x },
      },
    } = this.charts[name].chart;
    const age = (nowMs - this.samples[0].ms) / 1000;
    x.min = -Math.max(shownAtFirst, age);
    readers.forEach((read, i) => {
      datasets[i].data = this.samples
        .map((sample) => ({ x: (sample.ms - nowMs) / 1000, y: read(sample) }))
        .filter(({ y }) => y !== undefined);
    });
    this.charts[name].show(
      `${name} over the last ${Math.round(age)} seconds, now: ` + byId(`${name}-now`).textContent,
    );
  }

  #showLatencies(now) {
    const body = byId('latencies').tBodies[0];
    whenChanged(body, operations, () =>
      body.replaceChildren(
        ...operations.map(([name]) =>
          make(
            'tr',
            {},
            make('th', { scope: 'row' }, name),
            ...Array.from({ length: 5 }, () => make('td')),
          ),
        ),
      ),
    );
    operations.forEach(([, family], i) => {
      const { values, calls, isRecent } = this.#latency(family, now);
      [...values.map(duration), count(calls), isRecent ? 'last minute' : 'since start'].forEach(
        (text, column) => setText(body.rows[i].cells[column + 1], text),
      );
    });
  }
}

function sampleOf(families, report, ms) {
  return {
    ms,
    prequential: report.prequential_accuracy,
    lag: valueOf(families, 'engram_applied_lag_examples'),
    counts: Object.fromEntries(
      Object.entries(counters).map(([name, read]) => [name, read(families)]),
    ),
    buckets: Object.fromEntries(
      operations.map(([, family]) => [family, bucketsOf(families, family)]),
    ),
  };
}
