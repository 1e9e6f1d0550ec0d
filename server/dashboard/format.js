// Numbers and names as people read them. 64-bit integers come as strings; what is shown of them
// stays below 2^53.

const narrowSpace = '\u202f';
const missing = '–';
const grouped = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

export const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

export function count(value) {
  if (value === undefined || value === null || value === '') return missing;
  return grouped.format(Number(value)).replaceAll(',', narrowSpace);
}

// A ratio without its unit: "93.4", "−3.4".
export function percent(ratio) {
  if (!isNumber(ratio)) return missing;
  const text = (100 * Math.abs(ratio)).toFixed(1);
  return ratio < 0 && text !== '0.0' ? `−${text}` : text;
}

// A difference of ratios, with its sign also when it is a gain: "+3.4".
export function points(difference) {
  const text = percent(difference);
  return difference > 0 && text !== '0.0' ? `+${text}` : text;
}

export function rate(perSecond) {
  if (!isNumber(perSecond)) return missing;
  return perSecond < 10 && perSecond > 0 ? perSecond.toFixed(1) : count(perSecond);
}

export function duration(seconds) {
  if (!isNumber(seconds)) return missing;
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Number((seconds * 1e3).toPrecision(3))} ms`;
  if (seconds < 120) return `${Number(seconds.toPrecision(3))} s`;
  return `${count(seconds / 60)} min`;
}

export function bytes(value) {
  let size = Number(value ?? 0);
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  for (; size >= 1024 && unit < units.length - 1; ++unit) size /= 1024;
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

export function moment(milliseconds) {
  const value = Number(milliseconds);
  if (!value) return missing;
  return new Date(value).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
}

export const labelText = (label) => String(label?.text ?? label?.number ?? missing);

// "experience_replay + ewc"
export function strategyNames(spec) {
  const names = (spec?.strategies ?? []).map((each) => Object.keys(each)[0] ?? '?');
  return names.length > 0 ? names.join(' + ') : 'finetune';
}

export const checkpointName = (checkpoint) => checkpoint.label || checkpoint.id;
