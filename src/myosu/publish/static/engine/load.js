// The rules and the agent of a published run, out of its three files.

import { makeAgent } from './agents.js';
import { Machine } from './machine.js';
import { Network } from './network.js';
import { Rules } from './rules.js';

// description: agent.json. code: agent.wasm. weights: weights.bin, an ArrayBuffer.
export async function load(description, code, weights) {
  const machine = await Machine.load(code, description.module);
  const rules = new Rules(machine, description.rules);
  const network = new Network(machine, description.agent, new Uint8Array(weights));
  return { rules, agent: makeAgent(machine, rules, network, description.agent) };
}
