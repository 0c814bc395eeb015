"""Makes an animated image for README.md: a game of a run's agent, beside its learning curve.

    python scripts/moving_picture.py runs/NAME docs/images/learns.gif --opponent greedy
"""

from __future__ import annotations

import argparse
import io
from contextlib import closing
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from myosu.games import Game
from myosu.players.agent import AgentPlayer, load_agent
from myosu.players.opponents import make_opponent
from myosu.plots.figure import COLOURS, GREY, STYLE
from myosu.runs.curves import Curve, read_curve

#: Seconds for which each ply and the end are shown.
PLY, END = 0.45, 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--opponent", default="greedy")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    agent, environment, _ = load_agent(options.run, seed=options.seed)
    game = environment.rules
    boards = play(game, AgentPlayer(game, agent, "agent"), options.opponent, options.seed)
    curve = read_curve(options.run)
    frames = [frame(board, curve, (i + 1) / len(boards), f"{game.name}: the agent against {options.opponent}")
              for i, board in enumerate(boards)]
    palette = frames[-1].quantize(64)
    small = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in frames]
    options.output.parent.mkdir(parents=True, exist_ok=True)
    small[0].save(options.output, save_all=True, append_images=small[1:], loop=0, optimize=True,
                  duration=[int(1000 * PLY)] * (len(small) - 1) + [int(1000 * END)])
    print(f"{options.output}: {len(small)} frames, {options.output.stat().st_size / 1000:.0f} kB")


def play(game: Game, agent: AgentPlayer, opponent: str, seed: int) -> list[np.ndarray]:
    """Images, uint8 [height, width, 3], of the positions of one game, in which the agent moves first."""
    assert game.draw is not None
    state, history = game.new_states(1), []
    reward, ended = np.zeros(1, np.float32), np.zeros(1, np.bool_)
    boards = [game.draw(state[0])]
    with closing(make_opponent(opponent, game, seed=seed)) as other:
        while not ended[0] and len(history) < game.max_plies:
            player = agent if len(history) % 2 == 0 else other
            action = int(player.choose(state, [history])[0])
            game.batch.step(state, np.array([action]), reward, ended)
            history.append(action)
            boards.append(game.draw(state[0]))
    return boards


def frame(board: np.ndarray, curve: Curve, share: float, title: str) -> Image.Image:
    """One frame: the board, and the first ``share`` (a fraction) of the curve."""
    with rc_context({**STYLE, "font.size": 9}):
        figure = Figure(figsize=(8, 3.4), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
        left.imshow(board)
        left.set_axis_off()
        left.set_title(title, fontsize=9)
        shown = max(1, round(share * len(curve.x)))
        right.fill_between(curve.x[:shown], *curve.interval[:shown].T, color=COLOURS[0], alpha=0.18, linewidth=0)
        right.plot(curve.x[:shown], curve.mean[:shown], color=COLOURS[0], marker="o", markersize=4)
        right.set_xlim(0, curve.x[-1] * 1.03)
        low, high = curve.interval.min(), curve.interval.max()
        right.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        right.axhline(0, color=GREY, linewidth=0.8)
        right.set_title(f"mean reward against {', '.join(curve.opponents)}, with 95 %", fontsize=9)
        right.set_xlabel("minutes of training on two cores")
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=100)
    return Image.open(data).convert("RGB")


if __name__ == "__main__":
    main()
