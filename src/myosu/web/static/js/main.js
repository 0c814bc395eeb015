// The page: which game is shown, messages sent and received. The rules are on the server only.

import { $, make, stored } from './dom.js';
import { Game } from './game.js';
import { Link, addressed, ask, offerExports, showAddress } from './link.js';
import { newGameDialog, replaysDialog } from './dialogs.js';
import { Panel } from './panel.js';
import { Review } from './review.js';
import { offerSounds, play, soundOf } from './sounds.js';
import { describe, look, number, outcome, playerName, score, title, won } from './words.js';
import { BOARDS } from './boards/kinds.js';
import { PartBoards, shareOf } from './boards/parts.js';

// asked: the ply of the pending request to the agent, and whether moves were taken back since. hintAt: the ply at which a
// hint is wanted. part: the part of the agent whose numbers are on the board; null: the agent's own.
const page = { run: null, game: null, link: null, board: null, panel: null, parts: null, part: null, hintAt: null, asked: null, walking: null, connected: false };
const calm = matchMedia('(prefers-reduced-motion: reduce)');

async function start() {
  page.run = await ask('/api/run');
  $('run-name').textContent = `${title(page.run)} · ${page.run.run}`;
  document.title = `Myosu: ${title(page.run)}`;
  page.panel = new Panel(page.run, lookAt);
  page.parts = new PartBoards($('parts'), page.run, name => { page.part = name; show(); });
  listen();
  const id = addressed();
  if (id) sit(id);
  else await begin({ seats: usualSeats() });
  addEventListener('popstate', () => location.reload());
}

function usualSeats() {
  const agent = { kind: 'agent', checkpoint: page.run.default, simulations: page.run.simulations, temperature: 0 };
  const seats = Array.from({ length: page.run.players }, () => agent);
  seats[page.run.players === 1 ? 0 : page.run.seat] = { kind: 'person' };
  return seats;
}

async function begin(order) {
  try {
    const { id } = order.id ? order : await ask('/api/games', order);
    showAddress(id);
    page.ordered = page.game !== null;  // the board takes over the focus of the dialog
    sit(id);
  } catch (error) {
    complain(error.message);
  }
}

function sit(id) {
  page.link?.close();
  page.board?.close?.();
  stopWalking();
  Object.assign(page, { game: null, board: null, hintAt: null, asked: null, queue: [], busyUntil: 0 });
  $('spoken').replaceChildren();
  $('toast').hidden = true;
  offerExports(id);
  page.link = new Link(id, receive, connected => {
    page.connected = connected;
    page.asked = null;
    document.body.classList.toggle('lost', !connected);
    if (page.game) show();
  }, () => {
    const { game } = page;  // a game without moves was not saved, so begin a new one
    if (game && !game.recorded && !game.actions.length) begin({ seats: game.seats });
  });
}

// Messages wait while a move is animated: the agent's answer may arrive before the last disc has turned.
function receive(message) {
  page.queue.push(message);
  work();
}

function work() {
  while (page.queue.length) {
    const wait = page.busyUntil - performance.now();
    if (page.queue[0].type === 'position' && wait > 0) {
      clearTimeout(page.worker);
      page.worker = setTimeout(work, wait);
      return;
    }
    const message = page.queue.shift();
    hear(message);
    if (message.type === 'position' && message.position.board.kind === 'grid' && !calm.matches) page.busyUntil = performance.now() + 550;
  }
}

function hear(message) {
  const { game } = page;
  switch (message.type) {
    case 'game':
      page.hintAt = null;
      if (page.asked) page.asked.stale = true;
      if (game) game.take(message);
      else page.game = new Game(message);
      if (!game && page.game.recorded) page.game.cursor = 0;
      page.game.review?.goOn();
      show();
      if (!game && page.ordered) $('board').querySelector('[tabindex="0"], .options button')?.focus({ preventScroll: true });
      break;
    case 'position': {
      const following = game.live && message.position.ply === game.newest + 1;
      game.advance(message.position);
      say(describe(page.run, game, message.position));
      play(soundOf(game, message.position, won(game, message.position)));
      if (game.live) show(following);
      else page.panel.show(game);
      break;
    }
    case 'look':
      game.positions.set(message.position.ply, message.position);
      if (message.position.ply === game.ply) show(page.stepped);
      break;
    case 'analysis':
      if (page.asked?.ply !== message.ply || !page.asked.stale) {
        game.addAnalysis(message);
        if (page.hintAt === message.ply) sayHint(message);
      }
      if (page.asked?.review && page.asked.ply === message.ply) {
        game.review?.hear(message);
        game.review?.goOn();
      }
      if (page.asked?.ply === message.ply) page.asked = null;
      show();
      break;
    case 'pace':
      Object.assign(game, { paused: message.paused, pace: message.seconds });
      show();
      break;
    case 'error':
      page.hintAt = page.asked = null;
      complain(message.message);
      if (!game) $('status').textContent = message.message;
  }
}

function act(action) {
  page.link.send({ type: 'play', ply: page.game.newest, action });
}

