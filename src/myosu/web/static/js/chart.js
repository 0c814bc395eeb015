// A chart of curves: a line for each run, over an x-axis that all charts share.

import { make, svg } from './dom.js';
import { savePicture } from './picture.js';

const MARGIN = { left: 46, right: 12, top: 8, bottom: 20 };
// Minimum pixels of a drag that selects a part of the axis.
const DRAG = 8;

// A number in a short readable form.
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

// Ticks of a logarithmic axis: powers of ten, or if these are too few, their multiples by 1, 2 and 5.
function logTicks(low, high) {
  const powers = Array.from({ length: Math.ceil(Math.log10(high)) - Math.floor(Math.log10(low)) + 1 }, (_, k) => 10 ** (Math.floor(Math.log10(low)) + k));
  const inside = values => values.filter(value => value >= low * 0.999 && value <= high * 1.001);
  const found = inside(powers);
  if (found.length > 6) return found.filter((_, k) => k % Math.ceil(found.length / 6) === 0);
  if (found.length > 1) return found;
  const finer = inside(powers.flatMap(power => [power, 2 * power, 5 * power]));
  return finer.length > 1 ? finer : ticks(low, high, 4);
}

// The point of a curve nearest to x.
function nearest(points, x) {
  let low = 0, high = points.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x) low = middle; else high = middle;
  }
  return Math.abs(points[low][0] - x) <= Math.abs(points[high][0] - x) ? points[low] : points[high];
}

export class Chart {
  // what: {title, about, names, band, wide, dots}. names: the curves; the second is dashed. band: the names of its lower
  // and upper edge. point(x): called when the pointer is at x of this chart; null when it leaves. zoom(low, high): called
  // when a part of the axis is selected; without numbers for all of it.
  constructor(what, { point, zoom }) {
    this.what = what;
    this.cursor = null;
    this.title = make('h3', {}, what.title);
    this.readout = make('div', { class: 'readout' });
    this.plot = svg('svg', { class: 'plot', role: 'img', tabindex: 0 });
    this.notes = make('ul', { class: 'notes', 'aria-label': 'What the doctor sees here' });
    this.csv = make('a', { download: '' }, 'CSV');
    this.saves = make('div', { class: 'saves' }, make('button', { 'aria-label': `Save ${what.title} as a picture`, onclick: () => this.save() }, 'PNG'), this.csv);
    this.element = make('figure', { class: `card chart ${what.wide ? 'wide' : ''}`, 'data-chart': what.names[0] },
      make('figcaption', {}, this.title, this.readout), ...(what.about ? [make('p', { class: 'about' }, what.about)] : []), this.notes, this.plot, this.saves);
    this.listen(point, zoom);
  }

