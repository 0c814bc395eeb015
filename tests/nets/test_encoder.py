"""Tests of the encoder: axes of boards and images, scaling of the inputs, and receptive fields."""

from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

from in_turn import InTurn
from myosu.algorithms import dqn, ppo
from myosu.envs.gym_env import GymVectorEnv
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.envs.vector import EnvSpec
from myosu.games import load_game
from myosu.nets.encoder import Encoder, _Stem, default_hidden


def spec(shape, **fields):
    return EnvSpec(shape, np.uint8, 4, 1, (-1.0, 1.0), 100, **fields)


@pytest.mark.parametrize("shape, last", [
    ((3, 84, 84), False), ((84, 84, 3), True), ((210, 160, 3), True), ((3, 210, 160), False), ((8, 8, 1), True),
    ((13, 10, 10), False), ((10, 10, 13), True), ((2, 6, 7), False), ((6, 7, 2), True)])
def test_channel_axis_is_detected_from_the_shape(shape, last):
    assert spec(shape).channels_last(shape) is last
    assert not spec(shape, planes_first=True).channels_last(shape)


@pytest.mark.parametrize("name, board", [("woodoku", (9, 9)), ("snake", (10, 10)), ("connect_four", (6, 7))])
def test_board_axes_of_games_are_detected(name, board):
    """Woodoku has more planes than rows, so that the shape alone is ambiguous."""
    encoder = Encoder(game_spec(load_game(name)), (8,), channels=4)
    assert encoder.cells == (4, *board)


def test_planes_first_boards_may_have_any_shape():
    assert Encoder(spec((20, 6, 7), planes_first=True), (8,), channels=4).cells == (4, 6, 7)


def test_every_cell_sees_the_whole_board_after_an_update():
    torch.manual_seed(0)
    encoder = Encoder(spec((2, 12, 12), planes_first=True), (8,), channels=4, blocks=0)
    quiet, corner = torch.zeros(1, 2, 12, 12), torch.zeros(1, 2, 12, 12)
    corner[0, :, 0, 0] = 1.0

    def far_away():
        return [encoder({"": board})[1][0, :, 11, 11] for board in (quiet, corner)]

    assert torch.equal(*far_away()), "before the first update a cell sees only its neighbourhood"
    sum(x.sum() for x in far_away()).backward()
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.grad is not None:
                parameter += 0.1 * parameter.grad
    assert not torch.allclose(*far_away())


@pytest.mark.parametrize("side", [1, 5, 24, 25, 30, 35, 36, 84])
@pytest.mark.parametrize("channels_last", [True, False])
def test_pictures_of_every_size_have_features(side, channels_last):
    shape = (side, side + 30, 3) if channels_last else (3, side, side + 30)
    encoder = Encoder(spec(shape, observation_bounds=((0.0, 255.0),)), (16,))
    assert encoder({"": torch.zeros(2, *shape, dtype=torch.uint8)})[0].shape == (2, 16)


def test_default_hidden_is_512_for_images_and_kept_for_others():
    assert default_hidden(spec((4, 84, 84)), (64, 64)) == (512,) == default_hidden(spec((25, 9, 3)), (64, 64))
    for small in (spec((30, 24, 24), planes_first=True), spec((300,))):
        assert default_hidden(small, (64, 64)) == (64, 64)
    assert ppo.make_net(ppo.Config(), spec((4, 84, 84))).value.linear.in_features == 512


def seen_by_the_convolutions(encoder, picture):
    """The input of the first convolution, after scaling."""
    modules = list(encoder.parts[0].convolutions)
    first = next(k for k, module in enumerate(modules) if isinstance(module, _Stem | torch.nn.Conv2d))
    x = picture.float()
    for module in modules[:first]:
        x = module(x)
    return x


@pytest.mark.parametrize("side", [7, 30])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_uint8_and_float_images_are_scaled_alike(side, dtype):
    """After ``observe``, bytes and floats up to 255 are scaled in the same way."""
    torch.manual_seed(0)
    bytes_ = torch.randint(0, 256, (50, 3, side, side))
    bytes_[0] = 255
    encoder = Encoder(EnvSpec((3, side, side), dtype, 2, 1, (-1.0, 1.0), 9, observation_bounds=((0.0, 255.0),)), (8,))
    encoder.observe({"": bytes_})
    assert torch.allclose(seen_by_the_convolutions(encoder, bytes_), bytes_ / 255, atol=1e-6)


