"""The vector environment interface, and native games as its first implementation."""

from dataclasses import replace

import numpy as np
import pytest

from myosu.doctor import check_vector_env
from myosu.envs.native import NativeVectorEnv
from myosu.errors import UserError
from myosu.games import compiled, connect_four, othello, tictactoe
from myosu.games.playout import random_actions
from vector_steps import act, start

GAMES = {"othello": othello.GAME, "connect_four": connect_four.GAME, "tictactoe": tictactoe.GAME}


@pytest.mark.parametrize("name", GAMES)
def test_native_env_keeps_the_contract(name):
    env, twin = (NativeVectorEnv(GAMES[name], 8, seed=3) for _ in range(2))
    assert check_vector_env(env, 200, seed=1, twin=twin) == []


def test_final_observation_and_autoreset():
    env = NativeVectorEnv(tictactoe.GAME, 2)
    first = start(env)
    assert not first.observation.any() and first.legal_actions.all() and (first.to_play == 0).all()
    for x, o in ((0, 3), (1, 4)):
        act(env, [x, x])
        step = act(env, [o, o])
        assert not step.terminated.any() and not step.final_observation.any()
    step = act(env, [2, 8])  # X wins the first game
    assert step.terminated.tolist() == [True, False] and step.reward.tolist() == [1.0, 0.0]
    assert step.final_observation[0].tolist() == [[[0, 0, 0], [1, 1, 0], [0, 0, 0]], [[1, 1, 1], [0, 0, 0], [0, 0, 0]]]
    assert not step.final_observation[1].any()
    assert not step.observation[0].any() and step.legal_actions[0].all() and step.to_play.tolist() == [0, 1]
    step = act(env, [4, 5])  # O wins the second game; the first environment plays its next game
    assert step.terminated.tolist() == [False, True] and step.reward.tolist() == [0.0, 1.0]
    assert step.observation[0].sum() == 1 and step.to_play.tolist() == [1, 0]


def test_truncation_keeps_the_last_observation():
    env = NativeVectorEnv(replace(othello.GAME, max_plies=5), 3)
    step, seen = start(env), []
    for ply in range(1, 11):
        step = act(env, random_actions(step.legal_actions, ply))
        seen.append(step)
        assert step.truncated.tolist() == [ply % 5 == 0] * 3 and not step.terminated.any()
    assert seen[4].final_observation[:, :2].sum((1, 2, 3)).tolist() == [9, 9, 9]
    assert np.array_equal(seen[4].observation, seen[9].observation)


def test_end_at_the_step_limit_is_not_a_truncation():
    env = NativeVectorEnv(tictactoe.GAME, 1)
    start(env)
    for action in (0, 1, 2, 4, 3, 5, 7, 6):
        act(env, [action])
    step = act(env, [8])
    assert step.terminated[0] and not step.truncated[0] and step.reward[0] == 0


def test_stepping_a_subset_of_environments():
    env = NativeVectorEnv(tictactoe.GAME, 4)
    start(env)
    env.send(np.array([8, 4]), np.array([3, 1]))
    step = env.recv()
    assert step.env_ids.tolist() == [3, 1]
    assert step.observation[:, 1].reshape(2, 9).argmax(1).tolist() == [8, 4]
    env.send(np.array([0]), np.array([0]))
    assert env.recv().observation.sum() == 1


@compiled
def init_by_chance(state, seed):
    """Put an O on a cell that the seed determines."""
    tictactoe.init(state, seed)
    state.board[int(seed % np.uint64(9))] = 1


CHANCE = replace(tictactoe.GAME, init=init_by_chance)


@pytest.mark.parametrize("actions, ids, message", [
    ([0, 9], [0, 1], "action 9 in the environment 1"), ([-1, 0], [0, 1], "action -1 in the environment 0"),
    ([0, 0], [0, 2], "environment 2"), ([0, 0], [-1, 0], "environment -1"), ([0], [0, 1], "1 actions for 2")])
def test_invalid_actions_and_ids_never_reach_compiled_rules(actions, ids, message):
    env = NativeVectorEnv(tictactoe.GAME, 2)
    with pytest.raises(UserError, match="before reset"):
        env.send(np.array(actions), np.array(ids))
    env.reset()
    env.recv()
    before = env.state_dict()
    with pytest.raises(UserError, match=message):
        env.send(np.array(actions), np.array(ids))
    assert all(np.array_equal(value, env.state_dict()[name]) for name, value in before.items())


