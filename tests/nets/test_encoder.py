"""The encoder: which axis of a picture is which, and how far its cells hear."""

import numpy as np
import pytest
import torch

from myosu.algorithms import dqn
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.envs.vector import EnvSpec
from myosu.games import load_game
from myosu.nets.encoder import Encoder


def spec(shape, **fields):
    return EnvSpec(shape, np.uint8, 4, 1, (-1.0, 1.0), 100, **fields)


@pytest.mark.parametrize("shape, last", [
    ((3, 84, 84), False), ((84, 84, 3), True), ((210, 160, 3), True), ((3, 210, 160), False), ((8, 8, 1), True),
    ((13, 10, 10), False), ((10, 10, 13), True), ((2, 6, 7), False), ((6, 7, 2), True)])
def test_channels_are_told_from_rows_and_columns(shape, last):
    assert spec(shape).channels_last(shape) is last
    assert not spec(shape, planes_first=True).channels_last(shape)


@pytest.mark.parametrize("name, board", [("woodoku", (9, 9)), ("snake", (10, 10)), ("connect_four", (6, 7))])
def test_boards_are_read_as_boards(name, board):
    """Woodoku has more planes than rows."""
    encoder = Encoder(game_spec(load_game(name)), (8,), channels=4)
    assert encoder.cells == (4, *board)


def test_a_board_of_our_own_may_have_any_shape():
    assert Encoder(spec((20, 6, 7), planes_first=True), (8,), channels=4).cells == (4, 6, 7)


def test_after_a_while_every_cell_hears_of_all_others():
    torch.manual_seed(0)
    encoder = Encoder(spec((2, 12, 12), planes_first=True), (8,), channels=4, blocks=0)
    quiet, corner = torch.zeros(1, 2, 12, 12), torch.zeros(1, 2, 12, 12)
    corner[0, :, 0, 0] = 1.0

    def far_away():
        return [encoder({"": board})[1][0, :, 11, 11] for board in (quiet, corner)]

    assert torch.equal(*far_away()), "at first a convolution only"
    sum(x.sum() for x in far_away()).backward()
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.grad is not None:
                parameter += 0.1 * parameter.grad
    assert not torch.allclose(*far_away())


def test_what_a_placement_clears_is_learnt_from_rewards():
    """Of random play, DQN without a future learns what a move earns. Were planes taken for rows, it would take no more
    lines than by chance, a quarter of those it could."""
    torch.set_num_threads(1)
    game = load_game("woodoku")
    env = NativeVectorEnv(game, 64, 0)
    config = dqn.Config(hidden=(64,), channels=16, num_envs=64, learning_starts=1000, discount=0.0, reward_scale=0.02,
                        target_every=1)
    actor, replay = dqn.make_actor(config, env, 0), dqn.make_replay(config, env.spec)
    learner = dqn.make_learner(config, env.spec, game.symmetries, 0)
    for _ in range(400):
        for rows in actor.step().sequences:
            replay.add(rows, 0)
    for _ in range(300):
        learner.update(replay, 0.0)

    agent = dqn.make_agent(config, env.spec, learner.weights())
    could, did = 0, 0
    env.reset()
    step = env.recv()
    for _ in range(30):
        action, _ = agent.act(step.observation, step.legal_actions)
        clears = step.observation[:, 7:10].reshape(64, 243) > 0
        could += clears.any(1).sum()
        did += clears[np.arange(64), action].sum()
        env.send(action, step.env_ids)
        step = env.recv()
    assert could > 100 and did > 0.8 * could, (could, did)
