// Othello, Connect Four, tic-tac-toe and Go: pieces on cells.

import { make } from '../dom.js';
import { look, title } from '../words.js';
import { Cells, cellName } from './cells.js';

const PIECES = {
  othello: ['empty', 'black', 'white'], go: ['empty', 'black', 'white'], connect_four: ['empty', 'red', 'yellow'], tictactoe: ['empty', 'cross', 'ring'],
};

export class GridBoard {
  constructor(host, run, act) {
    this.run = run;
    this.act = act;
    this.host = host;
  }

  build(board) {
    const game = PIECES[look(this.run)] ? look(this.run) : 'othello';  // games of users look like Othello
    this.names = PIECES[game];
    this.naming = board.files ? [board.files, board.rows] : [];  // Go's letters, and rows counted from the bottom
    this.host.className = `board ${game}`;
    const frame = make('div', { class: 'frame' });
    this.grid = new Cells(frame, board.rows, board.columns, `${title(this.run)} board`, {
      choose: cell => this.choose(cell), enter: cell => this.preview(cell), leave: () => this.preview(null),
    });
    this.grid.addCoordinates(...this.naming);
    this.pieces = this.grid.cells.map(cell => {
      const piece = make('span', { class: 'piece' }, make('span', { class: 'face' }));
      const note = make('span', { class: 'note' });
      cell.append(piece, note);
      return { piece, note };
    });
    this.host.replaceChildren(frame);
  }

  // moved: the position follows the one shown before, so the change may be animated.
  show(position, { game, analysis, hint, moved }) {
    const board = position.board;
    if (!this.grid) this.build(board);
    this.board = board;
    this.game = game;
    this.position = position;
    // A click selects the option of the cell or, if pieces drop, of its column.
    this.options = new Map();
    for (const [action, cell, flips] of board.options) {
      const option = { action, cell, flips };
      if (!board.drops) this.options.set(cell, option);
      else for (let c = cell % board.columns; c < board.cells.length; c += board.columns) this.options.set(c, option);
    }
    const landing = new Map(board.options.map(([action, cell]) => [cell, action]));
    const likely = new Map((analysis?.shares ?? []).map(([action, share], k) => [action, [share, analysis.visits?.[k]]]));
    const most = Math.max(0.01, ...[...likely.values()].map(([share]) => share));
    board.cells.forEach((piece, cell) => {
      const element = this.grid.cells[cell];
      const { piece: disc, note } = this.pieces[cell];
      const was = Number(element.dataset.piece ?? 0);
      element.dataset.piece = piece;
      const flipped = moved && board.flipped.includes(cell);
      const placed = moved && board.placed === cell;
      disc.className = `piece ${piece ? this.names[piece] : ''} ${flipped && was ? 'turning' : ''} ${placed ? 'placed' : ''}`;
      if (placed && board.drops) disc.style.setProperty('--fall', Math.floor(cell / board.columns) + 1);
      if (flipped) disc.style.setProperty('--late', this.distance(cell, board.placed));
      const action = landing.get(cell);
      const open = action !== undefined && game.mayPlay;
      element.dataset.owner = board.owners?.[cell] ?? 0;
      const owner = analysis?.owners?.[cell] ?? 0;
      element.classList.toggle('claimed1', owner > 0.1);
      element.classList.toggle('claimed2', owner < -0.1);
      element.style.setProperty('--claim', Math.abs(owner));
      element.classList.toggle('open', open);
      element.classList.toggle('last', board.placed === cell);
      element.classList.toggle('flipped', board.flipped.includes(cell));
      element.classList.toggle('line', board.line.includes(cell));
      element.classList.toggle('hinted', action !== undefined && hint === action);
      element.classList.toggle('clickable', game.mayPlay && this.options.has(cell));
      element.setAttribute('aria-label', this.label(cell, piece, open, board));
      const [share, visits] = (action !== undefined && likely.get(action)) || [0, 0];
      note.textContent = analysis && share >= 0.005 ? `${Math.round(100 * share)}` : '';
      note.title = visits ? `${visits} simulations` : '';
      note.style.setProperty('--share', share / most);
      element.classList.toggle('analyzed', Boolean(note.textContent));
    });
    this.host.classList.toggle('ended', position.over);
    this.host.dataset.mover = position.to_play;
    this.preview(null);
  }

  label(cell, piece, open, board) {
    const what = [cellName(cell, board.columns, ...this.naming), this.names[piece]];
    if (open) what.push('you may play here');
    if (board.placed === cell) what.push('last move');
    if (board.flipped.includes(cell)) what.push('just turned');
    if (board.line.includes(cell)) what.push('winning line');
    return what.join(', ');
  }

  distance(cell, other) {
    const columns = this.board.columns;
    return Math.max(Math.abs(cell % columns - other % columns), Math.abs(Math.floor(cell / columns) - Math.floor(other / columns)));
  }

  preview(cell) {
    for (const element of this.host.querySelectorAll('.ghost, .would')) element.classList.remove('ghost', 'would');
    const option = cell === null || !this.game?.mayPlay ? null : this.options.get(cell);
    if (!option) return;
    this.grid.cells[option.cell].classList.add('ghost');
    for (const flip of option.flips) this.grid.cells[flip].classList.add('would');
  }

  choose(cell) {
    const option = this.options.get(cell);
    if (!this.game.mayPlay || !option) return false;
    this.act(option.action);
    return true;
  }
}
