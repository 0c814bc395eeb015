// Sentences about a game, for the status line and for screen readers.

// The appearance of a game: Go of any size looks the same.
export const look = run => /^go\d/.test(run.game) ? 'go' : run.game;

const SIDES = { othello: ['Black', 'White'], go: ['Black', 'White'], connect_four: ['Red', 'Yellow'], tictactoe: ['Cross', 'Ring'] };

const TITLES = { othello: 'Othello', connect_four: 'Connect Four', tictactoe: 'Tic-tac-toe', snake: 'Snake', woodoku: 'Woodoku', bubble: 'Bubble', go: 'Go' };

export const title = run => TITLES[look(run)] ?? run.game;

export const sideName = (run, seat) => run.players === 1 ? 'Player' : (SIDES[look(run)] ?? ['First', 'Second'])[seat];

export function playerName(game, seat) {
  const player = game.seats[seat];
  if (player.kind === 'recorded') return game.seats.length === 1 ? 'Recorded' : ['First', 'Second'][seat];
  if (player.kind === 'person') return game.seats.length === 2 && game.onlyPersons ? ['First', 'Second'][seat] : 'You';
  const rival = game.seats[1 - seat];
  return rival?.kind === 'agent' && rival.checkpoint !== player.checkpoint ? `Agent, ${checkpointName(player.checkpoint)}` : 'Agent';
}

export const checkpointName = name => name.startsWith('apv:') ? 'AlphaGo’s search' : `update ${Number(name.replace(/\D/g, '')).toLocaleString('en')}`;

export const moveName = (run, action) => run.pass === action ? 'pass' : run.names[action];

// The number of the action at ply k, as in chess: with two players, both moves share a number.
export const moveNumber = (run, k) => run.players === 1 ? `${k + 1}.` : `${Math.floor(k / 2) + 1}${k % 2 ? '…' : '.'}`;

export const number = value => String(Math.round(100 * value) / 100).replace('-', '−');

// Whether returns are half the disc difference; with --rewards outcome they are ±1.
export const inDiscs = run => run.game === 'othello' && run.reward_range[1] > 1;

// A difference of values in the game's unit.
export function amount(run, value) {
  if (inDiscs(run)) return `${number(Math.round(20 * value) / 10)} discs`;
  if (run.players === 1) return `${number(value)} points`;
  return run.reward_range[1] > 1 ? number(value) : `${Math.round(50 * value)} %`;
}

// The result of a game with these returns, for lists.
export function result(run, returns) {
  if (run.players === 1) return `score ${number(returns[0])}`;
  if (returns[0] === 0) return 'draw';
  return `${sideName(run, returns[0] > 0 ? 0 : 1)} ${inDiscs(run) ? `+${number(2 * Math.abs(returns[0]))}` : 'won'}`;
}

const START_LENGTH = 3;

// The score of a single player: in Snake the targets eaten (dying costs a reward, but no target), in Bubble the bubbles left.
export function score(position) {
  const { board } = position;
  if (board.kind === 'snake') return board.body.length - START_LENGTH;
  if (board.kind === 'bubble') return board.cells.filter(colour => colour > 0).length;
  return position.returns[0];
}

// Describe the move that led to `position`.
export function describe(run, game, position) {
  if (position.last === null) return 'A new game.';
  const who = playerName(game, position.mover);
  const board = position.board;
  const words = [];
  if (board.kind === 'snake') {
    words.push(run.names[position.last]);
  } else if (position.last === run.pass) {
    words.push(`${who} ${who === 'You' ? 'pass' : 'passes'}`);
  } else {
    words.push(`${who} ${who === 'You' ? 'play' : 'plays'} ${run.names[position.last]}`);
  }
  if (board.flipped?.length) words.push(`${board.flipped.length} turned`);
  if (board.cleared?.length) words.push(`${board.cleared.length} cells cleared`);
  if (board.shot?.gone.length) words.push(`${board.shot.gone.length} bubbles gone`);
  const text = `${words.join(', ')}.`;
  if (position.over) return `${text} ${outcome(run, game, position)}`;
  if (board.kind === 'snake') return text;
  return game.isPerson(position.to_play) ? `${text} ${turn(run, game, position)}` : text;
}

// Whether passing is the only choice; in Go it is always legal.
const mustPass = position => position.board.pass === true && position.legal.length === 1;

function turn(run, game, position) {
  const who = playerName(game, position.to_play);
  if (mustPass(position)) return who === 'You' ? 'You have no move and must pass.' : `${who} must pass.`;
  if (run.players === 1) return { person: 'Your move.', agent: 'The agent plays.' }[game.seats[0].kind] ?? '';
  return who === 'You' ? `Your turn (${sideName(run, position.to_play)}).` : `${who} (${sideName(run, position.to_play)}) to move.`;
}

// The line under the board.
export function outcome(run, game, position) {
  if (!position.over) {
    const agentToMove = game.live && !game.paused && game.seats[position.to_play].kind === 'agent';
    if (agentToMove && run.players === 2) return `${playerName(game, position.to_play)} (${sideName(run, position.to_play)}) thinks…`;
    const passed = position.last !== null && position.last === run.pass ? `${playerName(game, position.mover)} ${look(run) === 'go' ? 'passed' : 'had to pass'}. ` : '';
    if (position.board.kind === 'snake' && game.mayPlay && position.ply === 0) return 'Press an arrow key, or swipe, to set off.';
    return passed + turn(run, game, position);
  }
  if (run.players === 1) {
    const end = position.truncated && position.board.kind !== 'bubble' ? 'The game was cut off at its greatest length.' : 'The game is over.';
    if (position.board.kind === 'bubble') return score(position) ? `${end} ${score(position)} bubbles are left.` : `All bubbles are gone, with ${position.board.shots} shots left.`;
    return `${end} Score ${number(score(position))}.`;
  }
  const lead = position.returns[0];
  const count = position.board.score ? ` ${Math.max(...position.board.score)} to ${Math.min(...position.board.score)}` : '';
  if (lead === 0) return `A draw${count && `, ${position.board.score.join(' to ')}`}.`;
  const winner = lead > 0 ? 0 : 1;
  const who = playerName(game, winner);
  return `${who === 'You' ? 'You win' : `${who} (${sideName(run, winner)}) wins`}${count}.`;
}

// Whether a person won a two-player game.
export function won(game, position) {
  const lead = position.over && position.returns.length === 2 ? position.returns[0] : 0;
  return lead !== 0 && game.seats[lead > 0 ? 0 : 1].kind === 'person';
}
