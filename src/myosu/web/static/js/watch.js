// The watch page: polls the server every two seconds and draws the changes.

import { $, make, stored } from './dom.js';
import { capital, Chart, short } from './chart.js';
import { get, post } from './get.js';
import { chartsFor, GROUPS } from './watch-charts.js';
import { differences, groupsOf, merge } from './watch-groups.js';
import { Games } from './watch-games.js';

const EVERY = 2000;
const UNITS = { minutes: 'minutes of training', env_steps: 'steps in the environment', updates: 'gradient steps' };
const STATES = { running: 'running', finished: 'finished', stopped: 'stopped', starting: 'starting', waiting: 'waiting for its first record', gone: 'its folder is gone' };

// zoomed: the visible part of the axis, [low, high], or null for all of it.
const page = { runs: [], charts: new Map(), axis: 'minutes', zoomed: null };

const visible = () => page.runs.filter(run => run.shown);

async function start() {
  const { data } = await get('/api/watch');
  page.games = new Games();
  take(data);
  $('play').hidden = !data.play;
  page.axis = stored.get('axis', 'minutes');
  if (!(page.axis in UNITS)) page.axis = 'minutes';
  $('axis').querySelector(`[value=${page.axis}]`).checked = true;
  $('axis').onchange = event => {
    page.axis = event.target.value;
    stored.set('axis', page.axis);
    zoom();
  };
  tools();
  new ResizeObserver(() => { cancelAnimationFrame(page.frame); page.frame = requestAnimationFrame(draw); }).observe($('charts'));
  await refresh();
  page.games.refresh();
  setInterval(() => { if (!document.hidden) refresh(); }, EVERY);
  setInterval(async () => {
    if (document.hidden) return;
    take((await get('/api/watch').catch(() => ({}))).data);
    if (page.runs.some(run => run.state === 'running')) page.games.refresh();
  }, 5 * EVERY);
}

// Add the runs that the server shows, and offer those beside them. Other pages may have added some.
function take(data) {
  if (!data) return;
  for (const { name, settings } of data.runs.slice(page.runs.length)) {
    const number = page.runs.length;
    page.runs.push({ name, settings, number, shown: true, tag: null, curves: {}, smoothed: {}, findings: [], evaluations: [], done: {}, state: 'waiting',
      card: make('article', { class: `card watched run${number % 8}`, 'aria-label': name }) });
    $('runs').append(page.runs[number].card);
  }
  page.games.offer(page.runs);
  const names = page.runs.map(run => run.name);
  $('title').textContent = names.join(' · ');
  document.title = `Watch ${names.join(', ')}`;
  const offered = data.others.join('\n');
  if (page.offered !== offered && document.activeElement !== $('add')) {
    page.offered = offered;
    $('add').replaceChildren(make('option', { value: '' }, 'a run…'), ...data.others.map(name => make('option', {}, name)));
  }
  $('add-label').hidden = !data.others.length;
  $('grouped-label').hidden = groupsOf(page.runs).every(group => group.length < 2);
  settings();
}

function tools() {
  const keep = (id, property, usual) => {
    $(id)[property] = stored.get(id, '') || usual;
    $(id).addEventListener('input', () => { stored.set(id, $(id)[property] || ''); look(); });
  };
  const look = () => {
    $('smoothed').textContent = $('smoothing').value === '0' ? 'off' : `${$('smoothing').value} %`;
    draw();
  };
  keep('smoothing', 'value', '0');
  keep('log', 'checked', false);
  keep('grouped', 'checked', false);
  $('smoothed').textContent = $('smoothing').value === '0' ? 'off' : `${$('smoothing').value} %`;
  $('smoothing').addEventListener('change', refresh);
  $('unzoom').onclick = () => zoom();
  $('add').onchange = async () => {
    const name = $('add').value;
    $('add').blur();
    if (!name) return;
    try {
      await post('/api/watch', { add: name });
      page.offered = null;
      take((await get('/api/watch')).data);
      await refresh();
    } catch (error) { complain(error.message); }
  };
}

function zoom(low, high) {
  page.zoomed = low === undefined ? null : [low, high];
  $('unzoom').hidden = !page.zoomed;
  refresh();
  draw();
}

function complain(text) {
  $('toast').textContent = text;
  $('toast').hidden = false;
}

async function refresh() {
  const part = page.zoomed ? `&from=${page.zoomed[0]}&to=${page.zoomed[1]}` : '';
  const query = `x=${page.axis}&smoothing=${$('smoothing').value / 100}${part}`;
  page.query = query;
  try {
    const runs = [...page.runs];
    const answers = await Promise.all(runs.map(run => get(`/api/watch/${run.number}?${query}`)));
    $('toast').hidden = true;
    if (query !== page.query) return;
    let changed = false;
    answers.forEach(({ data, tag }, number) => {
      if (page.runs[number].tag !== tag) {
        Object.assign(page.runs[number], data, { tag });
        changed = true;
      }
    });
    if (changed) draw();
    page.runs.forEach(card); // after the charts, because findings link to them
    if (changed) table();
  } catch (error) {
    complain(`The server does not answer; trying again. (${error.message})`);
  }
}

