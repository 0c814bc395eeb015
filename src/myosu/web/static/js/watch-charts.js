// The charts: which curves each shows, its title and its description. A curve that is not listed here (of another
// algorithm) gets its own chart, with the name under which it was recorded.

const strength = 'How strong it is', play = 'How it plays, and what it expects', losses = 'Learning', machine = 'Speed and memory';

export const GROUPS = [strength, play, losses, machine];

export const CHARTS = [
  { group: strength, names: ['evaluation/mean_reward'], band: ['evaluation/mean_reward_low', 'evaluation/mean_reward_high'], title: 'Evaluation', wide: true, dots: true,
    about: 'Mean reward with its 95 % interval, without exploration; in games for two against the opponent that the table names.' },
  { group: strength, names: ['episodes/reward_mean'], band: ['episodes/reward_min', 'episodes/reward_max'], title: 'Return in training', wide: true,
    about: 'Mean over the episodes of each record, from the least to the greatest; with exploration.' },
  { group: strength, names: ['selfplay/reward_first_mean', 'selfplay/reward_second_mean'], title: 'Reward by seat', wide: true,
    about: 'Means of self-play: the first player, and dashed the second.' },
  // For one player and for two.
  ...['episodes', 'selfplay'].flatMap(place => [
    ['length', 'Length of an episode', 'Steps or moves, on average.'],
    ['policy_entropy', 'Policy entropy', 'How much it varies its moves. Falls with certainty, but not to 0 at once.'],
    ['forced_moves', 'Forced moves', 'Share of positions with one legal move.'],
    ['passes', 'Passes a game'],
    ['search_kl', 'What search adds', 'KL of the searched policy from the network’s.'],
    ['value_error', 'Value error', 'Mean distance of search values from the outcome.'],
    ['value_bias', 'Value bias', 'Should be near 0: above, it hopes too much.'],
  ].map(([name, title, about]) => ({ group: play, names: [`${place}/${name}`], title, about }))),
  { group: play, names: ['loss/explained_variance'], title: 'Explained variance', about: 'Of returns, by the value: 1 is perfect, 0 is the mean.' },
  { group: losses, names: ['loss/replay_age_updates'], title: 'Age of replayed data', about: 'Updates since it was played.' },
  { group: losses, names: ['loss/loss'], title: 'Loss' },
  { group: losses, names: ['loss/policy_loss'], title: 'Policy loss' },
  { group: losses, names: ['loss/value_loss'], title: 'Value loss' },
  { group: losses, names: ['loss/gradient_norm'], title: 'Gradient norm' },
  { group: losses, names: ['loss/entropy'], title: 'Entropy while learning' },
  { group: losses, names: ['loss/approx_kl'], title: 'Change of policy', about: 'KL between the old and the new policy.' },
  { group: losses, names: ['loss/clip_fraction'], title: 'Clipped samples', about: 'Share of ratios outside the trust region.' },
  { group: losses, names: ['loss/learning_rate'], title: 'Learning rate' },
  { group: machine, names: ['env_steps_per_second'], title: 'Steps a second' },
  { group: machine, names: ['updates_per_second'], title: 'Updates a second' },
  { group: machine, names: ['games_per_second'], title: 'Episodes a second' },
  { group: machine, names: ['replay_ratio'], title: 'Replay ratio', about: 'Samples drawn for each position.' },
  { group: machine, names: ['replay_positions'], title: 'Positions in the replay' },
  { group: machine, names: ['memory_mib'], title: 'Memory', about: 'MiB of all processes.' },
];

// Edges of bands, counters that only rise, and curves that are shown as text.
const LEFT_OUT = /^(games|samples|positions|replay_games|actor_restarts|env_restarts|positions_per_second)$|_(min|max|std|low|high)$/;

export function chartsFor(names) {
  const known = new Set(CHARTS.flatMap(chart => chart.names));
  const others = [...names].filter(name => !known.has(name) && !LEFT_OUT.test(name)).map(name => {
    const [place, own] = name.includes('/') ? name.split('/') : ['', name];
    const title = own.replaceAll('_', ' ');
    return { group: place === 'loss' ? losses : place ? play : machine, names: [name], title: title[0].toUpperCase() + title.slice(1) };
  });
  return [...CHARTS.filter(chart => chart.names.some(name => names.has(name))), ...others];
}
