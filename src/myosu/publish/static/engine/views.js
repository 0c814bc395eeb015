// What the page may know of a position: the same as web/views.py says, which describes the fields.

export function view(history, position) {
  const { rules } = history;
  const { ply } = position;
  const legal = position.over ? [] : history.legal(position);
  const before = ply ? history.at(ply - 1) : null;
  const last = ply ? history.actions[ply - 1] : null;
  return {
    ply, to_play: position.to_play, returns: position.returns, over: position.over, truncated: position.truncated,
    legal, last, mover: before ? before.to_play : null,
    board: BOARDS[rules.board.kind](history, position, legal, before, last),
  };
}

// 0 empty, 1 the first player's, 2 the second's: the first two planes are the mover's pieces and the opponent's.
function pieces(history, position) {
  const observed = history.rules.observed(position.state);
  const cells = observed.length / history.rules.observation[1][0];
  const [own, other] = position.to_play === 0 ? [1, 2] : [2, 1];
  return Array.from({ length: cells }, (_, cell) => own * observed[cell] + other * observed[cells + cell]);
}

function grid(history, position, legal, before) {
  const { rules } = history;
  const [, rows, columns] = rules.observation[1];
  const { line = 0, drops = false } = rules.board;
  const cells = pieces(history, position);
  const change = (after, old) => {
    const now = pieces(history, after);
    return [now.findIndex((piece, cell) => piece && !old[cell]), [...now.keys()].filter(cell => old[cell] && now[cell] !== old[cell])];
  };
  const options = legal.filter(action => action !== rules.pass).map(action => [action, ...change(history.after(position, action), cells)]);
  const [placed, flipped] = before ? change(position, pieces(history, before)) : [-1, []];
  const turns = rules.pass !== null;
  return {
    kind: 'grid', rows, columns, drops, cells, options, placed, flipped, pass: turns && legal.includes(rules.pass),
    line: line && position.over ? lines(cells, rows, columns, line) : [],
    score: turns ? [1, 2].map(piece => cells.filter(each => each === piece).length) : null,
  };
}

// As a grid. At the end the score is the area, White's with komi; before it the stones taken.
function go(history, position, legal, before) {
  const { rules } = history;
  const board = { ...grid(history, position, legal, before), files: rules.board.files, flipped: [], owners: null,
    score: [...rules.field(position.state, 'captures')], komi: rules.field(position.state, 'komi')[0] };
  if (position.over) {
    const width = board.columns + 2;
    const found = rules.owners(position.state);
    board.owners = board.cells.map((_, cell) => found[(Math.floor(cell / board.columns) + 1) * width + cell % board.columns + 1]);
    const area = piece => board.owners.filter(owner => owner === piece).length;
    board.score = [area(1), area(2) + board.komi];
  }
  return board;
}

// The cells of all lines of `length` equal pieces.
function lines(cells, rows, columns, length) {
  const found = new Set();
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      for (const [down, right] of [[0, 1], [1, 0], [1, 1], [1, -1]]) {
        const [bottom, end] = [row + (length - 1) * down, column + (length - 1) * right];
        if (bottom >= rows || end < 0 || end >= columns) continue;
        const places = Array.from({ length }, (_, k) => (row + k * down) * columns + column + k * right);
        if (cells[places[0]] && places.every(place => cells[place] === cells[places[0]])) places.forEach(place => found.add(place));
      }
    }
  }
  return [...found].sort((a, b) => a - b);
}

function snake(history, position) {
  const { rules } = history;
  const field = name => rules.field(position.state, name);
  const size = rules.observation[1][1];
  const [stamps, targets, [tail]] = [field('stamps'), field('targets'), field('tail')];
  const body = [...stamps.keys()].filter(cell => stamps[cell] >= tail).sort((a, b) => stamps[b] - stamps[a]);
  return { kind: 'snake', rows: size, columns: size, body, targets: [...targets.keys()].filter(cell => targets[cell]) };
}

function bubble(history, position, legal, before, last) {
  const { rules } = history;
  const { points, degrees, ...field } = rules.board;
  const fly = (state, angle) => ({ degrees: degrees[angle], ...rules.fly(state, angle, points) });
  const { columns } = field;
  const exists = cell => !(Math.floor(cell / columns) % 2 && cell % columns === columns - 1);  // odd rows are shorter
  const of = name => rules.field(position.state, name);
  let shot = null;
  if (before) {
    shot = { ...fly(before.state, rules.ways(before.state)[last]), cell: last, colour: rules.field(before.state, 'current')[0] };
    const was = rules.field(before.state, 'board');
    was[shot.cell] = shot.colour;
    shot.gone = [...was.entries()].filter(([cell, colour]) => colour > 0 && of('board')[cell] === 0);
  }
  return {
    ...field, cells: [...of('board')].map((colour, cell) => exists(cell) ? colour : -1), current: of('current')[0],
    following: of('following')[0], shots: of('shots')[0], shot,
    shots_of: degrees.map((_, angle) => fly(position.state, angle)), ways: [...rules.ways(position.state)],
  };
}

const SIDE = 9;
const BOX = 5;

function woodoku(history, position, legal, before, last) {
  const cells = [...history.rules.field(position.state, 'board')];
  let [placed, cleared] = [[], []];
  if (before) {
    const [slot, cell] = [Math.floor(last / (SIDE * SIDE)), last % (SIDE * SIDE)];
    placed = boxes(history, before)[slot].map(([row, column]) => cell + SIDE * row + column);
    const was = history.rules.field(before.state, 'board');
    cleared = [...cells.keys()].filter(each => (was[each] || placed.includes(each)) && !cells[each]);
  }
  return {
    kind: 'woodoku', rows: SIDE, columns: SIDE, cells, pieces: boxes(history, position),
    fits: [0, 1, 2].map(slot => legal.filter(action => Math.floor(action / 81) === slot).map(action => action % 81)),
    placed, cleared, straight: history.rules.field(position.state, 'straight')[0],
  };
}

// Of each slot the cells of its piece, from the middle of its box: as planes 1 to 3 show them, in the middle of a board.
function boxes(history, position) {
  const observed = history.rules.observed(position.state);
  const [first, middle] = [(SIDE - BOX) / 2, (SIDE - 1) / 2];
  return [1, 2, 3].map(plane => {
    const found = [];
    for (let row = first; row < first + BOX; row++) {
      for (let column = first; column < first + BOX; column++) {
        if (observed[(plane * SIDE + row) * SIDE + column]) found.push([row - middle, column - middle]);
      }
    }
    return found;
  });
}

// Of a game that the page has no board for: the marks on its planes, or else what its record holds.
function text(history, position) {
  const { rules } = history;
  const [planes, rows, columns] = rules.observation[1];
  if (columns === undefined) {
    return { kind: 'text', text: Object.keys(rules.fields).map(name => `${name} ${[...rules.field(position.state, name)].join(' ')}`).join('\n') };
  }
  const observed = rules.observed(position.state);
  // Of two players the first two planes are mostly the mover's pieces and the opponent's: here the first's and the second's.
  const marks = [...(rules.players === 2 ? (position.to_play ? 'OX' : 'XO') : ''), ...'abcdefghijklmnopqrstuvwxyz'].slice(0, planes);
  const mark = cell => marks.find((_, plane) => observed[plane * rows * columns + cell]) ?? '.';
  const line = row => Array.from({ length: columns }, (_, column) => mark(row * columns + column)).join(' ');
  return { kind: 'text', text: Array.from({ length: rows }, (_, row) => line(row)).join('\n') };
}

const BOARDS = { bubble, go, grid, snake, woodoku, text };
