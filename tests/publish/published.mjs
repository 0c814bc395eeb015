// For the tests of published pages: node published.mjs SITE; orders as JSON lines on stdin, an answer for each on stdout.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const site = process.argv[2];
const engine = await import(pathToFileURL(`${site}/engine/load.js`));
const { replay } = await import(pathToFileURL(`${site}/engine/rules.js`));
const { told } = await import(pathToFileURL(`${site}/engine/room.js`));
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
    const course = replay(rules, seed, actions);
    const { state, returns, terminated, truncated, to_play } = course.now;
    return { state: numbers(state), returns, terminated, truncated, to_play, legal: course.legal(),
      observation: numbers(rules.observed(state)), view: view(course, course.now) };
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
  think: ({ seed, actions, simulations }) => {
    const thought = agent.think(replay(rules, seed, actions).now.state, simulations);
    return { ...thought, told: told(thought), policy: numbers(thought.policy), visits: thought.visits && numbers(thought.visits) };
  },
  // Milliseconds of one search, the median of some.
  time: ({ seed, actions, simulations }) => {
    const { state } = replay(rules, seed, actions).now;
    const times = Array.from({ length: 11 }, () => {
      const start = performance.now();
      agent.think(state, simulations);
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
