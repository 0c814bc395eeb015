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


@pytest.mark.parametrize(("size", "games", "opening_plies"), [(9, 24, 6), (5, 8, 6), (13, 2, 6), (19, 4, 600)])
def test_same_legal_moves_and_score_as_gnugo(size, games, opening_plies):
    """Compares the legal moves in every position and the final score, in games of GNU Go with random openings. On 19×19
    most moves are random, because GNU Go would take too long."""
    oracle = runpy.run_path(str(SCRIPTS / "gnugo_oracle.py"))
    game = make_game(size)
    player, referee = GtpPlayer(game, ENGINE), GtpPlayer(game, oracle["ENGINE"])
    try:
        played = [play_block(game, (player, player), [n], [n], opening_plies, random_moves=0.03)[0]
                  for n in range(games)]
        records = [parse_sgf(to_sgf(record, game).encode(), "x")[0] for record in played]
        assert len({tuple(record.actions) for record in records}) == games
        assert [oracle["difference"](referee, game, record) for record in records] == [None] * games
    finally:
        player.close()
        referee.close()


#: A game played by GNU Go that ends with a seki in the lower right corner.
SEKI = """(;SZ[9];B[ab];W[gd];B[ed];W[ee];B[de];W[fe];B[gg];W[eg];B[he];W[df];B[ce];W[bg];B[fc];W[gc];B[cc];W[hd]
;B[gf];W[fb];B[eb];W[gb];B[bf];W[cf];B[be];W[ea];B[ag];W[ah];B[da];W[fa];B[dc];W[fh];B[gh];W[bh];B[fi];W[ei];B[gi];W[fd]
;B[ec];W[fg];B[ie];W[af];B[ae];W[ff];B[id];W[ic];B[ge];W[hg];B[hh];W[ih];B[ag];W[db];B[cb];W[af];B[dh];W[eh];B[ag];W[bi]
;B[af];W[ig];B[if];W[cg];B[cd];W[hc];B[bb];W[ci];B[ca];W[ha];B[];W[dg];B[];W[ch];B[];W[di];B[];W[hb];B[];W[])"""


def test_a_seki_that_gnugo_scores_in_two_ways():
    """Black has 30 stones and 8 points, White 34 stones and 6 points: W+9.5 by the rules and by GNU Go's own lists. Its
    final_score is W+8.5."""
    oracle = runpy.run_path(str(SCRIPTS / "gnugo_oracle.py"))
    [record] = parse_sgf(SEKI.encode(), "seki")
    referee = GtpPlayer(GO9, oracle["ENGINE"])
    try:
        assert oracle["difference"](referee, GO9, record) is None
        assert referee.send("final_score") == "W+8.5"
        area = [len(referee.send(f"list_stones {colour}").split())
                + len(referee.send(f"final_status_list {colour}_territory").split()) for colour in ("black", "white")]
    finally:
        referee.close()
    assert area == [38, 40] and area[0] - area[1] - 7.5 == -9.5


def test_gnugo_beats_random_play_and_captures_dead_stones():
    """With these options it plays until the area decides the game. The random player sometimes passes, which must not
    end the game."""
    engine = GtpPlayer(GO9, "gnugo --mode gtp --level 0 --chinese-rules --capture-all-dead --play-out-aftermath "
                            "--positional-superko --never-resign")
    result = play_match(GO9, engine, RandomPlayer(GO9, 1), 6)
    engine.close()
    assert result.overall.win_rate == 1.0
