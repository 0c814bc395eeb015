"""GNU Go as an oracle for the rules, and as an opponent. ``scripts/gnugo_oracle.py`` compares thousands of games."""

import runpy
from pathlib import Path

import pytest

from myosu.evaluation.match import play_match
from myosu.games.go import GO9, make_game
from myosu.players.gtp import GtpPlayer, find_engine
from myosu.players.player import RandomPlayer

pytestmark = pytest.mark.skipif(find_engine("gnugo") is None,
                                reason="GNU GO IS NOT INSTALLED: run scripts/install_program.sh gnugo gnugo")
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(("size", "games"), [(9, 24), (5, 8), (13, 2)])
def test_same_legal_moves_and_score_as_gnugo(size, games):
    """Games of its own, each begun at random: which moves are legal in every position, and the final score."""
    record, oracle = (runpy.run_path(str(SCRIPTS / name)) for name in ("record_gnugo.py", "gnugo_oracle.py"))
    game = make_game(size)
    player, referee = GtpPlayer(game, record["ENGINE"].format(level=0)), GtpPlayer(game, oracle["ENGINE"])
    try:
        records = [record["play_game"](player, game, seed, "GNU Go") for seed in range(games)]
        assert len({tuple(played.actions) for played in records}) == games
        assert [oracle["difference"](referee, game, played) for played in records] == [None] * games
    finally:
        player.close()
        referee.close()


def test_gnugo_beats_chance_and_takes_dead_stones_off():
    """Told to, it goes on until the area says who has won; chance passes now and then, and so must not end the game."""
    engine = GtpPlayer(GO9, "gnugo --mode gtp --level 0 --chinese-rules --capture-all-dead --play-out-aftermath "
                            "--positional-superko --never-resign")
    result = play_match(GO9, engine, RandomPlayer(GO9, 1), 6)
    engine.close()
    assert result.overall.win_rate == 1.0