def test_seed_determines_the_episodes():
    def openings(seed, episodes=40):
        env = NativeVectorEnv(CHANCE, 4, seed)
        step, seen = start(env), []
        while len(seen) < episodes:
            seen.append(step.observation[:, 1].reshape(4, 9).argmax(1).tolist())
            step = act(env, random_actions(step.legal_actions, len(seen)))
        return seen

    assert openings(1) == openings(1) != openings(2)
    starts = [start(NativeVectorEnv(CHANCE, 300, seed)).observation[:, 1].reshape(300, 9).sum(0) for seed in (0, 1)]
    assert (starts[0] > 10).all() and not np.array_equal(*starts)


def test_state_is_restored_exactly():
    env, other = NativeVectorEnv(CHANCE, 6, 9), NativeVectorEnv(CHANCE, 6, 9)
    step = start(env)
    for number in range(7):
        step = act(env, random_actions(step.legal_actions, number))
    saved = env.state_dict()
    legal = step.legal_actions
    future = []
    for number in range(20):
        step = act(env, random_actions(step.legal_actions, number))
        future.append(step)
    other.load_state_dict(saved)
    for number, expected in enumerate(future):
        step = act(other, random_actions(legal, number))
        legal = step.legal_actions
        for field in ("observation", "legal_actions", "to_play", "reward", "terminated", "final_observation"):
            assert np.array_equal(getattr(step, field), getattr(expected, field)), field


def test_outcome_rewards():
    env = NativeVectorEnv(othello.GAME.with_outcome_rewards(), 16)
    step, rewards = start(env), []
    for number in range(70):
        step = act(env, random_actions(step.legal_actions, number))
        rewards.extend(step.reward[step.terminated])
    assert set(rewards) <= {-1.0, 0.0, 1.0} and {-1.0, 1.0} <= set(rewards)


class Spoiled(NativeVectorEnv):
    """A native environment whose results are changed by ``spoil``."""

    def __init__(self, spoil, num_envs=4):
        super().__init__(tictactoe.GAME, num_envs)
        self.spoil, self.last = spoil, None

    def recv(self, min_ready=None):
        step = super().recv(min_ready)
        self.spoil(self, step)
        self.last = step
        return step


def same_arrays(env, step):
    if env.last is not None:
        env.last.observation[:] = step.observation
        step.observation = env.last.observation


def no_final(env, step):
    step.final_observation[:] = 0


def first_as_final(env, step):
    ended = step.terminated | step.truncated
    step.observation[ended, 0, 0, 0] = 1
    step.final_observation[ended] = step.observation[ended]


def one_seat(env, step):
    step.to_play[:] = 0


def empty_mask(env, step):
    step.legal_actions[0] = False


def double_reward(env, step):
    step.reward *= 2


def chance(env, step):
    step.reward[step.terminated] *= np.random.random()


def both_ends(env, step):
    step.truncated |= step.terminated


def wrong_type(env, step):
    step.reward = step.reward.astype(np.float64)


def reward_at_start(env, step):
    if env.last is None:
        step.reward[:] = 1


def never_ends(env, step):
    step.terminated[:] = False
    step.final_observation[:] = 0


def loses_one(env, step):
    step.env_ids = np.zeros_like(step.env_ids)


@pytest.mark.parametrize(("spoil", "check"), [
    (same_arrays, "aliasing"), (no_final, "final-observation"), (first_as_final, "final-observation"),
    (one_seat, "alternation"), (empty_mask, "legal-actions"), (double_reward, "reward-range"), (chance, "determinism"),
    (both_ends, "end"), (wrong_type, "shape"), (reward_at_start, "reset"), (never_ends, "max-steps"),
    (loses_one, "env-ids"),
], ids=lambda value: getattr(value, "__name__", value))
def test_broken_environment_is_reported(spoil, check):
    findings = check_vector_env(Spoiled(spoil), 60, twin=Spoiled(spoil))
    assert check in {f.check for f in findings if f.severity == "error"}, "\n".join(map(str, findings))


def test_answer_for_another_environment_is_reported():
    class Confused(NativeVectorEnv):
        def recv(self, min_ready=None):
            step = super().recv(min_ready)
            if min_ready is not None:
                step.env_ids[:] = 0
            return step

    finding, = check_vector_env(Confused(tictactoe.GAME, 3), 60)
    assert finding.check == "env-ids" and "[0, 0, 0]" in finding.message
