"""Folders of recorded games: what is read of them, what nobody chose, what is held out."""

import dataclasses
import json

import numpy as np
import pytest

from myosu import cli, train
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.games.go import GO9
from myosu.games.go.sgf import parse_sgf
from myosu.runs.games import GameLine, GameRecord, write_game
from myosu.runs.reading import parse
from myosu.runs.recordings import is_held_out, open_recording
from myosu.runs.sgf import to_sgf

SEAT = {"kind": "person"}
SEATS = [{"kind": "player", "name": "greedy"}, {"kind": "player", "name": "gtp:x"}]


def write(folder, *records, game="tictactoe"):
    folder.mkdir(exist_ok=True)
    (folder / "recording.json").write_text(json.dumps({"game": game, "kwargs": {}, "rewards": "score", "settings": {}}))
    (folder / "games.jsonl").write_text("".join(json.dumps(record.to_line()) + "\n" for record in records))
    return folder


def sgf(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.sgf").write_text(text)
    return folder


def test_records_round_trip(tmp_path):
    record = GameRecord(seed=7, actions=[4, 0, 8, 2], returns=[-1.0, 1.0], terminated=True, truncated=False, index=3,
                        players=SEATS, unchosen=[0, 1], adjudicated=True)
    recording = open_recording(write(tmp_path / "r", record))
    assert list(recording.records()) == [dataclasses.replace(record, started=0.0)]
    moves = list(record.moves(recording.environment))
    assert [move.chosen for move in moves] == [False, False, True, True]
    # Nobody has three in a row: the one who resigned has lost, and the last move pays it.
    assert np.sum([move.rewards for move in moves], axis=0).tolist() == [-1.0, 1.0]
    assert [move.rewards.tolist() for move in moves[:-1]] == [[0.0, 0.0]] * 3
    with pytest.raises(UserError, match="written with the returns"):
        list(dataclasses.replace(record, adjudicated=False).moves(recording.environment))


def test_a_folder_of_sgf_files_is_a_recording(tmp_path, caplog):
    folder = sgf(tmp_path / "sgf", a="(;SZ[9]RE[W+R]PB[Ann];B[ee]C[random];W[cc];B[gg])",
                 b="(;SZ[9]RE[B+3.5];B[ee];W[cc];B[];W[])", c="(;SZ[9]RE[Void];B[ee])", d="(;SZ[13]RE[B+R];B[ee])",
                 e="(;SZ[9]RE[B+R];B[ee];W[ee])")
    recording = open_recording(folder)
    resigned, ended = recording.records()
    assert "e.sgf, move 2: E5 is illegal" in caplog.text and "1 are damaged, and 2 of another size" in caplog.text
    assert (resigned.returns, resigned.unchosen, resigned.players[0]["name"]) == ([-1.0, 1.0], [0], "Ann")
    assert ended.unchosen == [], "passes that end a game are learnt"
    moves = list(resigned.moves(recording.environment))
    assert [move.chosen for move in moves] == [False, True, True] and moves[-1].rewards.tolist() == [-1.0, 1.0]


def test_recording_fits_environments_with_the_same_rules(tmp_path):
    recording = open_recording(sgf(tmp_path, a="(;SZ[9]RE[W+R];B[ee])"))
    for name in ("go9", "go9-features"):
        recording.require(load_environment(name), name, {})
    for name in ("go13", "tictactoe", "CartPole-v1"):
        with pytest.raises(UserError, match=f"are of go9, not of {name}"):
            recording.require(load_environment(name), name, {})


def played_in_the_page(folder, *games, game="tictactoe", **fields):
    """Files as the page writes them: the actions of each game, and its returns."""
    for k, (actions, returns) in enumerate(games):
        write_game(folder / f"2026112{k}-120000-abc.json", GameRecord(
            7, actions, returns, terminated=bool(sum(map(abs, returns))), truncated=False, game=game,
            players=[{"kind": "person"}] * len(returns), **fields))
    return folder


WON, LEFT = ([4, 0, 8, 1, 2, 5, 6], [1.0, -1.0]), ([4, 0], [0.0, 0.0])


def test_games_played_in_the_browser_are_recordings(tmp_path, capsys, caplog):
    """Listed, found by number, played again, learnt from; a damaged file costs only itself."""
    folder = played_in_the_page(tmp_path / "played", WON, LEFT, WON)
    (folder / "20261121-120000-abc.json").with_stem("20261121-cut").write_text('{"format": 1, "ga')
    played_in_the_page(tmp_path / "other", ([19, 18], [0.0, 0.0]), game="othello")
    (tmp_path / "other" / "20261120-120000-abc.json").rename(folder / "20261129-120000-abc.json")
    recording = open_recording(folder)
    assert "20261121-cut.json is damaged" in caplog.text
    assert "a game of othello, the first one in its folder of tictactoe" in caplog.text
    assert [record.index for record in recording.records()] == [0, 1, 2] and recording.origin.game == "tictactoe"
    assert recording.best(1)[0].index == 2, "of equally good games, the newest is best"
    assert recording.find(1).actions == LEFT[0] and len(recording.last(2)) == 2
    with pytest.raises(UserError, match=r"no episode 3 in .* it has 3 so far"):
        recording.find(3)
    assert len(list(recording.find("best").moves(recording.environment))) == 7
    assert cli.run(["episodes", str(folder), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["actions"] for line in lines] == [WON[0], LEFT[0], WON[0]] and lines[0]["players"][0] == SEAT
    alone = folder / "20261120-120000-abc.json"
    assert [record.actions for record in open_recording(alone).records()] == [WON[0]]
    alone.write_text("{")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"played in the page\. .*x\.json is damaged"):
        open_recording(tmp_path / "damaged")
    with pytest.raises(UserError, match=r"abc\.json is damaged"):
        open_recording(alone)
    run = train("tictactoe", "cloning", recordings=(str(folder),), updates=5, learning_starts=4, batch_size=4,
                evaluate_every=0, quiet=True, run=tmp_path / "run")
    assert (run.games, run.env_steps) == (2, 9)
    assert [record.players for record in open_recording(tmp_path / "run").records()] == [[SEAT, SEAT]]


def test_episodes_are_written_as_sgf(tmp_path, capsys, caplog):
    folder = played_in_the_page(tmp_path / "played", ([19, 18, 26], [0.0, 0.0]), ([0], [0.0, 0.0]), game="othello")
    assert cli.run(["episodes", str(folder), "--sgf", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["000000.sgf"]
    assert "1 games" in capsys.readouterr().out
    assert "PB[person]PW[person]\n;B[dc];W[cc];B[cd]" in (tmp_path / "out" / "000000.sgf").read_text()
    assert "played is left out: Move 1 does not fit the rules" in caplog.text
    go = sgf(tmp_path / "go", a="(;SZ[9]RE[W+R]PB[Ann];B[ee];W[cc];B[gg])")
    assert cli.run(["episodes", str(go), "--sgf", str(tmp_path / "again")]) == 0
    [again] = open_recording(tmp_path / "again").records()
    assert again == dataclasses.replace(next(open_recording(go).records()), players=again.players)
    assert (again.returns, again.unchosen, again.players[0]["name"]) == ([-1.0, 1.0], [], "Ann")
    for other in (played_in_the_page(tmp_path / "ttt", WON), write(tmp_path / "none", game="othello")):
        assert cli.run(["episodes", str(other), "--sgf", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()


def test_observed_recordings_need_an_environment_name(tmp_path):
    for source in (tmp_path / "x.demo", "minari:a/b-v0"):
        with pytest.raises(UserError, match="holds observations without the name of an environment"):
            open_recording(source)


@pytest.mark.parametrize("returns", [[], [1.0], [1.0, -1.0, 0.0]])
def test_record_with_a_wrong_number_of_returns_is_refused(returns):
    record = GameRecord(0, WON[0], returns, True, False, game="tictactoe")
    with pytest.raises(UserError, match="was written with"):
        record.history()
    with pytest.raises(UserError, match="was written with"):
        list(record.moves())


@pytest.mark.parametrize("written, expected", [
    ({"index": 3, "length": 2, "returns": [1.0]}, {"terminated": True, "seed": None, "raw_returns": [1.0]}),
    ({"index": 3, "length": 2, "returns": [1.0], "truncated": True}, {"terminated": False, "truncated": True}),
    ({"index": 3, "env_steps": 9, "weights_version": 2, "length": 2, "returns": [1.0], "raw_returns": [4.0], "seed": 5,
      "truncated": False, "actions": [1, 0]}, {"env_steps": 9, "raw_returns": [4.0], "actions": [1, 0], "seed": 5})])
def test_lines_of_earlier_versions_are_read(written, expected):
    record = GameRecord.of_line(parse(GameLine, written, "here"))
    assert record.index == 3 and {name: getattr(record, name) for name in expected} == expected
    assert GameRecord.of_line(parse(GameLine, record.to_line(), "here")) == record


def test_invalid_recordings_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no recorded games in .*nothing"):
        open_recording(tmp_path / "nothing")
    with pytest.raises(UserError, match="says who won"):
        open_recording(sgf(tmp_path / "void", a="(;SZ[9];B[ee])"))
    (write(tmp_path / "r") / "recording.json").write_text('{"game": 5}')
    with pytest.raises(UserError, match=r"recording.json is damaged"):
        open_recording(tmp_path / "r").environment  # noqa: B018


def test_sgf_keeps_unchosen_moves():
    passes = 2 * [81]
    record = GameRecord(seed=0, actions=[40, 0, 41, 1, *passes], returns=[-1.0, 1.0], terminated=True, truncated=False,
                        players=SEATS, unchosen=[0, 3], adjudicated=False)
    [read] = parse_sgf(to_sgf(record, GO9).encode(), "x")
    assert (read.actions, read.comments) == (record.actions, ["random", "", "", "cleanup", "cleanup", "cleanup"])
    assert read.chosen().tolist() == [False, True, True, False, False, False]
    # Two stones each, and all empty points are seen by both: 2 − 2 − 7.5.
    assert (read.black, read.white, read.result) == ("greedy", "gtp:x", "W+7.5")
    for players in ([], SEATS[:1], 2 * SEATS):  # as a damaged file may have them
        [again] = parse_sgf(to_sgf(dataclasses.replace(record, players=players), GO9).encode(), "x")
        assert again.actions == read.actions
    resigned = dataclasses.replace(record, actions=[40, 0], unchosen=[], returns=[1.0, -1.0], adjudicated=True)
    assert parse_sgf(to_sgf(resigned, GO9).encode(), "x")[0].result == "B+R"


def test_games_are_held_out_by_their_opening():
    rng = np.random.default_rng(0)
    openings = rng.integers(0, 82, (4000, 8))
    out = [is_held_out([*opening, *rng.integers(0, 82, 5)], 2, 0.2) for opening in openings]
    assert out == [is_held_out([*opening, 3], 2, 0.2) for opening in openings], "moves after the opening do not matter"
    assert abs(np.mean(out) - 0.2) < 0.02
    assert not any(is_held_out(opening, 2, 0.0) for opening in openings)
    # A player by itself may begin alike every time: each episode counts by itself.
    episodes = [[*openings[0], *rng.integers(0, 82, 5)] for _ in range(500)]
    assert 0.05 < np.mean([is_held_out(episode, 1, 0.2) for episode in episodes]) < 0.4
    assert len({is_held_out(episode, 2, 0.2) for episode in episodes}) == 1


def test_recording_without_usable_games_is_refused(tmp_path):
    wrong = GameRecord(seed=0, actions=[4, 4], returns=[0.0, 0.0], terminated=True, truncated=False)
    folders = write(tmp_path / "none"), write(tmp_path / "wrong", wrong)
    for folder, said in zip(folders, ("name folders", "all 1 were left out"), strict=True):
        with pytest.raises(UserError, match=f"no game to learn from in .*{said}"):
            train("tictactoe", "cloning", recordings=(str(folder),), updates=1, evaluate_every=0, quiet=True,
                  run=tmp_path / f"run-{folder.name}")
