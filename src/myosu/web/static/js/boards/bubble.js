// Bubble: aim with the mouse or a finger and release, or use the arrow keys and Enter.

import { svg } from '../dom.js';

const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -5, ArrowUp: 5, Home: -100, End: 100 };
const SPEED = 0.045;  // radii per millisecond
const still = matchMedia('(prefers-reduced-motion: reduce)');

export class BubbleBoard {
  constructor(host, run, act) {
    Object.assign(this, { host, run, act });
    this.aim = null;
  }

  build(board) {
    this.host.className = 'board bubble';
    const [width, height] = board.size;
    this.field = svg('g', {});
    this.guide = svg('g', { class: 'guide' });
    this.flying = svg('g', {});
    const line = board.deadline;
    this.drawing = svg('svg', { viewBox: `0 0 ${width} ${height}`, tabindex: 0, role: 'slider', class: 'bubbles',
      'aria-label': 'aim; arrow keys turn, Enter shoots', 'aria-valuemin': 0, 'aria-valuemax': board.shots_of.length - 1 },
    svg('defs', {}, svg('radialGradient', { id: 'gleam', cx: '34%', cy: '30%', r: '75%' },
      svg('stop', { offset: '0%', 'stop-color': '#fff', 'stop-opacity': 0.75 }),
      svg('stop', { offset: '30%', 'stop-color': '#fff', 'stop-opacity': 0.12 }),
      svg('stop', { offset: '100%', 'stop-color': '#000', 'stop-opacity': 0.25 }))),
    svg('line', { class: 'deadline', x1: 0, x2: width, y1: line, y2: line }), this.field, this.guide, this.flying);
    this.host.replaceChildren(this.drawing);
    this.drawing.addEventListener('pointerdown', event => { this.drawing.setPointerCapture(event.pointerId); this.point(event); });
    this.drawing.addEventListener('pointermove', event => this.point(event));
    this.drawing.addEventListener('pointerup', event => { if (event.button === 0 && this.point(event)) this.shoot(); });
    this.drawing.addEventListener('keydown', event => this.key(event));
  }

  show(position, { game, analysis, hint, moved }) {
    const board = position.board;
    if (!this.drawing) this.build(board);
    Object.assign(this, { board, game, wish: hint ?? analysis?.action ?? null });
    this.aim ??= Math.floor(board.shots_of.length / 2);
    this.host.classList.toggle('ended', position.over);
    this.field.replaceChildren();
    this.flying.replaceChildren();
    board.cells.forEach((colour, cell) => {
      if (colour < 0) return;  // no cell
      const [x, y] = board.middles[cell];
      const bubble = this.bubble(x, y, colour);
      bubble.classList.add('cell');
      bubble.dataset.cell = cell;
      bubble.dataset.piece = colour;
      this.field.append(bubble);
    });
    const [x, y] = board.shots_of[0].path[0];
    this.current = this.bubble(x, y, board.current);
    this.field.append(this.current, this.bubble(x - 4, y, board.following, 0.7));
    if (moved && board.shot && !still.matches) this.animate(board);
    this.mark();
  }

  bubble(x, y, colour, radius = 0.97) {
    return svg('g', { class: `ball colour${colour}`, transform: `translate(${x} ${y})` },
      svg('g', { class: 'moves' }, svg('circle', { r: radius }), svg('circle', { r: radius, class: 'gleam' })));
  }

  // The shot flies along its path; then matching bubbles burst and loose ones fall.
  animate(board) {
    const { path, cell, colour, gone } = board.shot;
    const ways = path.slice(1).map(([x, y], k) => Math.hypot(x - path[k][0], y - path[k][1]));
    const whole = ways.reduce((sum, way) => sum + way, 0);
    const duration = Math.min(600, whole / SPEED);
    let way = 0;
    const frames = path.map(([x, y], k) => {
      way += k ? ways[k - 1] : 0;
      return { transform: `translate(${x}px, ${y}px)`, offset: Math.min(1, way / whole) };
    });
    const shot = this.bubble(0, 0, colour);
    this.flying.append(shot);
    shot.firstChild.animate(frames, { duration, fill: 'forwards' }).finished.then(() => shot.remove(), () => {});
    const landed = this.field.querySelector(`[data-cell="${cell}"]`);
    if (landed) landed.animate([{ opacity: 0 }, { opacity: 0 }], { duration });
    for (const [from, what] of gone) {
      const bubble = this.bubble(...board.middles[from], what);
      this.flying.append(bubble);
      if (from === cell) bubble.animate([{ opacity: 0 }, { opacity: 0 }], { duration });
      const end = what === colour ? { transform: 'scale(1.5)', opacity: 0 } : { transform: 'translateY(14px)', opacity: 0 };
      bubble.firstChild.animate([{ transform: 'none', opacity: 1 }, end], { delay: duration, duration: what === colour ? 220 : 450, easing: 'ease-in', fill: 'forwards' })
        .finished.then(() => bubble.remove(), () => {});
    }
  }

  // The aim line, and the agent's preferred shots.
  mark() {
    const { board, game } = this;
    const lines = [];
    const draw = (angle, name, cell = board.shots_of[angle].cell) => {
      const { path } = board.shots_of[angle];
      lines.push(svg('polyline', { class: name, points: path.map(point => point.join(',')).join(' ') }));
      const [x, y] = board.middles[cell];
      lines.push(svg('circle', { class: `${name} target`, cx: x, cy: y, r: 0.85 }));
    };
    if (this.wish !== null && board.ways[this.wish] >= 0) draw(board.ways[this.wish], 'wish', this.wish);
    if (game.mayPlay) draw(this.aim, 'aim');
    this.guide.replaceChildren(...lines);
    const colours = board.colours;
    const { cell, degrees } = board.shots_of[this.aim];
    const where = degrees ? `${Math.abs(degrees)} degrees to the ${degrees < 0 ? 'left' : 'right'}` : 'straight up';
    this.drawing.setAttribute('aria-valuenow', this.aim);
    this.drawing.setAttribute('aria-valuetext', `${colours[board.current]}, ${where}, to row ${Math.floor(cell / board.columns) + 1}, column ${cell % board.columns + 1}; then ${colours[board.following]}`);
    this.drawing.setAttribute('aria-disabled', String(!game.mayPlay));
  }

  // Aim at the pointer. Returns false if it is not above the shooter.
  point(event) {
    const box = this.drawing.getBoundingClientRect();
    const unit = box.width / this.board.size[0];
    const [from_x, from_y] = this.board.shots_of[0].path[0];
    const [right, up] = [(event.clientX - box.left) / unit - from_x, from_y - (event.clientY - box.top) / unit];
    if (up <= 0 || !this.game.mayPlay) return false;
    const angle = Math.atan2(right, up) * 180 / Math.PI;
    const far = this.board.shots_of.map(shot => Math.abs(shot.degrees - angle));
    this.aim = far.indexOf(Math.min(...far));
    this.mark();
    return true;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.game.mayPlay) return;
    if (event.key in STEPS) {
      this.aim = Math.max(0, Math.min(this.board.shots_of.length - 1, this.aim + STEPS[event.key]));
      this.mark();
    } else if (event.key === 'Enter' || event.key === ' ') this.shoot();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  shoot() {
    if (this.game.mayPlay) this.act(this.board.shots_of[this.aim].cell);
  }
}
