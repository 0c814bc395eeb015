// Woodoku: drag a piece onto the board, or select it (keys 1 to 3) and then a cell for its middle.

import { make } from '../dom.js';
import { Cells, cellName } from './cells.js';

export class WoodokuBoard {
  constructor(host, run, act) {
    Object.assign(this, { host, run, act });
    this.slot = null;
    addEventListener('keydown', event => {
      if (this.closed || event.ctrlKey || event.metaKey || document.querySelector('dialog[open]')) return;
      if ('123'.includes(event.key) && event.key.length === 1) this.take(Number(event.key) - 1);
    });
  }

  build(board) {
    this.host.className = 'board woodoku';
    const frame = make('div', { class: 'frame' });
    this.grid = new Cells(frame, board.rows, board.columns, 'woodoku board', {
      choose: cell => this.put(cell), enter: cell => this.preview(cell), leave: () => this.preview(null),
    });
    this.grid.addCoordinates();
    this.grid.cells.forEach((cell, k) => {
      cell.append(make('span', { class: 'tile' }));
      if ((Math.floor(k / 27) + Math.floor(k % 9 / 3)) % 2) cell.classList.add('box');
    });
    this.tray = make('div', { class: 'tray', role: 'group', 'aria-label': 'pieces' });
    this.slots = [0, 1, 2].map(slot => {
      const button = make('button', { class: 'slot', 'data-slot': slot, 'aria-keyshortcuts': slot + 1 });
      button.addEventListener('pointerdown', event => this.drag(event, slot));
      button.addEventListener('click', event => { if (event.detail === 0) this.take(slot); });  // by keyboard
      return button;
    });
    this.tray.append(...this.slots);
    this.host.replaceChildren(frame, this.tray);
  }

  show(position, { game, analysis, hint, moved }) {
    const board = position.board;
    if (!this.grid) this.build(board);
    Object.assign(this, { board, game, position, hint, analysis });
    if (this.slot !== null && (!board.pieces[this.slot].length || !game.mayPlay)) this.slot = null;
    this.host.classList.toggle('ended', position.over);
    this.grid.cells.forEach((element, cell) => {
      element.dataset.piece = board.cells[cell];
      element.classList.toggle('placed', board.placed.includes(cell));
      element.classList.toggle('cleared', board.cleared.includes(cell));
      element.classList.toggle('flash', Boolean(moved) && board.cleared.includes(cell));
    });
    board.pieces.forEach((piece, slot) => {
      const button = this.slots[slot];
      const box = make('span', { class: 'box5' }, ...piece.map(([row, column]) => {
        const tile = make('span', { class: 'tile' });
        tile.style.gridArea = `${row + 3} / ${column + 3}`;
        return tile;
      }));
      button.replaceChildren(box);
      button.disabled = !piece.length || !game.mayPlay;
      button.classList.toggle('stuck', piece.length > 0 && !board.fits[slot].length);
      button.setAttribute('aria-label', piece.length
        ? `piece ${slot + 1}: ${piece.length} cells, ${this.shape(piece)}; fits in ${board.fits[slot].length} places` : `piece ${slot + 1}: placed`);
    });
    this.mark();
  }

  shape(piece) {
    const rows = piece.map(([row]) => row), columns = piece.map(([, column]) => column);
    return `${Math.max(...rows) - Math.min(...rows) + 1} high, ${Math.max(...columns) - Math.min(...columns) + 1} wide`;
  }

  // Highlight the selected piece, the agent's preferred moves, and the cells where the piece fits.
  mark() {
    this.slots.forEach((button, slot) => button.setAttribute('aria-pressed', String(slot === this.slot)));
    const fits = new Set(this.slot === null || !this.game.mayPlay ? [] : this.board.fits[this.slot]);
    const wish = this.hint ?? this.analysis?.action ?? null;
    const wished = new Set(wish === null ? [] : this.cellsOf(Math.floor(wish / 81), wish % 81));
    this.slots.forEach((button, slot) => button.classList.toggle('hinted', wish !== null && Math.floor(wish / 81) === slot));
    this.grid.cells.forEach((element, cell) => {
      element.classList.toggle('fits', fits.has(cell));
      element.classList.toggle('hinted', wished.has(cell));
      const name = `${cellName(cell, 9)}, ${this.board.cells[cell] ? 'filled' : 'empty'}`;
      element.setAttribute('aria-label', fits.has(cell) ? `${name}, piece ${this.slot + 1} fits here` : name);
    });
  }

  cellsOf(slot, middle) {
    return this.board.pieces[slot].map(([row, column]) => [Math.floor(middle / 9) + row, middle % 9 + column])
      .filter(([row, column]) => row >= 0 && row < 9 && column >= 0 && column < 9).map(([row, column]) => 9 * row + column);
  }

  take(slot) {
    if (!this.game?.mayPlay || !this.board.pieces[slot].length) return;
    this.slot = this.slot === slot ? null : slot;
    this.mark();
    this.preview(this.grid.element.contains(document.activeElement) ? this.grid.focused : null);
  }

  preview(cell) {
    for (const element of this.host.querySelectorAll('.ghost, .wrong')) element.classList.remove('ghost', 'wrong');
    if (cell === null || this.slot === null || !this.game.mayPlay) return;
    const name = this.board.fits[this.slot].includes(cell) ? 'ghost' : 'wrong';
    for (const covered of this.cellsOf(this.slot, cell)) this.grid.cells[covered].classList.add(name);
  }

  put(cell) {
    if (this.slot === null || !this.game.mayPlay || !this.board.fits[this.slot].includes(cell)) return false;
    const action = 81 * this.slot + cell;
    this.slot = null;
    this.act(action);
    return true;
  }

  drag(event, slot) {
    if (event.button !== 0 || !this.game.mayPlay || !this.board.pieces[slot].length) return;
    const button = this.slots[slot];
    const side = this.grid.cells[0].getBoundingClientRect().width;
    const lift = event.pointerType === 'touch' ? 1.6 * side : 0;  // above the finger, where it can be seen
    let floating = null;
    const cellAt = at => {
      const board = this.grid.element.getBoundingClientRect();
      const column = Math.floor((at.clientX - board.left) / board.width * 9);
      const row = Math.floor((at.clientY - lift - board.top) / board.height * 9);
      return row >= 0 && row < 9 && column >= 0 && column < 9 ? 9 * row + column : null;
    };
    const move = at => {
      if (!floating) {
        if (Math.hypot(at.clientX - event.clientX, at.clientY - event.clientY) < 6) return;
        this.slot = slot;
        floating = button.firstChild.cloneNode(true);
        floating.classList.add('floating');
        floating.style.setProperty('--side', `${side}px`);
        document.body.append(floating);
        button.classList.add('taken');
        this.mark();
      }
      floating.style.left = `${at.clientX - 2.5 * side}px`;
      floating.style.top = `${at.clientY - lift - 2.5 * side}px`;
      this.preview(cellAt(at));
    };
    const end = at => {
      removeEventListener('pointermove', move);
      removeEventListener('pointerup', end);
      removeEventListener('pointercancel', end);
      button.classList.remove('taken');
      if (!floating) return at.type === 'pointerup' ? this.take(slot) : undefined;
      floating.remove();
      const cell = cellAt(at);
      if (at.type === 'pointerup' && cell !== null) this.put(cell);
      this.slot = null;
      this.mark();
      this.preview(null);
    };
    event.preventDefault();
    addEventListener('pointermove', move);
    addEventListener('pointerup', end);
    addEventListener('pointercancel', end);
  }

  close() { this.closed = true; }
}
