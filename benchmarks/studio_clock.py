"""The studio's table with a simulated clock, for busy machines or when a day of animations would take too long.

    .venv/bin/python benchmarks/studio_clock.py FOLDER [--columns SAC ...] [--seeds 0] [--rows 6 --colours 4]

Like ``studio_table.py``, but without sleeping. On a simulated clock, each of 16 environments is busy for the duration
of its animation (plus 2 s after an episode). Synchronous environments are read when the last of them is ready,
asynchronous ones as soon as any is. Acting takes its processor seconds on that clock. So do PPO's updates, which acting
waits for. SAC learns in parallel, in its own process: its hours are those of the slower of the two.

Every ``--every`` steps the policy plays 100 games, which take no time on the clock. Passing: nine in ten are cleared.
Mastering: the mean number of shots (60 if a level is not cleared) is at most that of 21 games of the greedy player,
confirmed over 500 games.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from myosu import trust
from myosu.algorithms import load_algorithm
from myosu.envs.animated import RESET_SECONDS, animation_seconds
from myosu.envs.native import NativeVectorEnv
from myosu.envs.registry import load_environment
from myosu.envs.vector import Step
from myosu.evaluation.episodes import play_episodes
from myosu.evaluation.mastery import PASSING_RATE, expert_steps
from myosu.evaluation.recording import Settings, record_games
from studio_table import COLUMNS, EXPERTS, GAIL, table


class Clocked:
    """Games whose steps take the duration of their animation on the simulated clock ``now``. waits_for_all: ``recv``
    returns the steps of all environments that were sent an action; otherwise of those that are ready, at least one."""

    def __init__(self, env: NativeVectorEnv, waits_for_all: bool) -> None:
        self.env, self.spec, self.num_envs, self.waits_for_all = env, env.spec, env.num_envs, waits_for_all
        self.now, self.answers = 0.0, {}

    def reset(self) -> None:
        self.env.reset()
        self._keep(self.env.recv(), np.full(self.num_envs, RESET_SECONDS))

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        seconds = [animation_seconds(self.env.states[i], int(action))
                   for i, action in zip(env_ids, actions, strict=True)]
        self.env.send(actions, env_ids)
        step = self.env.recv()
        self._keep(step, np.array(seconds) + RESET_SECONDS * (step.terminated | step.truncated))

    def recv(self, min_ready: int | None = None) -> Step:
        least = min_ready or (len(self.answers) if self.waits_for_all else 1)
        ready_at = sorted(ready for ready, _ in self.answers.values())[least - 1]
        self.now = max(self.now, ready_at)
        ready = [i for i, (when, _) in self.answers.items() if when <= self.now]
        steps = [self.answers.pop(i)[1] for i in ready]
        return Step(**{name: np.concatenate([vars(step)[name] for step in steps]) for name in vars(steps[0])})

    def _keep(self, step: Step, seconds: np.ndarray) -> None:
        for k, i in enumerate(step.env_ids.tolist()):
            self.answers[i] = self.now + seconds[k], Step(**{name: x[k:k + 1] for name, x in vars(step).items()})


def train(column: str, seed: int, level: Any, experts: float, options: argparse.Namespace) -> dict[str, float]:
    """Train one run; returns hours and samples until it passed and mastered."""
    name, workers, settings, imitates = COLUMNS[column]
    algorithm = load_algorithm(name)
    settings = {**settings, "num_envs": options.envs}
    settings |= {**GAIL[name], "recordings": (str(options.folder / "experts"),)} if imitates else {}
    env = Clocked(NativeVectorEnv(level.game, options.envs, seed), workers == "synchronous")
    config = algorithm.resolve(algorithm.Config(**settings), env.spec, False)
    replay = algorithm.make_replay(config, env.spec)
    learner = algorithm.make_learner(config, env.spec, level.game.symmetries, seed)
    actor = algorithm.make_actor(config, env, seed)
    actor.load_weights(learner.weights(), 0)
    steps = samples = updates = next_look = 0
    spent, learning = time.process_time(), 0.0
    found = dict.fromkeys([f"{unit} to {goal}" for goal in ("pass", "master") for unit in ("hours", "samples")], np.inf)
    file = options.folder / f"{column.replace(' + ', '-').replace(' ', '-')}-{seed}.jsonl"
    while time.process_time() - spent < options.seconds and steps < options.steps:
        start = time.process_time()
        experience = actor.step()
        env.now += time.process_time() - start
        steps += experience.steps
        for rows in experience.sequences:
            replay.add(rows, experience.weights_version)
        start, before = time.process_time(), updates
        while replay.positions >= config.learning_starts and (
                samples + config.batch_size <= config.replay_ratio * replay.total_positions):
            learner.update(replay, min(1.0, steps / options.steps))
            samples, updates = samples + config.batch_size, updates + 1
        if updates == before:
            continue
        took = time.process_time() - start
        if name == "ppo":
            env.now += took
        learning += took
        actor.load_weights(learner.weights(), updates)
        if steps < next_look:
            continue
        next_look = steps + options.every * (1 if name == "sac" else 10)
        hours = max(env.now, learning) / 3600
        look = play(level, algorithm.make_agent(config, env.spec, learner.weights()), 100, steps)
        if look["shots"] <= experts:  # or was it luck?
            look = play(level, algorithm.make_agent(config, env.spec, learner.weights()), 500, steps + 1)
        line = {"steps": steps, "hours": hours, "animated": env.now / 3600, "learning": learning / 3600,
                "updates": updates, **look}
        with open(file, "a", encoding="utf-8") as output:
            output.write(json.dumps(line) + "\n")
        print(column, seed, {key: round(value, 3) for key, value in line.items()}, flush=True)
        for goal, reached in (("pass", look["cleared"] >= PASSING_RATE), ("master", look["shots"] <= experts)):
            if reached and found[f"hours to {goal}"] == np.inf:
                found[f"hours to {goal}"], found[f"samples to {goal}"] = hours, steps
        if found["hours to master"] < np.inf:
            break
    return {**found, "samples/s": steps / max(env.now, learning), **look}


def play(level: Any, agent: Any, games: int, seed: int) -> dict[str, float]:
    report = play_episodes(level, agent, games, seed=seed).to_json()
    return {"cleared": report["success_rate"], "shots": report["mean_steps_to_win"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--columns", nargs="+", choices=list(COLUMNS), default=list(COLUMNS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--colours", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300_000, help="environment steps per run; schedules end there")
    parser.add_argument("--seconds", type=float, default=1e9, help="processor seconds after which a run is stopped")
    parser.add_argument("--every", type=int, default=250, help="steps between evaluations of SAC; tenfold for PPO")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    options.folder = options.folder.absolute()
    options.folder.mkdir(parents=True, exist_ok=True)
    game = options.folder / "level.py"
    game.write_text("from myosu.games.bubble import make_game\n\n"
                    f"GAME = make_game(rows={options.rows}, colours={options.colours})\n")
    trust.agree(str(game))
    record_games(options.folder / "experts", str(game), Settings(("greedy",)), EXPERTS, jobs=1)
    level = load_environment(str(game))
    experts = float(expert_steps(options.folder / "experts", level, str(game), {}).mean())
    print(f"experts {experts:.2f} shots", flush=True)
    found = {column: [train(column, seed, level, experts, options) for seed in options.seeds]
             for column in options.columns}
    sys.stdout.write(table(found, experts))


if __name__ == "__main__":
    main()
