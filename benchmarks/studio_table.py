"""Hours until an agent passes and masters a level of Bubble whose steps take as long as their animations.

    .venv/bin/python benchmarks/studio_table.py FOLDER [--runs 3] [--time-scale 1] [--rows 6 --colours 4]

Five columns: PPO with synchronous and with asynchronous environments, PPO + GAIL, SAC, SAC + GAIL, each with ``--runs``
seeds and 16 environments in separate processes. GAIL imitates 21 games of the greedy player. Passing: nine games in ten
are cleared. Mastering: the mean number of shots (60 if a level is not cleared) is at most that of the 21 games. Every
``--every`` minutes a checkpoint plays ``--games`` games without animation; training and the clock are paused meanwhile.

All files are in FOLDER, and the same command continues after a stop. With a time scale above 1, animations are faster
by this factor, and hours are scaled back; learning then seems slower than it is, so keep the scale low on a busy
processor. ``--minutes`` ends each run early. At the end table.md and table.png are written.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import myosu
from myosu import trust
from myosu.envs.registry import Environment, load_environment
from myosu.evaluation.episodes import play_episodes
from myosu.evaluation.mastery import PASSING_RATE, expert_steps
from myosu.evaluation.recording import Settings, record_games
from myosu.players.agent import load_agent
from myosu.plots.figure import COLOURS, figure
from myosu.runs.reading import read_lines
from myosu.training.callbacks import Callback

EXPERTS = 21
PPO: dict[str, Any] = {"rollout_steps": 32, "batch_size": 256, "epochs": 4, "hidden": (128,), "learning_rate": 1e-3,
                       "entropy_weight": 0.01}
SAC: dict[str, Any] = {"hidden": (128,), "learning_rate": 1e-3, "n_step": 3, "entropy_in_values": False,
                       "temperature_initial": 0.01, "learning_starts": 256, "batch_size": 64, "replay_ratio": 16.0}
#: Imitation settings of each algorithm, in addition to the recordings.
GAIL: dict[str, dict[str, Any]] = {
    "ppo": {"gail_weight": 0.01},
    "sac": {"gail_weight": 0.01, "target_entropy_scale": 0.1, "cloning_weight": 1.0, "cloning_updates": 300},
}
#: For each column: the algorithm, the kind of workers, its settings, and whether it imitates.
COLUMNS: dict[str, tuple[str, str, dict[str, Any], bool]] = {
    "synchronous PPO": ("ppo", "synchronous", PPO, False),
    "asynchronous PPO": ("ppo", "asynchronous", PPO, False),
    "PPO + GAIL": ("ppo", "asynchronous", PPO, True),
    "SAC": ("sac", "asynchronous", SAC, False),
    "SAC + GAIL": ("sac", "asynchronous", SAC, True),
}


class Watch(Callback):
    """Plays the level with each checkpoint, appends the results to ``evaluations.jsonl``, and ends the run when the
    level is mastered. ``seconds`` is training time."""

    def __init__(self, level: Environment, games: int, experts: float, scale: float) -> None:
        self.level, self.games, self.experts, self.scale = level, games, experts, scale
        self.steps, self.lines, self.begin, self.paused = 0, [], 0.0, 0.0

    def on_start(self, folder: Path, say: Callable[[str], None]) -> None:
        self.file, self.say = folder / "evaluations.jsonl", say
        self.lines = evaluations(folder)
        self.begin = time.monotonic() - (self.lines[-1]["seconds"] if self.lines else 0.0)

    def on_record(self, record: dict[str, Any]) -> None:
        self.steps = record["env_steps"]

    def on_checkpoint(self, path: Path) -> bool:
        stopped = time.monotonic()
        agent, _, _ = load_agent(path)
        found = play_episodes(self.level, agent, self.games, seed=len(self.lines)).to_json()
        line = {"seconds": stopped - self.begin - self.paused, "steps": self.steps,
                "cleared": found["success_rate"], "shots": found["mean_steps_to_win"]}
        self.lines.append(line)
        with open(self.file, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self.say(f"{line['steps']:,} steps, {line['seconds'] * self.scale / 3600:.2f} h: {line['cleared']:.0%} "
                 f"cleared, {line['shots']:.1f} shots (experts {self.experts:.1f})")
        self.paused += time.monotonic() - stopped
        return line["shots"] > self.experts


def evaluations(folder: Path) -> list[dict[str, Any]]:
    file = folder / "evaluations.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def train(folder: Path, column: str, seed: int, level: dict[str, int], watch: Watch, options: argparse.Namespace
          ) -> None:
    """Train one run, unless it has ended; continue it if it was stopped."""
    algorithm, workers, settings, imitates = COLUMNS[column]
    if (folder / "ended").exists():
        return
    limit = {"minutes": options.minutes} if options.minutes else {"env_steps": options.env_steps}
    if (folder / "checkpoints").is_dir():
        myosu.train(resume=folder, callbacks=[watch], handle_signals=True, trust=True, **limit)
    else:
        more = {**GAIL[algorithm], "recordings": (str(options.folder / "experts"),)} if imitates else {}
        myosu.train("myosu/AnimatedBubble-v0", algorithm, run=folder, seed=seed, num_envs=options.envs,
                    env_workers=workers, env_kwargs={"time_scale": options.time_scale, **level}, evaluate_every=0,
                    checkpoint_every_minutes=options.every, callbacks=[watch], handle_signals=True, **limit,
                    **settings, **more)
    (folder / "ended").touch()


def first(lines: list[dict[str, Any]], reached: Callable[[dict[str, Any]], bool], name: str) -> float:
    """Seconds or steps at the first evaluation that reached the goal; infinite if none did."""
    return next((line[name] for line in lines if reached(line)), np.inf)


def summary(folder: Path, experts: float, scale: float) -> dict[str, float]:
    """Summary of a run: hours and steps until it passed and mastered, samples/s."""
    lines = evaluations(folder)
    goals = {"pass": lambda line: line["cleared"] >= PASSING_RATE, "master": lambda line: line["shots"] <= experts}
    found = {f"{unit} to {goal}": first(lines, reached, name) * factor for goal, reached in goals.items()
             for unit, name, factor in (("hours", "seconds", scale / 3600), ("samples", "steps", 1))}
    records = [record for record in read_lines(folder / "metrics.jsonl") if record.get("env_steps")]
    if len(lines) > 2:  # from the second checkpoint on, to leave out start-up
        rate = (lines[-1]["steps"] - lines[1]["steps"]) / (lines[-1]["seconds"] - lines[1]["seconds"])
    else:
        rate = records[-1]["env_steps"] / records[-1]["seconds"] if records else np.nan
    return {**found, "samples/s": rate / scale, "cleared": lines[-1]["cleared"] if lines else np.nan,
            "shots": lines[-1]["shots"] if lines else np.nan}


def table(columns: dict[str, list[dict[str, float]]], experts: float) -> str:
    """Means over the runs; if some runs did not reach a goal, the number that did."""
    def cell(runs: list[dict[str, float]], row: str) -> str:
        values = np.array([run[row] for run in runs])
        got = np.isfinite(values)
        form = ",.0f" if row.startswith("samples to") else ".2f"
        return f"{values.mean():{form}}" if got.all() else f"{got.sum()} of {len(runs)}"

    rows = ["hours to pass", "hours to master", "samples to pass", "samples to master", "samples/s", "cleared", "shots"]
    lines = [f"| experts: {experts:.1f} shots | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {row} | " + " | ".join(cell(runs, row) for runs in columns.values()) + " |" for row in rows]
    rates = {name: np.mean([run["samples/s"] for run in runs]) for name, runs in columns.items()}
    if {"synchronous PPO", "asynchronous PPO"} <= rates.keys():
        lines += ["", "asynchronous over synchronous samples/s: "
                  f"{rates['asynchronous PPO'] / rates['synchronous PPO']:.2f}"]
    return "\n".join(lines) + "\n"


def picture(folders: dict[str, list[Path]], experts: float, scale: float, output: Path) -> None:
    """Plot shots over hours, one line per run."""
    with figure(output) as (_, axes):
        for colour, (name, runs) in zip(COLOURS, folders.items(), strict=False):
            for number, run in enumerate(runs):
                lines = evaluations(run)
                axes.plot([line["seconds"] * scale / 3600 for line in lines], [line["shots"] for line in lines],
                          color=colour, label=None if number else name)
        axes.axhline(experts, color="black", linewidth=1, linestyle="--", label="experts")
        axes.set_xlabel("hours")
        axes.set_ylabel("shots to clear the level")
        axes.legend(fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--columns", nargs="+", choices=list(COLUMNS), default=list(COLUMNS))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--time-scale", type=float, default=1.0)
    parser.add_argument("--rows", type=int, default=6)
    parser.add_argument("--colours", type=int, default=4)
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--env-steps", type=int, default=2_000_000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--every", type=float, default=2.0, help="minutes between evaluations")
    options = parser.parse_args()
    options.folder = options.folder.absolute()
    options.folder.mkdir(parents=True, exist_ok=True)
    level, game = {"rows": options.rows, "colours": options.colours}, options.folder / "level.py"
    game.write_text(f"from myosu.games.bubble import make_game\n\nGAME = make_game(**{level})\n")
    trust.agree(str(game))
    record_games(options.folder / "experts", str(game), Settings(("greedy",)), EXPERTS, jobs=1)
    environment = load_environment(str(game))
    experts = float(expert_steps(options.folder / "experts", environment, str(game), {}).mean())
    folders = {column: [options.folder / f"{column.replace(' + ', '-').replace(' ', '-')}-{seed}"
                        for seed in range(options.runs)] for column in options.columns}
    for column, runs in folders.items():
        for seed, folder in enumerate(runs):
            train(folder, column, seed, level, Watch(environment, options.games, experts, options.time_scale), options)
    found = {column: [summary(run, experts, options.time_scale) for run in runs] for column, runs in folders.items()}
    text = table(found, experts)
    (options.folder / "table.md").write_text(text)
    picture(folders, experts, options.time_scale, options.folder / "table.png")
    print(text)


if __name__ == "__main__":
    main()
