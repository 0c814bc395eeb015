// Snake. It moves with each key, or by itself in the direction of the last key.

import { make, stored, svg } from '../dom.js';
import { Cells } from './cells.js';

const KEYS = { ArrowDown: 0, s: 0, ArrowRight: 1, d: 1, ArrowUp: 2, w: 2, ArrowLeft: 3, a: 3 };
const UNIT = 40;

export class SnakeBoard {
  constructor(host, run, act) {
    Object.assign(this, { host, run, act });
    this.direction = null;
    addEventListener('keydown', event => this.key(event));
  }

  build(board) {
    this.host.className = 'board snake';
    const frame = make('div', { class: 'frame' });
    this.grid = new Cells(frame, board.rows, board.columns, 'snake board; steer with the arrow keys', { choose: () => false });
    this.grid.key = () => {};  // arrow keys steer the snake instead of moving the focus
    this.drawing = svg('svg', { viewBox: `0 0 ${board.columns * UNIT} ${board.rows * UNIT}`, 'aria-hidden': 'true' });
    frame.append(this.drawing);
    this.pad = make('div', { class: 'pad' }, ...[[2, '▲', 'up'], [3, '◀', 'left'], [1, '▶', 'right'], [0, '▼', 'down']].map(
      ([action, sign, name]) => make('button', { class: name, 'aria-label': name, onclick: () => this.steer(action) }, sign)));
    this.host.replaceChildren(frame, this.pad);
    let from = null;
    frame.addEventListener('pointerdown', event => { from = [event.clientX, event.clientY]; });
    frame.addEventListener('pointerup', event => {
      if (!from) return;
      const [x, y] = [event.clientX - from[0], event.clientY - from[1]];
      from = null;
      if (Math.hypot(x, y) < 18) return this.steerTowards(event);
      this.steer(Math.abs(x) > Math.abs(y) ? (x > 0 ? 1 : 3) : (y > 0 ? 0 : 2));
    });
  }

  show(position, { game, analysis, hint }) {
    const board = position.board;
    if (!this.grid) this.build(board);
    Object.assign(this, { board, game, position });
    this.host.classList.toggle('ended', position.over);
    this.pad.hidden = !game.hasPerson;
    const body = new Map(board.body.map((cell, k) => [cell, k === 0 ? 'head' : k === board.body.length - 1 ? 'tail' : 'body']));
    this.grid.cells.forEach((element, cell) => {
      const what = body.get(cell) ?? (board.targets.includes(cell) ? 'target' : 'empty');
      if (element.dataset.piece === what) return;
      element.dataset.piece = what;
      element.setAttribute('aria-label', `row ${Math.floor(cell / board.columns) + 1}, column ${cell % board.columns + 1}, ${what}`);
    });
    this.draw(board, analysis, hint);
    clearTimeout(this.timer);
    const wait = Number(stored.get('drive', '190'));
    if (wait && this.direction !== null && game.mayPlay) this.timer = setTimeout(() => this.move(), wait);
    if (position.over || position.ply === 0) this.direction = null;
  }

  centre(cell) {
    return [(cell % this.board.columns + 0.5) * UNIT, (Math.floor(cell / this.board.columns) + 0.5) * UNIT];
  }

  draw(board, analysis, hint) {
    const points = board.body.map(cell => this.centre(cell));
    const shapes = [];
    for (const cell of board.targets) {
      const [x, y] = this.centre(cell);
      shapes.push(svg('circle', { cx: x, cy: y, r: 13, class: 'apple' }), svg('path', { class: 'leaf', d: `M${x} ${y - 11}q2-9 10-9q-1 9-10 9` }));
    }
    // From the tail on, so that parts nearer to the head lie on top.
    for (let k = points.length - 1; k > 0; k--) {
      const share = k / points.length;
      shapes.push(svg('line', { x1: points[k][0], y1: points[k][1], x2: points[k - 1][0], y2: points[k - 1][1], class: 'body',
        'stroke-width': 27 - 9 * share, stroke: `color-mix(in oklab, var(--snake-head), var(--snake-tail) ${Math.round(100 * share)}%)` }));
    }
    const [x, y] = points[0];
    const [dx, dy] = [x - points[1][0], y - points[1][1]].map(Math.sign);
    shapes.push(svg('circle', { cx: x, cy: y, r: 16, class: 'head' }));
    for (const side of [-1, 1]) {
      const [ex, ey] = [x + 5 * dx - 7 * side * dy, y + 5 * dy + 7 * side * dx];
      shapes.push(svg('circle', { cx: ex, cy: ey, r: 4.2, class: 'eye' }), svg('circle', { cx: ex + 1.4 * dx, cy: ey + 1.4 * dy, r: 2.1, class: 'pupil' }));
    }
    const steps = [[0, 1], [1, 0], [0, -1], [-1, 0]];
    const arrow = (action, share, name) => {
      const [ax, ay] = steps[action];
      const [tx, ty] = [x + ax * (18 + 24 * share), y + ay * (18 + 24 * share)];
      shapes.push(svg('line', { x1: x + 18 * ax, y1: y + 18 * ay, x2: tx, y2: ty, class: name }));
      shapes.push(svg('path', { class: name, d: `M${tx - 7 * ay - 4 * ax} ${ty - 7 * ax - 4 * ay}L${tx + 7 * ax} ${ty + 7 * ay}L${tx + 7 * ay - 4 * ax} ${ty + 7 * ax - 4 * ay}` }));
    };
    for (const [action, share] of analysis?.shares ?? []) if (share > 0.01) arrow(action, share, 'wish');
    if (hint !== null && hint !== undefined) arrow(hint, 1, 'wish hinted');
    this.drawing.replaceChildren(...shapes);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector('dialog[open]')) return;
    if (event.target.matches('input, select')) return;
    const action = KEYS[event.key];
    if (action === undefined || !this.host.isConnected || this.closed || !this.game?.hasPerson) return;
    event.preventDefault();
    if (!event.repeat || Number(stored.get('drive', '190')) === 0) this.steer(action);
  }

  steerTowards(event) {
    const box = this.drawing.getBoundingClientRect();
    const [x, y] = this.centre(this.board.body[0]);
    const [dx, dy] = [(event.clientX - box.left) / box.width * this.drawing.viewBox.baseVal.width - x,
      (event.clientY - box.top) / box.height * this.drawing.viewBox.baseVal.height - y];
    this.steer(Math.abs(dx) > Math.abs(dy) ? (dx > 0 ? 1 : 3) : (dy > 0 ? 0 : 2));
  }

  steer(action) {
    if (!this.game?.mayPlay) return;
    const running = this.direction !== null && Number(stored.get('drive', '190')) > 0;
    if (this.position.legal.includes(action)) this.direction = action;
    if (!running && this.direction !== null) this.move();
  }

  move() {
    if (!this.game.mayPlay) return;
    const ahead = this.position.legal.includes(this.direction);
    if (ahead) this.act(this.direction);
  }

  hold() {
    this.direction = null;
    clearTimeout(this.timer);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
  }
}
