"""Recording games: pairings, unchosen moves, no duplicates, nothing lost."""

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest

from engines import fake_engine
from myosu.algorithms.demonstrations import load_demonstrations
from myosu.cli import run as myosu
from myosu.envs.native import game_spec
from myosu.envs.registry import Environment
from myosu.errors import UserError
from myosu.evaluation.recorded_play import play_block, record_episodes
from myosu.evaluation.recording import Settings, record_games
from myosu.games.bubble import make_game as make_bubble
from myosu.games.go import make_game
from myosu.games.go.sgf import read_sgf
from myosu.players.agent import PlayerAgent
from myosu.players.alphabeta import AlphaBetaPlayer
from myosu.players.gtp import GtpPlayer
from myosu.players.opponents import make_opponent
from myosu.players.player import RandomPlayer
from myosu.runs.recordings import open_recording
from toy_runs import in_fork

GREEDY_AND_RANDOM = Settings(("greedy", "random"), opening_plies=2)
GO5 = make_game(5)

#: Black resigns at its third move; White always passes.
RESIGNS = fake_engine('''
words = line.split()
if words[0] == "genmove":
    moves = getattr(sys, "moves", 0) + 1
    sys.moves = moves
    print("= resign\\n" if moves == 3 else "= pass\\n" if words[1] == "white" else f"= A{moves}\\n", flush=True)
else:
    print("=\\n", flush=True)
''')
#: Passes at the first move, but captures dead stones before: two moves for each colour.
CLEANS = fake_engine('''
words = line.split()
if words[0] == "list_commands":
    print("= genmove\\nkgs-genmove_cleanup\\n", flush=True)
elif words[0] == "kgs-genmove_cleanup":
    sys.cleaned = getattr(sys, "cleaned", 0) + 1
    print("= pass\\n" if sys.cleaned > 4 else f"= {'ABCD'[sys.cleaned - 1]}1\\n", flush=True)
else:
    print("= pass\\n" if words[0] == "genmove" else "=\\n", flush=True)
''')


#: Passes. Its process dies when it is asked for a move while A1 is occupied.
DIES_BY_A1 = fake_engine('''
sys.moves = [] if line == "clear_board" else [*getattr(sys, "moves", []), line]
if line.startswith("genmove") and any(move.endswith(" A1") for move in sys.moves):
    sys.exit(7)
print("= pass\\n" if line.startswith("genmove") else "=\\n", flush=True)
''')


def lines(folder):
    return [json.loads(line) for line in (folder / "games.jsonl").read_text().splitlines()]


def test_three_players_meet_in_all_pairs_and_seats():
    settings = Settings(("a", "b", "c"))
    assert [settings.seats(n) for n in range(6)] == [("a", "b"), ("a", "c"), ("b", "c"), ("b", "a"), ("c", "a"),
                                                     ("c", "b")]
    assert Settings(("a",)).seats(5) == ("a", "a")


