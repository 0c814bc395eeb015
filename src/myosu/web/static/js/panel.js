// The panel beside the board: the agent's evaluation, the value over the game, the moves.

import { $, make, svg } from './dom.js';
import { showReview } from './review.js';
import { inDiscs, moveName, moveNumber, sideName } from './words.js';

const percent = share => share < 0.0005 ? '0 %' : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const number = value => (value > 0 ? '+' : '') + String(Math.round(10 * value) / 10).replace('-', '−');

export class Panel {
  constructor(run, lookAt) {
    this.run = run;
    this.lookAt = lookAt;
    $('sgf-part').hidden = !run.sgf;
    $('moves').addEventListener('click', event => {
      const ply = event.target.closest('button')?.dataset.ply;
      if (ply !== undefined) lookAt(Number(ply));
    });
  }

  show(game) {
    const visible = $('show-mind').checked;
    this.mind(game, visible);
    this.curve(game, visible);
    showReview(game, this.lookAt);
    this.moves(game);
  }

  mind(game, visible) {
    const { run } = this;
    const analysis = visible ? game.analyses.get(game.ply) : null;
    if (!analysis) {
      const text = visible ? (game.shown?.over ? 'The game is over here.' : 'Thinking…')
        : 'The moves that it considers, with their shares, and the line that it expects. The shares appear on the board too.';
      return $('mind').replaceChildren(make('p', { class: 'faint' }, text));
    }
    const rows = analysis.shares.slice(0, 6).map(([action, share], k) => {
      const bar = make('span', { class: 'bar' }, make('span', {}));
      bar.firstChild.style.width = `${100 * share}%`;
      return make('tr', { class: action === analysis.action ? 'chosen' : '' }, make('th', { scope: 'row' }, moveName(run, action)),
        make('td', { class: 'wide' }, bar), make('td', {}, percent(share)), make('td', {}, analysis.visits ? String(analysis.visits[k]) : ''));
    });
    const table = make('table', { class: 'shares' },
      make('thead', {}, make('tr', {}, make('th', {}, 'move'), make('th', { class: 'wide' }, ''), make('th', {}, 'share'), make('th', {}, analysis.visits ? 'simulations' : ''))),
      make('tbody', {}, ...rows));
    const meaning = analysis.visits ? 'Share of the search’s simulations, also on the board. It plays the move with the greatest share; among equals, the one with the greatest value.'
      : 'Share: the probability that its policy gives each move, also on the board. It plays the most probable one.';
    const parts = [this.verdict(analysis.outlook), table, make('p', { class: 'faint meaning' }, meaning)];
    if (analysis.owners) {
      const lead = analysis.owners.reduce((sum, owner) => sum + owner, 0) - game.shown.board.komi;
      parts.push(make('p', { class: 'territory' }, make('span', { class: 'faint' }, 'Territory (the shade of the board): '),
        `${sideName(run, lead > 0 ? 0 : 1)} by ${Math.abs(lead).toFixed(1)}`));
    }
    if (analysis.line.length > 1) {
      parts.push(make('p', { class: 'expects' }, make('span', { class: 'faint' }, 'Expects '), analysis.line.map(action => moveName(run, action)).join('  ')));
    }
    $('mind').replaceChildren(...parts);
  }

  // A bar between the two players; in a single-player game, the expected score.
  verdict(outlook) {
    const { run } = this;
    if (run.players === 1) return make('p', { class: 'verdict' }, 'Expects a score of ', make('strong', {}, number(outlook).replace('+', '')));
    const share = (outlook / run.reward_range[1] + 1) / 2;
    const bar = make('div', { class: `balance ${run.game}`, role: 'img', 'aria-label': `Outlook: ${this.favour(outlook)}` }, make('span', {}));
    bar.firstChild.style.width = `${Math.min(98, Math.max(2, 100 * share))}%`;
    return make('div', { class: 'verdict' }, make('p', {}, make('strong', {}, this.favour(outlook))), bar);
  }

  favour(outlook) {
    const { run } = this;
    if (Math.abs(outlook) < 0.02 * run.reward_range[1]) return 'Even';
    const side = sideName(run, outlook > 0 ? 0 : 1);
    if (inDiscs(run)) return `${side} by ${Math.round(2 * Math.abs(outlook))} discs`;
    const share = (1 + Math.min(1, Math.abs(outlook) / run.reward_range[1])) / 2;
    return `${side} ${Math.round(100 * share)} %`;
  }

