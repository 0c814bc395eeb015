// The page of a Gymnasium environment: it receives images and numbers, and sends the held actions.

import { $, make } from './dom.js';

const SIGNS = { ArrowUp: '↑', ArrowDown: '↓', ArrowLeft: '←', ArrowRight: '→', ' ': 'Space' };
const LISTED = 50;
// controls: [{keys, name, action}], most keys first. down: the keys that are held. touched: the button that is held.
const page = { controls: [], down: new Set(), touched: null, held: null, who: 'person', paused: false, turns: false, ended: 0 };
const number = value => (Number.isInteger(value) ? value : value.toFixed(Math.abs(value) < 10 ? 2 : 1)).toString().replace('-', '−');

const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/api/screen`);
socket.binaryType = 'blob';
const send = (type, value) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify({ type, value }));
socket.onmessage = ({ data }) => (typeof data === 'string' ? receive(JSON.parse(data)) : draw(data));
socket.onclose = event => {
  document.body.classList.add('lost');
  $('status').textContent = event.reason || 'The connection is lost. Is the command still running? Reload the page to go on.';
};

async function draw(data) {
  const image = await createImageBitmap(data), canvas = $('picture');
  if (canvas.width !== image.width || canvas.height !== image.height) {
    Object.assign(canvas, { width: image.width, height: image.height });
    canvas.classList.toggle('large', image.width > 300);
  }
  canvas.getContext('2d').drawImage(image, 0, 0);
}

function receive(message) {
  if (message.type === 'hello') return begin(message);
  if (message.type === 'error') return complain(message.message);
  if (message.type === 'begun') return show(page.who === 'person' ? 'A new episode: press a key.' : 'A new episode.');
  show(`Step ${message.step}   ·   return ${number(message.return)}`);
  if (message.over) end(message);
}

const show = text => { $('status').textContent = text; };

function begin(hello) {
  document.title = `Myosu: ${hello.name}`;
  $('name').textContent = hello.name;
  page.turns = hello.turns;
  page.controls = hello.controls.toSorted((a, b) => b.keys.length - a.keys.length);
  const playable = page.controls.length > 0;
  for (const [who, text] of [['person', 'You'], ['agent', 'The agent']]) {
    if (who === 'agent' ? hello.agent : playable) $('who').append(make('button', { id: who, onclick: () => choose(who) }, text));
  }
  $('keys-card').hidden = !playable;
  for (const control of hello.controls) {
    const button = make('button', { 'data-action': JSON.stringify(control.action) }, make('span', {}, control.name), make('kbd', {}, control.keys.map(key => SIGNS[key] ?? key.toUpperCase()).join(' + ')));
    button.addEventListener('pointerdown', () => { page.touched = control; hold(); });
    for (const kind of ['pointerup', 'pointerleave', 'pointercancel']) button.addEventListener(kind, () => { page.touched = null; hold(); });
    $('keys').append(button);
  }
  if (hello.recorded !== null) recorded(hello.recorded);
  if (!playable && !hello.agent) complain('This environment cannot be played by keys, and there is no agent to watch.');
  show(hello.agent || !playable ? '' : 'Press a key to begin.');
  choose(hello.agent ? 'agent' : 'person');
  $('picture').focus();
}

function choose(who) {
  page.who = who;
  for (const button of $('who').children) button.setAttribute('aria-pressed', button.id === who);
  $('hint').textContent = who === 'agent' ? 'The agent plays. Take over at any time.' : page.turns ? 'Each key is one step; nothing moves until you press one.' : 'An episode begins with your first key and runs on: hold a key for as long as its action is to last.';
  send('who', who);
  $('picture').focus();
}

function end(message) {
  page.ended += 1;
  $('none').hidden = true;
  const who = message.person ? 'you' : 'with the agent';
  $('episodes').prepend(make('li', { value: page.ended }, `return ${number(message.return)}, ${message.step} steps, ${who}${message.truncated ? ', cut off' : ''}`));
  while ($('episodes').children.length > LISTED) $('episodes').lastChild.remove();
  if (message.recorded !== undefined) recorded(message.recorded);
  show(`The episode is over: return ${number(message.return)} in ${message.step} steps.${page.who === 'person' ? ' Press a key for the next one.' : ''}`);
}

function recorded(count) {
  $('recorded').textContent = `${count} recorded`;
}

// Send the action of the keys that are down; the longest combination counts.
function hold() {
  const control = page.touched ?? page.controls.find(control => control.keys.every(key => page.down.has(key)));
  const held = control ? JSON.stringify(control.action) : null;
  for (const button of $('keys').children) button.classList.toggle('held', button.dataset.action === held);
  if (held === page.held) return;
  page.held = held;
  if (held !== null && page.who !== 'person') choose('person');
  send('hold', control ? control.action : null);
}

function pause(paused) {
  page.paused = paused;
  $('pause').textContent = paused ? 'Go on' : 'Pause';
  send('pause', paused);
}

function complain(text) {
  $('toast').textContent = text;
  $('toast').hidden = false;
  clearTimeout(page.toast);
  page.toast = setTimeout(() => { $('toast').hidden = true; }, 5000);
}

const plain = event => (event.key.length === 1 ? event.key.toLowerCase() : event.key);
addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT/.test(event.target.tagName)) return;
  if (event.key === 'Escape') return pause(!page.paused);
  if (!page.controls.some(control => control.keys.includes(plain(event)))) return;
  event.preventDefault();
  if (event.repeat && !page.turns) return;
  if (event.repeat) page.held = null;  // each repetition of a key makes one step
  page.down.add(plain(event));
  hold();
});
addEventListener('keyup', event => { page.down.delete(plain(event)); hold(); });
addEventListener('blur', () => { page.down.clear(); hold(); });
$('pause').addEventListener('click', () => pause(!page.paused));
$('restart').addEventListener('click', () => send('restart'));
$('speed').addEventListener('change', event => { send('speed', Number(event.target.value)); $('picture').focus(); });
fetch('/api/watch').then(answer => answer.json()).then(({ runs }) => { $('watch').hidden = !runs.length; }).catch(() => {});
