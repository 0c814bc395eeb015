// The recorded games of training: a list, and a board to step through one.

import { $, make } from './dom.js';
import { get } from './get.js';
import { moveName, number, result, score as scoreOf } from './words.js';
import { BOARDS } from './boards/kinds.js';

const NOBODY = { mayPlay: false, hasPerson: false };

export class Games {
  constructor() {
    this.run = 0;
    $('which').onchange = () => { this.run = Number($('which').value); this.episode = undefined; this.refresh(); };
    $('first').onclick = () => this.go(0);
    $('previous').onclick = () => this.go(this.ply - 1);
    $('next').onclick = () => this.go(this.ply + 1);
    $('last').onclick = () => this.go(this.length);
    $('scrub').oninput = () => this.go(Number($('scrub').value));
    $('walk').onclick = () => this.walking ? this.stop() : this.walk();
    addEventListener('keydown', event => {
      if (event.ctrlKey || event.metaKey || event.altKey || $('viewer').hidden) return;
      if (event.key === ',') this.go(this.ply - 1);
      if (event.key === '.') this.go(this.ply + 1);
    });
  }

  // Add new runs to the menu.
  offer(runs) {
    $('which-label').hidden = runs.length < 2;
    $('which').append(...runs.slice($('which').options.length).map(run => make('option', { value: run.number }, run.name)));
  }

  async refresh() {
    const run = this.run;
    try {
      const { data: stored } = await get(`/api/watch/${run}/games`);
      if (run !== this.run) return;
      const key = JSON.stringify([run, stored]);
      if (key === this.listed) return;
      this.listed = key;
      if (stored.why) throw new Error(stored.why);
      this.rules = stored.rules;
      this.list(stored);
      const newest = stored.newest[0] ?? stored.best[0];
      if (this.episode === undefined && newest) this.open(newest.episode);
      $('viewer').hidden = !newest;
    } catch (error) {
      $('viewer').hidden = true;
      $('games').replaceChildren(make('p', { class: 'faint' }, error.message));
    }
  }

  list({ newest, best }) {
    const part = (title, games) => games.length ? [make('h3', {}, title), make('ul', { class: 'games' }, ...games.map(game => make('li', {},
      make('button', { 'data-episode': game.episode, 'aria-current': game.episode === this.episode ? 'true' : false, onclick: () => this.open(game.episode) },
        make('strong', {}, game.episode.toLocaleString('en')), make('span', {}, `${game.length} moves`), make('span', {}, result(this.rules, game.returns))))))] : [];
    const parts = [...part('The newest', newest), ...part('The best', best)];
    $('games').replaceChildren(...(parts.length ? parts : [make('p', { class: 'faint' }, 'No game was recorded with its moves yet: one in ten is.')]));
  }

  async open(episode) {
    this.stop();
    Object.assign(this, { episode, ply: 0, length: 0, positions: new Map(), asked: new Set() });
    document.querySelectorAll('#games [data-episode]').forEach(button => {
      if (Number(button.dataset.episode) === episode) button.setAttribute('aria-current', 'true');
      else button.removeAttribute('aria-current');
    });
    if (this.of !== this.run) {
      this.board?.close?.();
      this.board = null;
      $('board').replaceChildren();
      this.of = this.run;
    }
    await this.go(0);
  }

  // Positions are fetched in parts, ahead of the viewer.
  async fetch(ply) {
    const { run, episode } = this;
    if (ply > this.length && this.length || this.positions.has(ply) || this.asked.has(ply)) return;
    this.asked.add(ply);
    try {
      const { data: part } = await get(`/api/watch/${run}/games/${episode}?from=${ply}`);
      if (run !== this.run || episode !== this.episode) return;
      this.length = part.length;
      part.positions.forEach(position => this.positions.set(position.ply, position));
    } catch (error) {
      $('caption').textContent = error.message;
    }
    this.asked.delete(ply);
  }

  async go(ply) {
    if (ply < 0 || ply > Math.max(this.length, 0)) return this.stop();
    const following = ply === this.ply + 1;
    this.ply = ply;
    if (!this.positions.has(ply)) await this.fetch(ply);
    const position = this.positions.get(this.ply);
    if (!position) return;
    this.show(position, following);
    this.fetch(ply + 32);
  }

  show(position, moved) {
    if (!this.board) this.board = new BOARDS[position.board.kind]($('board'), this.rules, () => {});
    this.board.show(position, { game: NOBODY, analysis: null, hint: null, moved });
    $('board').dataset.ply = position.ply;
    const score = this.rules.players === 1 ? `score ${number(scoreOf(position))}` : result(this.rules, position.returns);
    const what = position.last === null ? 'the beginning' : moveName(this.rules, position.last);
    $('caption').textContent = `Episode ${this.episode.toLocaleString('en')}, move ${position.ply} of ${this.length}: ${what}${position.over || this.rules.players === 1 ? `, ${score}` : ''}`;
    $('scrub').max = this.length;
    $('scrub').value = position.ply;
    $('first').disabled = $('previous').disabled = position.ply === 0;
    $('next').disabled = $('last').disabled = position.ply === this.length;
  }

  walk() {
    if (this.ply >= this.length) this.ply = -1;
    const step = async () => {
      await this.go(this.ply + 1);
      if (this.ply >= this.length) return this.stop();
      if (this.walking) this.walking = setTimeout(step, this.rules.game.startsWith('snake') ? 110 : 600);
    };
    this.walking = setTimeout(step, 0);
    $('walk').textContent = '⏸';
    $('walk').setAttribute('aria-label', 'Stop playing back');
  }

  stop() {
    clearTimeout(this.walking);
    this.walking = null;
    $('walk').textContent = '▶';
    $('walk').setAttribute('aria-label', 'Play back');
  }
}