  listen(point, zoom) {
    let from = null;
    this.plot.addEventListener('pointerdown', event => { if (event.button === 0) from = event; });
    this.plot.addEventListener('pointermove', event => {
      if (from && Math.abs(event.clientX - from.clientX) > DRAG) {
        this.plot.setPointerCapture(event.pointerId);
        this.select(this.xAt(from), this.xAt(event));
      }
      point(this.xAt(event));
    });
    this.plot.addEventListener('pointerup', event => {
      if (from && Math.abs(event.clientX - from.clientX) > DRAG) zoom(...[this.xAt(from), this.xAt(event)].sort((a, b) => a - b));
      from = null;
      this.select();
    });
    this.plot.addEventListener('pointercancel', () => { from = null; this.select(); });
    this.plot.addEventListener('dblclick', () => zoom());
    this.plot.addEventListener('pointerleave', () => point(null));
    this.plot.addEventListener('blur', () => point(null));
    this.plot.addEventListener('keydown', event => {
      const { low, high } = this.view ?? {};
      const scale = { '+': 0.5, '=': 0.5, '-': 2 }[event.key];
      if (scale) {
        const half = scale * (high - low) / 2;
        const middle = Math.max(half, this.cursor ?? (low + high) / 2);
        zoom(middle - half, middle + half);
      }
      if (event.key === '0' || event.key === 'Escape') zoom();
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.lines?.length) return;
      event.preventDefault();
      const points = this.lines[0].points;
      const now = this.cursor === null ? (step < 0 ? points.length : -1) : points.indexOf(nearest(points, this.cursor));
      point(points[Math.min(points.length - 1, Math.max(0, now + step))][0]);
      this.plot.setAttribute('aria-label', `${this.what.title}: ${this.readout.textContent}`);
    });
  }

  // runs: [{name, number, curves, smoothed, spread, findings}]. smoothed: drawn in front of the raw curve. spread: for a
  // group of runs, minimum and maximum of each curve. view: {low, high, unit} of the shared x-axis; log: whether y-axes
  // are logarithmic where possible.
  show(runs, view) {
    const { names, band, dots } = this.what;
    const inside = points => (points ?? []).filter(([x]) => x >= view.low && x <= view.high);
    this.view = view;
    this.lines = runs.flatMap(({ name, number, curves, smoothed, spread }) => names.map((curve, k) => ({ name, number, second: k > 0,
      points: inside(smoothed[curve] ?? curves[curve]), behind: smoothed[curve] && !spread ? inside(curves[curve]) : [] }))).filter(({ points }) => points.length);
    const edges = ({ number, curves, spread }) => spread ? names.map(curve => ({ number, low: inside(spread.low[curve]), high: inside(spread.high[curve]) }))
      : band ? [{ number, low: inside(curves[band[0]]), high: inside(curves[band[1]]) }] : [];
    const bands = runs.flatMap(edges).filter(({ low, high }) => low.length && high.length);
    const values = [...this.lines.flatMap(({ points, behind }) => [points, behind]), ...bands.flatMap(({ low, high }) => [low, high])].flat().map(point => point[1]);
    this.csv.href = `/api/watch/curve.csv?${[...names, ...(band ?? [])].map(name => `name=${encodeURIComponent(name)}`).join('&')}&runs=${view.numbers}`;
    this.element.hidden = !values.length;
    if (!values.length) return;
    this.notes.replaceChildren(...runs.flatMap(({ name, number, findings }) => findings.filter(found => found.severity !== 'info' && found.curves.some(curve => names.includes(curve)))
      .map(found => make('li', { class: `run${number % 8}` }, ...(runs.length > 1 ? [make('span', { class: 'of' }, `${name}: `)] : []), make('strong', {}, `${capital(found.check)}: `), found.cause || found.message))));
    let [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    const log = view.log && low > 0;
    if (high - low < 1e-9 * Math.max(1, Math.abs(high))) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    if (low > 0 && low < 0.4 * high && !log) low = 0;
    const scaled = log ? Math.log : value => value;
    this.title.replaceChildren(this.what.title, ...(view.log && !log ? [make('small', {}, ' linear, for not all is above 0')] : []));
    const box = this.plot.getBoundingClientRect();
    const [width, height] = [box.width || 300, box.height || 130];
    this.plot.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.x = value => MARGIN.left + (value - view.low) / (view.high - view.low) * (width - MARGIN.left - MARGIN.right);
    this.y = value => height - MARGIN.bottom - (scaled(value) - scaled(low)) / (scaled(high) - scaled(low)) * (height - MARGIN.top - MARGIN.bottom);
    this.height = height;
    const parts = [];
    for (const value of log ? logTicks(low, high) : ticks(low, high, height > 200 ? 5 : 4)) {
      const y = this.y(value);
      parts.push(svg('line', { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y, class: `rule ${value === 0 && low < 0 ? 'zero' : ''}` }),
        svg('text', { x: MARGIN.left - 6, y: y + 4, 'text-anchor': 'end' }, short(value)));
    }
    for (const value of ticks(view.low, view.high, width / 65)) {
      const at = (value - view.low) / (view.high - view.low);
      parts.push(svg('text', { x: this.x(value), y: height - 5, 'text-anchor': at < 0.01 ? 'start' : at > 0.96 ? 'end' : 'middle' }, short(value)));
    }
    const path = points => points.map(([x, y], k) => `${k ? 'L' : 'M'}${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`).join('');
    for (const { number, low: lower, high: upper } of bands) {
      parts.push(svg('path', { class: `band run${number % 8} ${dots ? '' : 'wider'}`, d: `${path(upper)}${path([...lower].reverse()).replace('M', 'L')}Z` }));
    }
    for (const { number, second, points, behind } of this.lines) {
      if (behind.length) parts.push(svg('path', { class: `behind run${number % 8} ${second ? 'second' : ''}`, d: path(behind) }));
      parts.push(svg('path', { class: `line run${number % 8} ${second ? 'second' : ''}`, d: path(points), 'data-points': points.length, 'data-last': points.at(-1)[1] }));
      if (dots || points.length === 1) parts.push(...points.map(([x, y]) => svg('circle', { class: `dot run${number % 8}`, cx: this.x(x), cy: this.y(y), r: 2.6 })));
    }
    this.marks = svg('g');
    this.selection = svg('rect', { class: 'selection', y: MARGIN.top, height: height - MARGIN.top - MARGIN.bottom, width: 0 });
    this.plot.replaceChildren(...parts, this.selection, this.marks);
    this.point(this.cursor);
  }

  xAt(event) {
    const box = this.plot.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (box.width - MARGIN.left - MARGIN.right);
    return this.view.low + Math.min(1, Math.max(0, share)) * (this.view.high - this.view.low);
  }

  // Show the part of the axis that is being selected; without numbers none.
  select(low, high) {
    if (!this.selection) return;
    const [start, end] = low === undefined ? [0, 0] : [this.x(low), this.x(high)].sort((a, b) => a - b);
    this.selection.setAttribute('x', start);
    this.selection.setAttribute('width', end - start);
  }

  save() {
    const runs = [...new Map(this.lines.map(({ name, number }) => [number, name]))].map(([number, name]) => ({ name,
      colour: getComputedStyle(this.plot.querySelector(`.line.run${number % 8}`)).stroke }));
    return savePicture(this, runs, this.view.unit);
  }

  // Show the values at x; for null the newest values.
  point(x) {
    this.cursor = x;
    if (this.element.hidden || !this.lines) return;
    const found = this.lines.map(line => ({ ...line, at: x === null ? line.points.at(-1) : nearest(line.points, x) }));
    this.readout.replaceChildren(...(x === null ? [] : [make('span', { class: 'where' }, `at ${short(x)}`)]),
      ...found.map(({ number, at, name }) => make('span', { class: `run${number % 8}`, title: name }, short(at[1]))));
    this.marks.replaceChildren(...(x === null ? [] : [svg('line', { class: 'cursor', x1: this.x(x), x2: this.x(x), y1: MARGIN.top, y2: this.height - MARGIN.bottom }),
      ...found.map(({ number, at }) => svg('circle', { class: `mark run${number % 8}`, cx: this.x(at[0]), cy: this.y(at[1]), r: 3.5 }))]));
    if (x === null) {
      this.plot.setAttribute('aria-label', `${this.what.title}, over ${this.view.unit}. ` + this.lines.map(({ name, second, points }) =>
        `${name}${second ? ', second' : ''}: ${points.length} points from ${short(points[0][1])} to ${short(points.at(-1)[1])}, `
        + `between ${short(Math.min(...points.map(p => p[1])))} and ${short(Math.max(...points.map(p => p[1])))}.`).join(' ') + ' Arrow keys walk along the curve, plus and minus zoom.');
    }
  }
}
