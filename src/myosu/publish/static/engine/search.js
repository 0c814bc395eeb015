// The search of search/search.py for one position. The work is done by its own compiled kernels.

import { greatest, logSoftmax } from './agents.js';

const NODE_BYTES = 64;  // at least a record of search/kernels.py
const TAKEN = -3e38;
const LINE_LENGTH = 8;

class Search {
  constructor(machine, actions, config) {
    Object.assign(this, { machine, actions, config, size: 0 });
    const reals = () => machine.take(4 * actions);
    this.at = { scores: reals(), priors: reals(), weights: reals(), visits: reals(), q: reals(), scaled: reals(),
      chosen: machine.take(16), action: machine.take(8), numbers: machine.take(16), legal: machine.take(actions), line: machine.take(4 * LINE_LENGTH) };
  }

  // expand(parent, action, node) → {reward, discount, value, logits}, and legal where not everything is.
  run(logits, value, legal, simulations, expand) {
    const { machine, at, actions } = this;
    const { calls } = machine;
    this.makeRoom(simulations + 1);
    const reals = (address, length = actions) => machine.view(Float32Array, address, length);
    const logPolicy = logSoftmax(logits, legal).map(x => x === -Infinity ? TAKEN : x);
    reals(at.priors).set(logPolicy.map(Math.exp));
    const scores = this.scores(logPolicy, legal);
    reals(at.scores).set(scores);
    reals(at.numbers, 1)[0] = value;
    calls.make_roots(at.nodes, at.open, at.scores, at.numbers, this.size);
    this.prepare(legal, simulations);
    for (let simulation = 0; simulation < simulations; simulation++) {
      this.select(simulation);
      const [parent, action] = machine.view(BigInt64Array, at.chosen, 2);
      const { reward, discount, value, logits, legal } = expand(Number(parent), Number(action), simulation + 1);
      if (legal) machine.view(Uint8Array, at.legal, actions).set(legal);
      let most = -Infinity;
      logits.forEach((logit, a) => { if (!legal || legal[a]) most = Math.max(most, logit); });
      reals(at.weights).set(logits.map(logit => Math.exp(Math.min(logit - most, 0))));
      reals(at.numbers, 3).set([reward, discount, value]);
      calls.expand(at.nodes, at.open, at.priors, at.chosen, simulation + 1, at.weights, at.legal, legal ? 1 : 0, at.numbers, this.size);
    }
    machine.view(Int32Array, at.visits, actions).fill(0);
    return this.result(logPolicy, scores, legal);
  }

  makeRoom(size) {
    if (size <= this.size) return;
    const { machine, at } = this;
    this.size = size;
    at.nodes = machine.take(NODE_BYTES * size);
    at.open = machine.take(4 * this.actions * size);
    at.scratch = machine.take(8 * (size + 1));
  }

  visits() { return this.machine.view(Int32Array, this.at.visits, this.actions).slice(); }

  // The action and what the search visited most after it; only the first is sure to be legal.
  line(action) {
    const { machine, at } = this;
    machine.view(BigInt64Array, at.action, 1)[0] = BigInt(action);
    machine.calls.follow_lines(at.nodes, at.action, at.line, LINE_LENGTH, this.size);
    return [...machine.view(Int32Array, at.line, LINE_LENGTH)].filter(each => each >= 0);
  }
}

export class GumbelSearch extends Search {
  scores(logPolicy) { return logPolicy; }

  prepare(legal, simulations) {
    const count = Math.min(legal.reduce((a, b) => a + b, 0), this.config.max_considered_actions);
    this.considered = halving(count, simulations);
  }

  select(simulation) {
    const { machine, at, config } = this;
    machine.view(Int32Array, at.numbers, 1)[0] = this.considered[simulation];
    machine.calls.select_gumbel(at.nodes, at.open, at.scores, at.numbers, at.scratch, config.c_visit, config.c_scale,
      config.least_q_range, at.chosen, this.size);
  }

  result(logPolicy, scores, legal) {
    const { machine, at, config, actions } = this;
    machine.calls.root_children(at.nodes, at.visits, at.q, this.size);
    machine.calls.gumbel_root_q(at.nodes, at.q, at.scaled, config.c_visit, config.c_scale, config.least_q_range, this.size);
    const visits = this.visits();
    const most = Math.max(...visits);
    const q = machine.view(Float32Array, at.q, actions).slice();
    const scaled = machine.view(Float32Array, at.scaled, actions);
    const improved = Float32Array.from(scaled, (x, a) => x + logPolicy[a]);
    const action = greatest(Float32Array.from(scaled, (x, a) => visits[a] === most && legal[a] ? x + scores[a] : -Infinity));
    const policy = logSoftmax(improved, legal).map(Math.exp);
    return { action, policy, value: policy.reduce((sum, share, a) => sum + share * q[a], 0), visits, line: this.line(action) };
  }
}

export class PUCTSearch extends Search {
  scores(logPolicy, legal) { return logPolicy.map((x, a) => legal[a] ? Math.exp(x) : TAKEN); }

  prepare(legal, simulations) {
    const { c_init: init, c_base: base } = this.config;
    this.machine.view(Float64Array, this.at.scratch, this.size + 1).forEach((_, visits, weights) => {
      weights[visits] = Math.sqrt(visits) * (init + Math.log((visits + base + 1) / base));
    });
  }

  select() {
    const { machine, at } = this;
    machine.calls.select_puct(at.nodes, at.open, at.scratch, at.chosen, this.size);
  }

  result() {
    const { machine, at, actions } = this;
    const value = machine.calls.root_value(at.nodes);
    machine.view(Float32Array, at.q, actions).fill(value);
    machine.calls.root_children(at.nodes, at.visits, at.q, this.size);
    const visits = this.visits();
    const total = visits.reduce((a, b) => a + b);
    const action = greatest(visits);
    const policy = Float32Array.from(visits, n => n / total);
    const q = machine.view(Float32Array, at.q, actions);
    return { action, policy, value: policy.reduce((sum, share, a) => sum + share * q[a], 0), visits, line: this.line(action) };
  }
}

// Sequential halving: the visits that those have which compete in each simulation.
export function halving(count, simulations) {
  if (count <= 1) return Array.from({ length: simulations }, (_, k) => k);
  const phases = Math.ceil(Math.log2(count));
  const schedule = [];
  let [visits, remaining] = [0, count];
  while (schedule.length < simulations) {
    for (let k = Math.max(1, Math.floor(simulations / (phases * remaining))); k > 0; k--) {
      for (let each = 0; each < remaining; each++) schedule.push(visits);
      visits += 1;
    }
    remaining = Math.max(2, Math.floor(remaining / 2));
  }
  return schedule.slice(0, simulations);
}
