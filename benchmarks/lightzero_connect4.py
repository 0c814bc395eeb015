"""LightZero's MuZero on Connect Four, on one thread: steps per second of collection alone and with learning.

    sh scripts/setup_lightzero.sh
    OMP_NUM_THREADS=1 .venv-lightzero/bin/python benchmarks/lightzero_connect4.py [--envs 8] [--serve]

The settings are those of LightZero's configuration for this game: one residual block of 64 channels per network, 50
simulations, batches of 256, 50 updates per 8 games, 5 unroll steps. Its wheel lacks the game, so the rules are here.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import warnings

import numpy as np
import torch

from worker import end_to_end, rate, serve

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

from ding.config import compile_config  # noqa: E402
from ding.envs import BaseEnv, BaseEnvManager, BaseEnvTimestep  # noqa: E402
from ding.policy import create_policy  # noqa: E402
from ding.utils import ENV_REGISTRY, set_pkg_seed  # noqa: E402
from ding.worker import BaseLearner  # noqa: E402
from easydict import EasyDict  # noqa: E402
from gym import spaces  # noqa: E402
from lzero.mcts import MuZeroGameBuffer  # noqa: E402
from lzero.worker import MuZeroCollector  # noqa: E402

ROWS, COLUMNS, SIMULATIONS, BATCH, UPDATES_PER_GAME = 6, 7, 50, 256, 6.25
LINES = [[(r + k * dr, c + k * dc) for k in range(4)]
         for r in range(ROWS) for c in range(COLUMNS) for dr, dc in ((0, 1), (1, 0), (1, 1), (1, -1))
         if r + 3 * dr < ROWS and 0 <= c + 3 * dc < COLUMNS]
LINES = np.array([[r * COLUMNS + c for r, c in line] for line in LINES])


@ENV_REGISTRY.register("connect_four_benchmark")
class ConnectFour(BaseEnv):
    """Self-play: the reward belongs to the player who moved."""

    def __init__(self, cfg=None) -> None:
        self.action_space, self.reward_space = spaces.Discrete(COLUMNS), spaces.Discrete(3)
        self.observation_space = spaces.Box(0, 2, (3, ROWS, COLUMNS), np.float32)

    @classmethod
    def default_config(cls):
        return EasyDict(cfg_type="ConnectFourDict")

    def seed(self, seed, dynamic_seed=True) -> None:
        pass

    def close(self) -> None:
        pass

    def __repr__(self) -> str:
        return "ConnectFour"

    def reset(self):
        self.board, self.player = np.zeros(ROWS * COLUMNS, np.int8), 1
        return self._observe()

    def _observe(self) -> dict:
        board = self.board.reshape(ROWS, COLUMNS)
        planes = np.stack([board == self.player, board == 3 - self.player, np.full_like(board, self.player)])
        return {"observation": planes.astype(np.float32), "action_mask": (board[0] == 0).astype(np.int8),
                "to_play": self.player, "timestep": -1}

    def step(self, action) -> BaseEnvTimestep:
        column = self.board.reshape(ROWS, COLUMNS)[:, int(action)]
        column[np.flatnonzero(column == 0)[-1]] = self.player
        won = bool((self.board[LINES] == self.player).all(axis=1).any())
        self.player = 3 - self.player
        reward = np.float32(won)
        return BaseEnvTimestep(self._observe(), reward, won or bool(self.board.all()), {"eval_episode_return": reward})


def configuration(envs: int) -> EasyDict:
    user = EasyDict(
        exp_name="run",
        env=dict(collector_env_num=envs, evaluator_env_num=1, n_evaluator_episode=1, stop_value=2,
                 manager=dict(shared_memory=False)),
        policy=dict(
            model=dict(observation_shape=(3, ROWS, COLUMNS), action_space_size=COLUMNS, image_channel=3,
                       num_res_blocks=1, num_channels=64, support_scale=300, reward_support_size=601,
                       value_support_size=601),
            cuda=False, device="cpu", env_type="board_games", action_type="varied_action_space",
            game_segment_length=42, update_per_collect=None, batch_size=BATCH, optim_type="Adam",
            piecewise_decay_lr_scheduler=False,
            learning_rate=0.003, grad_clip_value=0.5, num_simulations=SIMULATIONS, reanalyze_ratio=0.0, td_steps=42,
            num_unroll_steps=5, discount_factor=1, n_episode=envs, replay_buffer_size=100_000, collector_env_num=envs,
            evaluator_env_num=1, use_wandb=False, mcts_ctree=True),
    )
    create = EasyDict(env=dict(type="connect_four_benchmark", import_names=[]), env_manager=dict(type="base"),
                      policy=dict(type="muzero", import_names=["lzero.policy.muzero"]))
    return compile_config(user, seed=0, env=None, auto=True, create_cfg=create, save_cfg=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=int, default=8, help="parallel games; LightZero's default is 8")
    parser.add_argument("--seconds", type=float, default=20.0, help="seconds for each of the two measurements")
    parser.add_argument("--serve", action="store_true", help="measure once for each line on stdin")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["WANDB_MODE"] = "disabled"
    with tempfile.TemporaryDirectory(prefix="lightzero-") as folder:
        os.chdir(folder)  # LightZero writes logs to the working directory
        run(args)


def run(args: argparse.Namespace) -> None:
    config = configuration(args.envs)
    set_pkg_seed(0, use_cuda=False)
    env = BaseEnvManager([ConnectFour for _ in range(args.envs)], config.env.manager)
    env.seed(0)
    policy = create_policy(config.policy, enable_field=["learn", "collect"])
    learner = BaseLearner(config.policy.learn.learner, policy.learn_mode, exp_name=config.exp_name)
    collector = MuZeroCollector(env=env, policy=policy.collect_mode, exp_name=config.exp_name,
                                policy_config=config.policy)
    replay = MuZeroGameBuffer(config.policy)

    def collect() -> int:
        before = collector.envstep
        episodes = collector.collect(train_iter=learner.train_iter, policy_kwargs={"temperature": 1.0, "epsilon": 0.0})
        replay.push_game_segments(episodes)
        replay.remove_oldest_data_to_fit()
        return collector.envstep - before

    def learn() -> int:
        learner.train(replay.sample(BATCH, policy), collector.envstep)
        return 1

    while replay.get_num_of_transitions() <= BATCH:
        collect()
    learn()

    def measure() -> dict[str, float]:
        steps, games = collector.envstep, collector._total_episode_count
        collection, updates = rate(collect, args.seconds), rate(learn, args.seconds)
        game_length = (collector.envstep - steps) / (collector._total_episode_count - games)
        return end_to_end(collection, updates, UPDATES_PER_GAME / game_length)

    serve(measure)


if __name__ == "__main__":
    main()
