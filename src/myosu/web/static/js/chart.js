// One picture of curves: a line for each run, over an axis that all pictures share.

import { make, svg } from './dom.js';

const MARGIN = { left: 46, right: 12, top: 8, bottom: 20 };

// A number as short as it may be read.
export function short(value) {
  const size = Math.abs(value);
  const [scale, letter] = size >= 1e9 ? [1e9, 'G'] : size >= 1e6 ? [1e6, 'M'] : size >= 1e4 ? [1e3, 'k'] : [1, ''];
  const scaled = value / scale;
  const text = size > 0 && size < 1e-3 ? value.toExponential(1).replace('.0e', 'e') : String(Number(scaled.toPrecision(Math.abs(scaled) >= 1000 ? 4 : 3)));
  return text.replace('-', '−') + letter;
}

export const capital = text => text[0].toUpperCase() + text.slice(1);

function ticks(low, high, about) {
  const rough = (high - low) / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(factor => factor * power).find(size => size >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(10)));
  return found;
}

// The point of a curve that is nearest to x.
function nearest(points, x) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle; else high = middle;
  }
  return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
}

export class Chart {
  // what: {title, about, names, band, wide, dots}. names: the curves, of which the second is dashed; band: the names of
  // its lower and upper edge. point(x): called where somebody points at this chart; null when they leave.
  constructor(what, point) {
    this.what = what;
    this.cursor = null;
    this.title = make('h3', {}, what.title);
    this.readout = make('div', { class: 'readout' });
    this.plot = svg('svg', { class: 'plot', role: 'img', tabindex: 0 });
    this.notes = make('ul', { class: 'notes', 'aria-label': 'What the doctor sees here' });
    this.element = make('figure', { class: `card chart ${what.wide ? 'wide' : ''}`, 'data-chart': what.names[0] },
      make('figcaption', {}, this.title, this.readout), ...(what.about ? [make('p', { class: 'about' }, what.about)] : []), this.notes, this.plot);
    this.plot.addEventListener('pointermove', event => point(this.courseAt(event)));
    this.plot.addEventListener('pointerleave', () => point(null));
    this.plot.addEventListener('blur', () => point(null));
    this.plot.addEventListener('keydown', event => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.lines?.length) return;
      event.preventDefault();
      const points = this.lines[0].points;
      const now = this.cursor === null ? (step < 0 ? points.length : -1) : points.indexOf(nearest(points, this.cursor));
      point(points[Math.min(points.length - 1, Math.max(0, now + step))][0]);
      this.plot.setAttribute('aria-label', `${this.what.title}: ${this.readout.textContent}`);
    });
  }

  // runs: [{name, number, curves, findings}]. reach: where the shared axis ends. unit: its name.
  show(runs, reach, unit) {
    const { names, band, dots } = this.what;
    this.unit = unit;
    this.lines = runs.flatMap(({ name, number, curves }) => names.map((curve, k) => ({ name, number, second: k > 0, points: curves[curve] ?? [] })))
      .filter(({ points }) => points.length);
    const bands = band ? runs.map(({ number, curves }) => ({ number, low: curves[band[0]] ?? [], high: curves[band[1]] ?? [] }))
      .filter(({ low, high }) => low.length && high.length) : [];
    const values = [...this.lines.map(line => line.points), ...bands.flatMap(({ low, high }) => [low, high])].flat().map(point => point[1]);
    this.element.hidden = !values.length;
    if (!values.length) return;
    this.notes.replaceChildren(...runs.flatMap(({ name, number, findings }) => findings.filter(found => found.curves.some(curve => names.includes(curve)))
      .map(found => make('li', { class: `run${number % 8}` }, ...(runs.length > 1 ? [make('span', { class: 'of' }, `${name}: `)] : []), make('strong', {}, `${capital(found.check)}: `), found.cause || found.message))));
    let [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    if (high - low < 1e-9 * Math.max(1, Math.abs(high))) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    if (low > 0 && low < 0.4 * high) low = 0;
    const box = this.plot.getBoundingClientRect();
    const [width, height] = [box.width || 300, box.height || 130];
    this.plot.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.x = value => MARGIN.left + value / reach * (width - MARGIN.left - MARGIN.right);
    this.y = value => height - MARGIN.bottom - (value - low) / (high - low) * (height - MARGIN.top - MARGIN.bottom);
    this.reach = reach;
    this.height = height;
    const parts = [];
    for (const value of ticks(low, high, height > 200 ? 5 : 4)) {
      const y = this.y(value);
      parts.push(svg('line', { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y, class: `rule ${value === 0 && low < 0 ? 'zero' : ''}` }),
        svg('text', { x: MARGIN.left - 6, y: y + 4, 'text-anchor': 'end' }, short(value)));
    }
    for (const value of ticks(0, reach, width / 65)) {
      parts.push(svg('text', { x: this.x(value), y: height - 5, 'text-anchor': value === 0 ? 'start' : value > 0.96 * reach ? 'end' : 'middle' }, short(value)));
    }
    const path = points => points.map(([x, y], k) => `${k ? 'L' : 'M'}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`).join('');
    for (const { number, low: lower, high: upper } of bands) {
      parts.push(svg('path', { class: `band run${number % 8} ${dots ? '' : 'wider'}`, d: `${path(upper)}${path([...lower].reverse()).replace('M', 'L')}Z` }));
    }
    for (const { number, second, points } of this.lines) {
      parts.push(svg('path', { class: `line run${number % 8} ${second ? 'second' : ''}`, d: path(points), 'data-points': points.length, 'data-last': points.at(-1)[1] }));
      if (dots || points.length === 1) parts.push(...points.map(([x, y]) => svg('circle', { class: `dot run${number % 8}`, cx: this.x(x), cy: this.y(y), r: 2.6 })));
    }
    this.marks = svg('g');
    this.plot.replaceChildren(...parts, this.marks);
    this.point(this.cursor);
  }

  courseAt(event) {
    const box = this.plot.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    return Math.min(1, Math.max(0, share)) * this.reach;
  }

  // Show what was there at x; of null the newest values.
  point(x) {
    this.cursor = x;
    if (this.element.hidden || !this.lines) return;
    const found = this.lines.map(line => ({ ...line, at: x === null ? line.points.at(-1) : nearest(line.points, x) }));
    this.readout.replaceChildren(...(x === null ? [] : [make('span', { class: 'where' }, `at ${short(x)}`)]),
      ...found.map(({ number, at, name }) => make('span', { class: `run${number % 8}`, title: name }, short(at[1]))));
    this.marks.replaceChildren(...(x === null ? [] : [svg('line', { class: 'cursor', x1: this.x(x), x2: this.x(x), y1: MARGIN.top, y2: this.height - MARGIN.bottom }),
      ...found.map(({ number, at }) => svg('circle', { class: `mark run${number % 8}`, cx: this.x(at[0]), cy: this.y(at[1]), r: 3.5 }))]));
    if (x === null) {
      this.plot.setAttribute('aria-label', `${this.what.title}, over ${this.unit}. ` + this.lines.map(({ name, second, points }) =>
        `${name}${second ? ', second' : ''}: ${points.length} points from ${short(points[0][1])} to ${short(points.at(-1)[1])}, `
        + `between ${short(Math.min(...points.map(p => p[1])))} and ${short(Math.max(...points.map(p => p[1])))}.`).join(' ') + ' Arrow keys walk along the curve.');
    }
  }
}
