// Making and changing elements. Values go in as text and attributes, never as markup: names of
// labels are whatever a producer sent.

export const byId = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function makeSvg(tag, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Unchanged text is left alone: a screen reader and a selection survive the next refresh.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Calls `draw` only when `key` differs from the last for this element; whether it did.
export function whenChanged(element, key, draw) {
  const text = JSON.stringify(key);
  if (element.drawnKey === text) return false;
  element.drawnKey = text;
  draw(element);
  return true;
}

// Term and description pairs of a <dl>, keyed by term: values change in place.
export function setPairs(list, pairs) {
  const terms = pairs.map(([term]) => term);
  whenChanged(list, terms, () => {
    list.replaceChildren(
      ...terms.map((term) => make('div', {}, make('dt', {}, term), make('dd', {}))),
    );
  });
  pairs.forEach(([, value, note], index) => {
    const description = list.children[index].lastElementChild;
    setText(description, value);
    if (note) description.title = note;
    else description.removeAttribute('title');
  });
}

// For people who hear the page; only what happened, not every number.
export function announce(text) {
  byId('announcer').textContent = text;
}
