// Agents: what they choose, and why. `analyze` evaluates one position: {action, policy, value, visits, line}, as
// Analysis of algorithms/interface.py.

import { GumbelSearch, PUCTSearch } from './search.js';

export function makeAgent(machine, rules, network, description) {
  const Kind = { gumbel: SearchingAgent, puct: SearchingAgent, policy: PolicyAgent, values: ValueAgent }[description.kind];
  return new Kind(machine, rules, network, description);
}

// log softmax over the legal ones; -Infinity elsewhere.
export function logSoftmax(logits, legal) {
  let most = -Infinity;
  for (let a = 0; a < legal.length; a++) if (legal[a]) most = Math.max(most, logits[a]);
  let total = 0;
  for (let a = 0; a < legal.length; a++) if (legal[a]) total += Math.exp(logits[a] - most);
  return Float32Array.from(legal, (may, a) => may ? logits[a] - most - Math.log(total) : -Infinity);
}

export function greatest(numbers) {
  let best = 0;
  for (let k = 1; k < numbers.length; k++) if (numbers[k] > numbers[best]) best = k;
  return best;
}

// The mean of a categorical distribution over `points`.
function mean(logits, points) {
  const most = logits.reduce((a, b) => Math.max(a, b));
  let [total, weighted] = [0, 0];
  points.forEach((point, k) => {
    const weight = Math.exp(logits[k] - most);
    total += weight;
    weighted += weight * point;
  });
  return weighted / total;
}

class PolicyAgent {
  constructor(machine, rules, network, description) { Object.assign(this, { rules, network, description }); }

  analyze(state) {
    const { rules, network, description } = this;
    const legal = rules.legal(state);
    network.run('initial', { observation: rules.observe(state) });
    const logPolicy = logSoftmax(network.read(description.policy, rules.actions), legal);
    const action = greatest(logPolicy);
    const value = description.points ? mean(network.read(description.value, description.points.length), description.points)
      : network.read(description.value, 1)[0];
    return { action, policy: logPolicy.map(Math.exp), value, visits: null, line: [action] };
  }
}

class ValueAgent {
  constructor(machine, rules, network, description) { Object.assign(this, { rules, network, description }); }

  analyze(state) {
    const { rules, network, description } = this;
    const legal = rules.legal(state);
    network.run('initial', { observation: rules.observe(state) });
    const q = network.read(description.q, rules.actions).map((value, a) => legal[a] ? value : -Infinity);
    const action = greatest(q);
    const policy = new Float32Array(rules.actions);
    policy[action] = 1;
    return { action, policy, value: q[action], visits: null, line: [action] };
  }
}

// MuZero: the search asks the model, whose latent states lie side by side, one for each node.
class SearchingAgent {
  constructor(machine, rules, network, description) {
    Object.assign(this, { machine, rules, network, description });
    this.search = new (description.kind === 'gumbel' ? GumbelSearch : PUCTSearch)(machine, rules.actions, description.search);
    this.nodes = 0;
  }

  analyze(state, simulations) {
    const { machine, rules, network, description } = this;
    const { size, points, imagined } = description;
    if (simulations >= this.nodes) {
      this.nodes = simulations + 1;
      this.latents = machine.take(4 * size * this.nodes);
    }
    const latent = node => this.latents + 4 * size * node;
    const keep = (place, node) => machine.view(Uint8Array, latent(node), 4 * size).set(
      machine.view(Uint8Array, network.address(place), 4 * size));
    const legal = rules.legal(state);
    network.run('initial', { observation: rules.observe(state) });
    keep(description.root, 0);
    const logits = network.read(description.policy, rules.actions).slice();
    const value = mean(network.read(description.value, points.length), points);
    return this.search.run(logits, value, legal, simulations, (parent, action, node) => {
      network.run('recurrent', { latent: latent(parent), action });
      keep(description.next, node);
      return {
        reward: imagined.reward ? mean(network.read(imagined.reward, points.length), points) : 0,
        discount: description.discount,
        value: mean(network.read(imagined.value, points.length), points),
        logits: network.read(imagined.policy, rules.actions),
      };
    });
  }
}
