// A grid of cells for mouse, touch, keyboard and screen readers.

import { make } from '../dom.js';

const letters = 'abcdefghijklmnopqrstuvwxyz';

// The name of a cell in the notation of moves. upwards: the number of rows if they count from the bottom, otherwise 0.
export const cellName = (cell, columns, files = letters, upwards = 0) =>
  files[cell % columns] + (upwards ? upwards - Math.floor(cell / columns) : Math.floor(cell / columns) + 1);

export class Cells {
  // label: of the whole grid. on: {choose(cell), enter(cell), leave()}; choose returns whether it had an effect, the others
  // preview it.
  constructor(host, rows, columns, label, on) {
    this.rows = rows;
    this.columns = columns;
    this.on = on;
    this.element = make('div', { class: 'grid', role: 'grid', 'aria-label': label, 'aria-rowcount': rows,
      'aria-colcount': columns });
    this.element.style.setProperty('--rows', rows);
    this.element.style.setProperty('--columns', columns);
    this.cells = [];
    for (let row = 0; row < rows; row++) {
      const line = make('div', { role: 'row', class: 'row' });
      for (let column = 0; column < columns; column++) {
        const cell = make('div', { role: 'gridcell', class: 'cell', tabindex: -1, 'data-cell': this.cells.length,
          'aria-colindex': column + 1, 'aria-rowindex': row + 1 });
        this.cells.push(cell);
        line.append(cell);
      }
      this.element.append(line);
    }
    this.focused = 0;
    this.cells[0].tabIndex = 0;
    const cellOf = event => {
      const found = event.target.closest?.('.cell');
      return found ? Number(found.dataset.cell) : null;
    };
    this.element.addEventListener('click', event => {
      const cell = cellOf(event);
      if (cell !== null) { this.focus(cell, false); on.choose(cell); }
    });
    this.element.addEventListener('pointerover', event => {
      const cell = cellOf(event);
      if (cell !== null && event.pointerType !== 'touch') on.enter?.(cell);
    });
    this.element.addEventListener('pointerleave', () => on.leave?.());
    this.element.addEventListener('focusin', event => {
      const cell = cellOf(event);
      if (cell !== null) { this.focus(cell, false); if (event.target.matches(':focus-visible')) on.enter?.(cell); }
    });
    this.element.addEventListener('focusout', () => on.leave?.());
    this.element.addEventListener('keydown', event => this.key(event));
    host.replaceChildren(this.element);
  }

  // Letters above the grid and numbers beside it, so that moves can be read off the board.
  addCoordinates(files = letters, upwards = 0) {
    const line = (name, words) => make('div', { class: name, 'aria-hidden': 'true' }, ...words.map(word => make('span', {}, word)));
    this.element.before(line('files', [...files.slice(0, this.columns)]), line('ranks', Array.from({ length: this.rows }, (_, row) => String(upwards ? upwards - row : row + 1))));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const [row, column] = [Math.floor(this.focused / this.columns), this.focused % this.columns];
    const to = {
      ArrowUp: [Math.max(0, row - 1), column], ArrowDown: [Math.min(this.rows - 1, row + 1), column],
      ArrowLeft: [row, Math.max(0, column - 1)], ArrowRight: [row, Math.min(this.columns - 1, column + 1)],
      Home: [row, 0], End: [row, this.columns - 1],
    }[event.key];
    if (to) this.focus(to[0] * this.columns + to[1]);
    else if (event.key === ' ' && !this.on.choose(this.focused)) return event.preventDefault();  // so the page may take it as pause
    else if (event.key === 'Enter') this.on.choose(this.focused);
    else if (event.key !== ' ') return;
    event.preventDefault();
    event.stopPropagation();
  }

  focus(cell, really = true) {
    this.cells[this.focused].tabIndex = -1;
    this.focused = cell;
    this.cells[cell].tabIndex = 0;
    if (really) this.cells[cell].focus();
  }
}
