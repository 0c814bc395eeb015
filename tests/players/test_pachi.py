"""Pachi, a stronger engine than GNU Go, as an opponent. It is built by scripts/install_pachi.sh."""

from pathlib import Path

import numpy as np
import pytest

from myosu.evaluation.match import play_match
from myosu.games.go import make_game
from myosu.players.gtp import GtpPlayer
from myosu.players.player import RandomPlayer

PACHI = Path(__file__).parents[2] / ".pachi" / "pachi"
pytestmark = pytest.mark.skipif(not PACHI.is_file(), reason="PACHI IS NOT BUILT: run bash scripts/install_pachi.sh")


def pachi(game, playouts=500):
    """Pachi, by default with the fewest playouts that it accepts."""
    return GtpPlayer(game, f"{PACHI} -r chinese -s 1 -t ={playouts} threads=1,pass_all_alive,resign_threshold=0")


def test_pachi_plays_whole_games_and_captures_dead_stones():
    """Every move is legal, and Pachi wins by area, because it captures dead stones before it passes."""
    game = make_game(7)
    engine = pachi(game)
    try:
        result = play_match(game, engine, RandomPlayer(game, 1), games=4, opening_plies=4, seed=1)
    finally:
        engine.close()
    assert np.all(result.rewards == 1)
    assert len({tuple(history) for history in result.histories}) == 4


def test_komi_and_size_are_sent_to_pachi():
    game = make_game(7, komi=30.5)
    engine = pachi(game)
    try:
        engine.send("clear_board")
        assert engine.send("final_score") == "W+30.5"
        assert engine.choose(game.new_states(1), [[]])[0] < 50
    finally:
        engine.close()
