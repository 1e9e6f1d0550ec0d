// Colours of the charts, from the style sheet, and how lines differ without colour: dash and point.

const dashes = [[], [7, 3], [2, 2], [9, 3, 2, 3]];
const shapes = ['circle', 'rect', 'triangle', 'rectRot'];
const paletteSize = 8;

export const dark = window.matchMedia('(prefers-color-scheme: dark)');

export function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

export function lineStyle(index) {
  return {
    colour: colour(`line-${index % paletteSize}`),
    dash: dashes[(index + Math.floor(index / paletteSize)) % dashes.length],
    shape: shapes[(index + Math.floor(index / shapes.length)) % shapes.length],
  };
}

export function faded(hex, share) {
  const alpha = Math.round(255 * share)
    .toString(16)
    .padStart(2, '0');
  return hex.length === 7 ? hex + alpha : hex;
}