  curve(game, visible) {
    const { run } = this;
    const points = [...game.outlook].filter(([ply]) => visible || game.over || game.recorded || ply <= game.newest).sort((a, b) => a[0] - b[0]);
    if (!visible && !game.over) return $('curve').replaceChildren(make('p', { class: 'faint' }, 'Shown with the agent’s thoughts, and when the game is over.'));
    if (points.length < 2) return $('curve').replaceChildren(make('p', { class: 'faint' }, 'Drawn from what the agent thought at each of its moves.'));
    const [width, height] = [300, 110];
    const values = points.map(([, value]) => value);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    if (run.players === 2) { high = Math.max(run.reward_range[1] / 4, Math.abs(low), Math.abs(high)); low = -high; }
    if (high === low) high = low + 1;
    const end = Math.max(game.newest, 1);
    const x = ply => 6 + (width - 12) * ply / end;
    const y = value => 8 + (height - 16) * (1 - (value - low) / (high - low));
    const path = points.map(([ply, value], k) => `${k ? 'L' : 'M'}${x(ply).toFixed(1)} ${y(value).toFixed(1)}`).join('');
    const base = run.players === 2 ? y(0) : y(low);
    const picture = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', class: 'curve',
      'aria-label': `Value over the game, from ${number(values[0])} to ${number(values.at(-1))} for ${sideName(run, 0)}` },
    svg('line', { x1: 6, x2: width - 6, y1: base, y2: base, class: 'axis' }),
    svg('path', { d: `${path}L${x(points.at(-1)[0]).toFixed(1)} ${base}L${x(points[0][0]).toFixed(1)} ${base}Z`, class: 'area' }),
    svg('path', { d: path, class: 'line' }));
    for (const [k, { mark, name }] of (game.review?.moves ?? []).entries()) {
      const value = game.outlook.get(k + 1);
      if (mark && value !== undefined) picture.append(svg('circle', { cx: x(k + 1), cy: y(value), r: 3.5, class: `marked ${name}` }, svg('title', {}, `${moveNumber(run, k)} ${moveName(run, game.actions[k])}: ${name}`)));
    }
    const now = game.outlook.get(game.ply);
    if (now !== undefined) picture.append(svg('circle', { cx: x(game.ply), cy: y(now), r: 4, class: 'dot' }));
    picture.addEventListener('click', event => {
      const box = picture.getBoundingClientRect();
      this.lookAt(Math.min(end, Math.max(0, Math.round((event.clientX - box.left) / box.width * end))));
    });
    const ends = run.players === 2 ? [sideName(run, 0), sideName(run, 1)] : [number(high).replace('+', ''), number(low).replace('+', '')];
    $('curve').replaceChildren(make('div', { class: 'curve-box' }, make('div', { class: 'ends', 'aria-hidden': 'true' }, make('span', {}, ends[0]), make('span', {}, ends[1])), picture));
  }

  moves(game) {
    const list = $('moves');
    const from = Math.max(0, game.actions.length - 400);  // the newest moves of a long game
    if (this.of !== game || this.length > game.actions.length || this.from !== from) {
      list.replaceChildren();
      Object.assign(this, { of: game, length: from, from });
    }
    // After an undo and a different move, the list is rewritten from the first difference.
    const known = [...list.children].findIndex((item, k) => Number(item.dataset.action) !== game.actions[from + k]);
    if (known >= 0) {
      while (list.children.length > known) list.lastChild.remove();
    }
    for (let k = from + list.children.length; k < game.actions.length; k++) {
      const number = moveNumber(this.run, k);
      list.append(make('li', { class: this.run.players === 2 ? `by${k % 2}` : '', 'data-action': game.actions[k], ...(number.endsWith('.') ? { 'data-number': number } : {}) },
        make('button', { 'data-ply': k + 1, 'aria-label': `move ${k + 1}: ${moveName(this.run, game.actions[k])}` }, moveName(this.run, game.actions[k]))));
    }
    this.length = game.actions.length;
    this.marks(game, from);
    list.querySelector('[aria-current]')?.removeAttribute('aria-current');
    const current = list.children[game.ply - 1 - from]?.firstChild;
    current?.setAttribute('aria-current', 'step');
    if (current) list.scrollTop = current.parentElement.offsetTop - list.clientHeight / 2;
    const scrub = $('scrub');
    scrub.max = game.newest;
    scrub.value = game.ply;
    $('first').disabled = $('previous').disabled = game.ply === 0;
    $('next').disabled = $('last').disabled = game.ply === game.newest;
    $('walk').disabled = game.newest === 0;
  }

  // Show the review's mark beside each move.
  marks(game, from) {
    const { moves } = game.review ?? {};
    if (this.marked === moves) return;
    this.marked = moves;
    [...$('moves').children].forEach((item, k) => {
      const move = moves?.[from + k];
      const [mark, name] = !move ? ['', ''] : move.action === move.best ? ['★', 'the best move'] : [move.mark, move.name];
      const button = item.firstChild;
      button.dataset.mark = mark;
      button.title = name;
      button.setAttribute('aria-label', `move ${from + k + 1}: ${moveName(this.run, game.actions[from + k])}${name && `, ${name}`}`);
    });
  }
}
