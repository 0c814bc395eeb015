// The connection to one game. It comes back by itself when it is lost, and the server then tells the whole game again.

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
