// The thread that holds the games and runs the agent, so that the page stays quick. js/link.js speaks to it.

import { load } from './load.js';
import { Room } from './room.js';

const get = async name => {
  const answer = await fetch(new URL(`../${name}`, import.meta.url));
  if (!answer.ok) throw new Error(`${name} is missing beside this page.`);
  return answer;
};

let begun;

async function begin(kept) {
  const [description, code, weights] = await Promise.all([
    get('agent.json').then(answer => answer.json()), get('agent.wasm').then(answer => answer.arrayBuffer()),
    get('weights.bin').then(answer => answer.arrayBuffer())]);
  const { rules, agent } = await load(description, code, weights);
  return new Room(rules, agent, description.run, kept, (id, game) => postMessage({ kind: 'keep', id, game }));
}

// One message after another: {kind: begin | ask | enter | send | leave | export, ...}.
onmessage = async ({ data }) => {
  if (data.kind === 'begin') begun = begin(data.kept);
  const answer = found => postMessage({ kind: 'answer', number: data.number, ...found });
  const tell = message => postMessage({ kind: 'message', id: data.id, message });
  try {
    const room = await begun;
    switch (data.kind) {
      case 'ask': return answer({ found: room.ask(data.address, data.order) });
      case 'export': return answer({ found: room.demonstration(room.table(data.id)) });
      case 'enter': return room.table(data.id).enter(tell);
      case 'leave': return room.tables.get(data.id)?.leave();
      case 'send': return room.table(data.id).hear(data.message);
    }
  } catch (error) {
    if (data.number !== undefined) answer({ error: error.message });
    else if (data.kind === 'enter') postMessage({ kind: 'gone', id: data.id });
    else tell({ type: 'error', message: error.message });
  }
};
