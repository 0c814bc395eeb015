"""The review of a game: costs of moves, computed by hand; and on the page, the evaluation of each position."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import myosu.web

JS = Path(myosu.web.__file__).with_name("static") / "js"
NODE = shutil.which("node")
SCRIPT = """
import { Review } from '%s/review.js';
const { run, actions, end, analyses } = JSON.parse(process.argv[1]);
const positions = new Map([[actions.length, { returns: [end] }]]);
const game = { actions, seats: run.players === 2 ? [{}, {}] : [{}], newest: actions.length, positions };
const review = new Review(run, game, () => {});
analyses.forEach(([to_play, action, outlook], ply) => review.hear({ ply, to_play, action, outlook }));
console.log(JSON.stringify({ moves: review.moves, done: review.done,
  next: [review.marked(0, 1), review.marked(4, 1), review.marked(5, 1), review.marked(5, -1), review.marked(4, -1)],
  summaries: game.seats.map((_, seat) => review.summary(seat)),
  best: [...analyses, 0].map((_, ply) => review.best(ply)) }));
"""


def judged(players, most, actions, end, analyses):
    if NODE is None:
        pytest.skip("NODE IS NOT INSTALLED: the page's arithmetic is tested in it")
    run = {"players": players, "reward_range": [-most, most]}
    order = json.dumps({"run": run, "actions": actions, "end": end, "analyses": analyses})
    answer = subprocess.run([NODE, "--input-type=module", "-e", SCRIPT % JS.as_posix(), "--", order],
                            capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def test_review_computes_the_cost_of_moves():
    """The values for the first seat are 0, 0.1, −0.05, −0.25, −0.1, and it loses at the end.

    The costs of its moves are 0 (the value rose), 0 (its best move: the drop only shows the error of the values) and
    0.9; those of the second seat, for which a lower value is better, are 0 and 0.15.
    """
    found = judged(2, 1.0, [5, 6, 7, 8, 9], -1.0,
                   [(0, 0, 0.0), (1, 0, 0.1), (0, 7, -0.05), (1, 0, -0.25), (0, 0, -0.1)])
    assert found["done"] and [round(move["loss"], 6) for move in found["moves"]] == [0, 0, 0, 0.15, 0.9]
    assert [move["mark"] for move in found["moves"]] == ["", "", "", "?!", "??"]
    assert [move["seat"] for move in found["moves"]] == [0, 1, 0, 1, 0]
    assert found["next"] == [4, 5, None, 4, None] and found["best"] == [0, 0, 7, 0, 0, None]
    first, second = found["summaries"]
    assert (first["best"], first["of"], first["marked"]) == (1, 3, [0, 0, 1]) and first["mean"] == pytest.approx(0.3)
    assert (second["best"], second["of"], second["marked"]) == (0, 2, [1, 0, 0])


def test_review_of_score_games_and_single_player_games():
    """Othello counts to 32, of which 8 are decisive: from 1.6 on it is a mistake, from 2.4 on a blunder. For one
    player, the greatest expected score is decisive."""
    found = judged(2, 32.0, [1, 2, 3], -3.0, [(0, 0, 2.0), (1, 0, 0.3), (0, 0, 2.2)])
    assert [round(move["loss"], 6) for move in found["moves"]] == [1.7, 1.9, 5.2]
    assert [move["name"] for move in found["moves"]] == ["mistake", "mistake", "blunder"]
    found = judged(1, 97.0, [1, 2, 3], 4.0, [(0, 0, 10.0), (0, 2, 8.9), (0, 0, 4.0)])
    assert [move["name"] for move in found["moves"]] == ["inaccuracy", "", ""]
