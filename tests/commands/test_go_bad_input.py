"""Go: what is wrong with files and engines is told by one message that names file and move; the exit code is 2."""

import shlex
import sys

import numpy as np
import pytest

from engines import fake_engine
from myosu.cli import run as myosu
from myosu.runs.recordings import is_held_out, open_recording, recorded_lines

GOOD = "(;SZ[9]RE[B+R];B[ee];W[cc];B[gg];W[gc])"


def learn(folder, out, *more):
    return myosu(["train", "go9", "--algorithm", "cloning", "--recordings", str(folder), "--run", str(out), "--updates",
                  "2", "--channels", "4", "--blocks", "0", "--batch-size", "4", "--evaluate-every", "0", "--device",
                  "cpu", "--learning-starts", "1000", *more])


def said(capsys):
    """What was written to standard error, which has no traceback."""
    text = capsys.readouterr().err
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(("text", "message"), [
    ("(;SZ[9]RE[B+R];B[ee];W[cc", r"one.sgf is not SGF, or cut off"),
    ("(;SZ[9]RE[B+R];B[ee];W[ee])", r"one.sgf, move 2: E5 is illegal (occupied"),
    ("(;SZ[9]RE[B+R];B[ee];W[zz])", r"one.sgf"),
    ("(;SZ[25]RE[B+R];B[ee])", "25×25 points; 2 to 19 can be read"),
    ("(;SZ[13]RE[B+R];B[ee];W[cc])", "are of go13, not of go9"),
    ("(;SZ[9];B[ee];W[cc])", "says who won"),
    ("(;SZ[9]RE[B+R];B[ee]C[random];W[cc]C[random])", "nobody chose a move in them"),
    ("", "is not SGF, or cut off"),
], ids=["cut-off", "illegal", "no-point", "too-large", "other-size", "no-winner", "nobody-chose", "empty"])
def test_unusable_sgf_files_are_refused(tmp_path, capsys, text, message):
    folder = tmp_path / "sgf"
    folder.mkdir()
    (folder / "one.sgf").write_text(text)
    assert learn(folder, tmp_path / "run") == 2
    assert message in said(capsys)


def test_huge_and_broken_files_are_reported_and_skipped(tmp_path, capsys, caplog):
    (tmp_path / "good.sgf").write_text(GOOD)
    (tmp_path / "broken.sgf").write_bytes("(;SZ[9]CA[UTF-8]PB[Jörg];B[ee];W[ee])".encode("latin-1"))
    with (tmp_path / "huge.sgf").open("wb") as file:
        file.truncate(100_000_000)
    assert learn(tmp_path, tmp_path / "run", "--held-out", "0") == 0
    assert "broken.sgf, move 2: E5 is illegal" in caplog.text and "huge.sgf has 100 MB" in caplog.text
    assert "Traceback" not in capsys.readouterr().err


def test_board_size_is_that_of_most_games(tmp_path):
    (tmp_path / "a.sgf").write_text("(;SZ[13]RE[B+R];B[ee])")
    for name in ("b", "c"):
        (tmp_path / f"{name}.sgf").write_text(GOOD.replace("gg", f"{name}h"))
    assert open_recording(tmp_path).environment.rules.observation_shape[-1] == 9
    assert len(list(open_recording(tmp_path).records())) == 2


def test_training_refuses_if_all_games_are_held_out(tmp_path, capsys):
    """A network that has nothing to learn from must not count as trained."""
    for number, point in enumerate("abcdefghi"):
        (tmp_path / f"{number}.sgf").write_text(f"(;SZ[9]RE[B+R];B[e{point}];W[c{point}])")
    held_out = [is_held_out(record.actions, 2, 0.5) for record in open_recording(tmp_path).records()]
    assert 0 < sum(held_out) < 9 and learn(tmp_path, tmp_path / "some", "--held-out", "0.5") == 0
    for number in np.flatnonzero(~np.array(held_out)):
        (tmp_path / f"{number}.sgf").unlink()
    capsys.readouterr()
    assert learn(tmp_path, tmp_path / "none", "--held-out", "0.5") == 2
    assert "are all held out for testing" in said(capsys)


PASSES = "print('= pass\\n' if line.startswith('genmove') else '=\\n', flush=True)"
OCCUPIED = "print('= e5\\n' if line.startswith('genmove') else '=\\n', flush=True)"
DIES = "sys.exit(3) if line.startswith('genmove') else print('=\\n', flush=True)"
REFUSES_KOMI = "print('? komi must be 6.5\\n' if line.startswith('komi') else '= komi\\n' if line == 'list_commands' " \
               "else '=\\n', flush=True)"
CUT_OFF = "print('= e5' if line.startswith('genmove') else '=\\n', flush=True); sys.exit(0) " \
          "if line.startswith('genmove') else None"


@pytest.mark.parametrize(("body", "message"), [
    (DIES, "ended with exit code 3"), (OCCUPIED, "answered 'e5', an illegal move"),
    (REFUSES_KOMI, "komi must be 6.5"), (CUT_OFF, "ended with exit code 0"),
], ids=["dies", "occupied", "komi", "cut-off"])
def test_failing_engines_are_reported(tmp_path, capsys, body, message):
    """In a recording of two players, of which one fails sooner or later."""
    folder = tmp_path / "games"
    assert myosu(["record", "go9", "--player", f"gtp:{fake_engine(body)}", "--player", "random", "--games", "4", "-o",
                  str(folder), "--jobs", "1"]) == 2
    text = said(capsys)
    assert message in text and "The engine gtp:" in text and ("after:" in text)


def test_games_recorded_before_an_engine_failure_are_kept(tmp_path, capsys):
    """It plays two games by passing and then dies for good; then it is mended, and the recording goes on."""
    mark, counted, engine = tmp_path / "mended", tmp_path / "counted", tmp_path / "engine.py"
    engine.write_text(f"""
import os, sys
for line in sys.stdin:
    if line.startswith("clear_board"):
        print("", file=open({str(counted)!r}, "a"))
    if line.startswith("genmove") and len(open({str(counted)!r}).readlines()) > 3 and not os.path.exists({str(mark)!r}):
        sys.exit(1)
    print("= pass\\n" if line.startswith("genmove") else "=\\n", flush=True)
""")
    player = f"gtp:{shlex.quote(sys.executable)} {engine}"
    command = ["record", "go9", "--player", player, "--games", "6", "-o", str(tmp_path / "games"), "--jobs", "1",
               "--opening-plies", "6"]
    assert myosu(command) == 2 and "It crashed 3 times in game" in said(capsys)
    before = [record.actions for record in recorded_lines(tmp_path / "games")]
    mark.touch()
    assert before and myosu(command) == 0
    assert [record.actions for record in recorded_lines(tmp_path / "games")][:len(before)] == before


def test_engine_that_resigns_loses(tmp_path):
    resigns = "print('= resign\\n' if line.startswith('genmove') else '=\\n', flush=True)"
    assert myosu(["record", "go9", "--player", f"gtp:{fake_engine(resigns)}", "--player", "random", "--games", "2",
                  "-o", str(tmp_path), "--jobs", "1", "--opening-plies", "4"]) == 0
    for record in recorded_lines(tmp_path):
        resigned = 0 if record.players[0]["name"].startswith("gtp:") else 1
        assert record.adjudicated and record.returns[resigned] == -1
