// The two dialogs: for a new game, and for recorded games.

import { $, make } from './dom.js';
import { checkpointName, result, sideName } from './words.js';

function closed(dialog) {
  return new Promise(resolve => {
    dialog.onclose = () => resolve(dialog.returnValue);
    dialog.returnValue = '';
    dialog.showModal();
  });
}

// The seats chosen by the person, or null if cancelled.
export async function newGameDialog(run, seats) {
  const dialog = $('new-dialog');
  const choices = run.players === 1
    ? [['play', 'You play', [true]], ['watch', 'Watch the agent', [false]]]
    : [['first', `You are ${sideName(run, 0)}`, [true, false]], ['second', `You are ${sideName(run, 1)}`, [false, true]],
      ['both', 'Two people', [true, true]], ['watch', 'Watch two agents', [false, false]]];
  const persons = seats.map(seat => seat.kind === 'person');
  const settings = seats.map(seat => seat.kind === 'agent' ? seat : seats.find(other => other.kind === 'agent')
    ?? { kind: 'agent', checkpoint: run.default, simulations: run.simulations, temperature: 0 });
  const groups = settings.map((seat, number) => strength(run, seat, number));
  const current = choices.find(([, , who]) => String(who) === String(persons)) ?? choices[0];
  const update = () => {
    const chosen = choices.find(([name]) => dialog.querySelector(`input[value=${name}]`).checked);
    groups.forEach((group, number) => { group.hidden = chosen[2][number]; });
    return chosen;
  };
  $('sides').replaceChildren(make('legend', {}, 'Who plays'), ...choices.map(choice => make('label', { class: 'side' },
    make('input', { type: 'radio', name: 'side', value: choice[0], checked: choice === current, autofocus: choice === current, onchange: update }),
    make('span', {}, choice[1]))));
  $('strengths').replaceChildren(...groups);
  update();
  if (await closed(dialog) !== 'begin') return null;
  const chosen = update();
  return chosen[2].map((person, number) => person ? { kind: 'person' } : {
    kind: 'agent', checkpoint: groups[number].querySelector('.checkpoint').value,
    simulations: run.searches ? Math.min(1000, Math.max(1, Math.round(Number(groups[number].querySelector('.simulations').value)) || run.simulations)) : 0,
    temperature: Math.min(10, Math.max(0, Number(groups[number].querySelector('.temperature').value) || 0)),
  });
}

function strength(run, seat, number) {
  const options = [...run.checkpoints].reverse().map(name => make('option', { value: name, selected: name === seat.checkpoint },
    [checkpointName(name), name === run.best && 'best', name === run.checkpoints.at(-1) && 'latest'].filter(Boolean).join(', ')));
  const fields = [make('label', {}, 'Checkpoint', make('select', { class: 'checkpoint' }, ...options))];
  if (run.searches) {
    fields.push(make('label', {}, 'Simulations a move', make('input', { class: 'simulations', type: 'number', min: 1, max: 1000, required: true, value: seat.simulations || run.simulations })));
  }
  fields.push(make('label', {}, 'Temperature', make('input', { class: 'temperature', type: 'number', min: 0, max: 10, step: 'any', required: true, value: seat.temperature })));
  const more = make('details', { class: 'more' }, make('summary', {}, 'More'), ...fields,
    make('p', { class: 'faint' }, run.searches ? 'More simulations are stronger and slower. Temperature 0 plays the best move; more brings variety.' : 'Temperature 0 plays the likeliest move; more brings variety.'));
  return make('fieldset', { class: 'strength' }, make('legend', {}, run.players === 1 ? 'Agent' : `Agent (${sideName(run, number)})`),
    make('label', {}, 'Level', level(run, more)), more);
}

// Simulations and temperature of each level.
function levels(run) {
  const base = run.simulations;
  return run.searches ? { Easy: [Math.max(1, Math.round(base / 8)), 1], Medium: [Math.max(1, Math.round(base / 2)), 0.5], Strong: [base, 0], Strongest: [Math.min(1000, 4 * base), 0] }
    : { Easy: [0, 1], Medium: [0, 0.5], Strong: [0, 0] };
}

// A menu of levels that sets the fields in ``more``. It shows "own" if their values are of no level.
function level(run, more) {
  const known = levels(run);
  const simulations = more.querySelector('.simulations');
  const temperature = more.querySelector('.temperature');
  const choice = make('select', { class: 'level' }, ...[...Object.keys(known), 'own'].map(name => make('option', { value: name }, name)));
  const look = () => {
    const found = Object.entries(known).find(([, [many, warmth]]) => (!simulations || Number(simulations.value) === many) && Number(temperature.value) === warmth);
    choice.value = found?.[0] ?? 'own';
  };
  choice.onchange = () => {
    if (choice.value === 'own') { more.open = true; return; }
    const [many, warmth] = known[choice.value];
    if (simulations) simulations.value = many;
    temperature.value = warmth;
  };
  more.oninput = look;
  look();
  return choice;
}

// A request for a recorded game, or null if cancelled.
export async function replaysDialog(run, stored) {
  const dialog = $('replays-dialog');
  let order = null;
  const pick = chosen => { order = chosen; dialog.close('open'); };
  const list = (title, games, name, what) => games.length ? [make('h3', {}, title), make('ul', { class: 'games' }, ...games.map(game =>
    make('li', {}, make('button', { type: 'button', onclick: () => pick(what(game)) }, make('strong', {}, name(game)),
      make('span', {}, `${game.length} moves`), make('span', {}, result(run, game.returns))))))] : [];
  const date = at => new Date(1000 * at).toLocaleString('sv').slice(0, 16);
  const parts = [
    ...list('Not finished', stored.open, game => date(game.started), game => ({ id: game.id })),
    ...list('Played here', stored.played, game => game.played.slice(0, 15).replace(/^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d).*/, '$1-$2-$3 $4:$5'), game => ({ played: game.played })),
    ...list('The newest of training', stored.newest, game => `Episode ${game.episode.toLocaleString('en')}`, game => ({ episode: game.episode })),
    ...list('The best of training', stored.best, game => `Episode ${game.episode.toLocaleString('en')}`, game => ({ episode: game.episode })),
  ];
  $('replays').replaceChildren(...(parts.length ? parts : [make('p', { class: 'faint' }, 'No game of this run was recorded with its moves yet.')]));
  await closed(dialog);
  return order;
}
