"""Raw transitions of several environments in one ring: what follows what, and n steps from anywhere."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from in_turn import InTurn, InTwoGroups
from myosu.algorithms import dqn
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.vector import EnvSpec, Step
from myosu.errors import UserError
from myosu.replay.replay import Replay
from myosu.replay.transitions import Rollout, RunningSteps, Transitions, transition_columns

SPEC = EnvSpec((1,), np.float32, 2, 1, (-1.0, 1.0), 100)
COLUMNS = transition_columns(SPEC, ((1,), np.int64))
CONFIG = dqn.Config(hidden=(8,), discount=0.5, num_envs=4, learning_starts=4, n_step=3, advantage_learning=0.0)


def play(running, ids, now, after, reward, terminated=(), truncated=(), mask=(True, True)):
    """One step in the environments ``ids`` from the observations ``now`` to ``after``; the action is 10 · now."""
    ids, ended = np.array(ids), np.isin(ids, [*terminated, *truncated])
    now, after = (np.array(x, np.float32)[:, None] for x in (now, after))
    running.act(ids, observation=now, legal_actions=np.array([mask] * len(ids)), action=10 * now.astype(np.int64))
    return running.answer(Step(
        ids, np.where(ended[:, None], np.float32(0), after), np.ones((len(ids), 2), np.bool_),
        np.zeros(len(ids), np.int8), np.array(reward, np.float32), np.isin(ids, terminated), np.isin(ids, truncated),
        np.where(ended[:, None], after, np.float32(0)), np.array(reward, np.float32), np.zeros(len(ids), np.uint64)))


def n_step(replay, n):
    """What a learner with γ = 0.5 makes of all rows whose n steps are known: observation, action,
    reward, discount and next observation of each."""
    learner = dqn.make_learner(dataclasses.replace(CONFIG, n_step=n), SPEC, None, 0)
    replay.steps = n
    rows = np.arange(replay.filled)
    windows = replay.windows(rows[replay.windows(rows).complete])
    batch = learner.sampler.transitions(replay, windows)
    names = ("observation", "action", "reward", "discount", "next_observation")
    return list(zip(*(np.ravel(batch[name]).round(4).tolist() for name in names), strict=True)), batch


def test_rows_of_one_step_by_hand():
    running = RunningSteps(COLUMNS, 3, first_id=100)
    rows = play(running, [2, 0], [1, 2], [3, 4], [5.0, 6.0], truncated=[0], mask=(True, False))
    assert rows["env_id"].tolist() == [102, 100, 100] and rows["acted"].tolist() == [True, True, False]
    assert rows["observation"].tolist() == [[1], [2], [4]] and rows["reward"].tolist() == [5, 6, 0]
    assert rows["action"].tolist() == [[10], [20], [0]] and rows["remaining"].tolist() == [0, 1, 0]
    assert rows["truncated"].tolist() == [False, True, False] and not rows["terminated"].any()
    assert rows["legal_actions"].tolist() == [[True, False]] * 3, "the final row has the last known mask"


def test_three_step_returns_with_truncation_by_hand():
    replay, running = Transitions(COLUMNS, 20, steps=3), RunningSteps(COLUMNS, 1)
    replay.add(play(running, [0], [0], [1], [1.0]), 0)
    replay.add(play(running, [0], [1], [2], [2.0]), 0)
    replay.add(play(running, [0], [2], [3], [4.0]), 0)
    assert n_step(replay, 3)[0] == [] and replay.positions == 0, "no action has been taken at 3 yet"
    # The end comes at 4 for everyone: 2 + 4/2 + 8/4; 4 + 8/2; 8. Cut, so that the value of 4 still counts.
    replay.add(play(running, [0], [3], [4], [8.0], truncated=[0], mask=(True, False)), 0)
    table, batch = n_step(replay, 3)
    # 1 + 2/2 + 4/4 = 3, from 0 to 3
    assert table == [(0, 0, 3.0, 0.125, 3), (1, 10, 6.0, 0.125, 4), (2, 20, 8.0, 0.25, 4), (3, 30, 8.0, 0.5, 4)]
    assert batch["next_legal_actions"].tolist() == [[True, False]] * 4
    # The next episode owes nothing to this one, and terminates after two steps.
    replay.add(play(running, [0], [5], [6], [1.0]), 0)
    replay.add(play(running, [0], [6], [7], [2.0], terminated=[0]), 0)
    assert n_step(replay, 3)[0][4:] == [(5, 50, 2.0, 0.0, 7), (6, 60, 2.0, 0.0, 7)]
    assert (replay.positions, replay.total_positions, replay.filled, replay.games) == (6, 6, 8, 2)


def test_environments_that_step_at_different_times():
    replay, running = Transitions(COLUMNS, 20), RunningSteps(COLUMNS, 3)
    replay.add(play(running, [0, 2], [1, 2], [3, 4], [1.0, 2.0]), 0)
    replay.add(play(running, [1, 2], [5, 4], [6, 7], [1.0, 4.0]), 0)
    replay.add(play(running, [0, 1], [3, 6], [8, 9], [1.0, 1.0], terminated=[1]), 0)
    assert sorted(n_step(replay, 1)[0]) == [(1, 10, 1.0, 0.5, 3), (2, 20, 2.0, 0.5, 4), (5, 50, 1.0, 0.5, 6),
                                            (6, 60, 1.0, 0.0, 9)]
    assert sorted(n_step(replay, 2)[0]) == [(5, 50, 1.5, 0.0, 9), (6, 60, 1.0, 0.0, 9)]
    replay.add(play(running, [2, 0], [7, 8], [9, 9], [0.0, 0.0]), 0)
    assert sorted(n_step(replay, 2)[0])[:2] == [(1, 10, 1.5, 0.25, 8), (2, 20, 4.0, 0.25, 7)]


def test_actors_have_distinct_environment_ids():
    env = GymVectorEnv("CartPole-v1", 4, 0)
    actors = [dqn.make_actor(CONFIG, env, seed) for seed in (0, 1)]
    first_ids = [actor.running.first_id for actor in actors]
    assert abs(first_ids[0] - first_ids[1]) > 2**20 and max(first_ids) + 2**20 < 2**63


class Chain(gymnasium.Env):
    """Shows its number, episode and step. Episodes have 1 to 9 steps, and are cut or end; a step pays at random."""

    observation_space, action_space = spaces.Box(-1e9, 1e9, (3,), np.float64), spaces.Discrete(2)
    made = 0

    def __init__(self):
        Chain.made += 1
        self.number, self.episode = Chain.made, 0
        self.history = {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.steps, self.length = self.episode + 1, 0, int(self.np_random.integers(1, 10))
        return self._shown(), {}

    def step(self, action):
        self.steps += 1
        ended = self.steps == self.length
        cut = bool(self.np_random.integers(2))
        return self._shown(), float(self.np_random.normal()), ended and not cut, ended and cut, {}

    def _shown(self):
        return np.array([self.number, self.episode, self.steps], np.float64)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("groups", [False, True])
def test_windows_of_a_wrapped_ring_match_a_full_record(n, groups):
    """Against a record of all that happened, kept beside: whatever can be drawn is whole, and all that is whole can."""
    env = GymVectorEnv(Chain, 4, 0)
    config = dataclasses.replace(CONFIG, n_step=n)
    loop = InTurn(dqn, config, InTwoGroups(env) if groups else env, 0)
    replay, learner = Transitions(dqn.position_columns(env.spec), 97, n), loop.learner
    rewards, ends, steps = {}, {}, 0
    for turn in range(200):
        for rows in loop.actor.step().sequences:
            replay.add(rows, 0)
            for shown, reward, terminated, truncated, acted in zip(
                    rows["observation"].tolist(), rows["reward"].tolist(), rows["terminated"], rows["truncated"],
                    rows["acted"], strict=True):
                number, episode, step = shown
                if acted:
                    rewards[number, episode, step] = reward
                    steps += 1
                    if terminated or truncated:
                        ends[number, episode] = (step + 1, bool(terminated))
        if turn % 20 < 17:
            continue
        kept = [tuple(shown) for shown in replay.columns["observation"][:replay.filled].tolist()]
        assert len(set(kept)) == replay.filled
        known = {}
        for number, episode, step in kept:
            if (number, episode, step) not in rewards:
                continue
            end, terminated = ends.get((number, episode), (np.inf, False))
            last = min(step + n, end)
            if last < end and (number, episode, last) not in rewards:
                continue  # nobody has acted there yet
            m = int(last - step)
            total = sum(0.5**j * rewards[number, episode, step + j] for j in range(m))
            over = last == end and terminated
            known[number, episode, step] = (total, 0.0 if over else 0.5**m, (number, episode, last))
        windows = replay.windows(np.arange(replay.filled))
        assert {kept[row] for row in np.flatnonzero(windows.complete)} == set(known)
        drawn = replay.sample_windows(3000, np.random.default_rng(turn))
        assert len(set(drawn.rows.tolist())) == len(known), "all of them are drawn"
        batch = learner.sampler.transitions(replay, drawn)
        for row, reward, discount, after in zip(drawn.rows, batch["reward"][:, 0], batch["discount"][:, 0],
                                                batch["next_observation"].tolist(), strict=True):
            assert known[kept[row]] == (pytest.approx(reward, abs=1e-5), discount, tuple(after))
    assert steps > 4 * 97 / (1 + groups)
    assert replay.total_positions == steps - sum(map(len, replay._running.values()))


def test_links_between_rows_are_restored(tmp_path):
    running = RunningSteps(COLUMNS, 2)
    first, second = Transitions(COLUMNS, 9, 2), Transitions(COLUMNS, 9, 2)
    for k in range(7):
        first.add(play(running, [0, 1], [k, k + 50], [k + 1, k + 51], [k, -k], terminated=[0] if k == 4 else []), 0)
    second.load(tmp_path, first.save(tmp_path))
    for replay in (first, second):
        replay.add(play(running, [1, 0], [57, 7], [58, 8], [1.0, 2.0]), 0)
    for name, column in first.columns.items():
        assert np.array_equal(column, second.columns[name]), name
    assert second._running == first._running and second.filled == 9
    assert second.total_positions == first.total_positions
    assert n_step(second, 2)[0] == n_step(first, 2)[0] != []
    # Only what changed is written again, a link to an older block among it.
    third = Transitions(COLUMNS, 9)
    third.load(tmp_path, second.save(tmp_path))
    assert np.array_equal(third.columns["next_row"], second.columns["next_row"])


def test_replay_with_missing_columns_is_refused(tmp_path):
    older = {name: column for name, column in COLUMNS.items() if name != "acted"}
    replay = Replay(older, 9)
    replay.add({name: np.zeros((1, *shape), dtype) for name, (shape, dtype) in older.items()}, 0)
    with pytest.raises(UserError, match=r"no 'acted'.*another version"):
        Transitions(COLUMNS, 9).load(tmp_path, replay.save(tmp_path))


def test_ring_too_small_for_its_environments_is_reported():
    replay, running = Transitions(COLUMNS, 2), RunningSteps(COLUMNS, 2)
    for k in range(5):
        replay.add(play(running, [0, 1], [k, k], [k + 1, k + 1], [0.0, 0.0]), 0)
    with pytest.raises(UserError, match="replay_capacity"):
        replay.sample_windows(4, np.random.default_rng(0))


def test_new_rollout_replaces_the_last():
    replay, running = Rollout(COLUMNS, 10), RunningSteps(COLUMNS, 1)
    replay.add(play(running, [0], [0], [1], [1.0], terminated=[0]), 0)
    assert (replay.positions, replay.total_positions, replay.filled, replay.games) == (1, 1, 2, 1)
    replay.add(play(running, [0], [5], [6], [2.0]), 0)
    assert (replay.positions, replay.total_positions, replay.filled, replay.games) == (0, 1, 1, 0)
    assert replay.columns["observation"][0] == 5 and replay.columns["next_row"][0] == -1
    replay.add(play(running, [0], [6], [7], [2.0], truncated=[0]), 0)
    assert (replay.filled, replay.games) == (2, 1) and replay.view(np.array([0]))["next_observation"] == 7


def test_rollout_and_ring_link_rows_alike():
    """Three environments mixed, with ends of episodes and rows that nothing follows yet."""
    sequence = dict(zip(("env_id", "acted"), np.array([
        [0, 2, 1, 2, 0, 0, 2, 2, 1], [1, 1, 1, 0, 1, 0, 1, 1, 1]]), strict=True))
    sequence["acted"] = sequence["acted"].astype(np.bool_)
    ring, rollout = Transitions(COLUMNS, 20), Rollout(COLUMNS, 20)
    for replay in (ring, rollout):
        replay.add(sequence, 0)
    assert rollout.columns["next_row"][:9].tolist() == [4, 3, 8, -1, 5, -1, 7, -1, -1]
    assert np.array_equal(ring.columns["next_row"], rollout.columns["next_row"])
    assert ring.positions == rollout.positions == 5
    rollout.add({name: column[:4] for name, column in sequence.items()}, 0)
    assert rollout.columns["next_row"][:4].tolist() == [-1, 3, -1, -1] and rollout.positions == 1
