// For the tests of published pages: node published.mjs SITE; orders as JSON lines on stdin, an answer for each on stdout.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const site = process.argv[2];
const engine = await import(pathToFileURL(`${site}/engine/load.js`));
const { replay } = await import(pathToFileURL(`${site}/engine/rules.js`));
const { analysisToJson } = await import(pathToFileURL(`${site}/engine/room.js`));
const { view } = await import(pathToFileURL(`${site}/engine/views.js`));
const weights = readFileSync(`${site}/weights.bin`);
const { rules, agent } = await engine.load(JSON.parse(readFileSync(`${site}/agent.json`, 'utf8')),
  readFileSync(`${site}/agent.wasm`), weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.byteLength));

function perft(state, depth) {
  if (depth === 0) return 1;
  let count = 0;
  rules.legal(state).forEach((may, action) => {
    if (!may) return;
    const { state: after, ended } = rules.step(state, action);
    count += ended ? 1 : perft(after, depth - 1);
  });
  return count;
}

const numbers = array => Array.from(array, Number);

const orders = {
  perft: ({ seed, depth }) => perft(rules.start(seed), depth),
  // What is known of the position after some moves.
  look: ({ seed, actions }) => {
    const history = replay(rules, seed, actions);
    const { state, returns, terminated, truncated, to_play } = history.now;
    return { state: numbers(state), returns, terminated, truncated, to_play, legal: history.legal(),
      observation: numbers(rules.observed(state)), view: view(history, history.now) };
  },
  // What goes wrong where moves are made that nobody asks about.
  step: ({ seed, actions }) => {
    try {
      let state = rules.start(seed);
      for (const action of actions) ({ state } = rules.step(state, action));
      return '';
    } catch (error) {
      return error.message;
    }
  },
  analyze: ({ seed, actions, simulations }) => {
    const analysis = agent.analyze(replay(rules, seed, actions).now.state, simulations);
    return { ...analysis, json: analysisToJson(analysis), policy: numbers(analysis.policy), visits: analysis.visits && numbers(analysis.visits) };
  },
  // Milliseconds of one search, the median of some.
  time: ({ seed, actions, simulations }) => {
    const { state } = replay(rules, seed, actions).now;
    const times = Array.from({ length: 11 }, () => {
      const start = performance.now();
      agent.analyze(state, simulations);
      return performance.now() - start;
    });
    return times.sort((a, b) => a - b)[5];
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { order, ...details } = JSON.parse(line);
  let answer;
  try {
    answer = { found: orders[order](details) };
  } catch (error) {
    answer = { error: String(error.stack) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