function draw() {
  const runs = visible();
  const drawn = $('grouped').checked ? groupsOf(runs).map(merge) : runs;
  const names = new Set(runs.flatMap(run => Object.keys(run.curves)));
  const wanted = chartsFor(names);
  const ids = wanted.map(what => what.names[0]).join();
  if (ids !== page.ids) {
    page.ids = ids;
    const groups = GROUPS.map(title => [title, wanted.filter(what => what.group === title)]).filter(([, charts]) => charts.length);
    page.charts = new Map(wanted.map(what => [what.names[0], new Chart(what, { point: x => page.charts.forEach(chart => chart.point(x)), zoom })]));
    $('charts').replaceChildren(...groups.map(([title, charts]) => make('section', { class: 'group' }, make('h2', {}, title),
      make('div', {}, ...charts.map(what => page.charts.get(what.names[0]).element)))));
  }
  const ends = runs.flatMap(run => Object.values(run.curves).map(points => points.at(-1)?.[0] ?? 0));
  const [low, high] = page.zoomed ?? [0, Math.max(...ends, 1e-9)];
  const view = { low, high, unit: UNITS[page.axis], log: $('log').checked, numbers: runs.map(run => run.number).join() };
  page.charts.forEach(chart => chart.show(drawn, view));
  $('charts').querySelectorAll('.group').forEach(group => { group.hidden = !group.querySelector('.chart:not([hidden])'); });
}

const clock = seconds => {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return `${hours ? `${hours}:${String(minutes).padStart(2, '0')}` : minutes}:${String(rest).padStart(2, '0')}`;
};

function since(run) {
  const ago = Date.now() / 1000 - run.written;
  const when = new Date(1000 * run.written);
  if (run.state === 'running') return ago < 10 ? 'heard from just now' : `heard from ${clock(ago)} ago`;
  if (run.state === 'finished' || run.state === 'stopped') return `since ${ago > 86400 ? when.toLocaleDateString('en-GB') : when.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })}`;
  return '';
}

// Wrap flags in spans, so that none is broken over two lines.
const withFlags = text => text.split(/(--[a-z][a-z-]*)/).map((part, k) => k % 2 ? make('span', { class: 'flag' }, part) : part);

// A finding of the doctor: message, cause, advice, and a link to the curve that illustrates it.
function finding({ check, severity, message, cause, advice, curves }) {
  const chart = [...page.charts.values()].find(one => one.what.names.some(name => curves.includes(name)) && !one.element.hidden);
  const way = chart ? [make('button', { class: 'way', onclick: () => chart.element.scrollIntoView({ behavior: 'smooth', block: 'center' }) }, `See ${chart.what.title.toLowerCase()}`)] : [];
  return make('li', { class: severity === 'info' ? 'worth' : `bad ${severity}`, 'data-check': check }, make('p', {}, make('strong', {}, `${capital(check)}:`), ` ${message}`),
    ...(cause ? [make('p', {}, make('span', { class: 'faint' }, 'Likely cause: '), cause)] : []),
    ...(advice ? [make('p', {}, make('span', { class: 'faint' }, 'What to change: '), ...withFlags(advice))] : []), ...way);
}

// The settings that differ between the runs shown.
function settings() {
  const runs = visible();
  const rows = runs.length > 1 ? differences(runs) : [];
  $('settings').hidden = !rows.length;
  const plain = value => value.replace(/^"(.*)"$/, '$1');
  $('differences').replaceChildren(make('table', { class: 'history' },
    make('thead', {}, make('tr', {}, make('th', { scope: 'col' }, 'Setting'), ...runs.map(run => make('th', { scope: 'col', class: `run${run.number % 8}` }, make('span', { class: 'swatch' }), run.name)))),
    make('tbody', {}, ...rows.map(([name, values]) => make('tr', {}, make('th', { scope: 'row' }, name), ...values.map(value => make('td', {}, plain(value))))))));
}

// Progress before the first update: compilation, then the collection of positions.
function beginning(run) {
  if (run.state === 'starting' || (run.state === 'running' && !run.done.env_steps && !run.done.updates)) {
    return [make('progress', { 'aria-label': 'starting' }), make('p', { class: 'about' }, 'Compiling and starting: about a minute at the first training of a game on a machine, seconds later. '
      + `So far ${clock(Math.max(0, Date.now() / 1000 - run.began))}.`)];
  }
  if (run.state !== 'running' || run.collected === null || run.done.updates) return [];
  return [make('progress', { value: run.collected, max: 1, 'aria-label': 'share of the positions to begin with' }),
    make('p', { class: 'about' }, `Collecting the positions to begin with: ${Math.round(100 * run.collected)} %.`)];
}

