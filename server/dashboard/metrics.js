// The Prometheus text of /metrics: samples of one model, percentiles of its histograms.

const line = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const pair = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

function labelsOf(text) {
  const labels = {};
  for (const [, name, value] of (text ?? '').matchAll(pair)) {
    labels[name] = value.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
  }
  return labels;
}

// Samples by family name, those of `model` only: [{labels, value}].
export function samplesOf(text, model) {
  const families = new Map();
  for (const each of text.split('\n')) {
    if (!each.includes('model="')) continue;
    const found = line.exec(each);
    if (!found) continue;
    const labels = labelsOf(found[2]);
    if (labels.model !== model) continue;
    if (!families.has(found[1])) families.set(found[1], []);
    families.get(found[1]).push({ labels, value: Number(found[3]) });
  }
  return families;
}

export function valueOf(families, name, labels = {}) {
  const matches = (sample) => Object.entries(labels).every(([k, v]) => sample.labels[k] === v);
  return (families.get(name) ?? []).find(matches)?.value;
}

// Cumulative counts by upper bound, in order.
export function bucketsOf(families, name) {
  return (families.get(`${name}_bucket`) ?? [])
    .map(({ labels, value }) => ({
      bound: labels.le === '+Inf' ? Infinity : Number(labels.le),
      value,
    }))
    .sort((a, b) => a.bound - b.bound);
}

// All of them where one is less than before: the server started anew in between.
export function bucketsSince(now, before) {
  if (before.length !== now.length) return now;
  if (now.some(({ value }, i) => value < before[i].value)) return now;
  return now.map(({ bound, value }, i) => ({ bound, value: value - before[i].value }));
}

export const callsIn = (buckets) => buckets.at(-1)?.value ?? 0;

// As Prometheus' histogram_quantile: linear within a bucket; beyond the last bound, that bound.
export function quantile(q, buckets) {
  const total = callsIn(buckets);
  if (total <= 0) return undefined;
  const rank = q * total;
  const at = buckets.findIndex(({ value }) => value >= rank);
  if (buckets[at].bound === Infinity) return buckets[at - 1]?.bound;
  const low = at === 0 ? { bound: 0, value: 0 } : buckets[at - 1];
  const inside = buckets[at].value - low.value;
  if (inside === 0) return buckets[at].bound;
  return low.bound + (buckets[at].bound - low.bound) * ((rank - low.value) / inside);
}
