// The texts of the page whose contrast to their ground is below 4.5 (WCAG 2, level AA), with it.
// Every level of the heat map is put on the page first: a report has a few of them only.
const linear = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
const parse = (text) => text.match(/[\d.]+/g).map(Number);
const luminance = ([red, green, blue]) =>
  0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255);

function groundOf(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
}

const heat = document.querySelector('#matrix tbody tr');
for (let level = 0; level <= 10; ++level) {
  const cell = heat.insertCell();
  cell.className = `level-${level}`;
  cell.textContent = `${10 * level}`;
}

const isText = (node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() !== '';
const poor = {};
for (const element of document.querySelectorAll('main *, header *, footer *')) {
  if (![...element.childNodes].some(isText)) continue;
  if (!element.offsetParent || element.closest('option, .unseen')) continue;
  const ink = luminance(parse(getComputedStyle(element).color));
  const ground = luminance(groundOf(element));
  const ratio = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  if (ratio < 4.5) poor[`${element.tagName}.${element.className}#${element.id}`] = ratio;
}
return poor;
