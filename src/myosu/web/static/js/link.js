// All communication between the page and the server. A published page replaces this file by another with the same
// interface.

import { $ } from './dom.js';

export async function ask(address, order) {
  const answer = await fetch(address, order && { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(order) });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error);
  return data;
}

// The id of the game in the page's address.
export const addressed = () => location.pathname.match(/^\/game\/([\w-]+)$/)?.[1];

export const showAddress = id => history.pushState(null, '', `/game/${id}`);

export function offerExports(id) {
  $('as-json').href = `/api/games/${id}.json`;
  $('as-sgf').href = `/api/games/${id}.sgf`;
}

// The connection to one game. If it is lost, it reconnects by itself, and the server sends the whole game again.

export class Link {
  constructor(id, onMessage, onState, onGone) {
    this.address = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/api/games/${id}`;
    this.onMessage = onMessage;
    this.onState = onState;
    this.onGone = onGone;
    this.wait = 250;
    this.open();
  }

  open() {
    this.socket = new WebSocket(this.address);
    this.socket.onopen = () => { this.wait = 250; this.onState(true); };
    this.socket.onmessage = event => this.onMessage(JSON.parse(event.data));
    this.socket.onclose = event => {
      if (this.closed) return;
      this.onState(false);
      if (event.code === 4404) return this.onGone();
      this.timer = setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(2 * this.wait, 4000);
    };
  }

  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}