function show(moved = false) {
  const { game, run } = page;
  const position = game.shown;
  if (!position) return wantPosition(game.ply);
  if (!page.board) page.board = new BOARDS[position.board.kind]($('board'), run, act);
  const visible = $('show-mind').checked;
  const analysis = game.analyses.get(game.ply) ?? null;
  const hinted = game.live && page.hintAt === game.ply;
  const hint = hinted ? analysis?.action ?? null : game.review?.best(game.ply) ?? null;
  page.board.show(position, { game, analysis: visible ? ofPart(analysis) : null, hint, moved });
  page.parts.show(position, visible ? analysis : null, page.part);
  Object.assign($('board').dataset, { ply: position.ply, turn: position.over ? 'over' : game.mayPlay ? 'person' : 'other' });
  page.panel.show(game);
  showScores(position);
  showActions(position);
  const reviewing = game.review && !game.review.done;
  const wanted = hinted || (visible && !reviewing && (game.mayPlay || game.paused || !game.live));
  if (wanted && !analysis && !position.over && !page.asked) analyze();
}

// The analysis, with the shares replaced by the numbers of the chosen part.
function ofPart(analysis) {
  const numbers = analysis?.parts?.[page.part];
  if (!numbers) return analysis;
  const shares = numbers.map((number, action) => [action, shareOf(page.run, page.part, number)]);
  return { ...analysis, visits: null, shares: shares.filter(([, share]) => share !== null) };
}

function showScores(position) {
  const { game, run } = page;
  const cards = game.seats.map((_, seat) => {
    const turn = !position.over && position.to_play === seat;
    const points = position.board.score?.[seat] ?? (run.players === 1 && position.board.kind !== 'bubble' ? number(score(position)) : '');
    const name = playerName(game, seat);
    return make('div', { class: `score seat${seat} ${turn ? 'turn' : ''}`, role: 'group', 'aria-label': `${name}${turn ? ', to move' : ''}` },
      make('span', { class: `token ${look(run)}` }), make('span', { class: 'name' }, name), make('strong', { class: 'points' }, String(points)));
  });
  if (position.board.kind === 'snake') cards.push(make('div', { class: 'score' }, make('span', { class: 'name' }, 'Length'), make('strong', { class: 'points' }, String(position.board.body.length))));
  if (position.board.kind === 'woodoku') cards.push(make('div', { class: 'score' }, make('span', { class: 'name' }, 'Streak'), make('strong', { class: 'points' }, String(position.board.straight))));
  if (position.board.kind === 'bubble') cards.push(make('div', { class: 'score' }, make('span', { class: 'name' }, 'Shots left'), make('strong', { class: 'points' }, String(position.board.shots))),
    make('div', { class: 'score' }, make('span', { class: 'name' }, 'Bubbles'), make('strong', { class: 'points' }, String(score(position)))));
  $('scores').replaceChildren(...cards);
}

function showActions(position) {
  const { game, run } = page;
  const status = $('status');
  status.textContent = !page.connected ? 'The connection is lost. Trying again…' : outcome(run, game, position);
  status.classList.toggle('over', position.over);
  status.classList.toggle('won', won(game, position));
  $('rematch').hidden = !game.over || game.recorded || !game.hasPerson;
  $('review').hidden = !game.over || !game.actions.length || Boolean(game.review);
  $('rematch').textContent = run.players === 1 ? 'Play again' : 'Rematch';
  $('pass').hidden = !(game.mayPlay && position.board.pass === true);
  $('undo').hidden = $('hint').hidden = game.recorded || !game.hasPerson;
  $('undo').disabled = game.newest === 0;
  $('hint').disabled = !game.mayPlay;
  const watching = !game.recorded && !game.hasPerson;
  $('pause').hidden = game.over || game.recorded || !(watching || game.paused);
  $('pace-label').hidden = !watching || game.over;
  $('pause').textContent = game.paused ? 'Go on' : 'Pause';
  $('pace').value = 100 - 100 * Math.log(game.pace / 0.02) / Math.log(150);
  $('drive-label').hidden = position.board.kind !== 'snake' || !game.hasPerson;
  $('continue').hidden = (game.live && !game.over) || position.over || (!game.recorded && game.live);
  if (document.activeElement?.hidden || document.activeElement?.disabled) $('board').querySelector('[tabindex="0"], .options button')?.focus();
}

function analyze() {
  const { game, run } = page;
  const agent = game.seats.find(seat => seat.kind === 'agent');
  page.asked = { ply: game.ply };
  page.link.send({ type: 'analyze', ply: game.ply, checkpoint: agent?.checkpoint ?? run.default, simulations: agent?.simulations ?? run.simulations });
}

// Review every position of a finished game, with the agent at its usual strength.
function startReview() {
  const { game, run } = page;
  game.review = new Review(run, game, ply => {
    if (game !== page.game || !page.connected) return;
    page.asked = { ply, review: true };
    page.link.send({ type: 'analyze', ply, checkpoint: run.default, simulations: run.simulations });
  });
  game.review.goOn();
  show();
}