// The card of a run: its state, figures and findings.
function card(run) {
  const { done } = run;
  const rate = name => {
    const now = run.curves[`${name}_per_second`]?.at(-1)?.[1];
    return now === undefined || run.state !== 'running' ? '' : `${short(now)}/s`;
  };
  const evaluation = run.evaluations.at(-1);
  const rows = [];
  const add = (name, value, more = '') => rows.push(make('div', { class: more ? 'broad' : '' }, make('dt', {}, name), make('dd', {}, value, ...(more ? [make('small', {}, ` ${more}`)] : []))));
  if (evaluation) add(evaluation.opponent ? `Against ${evaluation.opponent}` : 'Evaluation', short(evaluation.mean_reward), `[${evaluation.mean_reward_ci95.map(short).join(', ')}]`);
  if (run.seconds) {
    add('Trained', clock(run.seconds));
    if (run.state === 'running' && run.phase !== 'finished') add('To go', run.left.replace(/^about | left( unknown yet)?$/g, '').replace('time', 'unknown'));
    if (done.env_steps) add('Steps', short(done.env_steps), rate('env_steps'));
    add('Updates', short(done.updates), rate('updates'));
    add(run.players === 2 ? 'Games' : 'Episodes', short(done.games));
  }
  const usual = run.phase === 'training' || run.phase === '' || (run.phase === 'waiting for games' && done.updates > 0);
  const phase = run.state === 'running' && !usual ? `, ${run.phase}` : '';
  const wrong = run.findings.some(one => one.severity !== 'info') || ['waiting', 'starting'].includes(run.state);
  const findings = [...(wrong ? [] : [make('li', { class: 'good' }, run.findings.length ? 'Nothing is surely wrong in its numbers.' : 'Nothing looks wrong in its numbers.')]), ...run.findings.map(finding)];
  const first = beginning(run);
  const key = JSON.stringify([run.tag, since(run), run.shown, first.at(-1)?.textContent]);
  if (run.drawn === key) return;
  run.drawn = key;
  const shown = make('input', { type: 'checkbox', checked: run.shown, onchange: () => { run.shown = shown.checked; draw(); table(); settings(); card(run); } });
  run.card.classList.toggle('off', !run.shown);
  run.card.replaceChildren(
    make('header', {}, make('h2', {}, run.name), make('span', { class: 'of' }, `${run.game} · ${run.algorithm}`),
      make('span', { class: `state ${run.state}`, 'data-state': run.state }, [STATES[run.state] + phase, since(run)].filter(Boolean).join(', ')),
      make('label', { class: 'shown', hidden: page.runs.length < 2 }, shown, ' Show')),
    ...first,
    make('dl', { class: 'figures' }, ...rows),
    ...(run.state === 'running' && !first.length ? [make('progress', { value: run.share, max: 1, 'aria-label': 'share of the training that is done' })] : []),
    make('h3', { class: 'doctor' }, 'Doctor'),
    make('ul', { class: 'health', 'aria-label': 'Doctor' }, ...findings));
}

function table() {
  const rows = visible().flatMap(run => [...run.evaluations].reverse().map(line => [run, line]))
    .sort(([, a], [, b]) => (b.minutes ?? 0) - (a.minutes ?? 0));
  const won = rows.some(([, line]) => line.win_rate !== undefined);
  const percent = share => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
  const count = value => value === undefined ? '' : value.toLocaleString('en');
  const head = ['Run', 'Minutes', 'Updates', 'Steps', 'Games', 'Mean reward', '95 % interval', ...(won ? ['Won', '95 % interval', 'Drawn', 'Lost', 'Against'] : ['Mean length'])];
  const cells = line => [line.minutes === null ? '' : line.minutes.toFixed(1), count(line.update), count(line.env_steps), count(line.games), short(line.mean_reward),
    line.mean_reward_ci95.map(short).join(' to '), ...(won ? line.win_rate === undefined ? ['', '', '', '', ''] : [percent(line.win_rate), line.win_rate_ci95.map(percent).join(' to '),
      percent(line.draw_rate), percent(line.loss_rate), line.opponent] : [line.mean_length === undefined ? '' : short(line.mean_length)])];
  $('evaluations').replaceChildren(rows.length ? make('table', { class: 'history' },
    make('thead', {}, make('tr', {}, ...head.map(title => make('th', { scope: 'col' }, title)))),
    make('tbody', {}, ...rows.map(([run, line]) => make('tr', { class: `run${run.number % 8}` }, make('th', { scope: 'row' }, make('span', { class: 'swatch' }), run.name),
      ...cells(line).map(text => make('td', {}, text))))))
    : make('p', { class: 'nothing' }, 'Not evaluated yet.'));
}

start().catch(error => { $('toast').textContent = `The page cannot begin: ${error.message}`; $('toast').hidden = false; });
