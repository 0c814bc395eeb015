"""Finds hidden information and delayed rewards.

A small network predicts the next step from the observation and the action, and again with additional inputs that the
agent does not observe. If these help much, the observation hides something. Delayed rewards are found in the same way.
Randomness cannot be predicted from either input, so it raises no alarm.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from myosu.doctor.check_env import as_vectors, sample_actions
from myosu.doctor.finding import Findings
from myosu.doctor.gym_play import Budget, RandomPlayer
from myosu.doctor.predictor import unexplained
from myosu.envs.native import NativeVectorEnv
from myosu.games.game import Game

#: Number of transitions: minimum for a judgement, maximum, and maximum for games, which are faster.
_FEW, _MOST, _MOST_OF_GAMES = 400, 4000, 12_000
#: Maximum number of observation values; maximum number of values to predict, those that change most.
_LARGEST, _TARGETS = 400, 24
#: Minimum fraction of a target's variance that the hidden input must explain in addition, and minimum fraction that is
#: unexplained without it.
_GAIN, _UNEXPLAINED = 0.2, 0.3
#: Maximum ratio of the unexplained variance with the hidden input to that without it.
_LEFT = 0.7
#: With at most this many actions, each action is also judged alone, if it has at least this many steps. From fewer
#: steps a network learns too little to tell hidden from hard to learn.
_FEW_ACTIONS, _FEW_OF_ONE = 8, 2000
#: A delayed reward is explained by an earlier step better than by its own, at least by this fraction of the variance.
_DELAY_GAIN = 0.3
#: Probability of repeating an action, in episodes that repeat actions.
_KEEP = 0.85
#: A hidden number is not hidden if the observation leaves at most this fraction unexplained.
_SHOWN = 0.15
#: Hidden numbers with at most this many distinct values become categories.
_CATEGORIES = 16


@dataclass
class Transitions:
    """n steps in order.

    observations, after: f32 [n, values]. actions: f32 [n, choices], one-hot, or [n, components]. rewards: [n].
    terminated, first: bool [n]; first: the step began an episode. groups: int [n], the episode.
    hidden: name → [n, values], the environment's internal numbers before the step.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    after: np.ndarray
    terminated: np.ndarray
    first: np.ndarray
    groups: np.ndarray
    hidden: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def discrete(self) -> bool:
        """Whether the action is a single choice among at most ``_FEW_ACTIONS``."""
        return self.actions.shape[1] <= _FEW_ACTIONS and bool((self.actions.sum(axis=1) == 1).all())

    def __len__(self) -> int:
        return len(self.rewards)

    def episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lengths of the episodes that ended, and whether they were terminated."""
        ends = np.append(np.flatnonzero(self.first[1:]), len(self) - 1)[: int(self.first.sum()) - 1]
        starts = np.flatnonzero(self.first)[: len(ends)]
        return ends - starts + 1, self.terminated[ends]


def check_prediction(data: Transitions, findings: Findings) -> None:
    if len(data) < _FEW or len(set(data.groups.tolist())) < 5:
        findings.unjudged("whether anything is hidden and whether rewards come late",
                          f"{len(data)} random steps of {len(set(data.groups.tolist()))} episodes are too few")
        return
    if too_large(data.observations.shape[1], findings):
        return
    _check_delay(data, findings)
    _check_hidden(data, findings)


def too_large(values: int, findings: Findings) -> bool:
    """Whether observations have too many values to be predicted, which is then reported as unjudged."""
    if values > _LARGEST:
        findings.unjudged("whether anything is hidden", f"observations of {values} values are too large for a quick "
                          "look")
    return values > _LARGEST


def _check_hidden(data: Transitions, findings: Findings) -> None:
    shown = np.concatenate([data.observations, data.actions], axis=1)
    targets, names = _targets(data)
    if not names:
        return
    before = np.concatenate([_earlier(shown, data.first, 1), data.first[:, None]], axis=1)
    sources = {"the previous observation and action": before} | {
        f"its attribute {name}": values for name, values in _categories(data).items()}
    if _report_hidden(shown, targets, names, sources, data.groups, findings) or len(sources) == 1:
        return
    # Hidden information may matter to one action only, such as a box that it fills, and vanish among all rewards.
    for action, chosen in enumerate(data.actions.T > 0 if data.discrete else ()):
        rewards = data.rewards[chosen][:, None]
        if chosen.sum() >= _FEW_OF_ONE and _varied(rewards[:, 0]) and _report_hidden(
                shown[chosen], rewards, [f"the reward for action {action}"],
                {name: extra[chosen] for name, extra in sources.items()}, data.groups[chosen], findings):
            return


def _report_hidden(shown: np.ndarray, targets: np.ndarray, names: list[str], sources: dict[str, np.ndarray],
                   groups: np.ndarray, findings: Findings) -> bool:
    """Whether one of ``sources`` explains a target far better than ``shown`` alone. All arrays cover the same steps."""
    plain = unexplained(shown, targets, groups)
    if plain.max() < _UNEXPLAINED:
        return False
    best, gain, place = "", 0.0, 0
    for name, extra in sources.items():
        known = unexplained(np.concatenate([shown, extra], axis=1), targets, groups)
        more = np.where((plain >= _UNEXPLAINED) & (known <= _LEFT * plain), plain - known, 0.0)
        if more.max() > gain:
            best, gain, place = name, float(more.max()), int(more.argmax())
    if gain < _GAIN:
        return False
    # Repeat with other held-out episodes, because the best of many comparisons may be good by chance.
    target = targets[:, [place]]
    again = [float(unexplained(features, target, groups, seed=1)[0]) for features in (
        shown, np.concatenate([shown, sources[best]], axis=1))]
    if again[0] - again[1] < _GAIN or again[1] > _LEFT * again[0]:
        return False
    findings.add("warning", "hidden-information", "the observation hides something: a small network leaves "
                 f"{again[0]:.0%} of {names[place]} after a step unexplained by observation and action, and "
                 f"{again[1]:.0%} if it knows {best} as well ({len(shown)} random steps).", "Put it into the "
                 "observation (a velocity, the "
                 "opponent, the die), or stack the last observations (gymnasium.wrappers.FrameStackObservation), or "
                 "train with a memory (ppo --lstm-size). Right if the game is one of hidden information.")
    return True


def _check_delay(data: Transitions, findings: Findings) -> None:
    if len(set(data.rewards.tolist())) < 2:
        return
    change = data.after - data.observations
    # On a large board, the few values that show that something happened would vanish among its cells.
    summary = np.concatenate([data.actions, np.abs(change).sum(1, keepdims=True), change.sum(1, keepdims=True),
                              (change != 0).sum(1, keepdims=True), data.terminated[:, None]], axis=1)
    whole = np.concatenate([data.observations, change, summary], axis=1)
    rewards = data.rewards[:, None]

    def left(steps: int) -> float:
        return min(float(unexplained(_earlier(features, data.first, steps), rewards, data.groups)[0])
                   for features in (summary, whole))

    own = left(0)
    if own < _UNEXPLAINED:
        return
    for steps in (1, 2):
        if own - (earlier := left(steps)) >= _DELAY_GAIN:
            when = "the step before" if steps == 1 else f"{steps} steps before"
            findings.add("warning", "delayed-reward", f"rewards come {steps} step{'s' if steps > 1 else ''} late: a "
                         f"small network leaves {own:.0%} of their variance unexplained by the observation and action "
                         f"of their own step, {earlier:.0%} by those of {when}.", "Pay a reward in the step that "
                         "earned it: the last one of an episode is lost, and the action that follows gets the credit.")
            return


def _targets(data: Transitions) -> tuple[np.ndarray, list[str]]:
    """The targets and their names: changes of the observation, the reward, and whether the episode ends."""
    change = data.after - data.observations
    spread = change.std(axis=0)
    chosen = np.argsort(-spread)[:_TARGETS]
    # A few large jumps, such as collisions, must not dominate.
    low, high = np.percentile(change[:, chosen], (2, 98), axis=0)
    many = [len(np.unique(change[:500, i])) > _CATEGORIES for i in chosen]
    columns = [np.clip(change[:, i], low[k], high[k]) if many[k] else change[:, i] for k, i in enumerate(chosen)]
    columns += [data.rewards, data.terminated.astype(np.float32)]
    names = [f"value {i} of the observation" for i in chosen] + ["the reward", "whether the episode ends"]
    # Targets that hardly ever vary cannot be judged.
    kept = [k for k, column in enumerate(columns) if column.std() > 1e-6 and _varied(column)]
    return np.stack([columns[k] for k in kept], axis=1) if kept else np.zeros((len(data), 0)), [names[k] for k in kept]


def _varied(column: np.ndarray) -> bool:
    usual = np.median(column)
    return int((np.abs(column - usual) > 1e-6).sum()) >= 40


def _earlier(values: np.ndarray, first: np.ndarray, steps: int) -> np.ndarray:
    """``values`` shifted back by ``steps`` steps; 0 before the start of the episode."""
    for _ in range(steps):
        values = np.where(first[:, None], 0, np.roll(values, 1, axis=0))
    return values


def _categories(data: Transitions) -> dict[str, np.ndarray]:
    """Hidden numbers that cannot be read off the observation, as features. Numbers with few distinct values are
    one-hot."""
    found = {}
    seen, place = np.unique(data.observations, axis=0, return_inverse=True)
    often = len(seen) <= len(data) / 4  # so equal observations can be compared
    for name, values in data.hidden.items():
        if _is_clock(values, data.first):
            continue  # observations usually do not show time limits
        if often and _is_told(values, place.reshape(-1)):
            continue  # exact, because a network may not learn rare values
        columns = []
        for column in values.T:
            different = np.unique(column)
            if 2 <= len(different) <= _CATEGORIES:
                columns.append(column[:, None] == different)
            elif len(different) > 1:
                columns.append(((column - column.mean()) / column.std())[:, None])
        if columns:
            found[name] = np.concatenate(columns, axis=1).astype(np.float32)
    if not found:
        return found
    left = unexplained(data.observations, np.concatenate(list(found.values()), axis=1), data.groups)
    ends = np.cumsum([values.shape[1] for values in found.values()])
    parts = np.split(left, ends[:-1])
    return {name: values for (name, values), part in zip(found.items(), parts, strict=True) if part.max() > _SHOWN}


def _is_told(values: np.ndarray, place: np.ndarray) -> bool:
    """Whether ``values`` [n, k] are a function of ``place`` int [n], the index of the observation."""
    example = np.zeros((place.max() + 1, values.shape[1]), values.dtype)
    example[place] = values
    return bool((example[place] == values).all())


def _is_clock(values: np.ndarray, first: np.ndarray) -> bool:
    """Whether ``values`` count the steps of an episode."""
    ticks = np.diff(values, axis=0)[~first[1:]]
    return len(ticks) > 0 and bool((ticks == ticks[0]).all()) and bool(ticks[0].any())


# --- where transitions come from


def record_env(player: RandomPlayer, seconds: float, most: int = _MOST) -> Transitions:
    """Play an environment at random. Raises UserError if it fails.

    In every other episode the last action is repeated most of the time, which reaches further and often lasts longer.
    """
    spec, rng = player.spec, np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    hidden: list[dict[str, np.ndarray]] = []
    budget, episode, first = Budget(seconds), 0, True
    player.start(0)
    while len(rows) < most and budget.left:
        before = as_vectors(player.row["observation"])[0].astype(np.float32)
        hidden.append(_attributes(player.watch.unwrapped))
        if not first and episode % 2 and rng.random() < _KEEP and player.may(player.row["action"][0]):
            ended = player.do(player.row["action"][0].copy())
        else:
            ended = player.act(1_000_000 + len(rows))
        shown = as_vectors(player.row["final_observation" if ended else "observation"])[0].astype(np.float32)
        rows.append((before, _one_hot(spec, player.row["action"][0]), float(player.row["reward"][0]), shown,
                     bool(player.row["terminated"][0]), first, episode))
        player.watch.answers.clear()
        first, episode = ended, episode + ended
    return _transitions([np.array(column) for column in zip(*rows, strict=True)], _common(hidden))


def record_game(game: Game, seed: int, games: int = 64) -> Transitions:
    """Play a game's rules at random. ``hidden`` are the fields of its state."""
    env, every = NativeVectorEnv(game, games, seed), np.arange(games)
    env.reset()
    now = env.recv()
    parts: list[tuple[np.ndarray, ...]] = []
    states: list[np.ndarray] = []
    first, episode = np.ones(games, np.bool_), np.arange(games)
    for ply in range(_MOST_OF_GAMES // games):
        actions = sample_actions(env.spec, now.legal_actions, seed * 1_000_003 + ply)
        states.append(env.states.copy())
        env.send(actions, every)
        after = env.recv()
        ended = after.terminated | after.truncated
        shown = np.where(ended[:, None], as_vectors(after.final_observation), as_vectors(after.observation))
        done = np.eye(game.num_actions, dtype=np.float32)[actions]
        parts.append((as_vectors(now.observation).astype(np.float32), done, after.reward,
                      shown.astype(np.float32), after.terminated, first, episode.copy()))
        first, episode, now = ended, np.where(ended, episode + games, episode), after
    # Game by game, so that each row follows its game's previous step.
    columns = [np.stack(column).swapaxes(0, 1).reshape(len(parts) * games, *column[0].shape[1:])
               for column in zip(*parts, strict=True)]
    columns[5][:: len(parts)] = True
    state = np.stack(states).swapaxes(0, 1).reshape(-1)
    hidden = {name: state[name].reshape(len(state), -1).astype(np.float64) for name in game.state_dtype.names or ()
              if state[name].dtype.kind in "bif" and state[name][0].size <= 64}
    return _transitions(columns, hidden)


def _transitions(columns: list[np.ndarray], hidden: dict[str, np.ndarray]) -> Transitions:
    observations, actions, rewards, after, terminated, first, groups = columns
    return Transitions(observations, actions, rewards, after, terminated, first, groups, hidden)


def _one_hot(spec: Any, action: np.ndarray) -> np.ndarray:
    if spec.action_low:
        return np.asarray(action, np.float32)
    choices = spec.action_branches or (spec.num_actions,)
    return np.concatenate([np.eye(n, dtype=np.float32)[i] for n, i in zip(choices, np.ravel(action), strict=True)])


def _attributes(env: Any) -> dict[str, np.ndarray]:
    """An environment's numeric attributes: scalars and arrays, tuples or lists of at most 64 numbers."""
    found = {}
    for name, value in vars(env).items():
        if "seed" in name or "random" in name:
            continue  # chance is meant to be hidden
        if isinstance(value, (tuple, list)) and 0 < len(value) <= 64 and all(
                isinstance(part, (bool, int, float, np.number)) for part in value):
            value = np.array(value)
        if isinstance(value, (bool, int, float, np.number, np.bool_)) or (
                isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and 0 < value.size <= 64):
            array = np.ravel(np.asarray(value)).astype(np.float64)
            if np.isfinite(array).all() and np.abs(array).max() < 1e12:
                found[name] = copy.deepcopy(array)
    return found


def _common(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The attributes that all rows have in the same shape, and that change."""
    names = set.intersection(*(set(row) for row in rows)) if rows else set()
    columns = {name: [row[name] for row in rows] for name in sorted(names)}
    whole = {name: np.stack(values) for name, values in columns.items() if len({v.shape for v in values}) == 1}
    return {name: values for name, values in whole.items() if (values != values[0]).any()}
