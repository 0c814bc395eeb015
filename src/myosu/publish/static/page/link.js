// In place of web/static/js/link.js, with the same names: the page speaks to a worker of its own instead of a server.
// Games are kept in the browser.

import { $, stored } from './dom.js';

const KEPT = 100;
const worker = new Worker(new URL('../engine/worker.js', import.meta.url), { type: 'module' });
const waiting = new Map();
const links = new Map();
let asked = 0;

worker.onmessage = ({ data }) => {
  if (data.kind === 'keep') keep(data.id, data.game);
  else if (data.kind === 'answer') {
    const { resolve, reject } = waiting.get(data.number);
    waiting.delete(data.number);
    if (data.error) reject(new Error(data.error));
    else resolve(data.found);
  } else if (data.kind === 'gone') links.get(data.id)?.onGone();
  else links.get(data.id)?.onMessage(data.message);
};
worker.onerror = event => {
  event.preventDefault();
  for (const { reject } of waiting.values()) reject(new Error(event.message || 'this browser is too old.'));
  waiting.clear();
};
worker.postMessage({ kind: 'begin', kept: kept() });
if ('serviceWorker' in navigator) navigator.serviceWorker.register('sw.js').catch(() => { /* it will not work offline */ });

// One store for each page of a site.
function place() { return `games.${location.pathname.replace(/[^/]*$/, '')}`; }

function kept() {
  try { return JSON.parse(stored.get(place(), '{}')); } catch { return {}; }
}

function keep(id, game) {
  const { [id]: _, ...others } = kept();
  const games = [...Object.entries(others), [id, game]].slice(-KEPT);
  stored.set(place(), JSON.stringify(Object.fromEntries(games)));
}

function request(message) {
  return new Promise((resolve, reject) => {
    asked += 1;
    waiting.set(asked, { resolve, reject });
    worker.postMessage({ ...message, number: asked });
  });
}

export const ask = (address, order) => request({ kind: 'ask', address, order });

export const addressed = () => location.hash.match(/^#([\w-]+)$/)?.[1];

export const showAddress = id => history.pushState(null, '', `#${id}`);

export function offerExports(id) {
  $('sgf-part').hidden = true;
  $('as-json').onclick = async event => {
    event.preventDefault();
    const game = await request({ kind: 'export', id });
    const file = URL.createObjectURL(new Blob([`${JSON.stringify(game, null, 1)}\n`], { type: 'application/json' }));
    const link = Object.assign(document.createElement('a'), { href: file, download: `${game.game}-${id}.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(file), 10000);
  };
}

export class Link {
  constructor(id, onMessage, onState, onGone) {
    Object.assign(this, { id, onMessage, onGone });
    links.set(id, this);
    queueMicrotask(() => { onState(true); worker.postMessage({ kind: 'enter', id }); });
  }

  send(message) { worker.postMessage({ kind: 'send', id: this.id, message }); }

  close() {
    links.delete(this.id);
    worker.postMessage({ kind: 'leave', id: this.id });
  }
}
