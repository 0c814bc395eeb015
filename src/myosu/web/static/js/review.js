// The review of a finished game. The agent searches every position with the same settings. The cost of a move is the
// drop of the value for its player.

import { $, make } from './dom.js';
import { amount, moveName, moveNumber, playerName, sideName } from './words.js';

// Minimum losses for marks, as fractions of a decisive advantage (see scale). The fractions are those of lichess.
const MARKS = [[0.3, '??', 'blunder'], [0.2, '?', 'mistake'], [0.1, '?!', 'inaccuracy']];
// The server accepts 40 messages a second.
const PAUSE = 30;

export class Review {
  // ask(ply): sends the request; the answer goes to `hear`. end: the first seat's return.
  constructor(run, game, ask) {
    Object.assign(this, { run, ask, actions: [...game.actions], seats: game.seats, analyses: new Map() });
    this.end = game.positions.get(game.newest).returns[0];
  }

  get done() { return this.analyses.size >= this.actions.length; }
  get share() { return this.analyses.size / this.actions.length; }

  // Whether the review still fits the game: moves may have been taken back.
  fits(game) { return String(game.actions) === String(this.actions); }

  goOn() {
    clearTimeout(this.timer);
    if (!this.done) this.timer = setTimeout(() => this.ask(this.analyses.size), PAUSE);
  }

  hear(analysis) {
    if (analysis.ply === this.analyses.size) this.analyses.set(analysis.ply, analysis);
    if (this.done) this.judge();
  }

  // moves[k]: {seat, action, best, loss, mark, name} of the action at ply k. mark: '' if the loss is small.
  judge() {
    const outlook = [...this.analyses.values()].map(analysis => analysis.outlook);
    const scale = this.scale(outlook);
    this.moves = this.actions.map((action, ply) => {
      const { action: best, to_play: seat } = this.analyses.get(ply);
      const fell = (outlook[ply] - (outlook[ply + 1] ?? this.end)) * (seat === 0 ? 1 : -1);
      const loss = action === best ? 0 : Math.max(0, fell);  // a drop after the agent's own choice only shows the error of its values
      const [, mark, name] = MARKS.find(([share]) => loss >= share * scale) ?? [0, '', ''];
      return { seat, action, best, loss, mark, name };
    });
  }

  // A decisive advantage: a victory; in games for points, a quarter of all points; for one player, the best expected score.
  scale(outlook) {
    const { run } = this;
    if (run.players === 1) return Math.max(1e-6, ...outlook.map(Math.abs));
    const most = run.reward_range[1];
    return most > 1 ? most / 4 : most;
  }

  // The next marked move after ply (step 1) or before it (step -1), as the ply after the move; null if there is none.
  marked(ply, step) {
    for (let k = ply + step; k >= 1 && k <= this.actions.length; k += step) if (this.moves[k - 1].mark) return k;
    return null;
  }

  // The best move in the position after `ply` moves, or null.
  best(ply) { return this.done ? this.analyses.get(ply)?.action ?? null : null; }

  summary(seat) {
    const moves = this.moves.filter(move => move.seat === seat);
    const count = name => moves.filter(move => move.name === name).length;
    return { best: moves.filter(move => move.action === move.best).length, of: moves.length,
      mean: moves.reduce((sum, move) => sum + move.loss, 0) / Math.max(1, moves.length),
      marked: MARKS.map(([, , name]) => count(name)).reverse() };
  }
}

// The review in the panel: its progress; then the fault of the move that led to the position shown, and a table.
export function showReview(game, lookAt) {
  const { review } = game;
  const host = $('review-result');
  host.hidden = !review;
  if (!review) return;
  if (!review.done) {
    return host.replaceChildren(make('progress', { value: review.share, max: 1, 'aria-label': 'Share of the game that is reviewed' }),
      make('p', { class: 'faint' }, `The agent looks at move ${review.analyses.size + 1} of ${review.actions.length}…`));
  }
  const { run } = review;
  const step = (text, label, way) => {
    const to = review.marked(game.ply, way);
    return make('button', { 'aria-label': label, disabled: to === null, onclick: () => lookAt(to) }, text);
  };
  const rows = game.seats.map((_, seat) => {
    const { best, of, mean, marked } = review.summary(seat);
    return make('tr', {}, make('th', { scope: 'row' }, run.players === 1 ? playerName(game, 0) : `${playerName(game, seat)} (${sideName(run, seat)})`),
      make('td', {}, `${best} of ${of}`), ...marked.map(many => make('td', {}, String(many))), make('td', {}, amount(run, mean)));
  });
  host.replaceChildren(
    make('div', { class: 'judged' }, make('p', { id: 'judged', 'aria-live': 'polite' }, ...judgement(game, review, lookAt)),
      make('div', { class: 'steps' }, step('‹', 'Previous marked move', -1), step('›', 'Next marked move', 1))),
    make('table', { class: 'shares reviewed' },
      make('thead', {}, make('tr', {}, ...['', 'best', '?!', '?', '??', 'lost a move'].map(name => make('th', { scope: 'col' }, name)))),
      make('tbody', {}, ...rows)),
    make('p', { class: 'faint meaning' }, `By the agent’s search${run.searches ? ` of ${run.simulations} simulations` : ''} before and after each move; the ring is the best move it sees. `
      + (run.players === 1 ? 'Luck is part of what a move cost.' : 'It may be wrong.')));
}

function judgement(game, review, lookAt) {
  const { run } = review;
  if (game.ply === 0) return ['Step through the game, or from one marked move to the next.'];
  const { action, best, loss, name } = review.moves[game.ply - 1];
  const played = make('strong', {}, `${moveNumber(run, game.ply - 1)} ${moveName(run, action)}`);
  if (action === best) return [played, ': the best move.'];
  const chances = run.players === 2 && run.reward_range[1] <= 1 ? ' of the winning chances' : '';
  const instead = make('button', { class: 'way', onclick: () => lookAt(game.ply - 1) }, moveName(run, best));
  return [played, name ? `: ${name === 'inaccuracy' ? 'an' : 'a'} ${name}, which cost ${amount(run, loss)}${chances}. Best was ` : ': a good move too. The agent prefers ', instead, '.'];
}
