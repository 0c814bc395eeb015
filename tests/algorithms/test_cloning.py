"""Behavioural cloning: of choices, branches with masks, and continuous actions."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from myosu.algorithms import cloning, load_algorithm
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.native import game_spec
from myosu.envs.playback import Move, play_through
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.games.go import make_game


class Still(gymnasium.Env):
    """Never played: it has spaces alone."""

    observation_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, action_space):
        self.action_space = action_space

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}


def clone(action_space, does, legal=None, updates=400):
    """An agent that has seen 300 moves of ``does`` (observation [2] → action)."""
    spec = GymVectorEnv(Still, 1, kwargs={"action_space": action_space}).spec
    config = cloning.Config(hidden=(64,), batch_size=64, learning_rate=5e-3)
    rng, replay = np.random.default_rng(0), cloning.make_replay(config, spec)
    legal = np.ones(spec.num_actions, bool) if legal is None else legal
    moves = [Move(seen, legal, np.array(does(seen), spec.action_dtype), 0, np.zeros(1), False, False)
             for seen in rng.uniform(-1, 1, (300, 2)).astype(np.float32)]
    for rows in cloning.make_rows(config, spec, moves):
        replay.add(rows | {"remaining": np.arange(300)[::-1].astype(np.int32)}, 0)
    learner = cloning.make_learner(config, spec, None, 0)
    for k in range(updates):
        learner.update(replay, k / updates)
    return cloning.make_agent(config, spec, learner.weights()), learner, replay


SEEN = np.random.default_rng(1).uniform(-1, 1, (200, 2)).astype(np.float32)


def test_discrete_actions_are_cloned():
    agent, learner, replay = clone(spaces.Discrete(3), lambda seen: int(seen[0] > 0) + int(seen[1] > 0))
    acts, _ = agent.act(SEEN, np.ones((200, 3), bool))
    assert (acts == (SEEN > 0).sum(1)).mean() > 0.93
    acts, _ = agent.act(SEEN, np.tile([True, False, True], (200, 1)))
    assert not (acts == 1).any(), "a masked action was chosen"
    analysis = agent.analyze(SEEN, np.tile([True, False, True], (200, 1)))
    assert (analysis.policy[:, 1] == 0).all() and np.array_equal(analysis.action, acts)
    state = learner.state_dict()
    first = [learner.update(replay, 0.5)["loss"] for _ in range(3)]
    learner.load_state_dict(state)
    assert [learner.update(replay, 0.5)["loss"] for _ in range(3)] == first


def test_illegal_choices_of_a_branch_get_no_gradient():
    """The last choice of the second branch was never legal: that it was not made says nothing against it."""
    legal = np.array([True, True, True, True, False])
    agent, learner, _ = clone(spaces.MultiDiscrete([2, 3]), lambda seen: (seen[0] > 0, seen[1] > 0), legal)
    acts, _ = agent.act(SEEN, np.tile(legal, (200, 1)))
    assert (acts == (SEEN > 0)).mean() > 0.95 and acts.shape == (200, 2)
    assert learner.policy.head.out.weight[4].detach().equal(
        cloning.make_learner(learner.config, learner.policy.spec, None, 0).policy.head.out.weight[4].detach())


def test_continuous_actions_are_cloned_between_their_bounds():
    agent, _, _ = clone(spaces.Box(np.float32([-2, 0]), np.float32([2, 10])),
                        lambda seen: (1.5 * seen[0], 5 + 4 * seen[1]))
    acts, _ = agent.act(SEEN, np.ones((200, 0), bool))
    assert np.abs(acts - np.stack([1.5 * SEEN[:, 0], 5 + 4 * SEEN[:, 1]], 1)).max(0).tolist() < [0.4, 1.0]


def test_unbounded_actions_are_refused():
    assert load_algorithm("cloning") is cloning
    spec = GymVectorEnv(Still, 1, kwargs={"action_space": spaces.Box(-np.inf, 1, (1,))}).spec
    with pytest.raises(UserError, match="bounds"):
        cloning.resolve(cloning.Config(), spec, False)


def go_moves(size, actions):
    game = make_game(size, max_plies=10 * size * size)  # as in tests/games/test_go.py, so that it is compiled once
    return list(play_through(Environment("go", game_spec(game), game=game), 0, actions)), game


def test_symmetries_move_cells_and_leave_passes():
    moves, game = go_moves(3, [0, 4, 9, 8])
    spec, config = game_spec(game), cloning.Config(channels=8, batch_size=64, held_out=0.0)
    learner = cloning.make_learner(config, spec, game.symmetries, 0)
    assert learner.policy.head.by_cell and learner.policy.head.beside.out_features == 1
    replay = cloning.make_replay(config, spec)
    [rows] = cloning.make_rows(config, spec, moves)
    replay.add(rows, 0)
    batch = learner._augmented({name: np.repeat(column[:1], 64, axis=0) for name, column in replay.columns.items()})
    assert set(batch["action"].tolist()) == {0, 2, 6, 8}, "symmetries map corners to corners"
    batch = learner._augmented({name: np.repeat(column[2:3], 64, axis=0) for name, column in replay.columns.items()})
    assert set(batch["action"].tolist()) == {9}
    # The stone of the player to move (a corner) is illegal wherever it was turned to.
    stone = batch["observation"][:, 0].reshape(64, -1).argmax(1)
    assert set(stone.tolist()) == {0, 2, 6, 8} and not batch["legal_actions"][np.arange(64), stone].any()
    assert cloning.make_learner(cloning.Config(symmetries=False), spec, game.symmetries, 0).symmetries is None


@pytest.mark.parametrize(("actions", "chosen", "learnt"), [
    ([0, 4, 3, 2, 9, 6, 9, 9], [0, 0, 1, 0, 1, 0, 1, 1], [2, 3, 4, 5, 6, 7]),  # dead stones are captured
    ([0, 4, 3, 9, 2, 1], [0, 0, 1, 0, 0, 0], [2]),  # random moves at the end of a game that goes on
    ([0, 4, 9, 9], [0, 1, 1, 1], [1, 2, 3]),
])
def test_captures_of_dead_stones_before_final_passes_are_cloned(actions, chosen, learnt):
    """Without them a policy passes while dead stones stand, which the rules count as alive."""
    moves = [Move(np.zeros(1), np.ones(10, bool), np.int64(action), ply % 2, np.zeros(2), False, False, bool(by_player))
             for ply, (action, by_player) in enumerate(zip(actions, chosen, strict=True))]
    assert cloning.moves_to_clone(moves, 9) == [moves[ply] for ply in learnt]
    assert cloning.moves_to_clone(moves, None) == [move for move in moves if move.chosen]


def test_unchosen_moves_and_held_out_games_are_not_learnt():
    moves, game = go_moves(3, [0, 4, 9, 8])
    spec, config = game_spec(game), cloning.Config(channels=8, batch_size=64, held_out=0.5)
    [rows] = cloning.make_rows(config, spec, [move._replace(chosen=ply > 1) for ply, move in enumerate(moves)])
    assert rows["action"].tolist() == [9, 8]
    assert cloning.make_rows(config, spec, [move._replace(chosen=False) for move in moves]) == []
    replay = cloning.make_replay(config, spec)
    replay.add(rows | {"held_out": np.ones(2, bool)}, 0)
    learner = cloning.make_learner(config, spec, game.symmetries, 0)
    before = learner.weights()
    told = learner.update(replay, 0.0)
    assert set(told) == {"held_out_loss", "held_out_accuracy"}
    assert all(before[name].equal(value) for name, value in learner.weights().items())
    replay.add(rows | {"held_out": np.zeros(2, bool)}, 0)
    told = learner.update(replay, 0.0)
    assert set(told) == {"loss", "accuracy", "held_out_loss", "held_out_accuracy"}
    assert not any(before[name].equal(value) for name, value in learner.weights().items() if "share" in name)