def test_recording_continues_after_a_kill_and_games_name_players(tmp_path):
    folder = tmp_path / "r"
    pid = in_fork(lambda: record_games(folder, "tictactoe", GREEDY_AND_RANDOM, 600, jobs=1))
    while not (folder / "games.jsonl").is_file() or len((folder / "games.jsonl").read_text().splitlines()) < 16:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    before = lines(folder)
    with open(folder / "games.jsonl", "a") as file:
        file.write('{"index": 99, "len')  # killed while writing a line
    recorded = record_games(folder, "tictactoe", GREEDY_AND_RANDOM, 60, jobs=1)
    after = lines(folder)
    wanted = {*range(60), *(line["index"] for line in before)}
    assert after[:len(before)] == before and recorded.games == len(after) == len(wanted)
    assert len({line["index"] for line in after}) == len({tuple(line["actions"]) for line in after}) == len(after)

    tictactoe = open_recording(folder).environment
    game = tictactoe.rules
    greedy = AlphaBetaPlayer(game, 1)
    records = sorted(open_recording(folder).records(), key=lambda record: record.index)
    names = [tuple(player["name"] for player in record.players) for record in records]
    assert names[:4] == [("greedy", "random"), ("random", "greedy")] * 2
    assert {len(record.unchosen) for record in records} == {0, 1, 2}
    for record, seats in zip(records, names, strict=True):
        assert record.unchosen == list(range(len(record.unchosen)))
        for ply, move in enumerate(record.moves(tictactoe)):  # raises an error if the outcome differs
            if move.chosen and seats[move.seat] == "greedy":
                states, rewards, over = game.new_states(1), np.zeros(1, np.float32), np.zeros(1, bool)
                for action in record.actions[:ply]:
                    game.batch.step(states, np.array([action]), rewards, over)
                assert greedy.choose(states, [record.actions[:ply]]) == move.action

    with pytest.raises(UserError, match=r"recorded with opening_plies 2, not 3"):
        record_games(folder, "tictactoe", Settings(("greedy", "random"), 3), 60, jobs=1)
    with pytest.raises(UserError, match=r"recorded with game 'tictactoe', not 'connect_four'"):
        record_games(folder, "connect_four", GREEDY_AND_RANDOM, 60, jobs=1)


def test_go_is_written_as_sgf_and_repeated_games_are_reported(tmp_path, capsys):
    (tmp_path / "go4.py").write_text("from myosu.games.go import make_game\nGAME = make_game(4)\n")
    assert myosu(["record", str(tmp_path / "go4.py"), "--player", "greedy", "--games", "3", "--jobs", "1",
                  "-o", str(tmp_path / "r")]) == 0
    assert "2 were always the same: raise --opening-plies" in capsys.readouterr().out
    [line] = lines(tmp_path / "r")
    [game] = read_sgf(tmp_path / "r" / "sgf" / "000000.sgf")
    assert game.actions == line["actions"] and game.winner == line["returns"][0] and game.black == "greedy"


def test_a_resigned_game_is_lost_and_marked_adjudicated(tmp_path):
    with_resigning = Settings((f"gtp:{RESIGNS}", "random"))
    players = GtpPlayer(GO5, RESIGNS), RandomPlayer(GO5, 0)
    [record] = play_block(GO5, players, [0], [1])
    players[0].close()
    assert (record.returns, record.adjudicated, record.terminated, record.length) == ([-1.0, 1.0], True, True, 4)
    assert with_resigning.seats(0)[0].startswith("gtp:")


class Plays(RandomPlayer):
    """Plays the point with the number of its game, then passes."""

    def choose(self, states, histories):
        return np.array([GO5.pass_action if history else k for k, history in enumerate(histories)])


def test_an_engine_that_crashes_loses_only_its_own_game():
    """Of 25 games, each of which begins at another point, it crashes in that which begins at A1."""
    engine, lost = GtpPlayer(GO5, DIES_BY_A1), {}
    a1 = GO5.parse_action("A1")
    records = play_block(GO5, (Plays(GO5, 0), engine), range(30, 30 + 25), range(25), lost=lost.__setitem__)
    engine.close()
    assert list(lost) == [30 + a1] and "ended with exit code 7" in lost[30 + a1]
    assert [record.index for record in records] == [30 + k for k in range(25) if k != a1]
    assert all(record.actions == [k, GO5.pass_action, GO5.pass_action]
               for record in records for k in [record.index - 30])


def test_cleanup_captures_before_a_pass_are_not_training_data():
    engine = GtpPlayer(GO5, CLEANS)
    [record] = play_block(GO5, (engine, engine), [0], [1])
    engine.close()
    assert [GO5.action_name(action) for action in record.actions] == ["A1", "B1", "C1", "D1", "pass", "pass"]
    assert record.unchosen == [0, 1, 2, 3] and record.terminated and not record.adjudicated


