// The games of this page. What web/room.py and web/table.py are on a server, for one visitor.

import { GameHistory, replay } from './rules.js';
import { view } from './views.js';

const SLOWEST = 10;
const QUICKEST = 0.02;

export class Room {
  // kept: games that an earlier visit left, by their id. keep(id, game): called after every move.
  constructor(rules, agent, run, kept, keep) {
    Object.assign(this, { rules, agent, run, kept: new Map(Object.entries(kept)), keep, tables: new Map() });
  }

  ask(address, order) {
    if (address === '/api/run') return this.run;
    if (address === '/api/stored') return this.stored();
    if (address === '/api/games') return { id: this.open(order) };
    throw new Error(`There is no ${address}.`);
  }

  open(order) {
    const id = name();
    if (order.played) this.sit(id, this.recorded(), this.history(this.find(order.played.split('-').at(-1))));
    else {
      const from = order.from;
      const history = from ? replay(this.rules, ...this.beginning(from)) : new GameHistory(this.rules, seed());
      this.sit(id, order.seats, history);
      if (history.actions.length) this.changed(this.tables.get(id));
    }
    return id;
  }

  beginning({ game, ply }) {
    const { history } = this.table(game);
    return [history.seed, history.actions.slice(0, ply)];
  }

  recorded() { return Array.from({ length: this.rules.players }, () => ({ kind: 'recorded' })); }

  sit(id, seats, history) {
    const table = new Table(id, seats, history, this.agent, changed => this.changed(changed));
    this.tables.set(id, table);
    return table;
  }

  table(id) {
    return this.tables.get(id) ?? this.sit(id, this.find(id).players, this.history(this.find(id)));
  }

  find(id) {
    const game = this.kept.get(id);
    if (!game) throw new Error('There is no such game here (any more).');
    return game;
  }

  history(game) { return replay(this.rules, game.seed, game.actions); }

  changed(table) {
    if (table.recorded) return;
    const game = this.demonstration(table);
    this.kept.set(table.id, game);
    this.keep(table.id, game);
  }

  // As runs/games.py writes it, for training to learn from.
  demonstration(table) {
    const { history } = table;
    const { now } = history;
    return {
      format: 1, game: this.run.game, seed: history.seed, actions: history.actions,
      players: table.seats.map(seat => seat.kind === 'agent' ? { ...seat, run: this.run.run } : seat),
      returns: now.returns, terminated: now.terminated, truncated: now.truncated, kwargs: {}, rewards: this.run.rewards,
      taken_back: table.takenBack, started: table.started, ended: Date.now() / 1000,
    };
  }

  stored() {
    const listed = ([id, game]) => ({ length: game.actions.length, returns: game.returns, started: game.started, id });
    const games = [...this.kept].reverse();
    const over = ([, game]) => game.terminated || game.truncated;
    return {
      newest: [], best: [], open: games.filter(each => !over(each)).map(listed),
      played: games.filter(over).map(each => ({ ...listed(each), played: `${stamp(each[1].started)}-${each[0]}` })),
    };
  }
}

export class Table {
  constructor(id, seats, history, agent, onChange) {
    Object.assign(this, { id, seats, history, agent, onChange, outlook: new Map(), takenBack: 0, guest: null, paused: false });
    this.started = Date.now() / 1000;
    this.pace = history.rules.players === 1 ? Math.max(0.1, 1 / history.rules.fps) : 0.7;
  }

  get recorded() { return this.seats[0].kind === 'recorded'; }
  get hasPerson() { return this.seats.some(seat => seat.kind === 'person'); }

  enter(guest) {
    this.guest = guest;
    guest(this.summary());
    this.goOn();
  }

  leave() {
    this.guest = null;
    clearTimeout(this.turn);
  }

  tell(message) { this.guest?.(message); }

  summary() {
    return { type: 'game', id: this.id, seats: this.seats, outlook: [...this.outlook], actions: this.history.actions,
      paused: this.paused, pace: this.pace, position: view(this.history, this.history.now) };
  }

  // A message of the page, as web/messages.py describes them.
  hear({ type, ply, ...rest }) {
    switch (type) {
      case 'play':
        this.expect(ply);
        if (!this.history.now.over && this.seats[this.history.now.to_play].kind !== 'person') throw new Error('It is not your turn.');
        this.advance(rest.action);
        return this.goOn();
      case 'undo': return this.undo(ply);
      case 'look': return this.tell({ type: 'look', position: view(this.history, this.history.at(ply)) });
      case 'analyze': return this.tell(this.analyze(this.history.at(ply), rest.simulations).message);
      case 'pause':
        this.paused = rest.paused;
        return this.changePace();
      case 'pace':
        this.pace = Math.min(SLOWEST, Math.max(QUICKEST, rest.seconds));
        return this.changePace();
    }
  }

