// The page's state of one game, all of it received from the server.

export class Game {
  constructor(message) {
    this.id = message.id;
    this.cursor = null;  // the ply on display; null: the newest
    this.review = null;
    this.take(message);
  }

  take(message) {
    this.seats = message.seats;
    this.actions = message.actions;
    this.outlook = new Map(message.outlook);
    this.paused = message.paused;
    this.pace = message.pace;
    this.positions = new Map([[message.position.ply, message.position]]);
    this.analyses = new Map();
    this.newest = message.position.ply;
    if (this.cursor !== null && this.cursor >= this.newest) this.cursor = null;
    if (!this.review?.fits(this)) this.review = null;
  }

  advance(position) {
    this.actions.push(position.last);
    this.newest = position.ply;
    this.positions.set(position.ply, position);
    if (position.over) this.outlook.set(position.ply, position.returns[0]);
  }

  addAnalysis(message) {
    this.analyses.set(message.ply, message);
    this.outlook.set(message.ply, message.outlook);
  }

  get ply() { return this.cursor ?? this.newest; }
  get shown() { return this.positions.get(this.ply); }
  get live() { return this.cursor === null; }
  get recorded() { return this.seats[0].kind === 'recorded'; }
  get hasPerson() { return this.seats.some(seat => seat.kind === 'person'); }
  get onlyPersons() { return this.seats.every(seat => seat.kind === 'person'); }
  get over() { return this.positions.get(this.newest).over; }

  // Whether a person may act now.
  get mayPlay() {
    const position = this.positions.get(this.newest);
    return this.live && !position.over && this.seats[position.to_play].kind === 'person';
  }

  isPerson(seat) { return seat !== null && this.seats[seat].kind === 'person'; }
}
