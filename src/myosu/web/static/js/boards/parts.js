// The numbers of each part of an agent, on small boards side by side. A click shows a part's numbers on the large board.

import { make, svg } from '../dom.js';
import { look, moveName } from '../words.js';

const TITLES = { prior: 'Prior', value: 'Value', rollouts: 'Rollouts', visits: 'Visits' };
const MEANINGS = {
  prior: 'How likely the policy network holds each move, before any search.',
  value: 'The value network’s mean below each move that was tried, as the chance to win of the player to move.',
  rollouts: 'The share of the rollouts below each move that the player to move won.',
  visits: 'The share of the simulations that went into each move; the most visited one is played.',
};

// A number in [0, 1] for an action: a probability as it is, a value as a win probability.
export function shareOf(run, name, number) {
  if (number === null) return null;
  return name === 'prior' || name === 'visits' ? number : (number / run.reward_range[1] + 1) / 2;
}

export class PartBoards {
  // choose(name): called when a part is clicked.
  constructor(host, run, choose) {
    Object.assign(this, { host, run, choose });
  }

  show(position, analysis, chosen) {
    this.host.hidden = !analysis?.parts || position.board.kind !== 'grid';
    if (this.host.hidden) return;
    const names = Object.keys(TITLES).filter(name => analysis.parts[name]);
    this.host.replaceChildren(...names.map(name => this.board(position.board, name, analysis.parts[name], name === chosen, analysis.action)));
  }

  // action: the agent’s choice, preferred among equals.
  board(board, name, numbers, chosen, action) {
    const { run } = this;
    const shares = numbers.map(number => shareOf(run, name, number));
    const known = shares.filter(share => share !== null);
    const [low, high] = [name === 'prior' || name === 'visits' ? 0 : Math.min(...known), Math.max(...known, 0.001)];
    const best = shares[action] === Math.max(...known) ? action : shares.indexOf(Math.max(...known));
    const picture = svg('svg', { viewBox: `-0.1 -0.1 ${board.columns + 0.2} ${board.rows + 0.2}`, class: `mini ${look(run)}`, 'aria-hidden': 'true' });
    const middle = cell => [cell % board.columns + 0.5, Math.floor(cell / board.columns) + 0.5];
    for (let k = 0; k < board.columns; k++) picture.append(svg('line', { x1: k + 0.5, x2: k + 0.5, y1: 0.5, y2: board.rows - 0.5 }));
    for (let k = 0; k < board.rows; k++) picture.append(svg('line', { x1: 0.5, x2: board.columns - 0.5, y1: k + 0.5, y2: k + 0.5 }));
    board.cells.forEach((piece, cell) => {
      const [cx, cy] = middle(cell);
      if (piece) picture.append(svg('circle', { cx, cy, r: 0.44, class: `stone${piece}` }));
    });
    for (const [move, cell] of board.options) {
      if (shares[move] === null) continue;
      const [cx, cy] = middle(cell);
      const heat = high > low ? (shares[move] - low) / (high - low) : 1;
      const mark = svg('rect', { x: cx - 0.5, y: cy - 0.5, width: 1, height: 1, class: 'heat', 'fill-opacity': (0.95 * heat).toFixed(3) });
      mark.append(svg('title', {}, `${moveName(run, move)}: ${percent(shares[move])}`));
      picture.append(mark);
      if (move === best) picture.append(svg('circle', { cx, cy, r: 0.3, class: 'best' }));
    }
    const words = known.length ? `${moveName(run, best)} ${percent(shares[best])}` : '–';
    return make('button', { type: 'button', class: 'part', 'data-part': name, 'aria-pressed': String(chosen), title: MEANINGS[name],
      'aria-label': `${TITLES[name]}: best ${words}`, onclick: () => this.choose(chosen ? null : name) },
    make('strong', {}, TITLES[name]), picture, make('span', { class: 'faint' }, words));
  }
}

const percent = share => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
