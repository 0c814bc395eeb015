// Short quiet sounds for moves and ends, synthesised in the browser. They can be switched off.

import { $, stored } from './dom.js';

// Tones of each event: [frequency in Hz, start and length in seconds].
const TONES = {
  move: [[420, 0, 0.05]], taken: [[420, 0, 0.05], [300, 0.05, 0.07]],
  won: [[523, 0, 0.12], [659, 0.11, 0.12], [784, 0.22, 0.22]], lost: [[392, 0, 0.14], [330, 0.13, 0.25]], ended: [[440, 0, 0.2]],
};

let audio = null;

export function offerSounds() {
  const box = $('sounds');
  box.checked = stored.get('sounds', 'yes') === 'yes';
  box.onchange = () => stored.set('sounds', box.checked ? 'yes' : '');
}

export function play(event) {
  if (!event || !$('sounds').checked || !globalThis.AudioContext) return;
  audio ??= new AudioContext();
  audio.resume();  // browsers block sound until the first click or key
  for (const [frequency, start, length] of TONES[event]) {
    const at = audio.currentTime + start;
    const [tone, volume] = [new OscillatorNode(audio, { type: 'triangle', frequency }), new GainNode(audio, { gain: 0 })];
    volume.gain.setValueAtTime(0.12, at);
    volume.gain.exponentialRampToValueAtTime(0.001, at + length);
    tone.connect(volume).connect(audio.destination);
    tone.start(at);
    tone.stop(at + length);
  }
}

// The sound for reaching `position`. In Snake, which moves all the time, only meals and the end have one.
export function soundOf(game, position, won) {
  const { board } = position;
  if (position.over) {
    if (won) return 'won';
    return game.seats.length === 2 && game.hasPerson && !game.onlyPersons && position.returns[0] !== 0 ? 'lost' : 'ended';
  }
  if (board.kind === 'snake') return board.body.length > (game.positions.get(position.ply - 1)?.board.body.length ?? Infinity) ? 'taken' : null;
  return board.flipped?.length || board.cleared?.length || board.shot?.gone.length ? 'taken' : 'move';
}