def test_random_moves_have_the_asked_share_and_avoid_passing():
    greedy = AlphaBetaPlayer(GO5, 1)
    records = play_block(GO5, (greedy, greedy), list(range(12)), list(range(12)), opening_plies=3, random_moves=0.2)
    later = [ply in record.unchosen for record in records for ply in range(3, record.length)]
    assert abs(np.mean(later) - 0.2) < 3 * np.sqrt(0.16 / len(later))
    for record in records:
        for ply, move in enumerate(record.moves(Environment("go5", game_spec(GO5), game=GO5))):
            assert move.chosen or move.action != GO5.pass_action or move.legal_actions.sum() == 1, ply


def test_scripted_players_of_a_game_for_one_are_recorded(tmp_path):
    """Greedy takes the move with the best reward and heuristic, so that it needs far fewer shots than random."""
    game = make_bubble(rows=2, colours=2)
    environment = Environment("bubble", game_spec(game), game=game)
    shots = {}
    for player in ("greedy", "random"):
        agent = PlayerAgent(make_opponent(player, game, seed=1))
        records = record_episodes(environment, agent, range(4), 0)
        assert len({record.seed for record in records}) == 4
        shots[player] = sum(record.length for record in records)
        moves = list(records[0].moves(environment))
        assert len(moves) == records[0].length and all(move.legal_actions[move.action] for move in moves)
    assert 2 * shots["greedy"] < shots["random"]


@pytest.mark.slow
def test_demonstrations_of_a_run_are_read_by_imitation(tmp_path, capsys):
    """A trained run in a Gymnasium environment is recorded and cloned; the clone acts in the same way."""
    from myosu import evaluate, load, train
    from myosu.envs.registry import load_environment

    run = train("CartPole-v1", "ppo", env_steps=1000, evaluate_every=0, quiet=True, run=tmp_path / "ppo").folder
    arguments = ["record", "CartPole-v1", "--player", str(run), "--episodes", "20", "--jobs", "1", "-o",
                 str(tmp_path / "r")]
    assert myosu(arguments) == 0 and "20 games, 20 of them new" in capsys.readouterr().out
    recorded = lines(tmp_path / "r")
    assert len({line["seed"] for line in recorded}) == 20
    agent, environment = load(run).agent, load_environment("CartPole-v1")
    demonstrations = load_demonstrations((str(tmp_path / "r"),), environment.spec, lambda actions: actions)
    assert len(demonstrations["action"]) == sum(line["length"] for line in recorded)
    legal = np.ones((len(demonstrations["action"]), 2), bool)
    assert (agent.act(demonstrations["observation"], legal)[0] == demonstrations["action"]).all()
    clone = train("CartPole-v1", "cloning", recordings=(str(tmp_path / "r"),), updates=300, replay_ratio=1000.0,
                  learning_starts=10**6, evaluate_every=0, quiet=True, run=tmp_path / "clone").folder
    assert (load(clone).agent.act(demonstrations["observation"], legal)[0] == demonstrations["action"]).mean() > 0.9
    assert evaluate(load(clone), games=4)["games"] == 4


@pytest.mark.parametrize(("arguments", "said"), [
    (["tictactoe"], "No player is given"),
    (["tictactoe", "--player", "gredy"], "Did you mean 'greedy'"),
    (["snake", "--player", "alphabeta:2"], "snake is single-player: its player must be one run or random or greedy"),
    (["CartPole-v1", "--player", "greedy"], "CartPole-v1 is single-player: its player must be one run (--player"),
    (["tictactoe", "--player", "random", "--random-moves", "1"], "the fraction of random moves below 1"),
    (["tictactoe", "--player", "random", "--games", "0"], "--games 0: it must be 1 or more"),
], ids=["nobody", "unknown", "single", "no-rules", "all-random", "none"])
def test_impossible_recordings_are_refused(tmp_path, capsys, arguments, said):
    assert myosu(["record", *arguments, "-o", str(tmp_path / "r")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_a_folder_with_other_files_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert myosu(["record", "tictactoe", "--player", "random", "-o", str(tmp_path)]) == 2
    assert "holds something other than a recording" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    shutil.rmtree(tmp_path)
