"""SGF files of Go games: valid files are read, invalid ones are refused with the file's name and the move."""

import numpy as np
import pytest

from myosu.errors import UserError
from myosu.games.go import GO9
from myosu.games.go.sgf import MOST_BYTES, GoRecord, format_sgf, parse_sgf, read_folder, read_sgf


def names(record):
    return " ".join(GO9.action_name(action) for action in record.actions)


def read(text):
    [record] = parse_sgf(text.encode() if isinstance(text, str) else text, "games/one.sgf")
    return record


def test_the_main_line_of_a_game_with_variations():
    record = read("(;GM[1]FF[4]SZ[9]KM[6.5]PB[Ann]PW[Bob]RE[B+3.5];B[ee]C[tengen](;W[cc];B[gg](;W[])(;W[cg]))(;W[gc]))")
    assert names(record) == "E5 C7 G3 pass"
    assert (record.size, record.komi, record.black, record.white, record.winner) == (9, 6.5, "Ann", "Bob", 1)
    assert record.comments == ["tengen", "", "", ""] and record.chosen().tolist() == [True, True, True, False]


def test_handicap_stones_are_moves_that_white_passes_on():
    record = read("(;SZ[9]HA[2]KM[0.5]AB[gc][cg]RE[W+R];W[ee];B[cc])")
    assert names(record) == "C3 pass G7 E5 C7"
    assert record.comments == ["handicap", "handicap", "handicap", "", ""]
    assert record.chosen().tolist() == [False, False, False, True, True] and record.winner == -1
    record = read("(;SZ[9];B[gc];B[cg];W[ee])")  # moves out of turn, instead of handicap stones
    assert names(record) == "G7 pass C3 E5" and record.chosen().tolist() == [True, False, True, True]


@pytest.mark.parametrize(("result", "winner"), [("B+R", 1), ("W+T", -1), ("W+Resign", -1), ("B+12.5", 1), ("0", 0),
                                                ("Draw", 0), ("Void", None), ("?", None), ("", None)])
def test_sgf_results_are_parsed(result, winner):
    assert read(f"(;SZ[9]RE[{result}];B[ee])").winner == winner


def test_cleanup_and_random_moves_are_not_marked_as_chosen():
    record = read("(;SZ[9];B[ee]C[random];W[cc]C[good];B[gg];W[];B[gc];W[cg]C[cleanup];B[];W[])")
    assert record.chosen().tolist() == [False, True, True, False, False, False, False, False]


@pytest.mark.parametrize(("declared", "encoding", "name"), [
    ("UTF-8", "utf-8", "趙治勲"), ("Shift_JIS", "shift_jis", "趙治勲"), ("GB2312", "gb2312", "古力"),
    (None, "latin-1", "Jörg")])
def test_sgf_encodings_are_read(declared, encoding, name):
    head = f"CA[{declared}]" if declared else ""
    assert read(f"(;SZ[9]{head}PB[{name}];B[ee])".encode(encoding)).black == name


def test_unknown_or_wrong_encodings_do_not_affect_moves():
    assert names(read("(;SZ[9]CA[no-such-code]PB[Ann];B[ee])")) == "E5"
    assert names(read("(;SZ[9]CA[UTF-8]PB[Jörg];B[ee]C[schön])".encode("latin-1"))) == "E5"


@pytest.mark.parametrize(("text", "message"), [
    ("", "is not SGF, or cut off"),
    ("What is this?", "is not SGF, or cut off"),
    ("(;SZ[9];B[ee];W[cc", "is not SGF, or cut off"),
    ("(;SZ[9];B[ee];W[cc];B[ee])", "move 3: E5 is illegal"),
    ("(;SZ[9];B[ba];W[cc];B[ab];W[aa])", "move 4: A9 is illegal"),
    ("(;SZ[9];B[];W[];B[ee])", "move 3: E5 is illegal"),
    ("(;SZ[9]HA[2]AB[gc][cg];W[ee];B[ee])", "move 2: E5 is illegal"),
    ("(;SZ[9];B[ee];W[zz])", r"move 2: W\[zz\] is not a point of a board of 9×9"),
    ("(;SZ[25];B[ee])", "25×25 points; 2 to 19 can be read"),
    ("(;SZ[9]AB[ee]AW[cc];B[gg])", "begins in the middle of a game"),
    ("(;SZ[9];B[ee];AW[cc];B[gg])", "sets up stones in the middle of the game"),
    ("(;SZ[nine];B[ee])", "games/one.sgf"),
    ("(;SZ[9]KM[seven];B[ee])", "games/one.sgf"),
])
def test_errors_name_file_and_move(text, message):
    with pytest.raises(UserError, match=message) as caught:
        read(text)
    assert "games/one.sgf" in str(caught.value)


def test_several_games_in_one_file():
    first, second = parse_sgf(b"(;SZ[9];B[ee])\n(;SZ[13];B[gg])", "both.sgf")
    assert (first.size, second.size) == (9, 13)
    with pytest.raises(UserError, match=r"both\.sgf, game 2, move 2"):
        parse_sgf(b"(;SZ[9];B[ee])(;SZ[9];B[ee];W[ee])", "both.sgf")


def test_broken_files_of_a_folder_are_skipped_and_reported(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.sgf").write_text("(;SZ[9];B[ee];W[cc])")
    (tmp_path / "deep" / "again.sgf").write_text("(;SZ[9]PB[other];B[ee];W[cc])")
    (tmp_path / "deep" / "b.sgf").write_text("(;SZ[9];B[gg])")
    (tmp_path / "broken.sgf").write_text("(;SZ[9];B[ee")
    with (tmp_path / "huge.sgf").open("wb") as file:
        file.truncate(100_000_000)
    games, left_out = read_folder(tmp_path)
    assert [names(game) for game in games] == ["E5 C7", "G3"]
    assert len(left_out) == 2 and "broken.sgf is not SGF" in left_out[0] and "huge.sgf has 100 MB" in left_out[1]
    with pytest.raises(UserError, match=f"may have {MOST_BYTES / 1e6:.0f}"):
        read_sgf(tmp_path / "huge.sgf")


def test_a_folder_without_games_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no \.sgf file"):
        read_folder(tmp_path)
    (tmp_path / "broken.sgf").write_text("(;SZ[9];B[ee")
    with pytest.raises(UserError, match=r"of 1 files none could be read; the first: .*broken.sgf"):
        read_folder(tmp_path)


def test_written_sgf_is_read_back():
    random, state = np.random.default_rng(0), GO9.new_states(1)[0]
    actions = []
    for _ in range(60):
        mask = np.zeros(82, np.bool_)
        GO9.legal_actions(state, mask)
        actions.append(int(random.choice(np.flatnonzero(mask[:81]))))
        GO9.step(state, actions[-1])
    comments = ["random"] * 5 + [""] * 55 + ["cleanup"] * 2
    record = GoRecord(9, [*actions, 81, 81], 5.5, "W+2.5", "Zoë ]\\", "Bob", comments)
    assert read(format_sgf(record)) == record
