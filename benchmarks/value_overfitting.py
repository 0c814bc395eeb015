"""How a value network overfits: errors on training positions and on held-out games while it trains on

- one position of each of N games,
- all positions of the same N games,
- all positions of so few games that there are N of them.

    OMP_NUM_THREADS=1 python benchmarks/value_overfitting.py FOLDER [--games 2000] [--updates 1200] -o overfitting.png

FOLDER holds recorded games of Go (``myosu record``, or SGF files). Positions of a game share its outcome, so the third
data set has N positions but few outcomes (Silver et al. 2016, section on value networks). Intervals are 95 %, over
held-out games.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
from myosu.replay.episode import Rows

from myosu.algorithms import value
from myosu.envs.playback import Move
from myosu.envs.registry import Environment, load_environment
from myosu.errors import UserError
from myosu.evaluation.prediction import interval_over_games
from myosu.nets.encoder import to_tensors
from myosu.plots.figure import COLOURS, figure
from myosu.runs.recordings import is_held_out, open_recording

#: Fraction of the games to test on; batch size for measuring errors.
HELD_OUT, AT_ONCE = 0.2, 512
#: Number of training positions on which the training error is measured.
MEASURED = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--game", default="go9")
    parser.add_argument("--games", type=int, default=2000, help="N")
    parser.add_argument("--updates", type=int, default=1200)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("value-overfitting.png"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    environment = load_environment(options.game)
    one = value.Config(channels=options.channels, blocks=2, hidden=(64,), batch_size=128, held_out=0.0)
    everything = dataclasses.replace(one, positions_per_game=0)
    learnt, tested = games_of(options.folder, environment, options.games)
    by_game = [value.make_rows(everything, environment.spec, game)[0] for game in learnt]
    singles = [value.make_rows(one, environment.spec, game)[0] for game in learnt]
    few = int(np.searchsorted(np.cumsum([len(rows["outcome"]) for rows in by_game]), len(singles))) + 1
    test = [value.make_rows(everything, environment.spec, game)[0] for game in tested]
    curves = {name: learn(one, environment, rows, test, options) for name, rows in (
        (f"one position of each of {len(learnt)} games", singles), (f"all positions of {len(learnt)} games", by_game),
        (f"all positions of {few} games", by_game[:few]))}
    draw(curves, options.output)
    print(f"Tested on {len(test)} games. {options.output}")


def games_of(folder: Path, environment: Environment, count: int) -> tuple[list[list[Move]], list[list[Move]]]:
    """``count`` training games, and a quarter as many test games with other openings."""
    parts: tuple[list[list[Move]], list[list[Move]]] = ([], [])
    recording = open_recording(folder)
    recording.require(environment, environment.rules.name, {})
    for record in recording.records():
        part = parts[is_held_out(record.actions or [], 2, HELD_OUT)]
        if len(part) < (count // 4 if part is parts[1] else count):
            moves = list(record.moves(environment))
            if any(move.chosen for move in moves):
                part.append(moves)
    if min(map(len, parts)) < 2:
        raise UserError(f"There are too few games in {folder}.")
    return parts


def learn(config: value.Config, environment: Environment, games: list[Rows], test: list[Rows],
          options: argparse.Namespace) -> np.ndarray:
    """Learning curve, float64 [points, 5]: updates, error on training positions, error on held-out games with its
    interval."""
    config = dataclasses.replace(config, replay_capacity=sum(len(rows["outcome"]) for rows in games))
    replay = value.make_replay(config, environment.spec)
    for rows in games:
        replay.add(rows, 0)
    learner = value.make_learner(config, environment.spec, environment.rules.symmetries, options.seed)
    sample = replay.sample_rows(min(MEASURED, replay.positions), np.random.default_rng(0))
    seen = {name: column[sample] for name, column in replay.columns.items()}
    points = []
    for update in range(options.updates + 1):
        if update % options.every == 0:
            errors = [errors_of(learner, rows) for rows in test]
            sums, counts = [error.sum() for error in errors], np.array([len(error) for error in errors])
            points.append((update, errors_of(learner, seen).mean(), sum(sums) / counts.sum(),
                           *interval_over_games(sums, counts)))
        learner.update(replay, update / (options.updates + 1))
    print(f"{len(games)} games, {replay.positions} positions: training error {points[-1][1]:.3f}, held out "
          f"{points[-1][2]:.3f} [{points[-1][3]:.3f}, {points[-1][4]:.3f}]; the minimum during training "
          f"{min(point[2] for point in points):.3f}", flush=True)
    return np.array(points)


@torch.inference_mode()
def errors_of(learner: value.Learner, rows: Rows) -> np.ndarray:
    """Errors ½ (z − v)² of positions, float [n]."""
    seen = rows["observation"]
    values = [learner.value(to_tensors(seen[k:k + AT_ONCE])) for k in range(0, len(seen), AT_ONCE)]
    return (0.5 * (torch.from_numpy(rows["outcome"]) - torch.cat(values)).square()).numpy()


def draw(curves: dict[str, np.ndarray], output: Path) -> None:
    with figure(output, height=5.2) as (drawn, axes):
        for (name, points), colour in zip(curves.items(), COLOURS, strict=False):
            updates, learnt, held_out, low, high = points.T
            axes.fill_between(updates, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.plot(updates, held_out, color=colour, label=f"{name}: held-out games")
            axes.plot(updates, learnt, color=colour, linestyle=(0, (4, 2)), linewidth=1, label="… training games")
        axes.set_title("Value networks: training games and held-out games")
        axes.set_xlabel("updates")
        axes.set_ylabel("½ (z − v)²")
        drawn.legend(loc="outside lower center", ncols=2, fontsize=8)


if __name__ == "__main__":
    main()