  changePace() {
    this.tell({ type: 'pace', paused: this.paused, seconds: this.pace });
    this.goOn();
  }

  // Back to the last position in which a person had a choice.
  undo(ply) {
    this.expect(ply);
    const { history } = this;
    let earlier = history.now.ply - 1;
    for (; earlier >= 0; earlier--) {
      const position = history.at(earlier);
      if (this.seats[position.to_play].kind === 'person' && !history.legal(position).includes(history.rules.pass)) break;
    }
    if (earlier < 0) throw new Error('There is nothing to take back.');
    clearTimeout(this.turn);
    history.takeBack(earlier);
    this.outlook = new Map([...this.outlook].filter(([at]) => at <= earlier));
    this.takenBack += 1;
    this.onChange(this);
    this.tell(this.summary());
  }

  expect(ply) {
    if (this.recorded) throw new Error('This game is a recorded one; nobody plays here.');
    if (ply !== this.history.now.ply) throw new Error(`The game is at ply ${this.history.now.ply}, not ${ply}.`);
  }

  // Let the agents play, if it is their turn. Between two of their moves the page may say something.
  goOn(wait = 0) {
    clearTimeout(this.turn);
    const seat = this.seats[this.history.now.to_play];
    if (seat.kind !== 'agent' || this.history.now.over || this.paused || !this.guest) return;
    this.turn = setTimeout(() => this.move(seat), Math.max(0, wait));
  }

  move(seat) {
    const began = performance.now();
    try {
      const { analysis, message } = this.analyze(this.history.now, seat.simulations);
      this.tell(message);
      this.advance(choose(analysis, seat.temperature));
    } catch (error) {
      this.paused = true;
      this.tell({ type: 'pace', paused: true, seconds: this.pace });
      return this.tell({ type: 'error', message: `The agent cannot move: ${error.message}` });
    }
    this.goOn(this.hasPerson ? 0 : 1000 * this.pace - (performance.now() - began));
  }

  advance(action) {
    const now = this.history.play(action);
    if (now.over) this.outlook.set(now.ply, now.returns[0]);
    this.onChange(this);
    this.tell({ type: 'position', position: view(this.history, now) });
  }

  analyze(position, simulations) {
    if (position.over) throw new Error('The game is over here; there is nothing to think about.');
    const analysis = this.agent.analyze(position.state, simulations);
    const outlook = round(position.returns[0] + (position.to_play === 0 ? analysis.value : -analysis.value));
    this.outlook.set(position.ply, outlook);
    return { analysis, message: {
      type: 'analysis', ply: position.ply, to_play: position.to_play, outlook, ...analysisToJson(analysis),
      line: this.legalPart(position, analysis.line),
    } };
  }

  // Up to the first action that breaks the rules, which the agent's model need not know; of a game with chance, one.
  legalPart(position, line) {
    const { history } = this;
    const played = [];
    for (const action of history.rules.players === 2 ? line : line.slice(0, 1)) {
      if (position.over || !history.legal(position).includes(action)) break;
      position = history.after(position, action);
      played.push(action);
    }
    return played;
  }
}

// As analysis_to_json of web/analyzer.py: up to twelve actions, those with the greatest shares; of equal ones first the
// chosen one, then those that the policy prefers.
export function analysisToJson({ action, policy, value, visits }) {
  const shares = sharesOf({ policy, visits });
  const share = each => shares[each];
  const first = [...policy.keys()].filter(each => share(each) > 0)
    .sort((a, b) => share(b) - share(a) || (b === action) - (a === action) || policy[b] - policy[a]).slice(0, 12);
  return { action, value: round(value), shares: first.map(each => [each, round(share(each))]), visits: visits && first.map(each => visits[each]) };
}

// What decides the move: of a search the simulations that went into each, else the policy.
function sharesOf({ policy, visits }) {
  const total = visits?.reduce((a, b) => a + b);
  return visits ? Float64Array.from(visits, count => count / total) : policy;
}

// The best action, or with a temperature one drawn from shares ** (1 / temperature).
export function choose(analysis, temperature) {
  const { action } = analysis;
  if (!temperature) return action;
  const shares = sharesOf(analysis);
  const most = Math.max(...shares);
  const weights = shares.map(share => (share / most) ** (1 / temperature));
  let left = Math.random() * weights.reduce((a, b) => a + b);
  for (let each = 0; each < weights.length; each++) {
    left -= weights[each];
    if (left < 0) return each;
  }
  return action;
}

// As the server names the games that were played: by their date, in the visitor's own time.
function stamp(started) {
  const [date, time] = new Date(1000 * started).toLocaleString('sv').split(' ');
  return `${date.replaceAll('-', '')}-${time.replaceAll(':', '')}`;
}

const round = x => Math.round(1e4 * x) / 1e4;
const seed = () => Math.floor(Math.random() * 2 ** 53);
const name = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), byte => (byte % 36).toString(36)).join('');
