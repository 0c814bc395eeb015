"""GNU Go as an oracle for the rules, and as an opponent. ``scripts/gnugo_oracle.py`` compares thousands of games."""

import runpy
from pathlib import Path

import pytest

from myosu.evaluation.match import play_match
from myosu.evaluation.recorded_play import play_block
from myosu.games.go import GO9, make_game
from myosu.games.go.sgf import parse_sgf
from myosu.players.gtp import GtpPlayer, find_engine
from myosu.players.player import RandomPlayer
from myosu.runs.sgf import to_sgf

pytestmark = pytest.mark.skipif(find_engine("gnugo") is None,
                                reason="GNU GO IS NOT INSTALLED: run scripts/install_program.sh gnugo gnugo")
ENGINE = "gnugo --mode gtp --chinese-rules --positional-superko --never-resign --cache-size 4 --level 0"
SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(("size", "games"), [(9, 24), (5, 8), (13, 2)])
def test_same_legal_moves_and_score_as_gnugo(size, games):
    """Games of its own, each begun at random: which moves are legal in every position, and the final score."""
    oracle = runpy.run_path(str(SCRIPTS / "gnugo_oracle.py"))
    game = make_game(size)
    player, referee = GtpPlayer(game, ENGINE), GtpPlayer(game, oracle["ENGINE"])
    try:
        played = [play_block(game, (player, player), [n], [n], opening_plies=6, random_moves=0.03)[0]
                  for n in range(games)]
        records = [parse_sgf(to_sgf(record, game).encode(), "x")[0] for record in played]
        assert len({tuple(record.actions) for record in records}) == games
        assert [oracle["difference"](referee, game, record) for record in records] == [None] * games
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
