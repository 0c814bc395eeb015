// The rules of the game, and the history of one game: as games/game.py and envs/game_history.py, which say more.

const TYPES = { '|u1': Uint8Array, '|i1': Int8Array, '|b1': Uint8Array, '<i2': Int16Array, '<u2': Uint16Array,
  '<i4': Int32Array, '<u4': Uint32Array, '<i8': BigInt64Array, '<u8': BigUint64Array, '<f4': Float32Array, '<f8': Float64Array };

export class Rules {
  // description: {state: bytes, fields: {name: [type, offset, length]}, actions, players, observation: [type, shape], ...}.
  constructor(machine, description) {
    this.machine = machine;
    Object.assign(this, description);
    this.Observed = TYPES[this.observation[0]];
    this.size = this.observation[1].reduce((a, b) => a * b, 1);
    this.at = { state: machine.take(this.state), mask: machine.take(this.actions), reward: machine.take(8),
      observation: machine.take(this.size * this.Observed.BYTES_PER_ELEMENT) };
  }

  // States are copies of the record's bytes, so that a position never changes.
  load(state) {
    this.machine.clear();
    this.machine.view(Uint8Array, this.at.state, this.state).set(state);
  }

  save() { return this.machine.view(Uint8Array, this.at.state, this.state).slice(); }

  start(seed) {
    this.machine.view(Uint8Array, this.at.state, this.state).fill(0);
    this.machine.calls.init(this.at.state, BigInt(seed));
    return this.save();
  }

  legal(state) {
    this.load(state);
    this.machine.calls.legal_actions(this.at.state, this.at.mask);
    return this.machine.view(Uint8Array, this.at.mask, this.actions).slice();
  }

  // {state, reward, ended}
  step(state, action) {
    this.load(state);
    const ended = Boolean(this.machine.calls.step(this.at.state, action, this.at.reward));
    return { state: this.save(), reward: this.machine.view(Float64Array, this.at.reward, 1)[0], ended };
  }

  toPlay(state) {
    this.load(state);
    return this.machine.calls.to_play(this.at.state);
  }

  // Leaves the observation where the network reads it.
  observe(state) {
    this.load(state);
    this.machine.calls.observe(this.at.state, this.at.observation);
    return this.at.observation;
  }

  observed(state) {
    return this.machine.view(this.Observed, this.observe(state), this.size).slice();
  }

  // Of Go: whose each point is, within a border.
  owners(state) {
    return this.bytes('owners', state, this.fields.stones[2]);
  }

  // Of Bubble: for each cell the number of the angle that leads there; −1 where none does.
  ways(state) {
    return this.bytes('ways', state, this.fields.board[2]);
  }

  bytes(call, state, length) {
    this.load(state);
    const out = this.written ??= this.machine.take(length);
    this.machine.calls[call](this.at.state, out);
    return this.machine.view(Int8Array, out, length).slice();
  }

  // Of Bubble: the corners of a shot's path, and the cell it comes to.
  fly(state, angle, points) {
    this.load(state);
    const out = this.scratch ??= this.machine.take(16 * points);
    const cell = this.machine.calls.fly(this.at.state, angle, out);
    const numbers = this.machine.view(Float64Array, out, 2 * points).slice();
    const all = Array.from({ length: points }, (_, k) => [numbers[2 * k], numbers[2 * k + 1]]);
    const [x, y] = all.at(-1);
    const path = all.slice(0, all.findIndex(([a, b]) => a === x && b === y) + 1);
    return { path: path.map(point => point.map(at => Math.round(1000 * at) / 1000)), cell };
  }

  // A field of the record, as a typed array.
  field(state, name) {
    const [type, offset, length] = this.fields[name];
    const Type = TYPES[type];
    return new Type(state.buffer.slice(offset, offset + length * Type.BYTES_PER_ELEMENT));
  }
}

const KEPT_EVERY = 32;

export class GameHistory {
  constructor(rules, seed) {
    Object.assign(this, { rules, seed, actions: [] });
    this.kept = [this.position(rules.start(seed), 0, new Array(rules.players).fill(0))];
    this.now = this.kept[0];
  }

  position(state, ply, returns, ended = false) {
    const truncated = !ended && ply >= this.rules.max_plies;
    return { state, ply, returns, to_play: this.rules.toPlay(state), terminated: ended, truncated, over: ended || truncated };
  }

  legal(position = this.now) {
    const mask = this.rules.legal(position.state);
    return [...mask.keys()].filter(action => mask[action]);
  }

  play(action) {
    if (this.now.over) throw new Error('The game is over.');
    if (!this.legal().includes(action)) throw new Error('That is not legal here.');
    this.now = this.after(this.now, action);
    this.actions.push(action);
    if (this.now.ply % KEPT_EVERY === 0) this.kept.push(this.now);
    return this.now;
  }

  takeBack(ply) {
    this.now = this.at(ply);
    this.actions.length = ply;
    this.kept.length = Math.floor(ply / KEPT_EVERY) + 1;
  }

  // The position after the first `ply` actions.
  at(ply) {
    if (ply === this.now.ply) return this.now;
    let position = this.kept[Math.floor(ply / KEPT_EVERY)];
    for (const action of this.actions.slice(position.ply, ply)) position = this.after(position, action);
    return position;
  }

  after(position, action) {
    const { state, reward, ended } = this.rules.step(position.state, action);
    const returns = position.returns.map((earned, seat) => seat === position.to_play ? earned + reward : earned - reward);
    return this.position(state, position.ply + 1, returns, ended);
  }
}

export function replay(rules, seed, actions) {
  const history = new GameHistory(rules, seed);
  for (const action of actions) history.play(action);
  return history;
}
