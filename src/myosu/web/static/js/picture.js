// Save a chart as a PNG: its SVG with the page's computed styles, its title, and the names of the runs.

import { make, svg } from './dom.js';

const KEPT = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin', 'opacity', 'font-size', 'font-family', 'font-weight'];
const [SCALE, HEAD, LINE, MARGIN] = [2, 34, 18, 12];

export async function savePicture(chart, runs, unit) {
  const { width, height } = chart.plot.viewBox.baseVal;
  const copy = chart.plot.cloneNode(true);
  const [ours, theirs] = [[...chart.plot.querySelectorAll('*')], [...copy.querySelectorAll('*')]];
  ours.forEach((element, k) => {
    const style = getComputedStyle(element);
    for (const name of KEPT) theirs[k].setAttribute(name, style.getPropertyValue(name));
  });
  const page = getComputedStyle(document.body);
  const [ink, card] = [page.color, getComputedStyle(chart.element).backgroundColor];
  const words = (text, y, size, weight, colour = ink, x = MARGIN) => svg('text', { x, y, 'font-size': size, 'font-weight': weight, fill: colour, 'font-family': page.fontFamily }, text);
  const whole = height + HEAD + LINE * (runs.length + 1) + MARGIN;
  const legend = runs.flatMap(({ name, colour }, k) => {
    const y = HEAD + height + LINE * (k + 1.8);
    return [svg('line', { x1: MARGIN, x2: MARGIN + 20, y1: y - 4, y2: y - 4, stroke: colour, 'stroke-width': 2.5 }), words(name, y, 12, 400, ink, MARGIN + 28)];
  });
  const picture = svg('svg', { xmlns: 'http://www.w3.org/2000/svg', width: SCALE * width, height: SCALE * whole, viewBox: `0 0 ${width} ${whole}` },
    svg('rect', { width, height: whole, fill: card }), words(chart.what.title, 22, 15, 650),
    svg('g', { transform: `translate(0 ${HEAD})` }, ...copy.childNodes), words(`over ${unit}`, HEAD + height + LINE * 0.8, 12, 400), ...legend);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(picture))}`;
  await image.decode();
  const canvas = make('canvas', { width: SCALE * width, height: SCALE * whole });
  canvas.getContext('2d').drawImage(image, 0, 0);
  const file = URL.createObjectURL(await new Promise(done => canvas.toBlob(done)));
  make('a', { href: file, download: `${chart.what.names[0].replaceAll('/', '-')}.png` }).click();
  setTimeout(() => URL.revokeObjectURL(file), 10000);
}
