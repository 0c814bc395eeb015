// Any other game: the position as text, and a button for each legal action.

import { make } from '../dom.js';

export class TextBoard {
  constructor(host, run, act) {
    Object.assign(this, { host, run, act });
    host.className = 'board text';
  }

  show(position, { game, analysis, hint }) {
    const share = new Map(analysis?.shares ?? []);
    // Keep the keyboard focus among the moves, because all buttons are replaced.
    this.held = this.host.contains(document.activeElement) || (this.held && document.activeElement === document.body);
    this.host.replaceChildren(
      make('pre', {}, position.board.text),
      make('div', { class: 'options', role: 'group', 'aria-label': 'moves' }, ...position.legal.map(action => make('button', {
        class: action === hint ? 'primary' : '', disabled: !game.mayPlay, onclick: () => this.act(action),
      }, this.run.names[action] + (share.has(action) ? ` ${Math.round(100 * share.get(action))} %` : '')))));
    if (this.held && game.mayPlay) this.host.querySelector('button')?.focus();
  }
}