function lookAt(ply, stepped = false) {
  const { game } = page;
  if (!game || ply < 0 || ply > game.newest) return;
  page.hintAt = null;
  page.stepped = stepped;
  game.cursor = ply === game.newest && !game.recorded ? null : ply;
  page.board?.hold?.();
  if (game.shown) {
    show(stepped);
    if (stepped) say(describe(page.run, game, game.shown));
  } else wantPosition(ply);
}

function wantPosition(ply) {
  page.link.send({ type: 'look', ply });
  page.panel.show(page.game);
}

function walk() {
  const { game } = page;
  if (page.walking) return stopWalking();
  if (game.ply >= game.newest) lookAt(0);
  const step = () => {
    if (game !== page.game || game.ply >= game.newest) return stopWalking();
    lookAt(game.ply + 1, true);
    page.walking = setTimeout(step, page.run.players === 1 && page.run.game.startsWith('snake') ? 110 : 700);
  };
  page.walking = setTimeout(step, 300);
  $('walk').textContent = '⏸';
  $('walk').setAttribute('aria-label', 'Stop playing back');
}

function stopWalking() {
  clearTimeout(page.walking);
  page.walking = null;
  $('walk').textContent = '▶';
  $('walk').setAttribute('aria-label', 'Play back');
}

function say(text) {
  const log = $('spoken');
  log.append(make('span', {}, `${text} `));
  while (log.children.length > 6) log.firstChild.remove();
}

function sayHint(analysis) {
  say(`Hint: ${page.run.names[analysis.action]}.`);
}

function complain(text) {
  const toast = $('toast');
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(complain.timer);
  complain.timer = setTimeout(() => { toast.hidden = true; }, 5000);
}

function listen() {
  const undo = () => page.link.send({ type: 'undo', ply: page.game.newest });
  const hint = () => {
    const { game } = page;
    if (!game.mayPlay) return;
    page.hintAt = game.ply;
    if (game.analyses.has(game.ply)) sayHint(game.analyses.get(game.ply));
    show();
  };
  const pass = () => act(page.run.pass);
  const pause = () => page.link.send({ type: 'pause', paused: !page.game.paused });
  const orderNew = async () => {
    const seats = await newGameDialog(page.run, page.game?.recorded ? usualSeats() : page.game?.seats ?? usualSeats());
    if (seats) begin({ seats });
  };
  // Players swap seats, as is usual.
  $('rematch').onclick = () => begin({ seats: [...page.game.seats].reverse() });
  $('review').onclick = startReview;
  offerSounds();
  $('undo').onclick = () => { if (!page.game.live) lookAt(page.game.newest); undo(); };
  $('hint').onclick = hint;
  $('pass').onclick = pass;
  $('pause').onclick = pause;
  $('open-new').onclick = orderNew;
  $('open-replays').onclick = async () => {
    try {
      const order = await replaysDialog(page.run, await ask('/api/stored'));
      if (order) begin(order);
    } catch (error) { complain(error.message); }
  };
  $('continue').onclick = async () => {
    const seats = await newGameDialog(page.run, page.game.recorded ? usualSeats() : page.game.seats);
    if (seats) begin({ seats, from: { game: page.game.id, ply: page.game.ply } });
  };
  $('pace').onchange = () => page.link.send({ type: 'pace', seconds: 0.02 * 150 ** (1 - $('pace').value / 100) });
  $('drive').value = stored.get('drive', '190');
  $('drive').onchange = () => { stored.set('drive', $('drive').value); $('drive').blur(); page.board?.hold?.(); };
  $('show-mind').checked = stored.get('mind', '') === 'yes';
  $('show-mind').onchange = () => { stored.set('mind', $('show-mind').checked ? 'yes' : ''); show(); };
  $('first').onclick = () => { stopWalking(); lookAt(0); };
  $('previous').onclick = () => { stopWalking(); lookAt(page.game.ply - 1); };
  $('next').onclick = () => { stopWalking(); lookAt(page.game.ply + 1, true); };
  $('last').onclick = () => { stopWalking(); lookAt(page.game.newest); };
  $('walk').onclick = walk;
  $('scrub').oninput = () => { stopWalking(); lookAt(Number($('scrub').value)); };
  addEventListener('keydown', event => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]') || !page.game) return;
    if (event.target.matches('input:not([type=checkbox]), select')) return;
    const press = id => { const button = $(id); if (!button.hidden && !button.disabled) button.click(); };
    const commands = { r: 'rematch', v: 'review', m: 'sounds', u: 'undo', h: 'hint', p: 'pass', n: 'open-new', t: 'show-mind', ',': 'previous', '.': 'next', Home: 'first', End: 'last' };
    if (commands[event.key]) { press(commands[event.key]); event.preventDefault(); }
    else if (event.key === ' ' && (event.target === document.body || event.target.closest('#board'))) { press('pause'); event.preventDefault(); }
  });
}

start().catch(error => { $('status').textContent = `The page cannot begin: ${error.message}`; });