def test_cell_codes_are_scaled_by_the_maximum_seen_per_channel():
    """MiniGrid's codes go up to 10, 5 and 2, but its space up to 255."""
    encoder = Encoder(spec((7, 7, 3), observation_bounds=((0.0, 255.0),)), (8,))
    codes = torch.zeros(4, 7, 7, 3)
    codes[0, 0, 0] = torch.tensor([10.0, 5.0, 2.0])
    assert seen_by_the_convolutions(encoder, codes).max() == pytest.approx(10 / 255), "at first the bounds count"
    encoder.observe({"": codes})
    assert seen_by_the_convolutions(encoder, codes)[0, :, 0, 0].tolist() == [1, 1, 1]
    encoder.observe({"": codes / 10})
    assert encoder.parts[0].convolutions[1].greatest.tolist() == [10, 5, 2], "the greatest value seen must not shrink"


def test_small_integer_ranges_are_one_hot():
    encoder = Encoder(EnvSpec((2, 3, 3), np.int8, 2, 1, (-1.0, 1.0), 9, observation_bounds=((-2.0, 3.0),)), (8,))
    picture = torch.zeros(1, 2, 3, 3)
    picture[0, 0, 0, 0], picture[0, 1, 2, 2] = -2, 3
    seen = seen_by_the_convolutions(encoder, picture)
    assert seen.shape == (1, 12, 3, 3) and seen.sum() == 18
    assert seen[0, 0, 0, 0] == 1 and seen[0, 11, 2, 2] == 1 and seen[0, 2, 1, 1] == 1


@pytest.mark.parametrize(("dtype", "low"), [(np.bool_, 0.0), (np.uint8, 0.0), (np.float32, -1.0)])
def test_inputs_bounded_by_one_are_not_scaled(dtype, low):
    encoder = Encoder(EnvSpec((2, 5, 5), dtype, 2, 1, (-1.0, 1.0), 9, observation_bounds=((low, 1.0),)), (8,))
    assert not encoder.learns_scale and isinstance(encoder.parts[0].convolutions[0], _Stem)


class Brightest(gymnasium.Env):
    """One of two cells is bright, as a byte or a float; the reward is 1 for the action with its number."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, bright):
        self.bright = bright
        dtype = np.uint8 if bright == 255 else np.float32
        self.observation_space = gymnasium.spaces.Box(0, bright, (1, 4, 4), dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.see(), {}

    def see(self):
        self.where, picture = int(self.np_random.integers(2)), np.zeros((1, 4, 4))
        picture[0, 1, 3 * self.where] = self.bright
        return picture.astype(self.observation_space.dtype)

    def step(self, action):
        reward, self.count = float(action == self.where), 0
        return self.see(), reward, True, False, {}


@pytest.mark.parametrize("algorithm", [ppo, dqn])
def test_small_uint8_and_float_images_are_learnt_alike(algorithm):
    config = {ppo: ppo.Config(num_envs=8, rollout_steps=16, batch_size=64, learning_rate=3e-3, channels=8),
              dqn: dqn.Config(num_envs=8, learning_starts=64, replay_ratio=16.0, discount=0.0, channels=8)}[algorithm]
    earned = []
    for bright in (255, 1):
        loop = InTurn(algorithm, config, GymVectorEnv(partial(Brightest, bright), 8)).run(1500)
        earned.append(np.mean([episode.returns[0] for episode in loop.episodes[-200:]]))
    assert min(earned) > 0.9, earned


def test_woodoku_line_clears_are_learnt_from_rewards():
    """From random play, DQN with discount 0 learns the reward of a move. If planes were mistaken for rows, it would
    clear no more lines than by chance, which is a quarter of those it could."""
    torch.set_num_threads(1)
    game = load_game("woodoku")
    env = NativeVectorEnv(game, 64, 0)
    config = dqn.Config(hidden=(64,), channels=16, num_envs=64, learning_starts=1000, discount=0.0, reward_scale=0.02,
                        target_every=1, tau=1.0, n_step=1)
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
