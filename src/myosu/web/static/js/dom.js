// Small helpers that create elements; text is always set as text, never as markup.

export const $ = id => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  return fill(element, attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const stored = {
  get(name, fallback) {
    try { return localStorage.getItem(`myosu.${name}`) ?? fallback; } catch { return fallback; }
  },
  set(name, value) {
    try { localStorage.setItem(`myosu.${name}`, value); } catch { /* private windows have no store */ }
  },
};
