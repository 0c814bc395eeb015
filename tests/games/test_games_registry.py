"""Games loaded by name and by path, and the game of the documentation."""

import subprocess
import sys

import pytest

from myosu.doctor import check_game, check_vector_env
from myosu.envs.native import NativeVectorEnv
from myosu.errors import UserError
from myosu.games import game_names, load_game, snake
from own_game import NIM


@pytest.fixture
def nim(tmp_path):
    path = tmp_path / "nim.py"
    path.write_text(NIM)
    return path


def first_reward(game, actions):
    state = game.new_states(1)[0]
    return [game.step(state, action)[0] for action in actions][-1]


def test_the_documented_example_game_works(nim):
    game = load_game(str(nim))
    assert [f for f in check_game(game, games=50) if f.severity != "info"] == []
    assert check_vector_env(NativeVectorEnv(game, 4), 50) == []
    assert game.render(game.new_states(1)[0]) == "21 stones  " + "o" * 21
    assert first_reward(game, [2] * 7) == 1.0


def test_an_edited_file_is_loaded_again(nim):
    old = load_game(str(nim))
    assert first_reward(old, [2] * 7) == 1.0
    nim.write_text(NIM.replace("(1.0 if over", "(0.5 if over"))
    new = load_game(str(nim))
    assert first_reward(new, [2] * 7) == 0.5 and first_reward(old, [2] * 7) == 1.0
    assert load_game(str(nim)) is new


def test_files_of_equal_name_do_not_mix_in_process_or_cache(nim):
    other = nim.parent / "other" / "nim.py"
    other.parent.mkdir()
    other.write_text(NIM.replace("(1.0 if over", "(0.5 if over"))
    code = ("import sys; from myosu.games import load_game\n"
            "for path in sys.argv[1:]:\n"
            "    game = load_game(path); state = game.new_states(1)[0]\n"
            "    print([game.step(state, 2)[0] for _ in range(7)][-1])\n")
    for paths in ((nim, other), (other, nim)):  # the second process loads both from the cache
        run = subprocess.run([sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True)
        assert run.stdout.split() == ["1.0" if path == nim else "0.5" for path in paths], run.stderr
    assert list((nim.parent / "__pycache__").glob("nim.step*.nbc"))


def test_a_file_moved_with_its_cache_and_a_damaged_cache_are_compiled_again(nim):
    code = ("import sys; from myosu.envs.native import NativeVectorEnv; from myosu.games import load_game\n"
            "env = NativeVectorEnv(load_game(sys.argv[1]), 2); env.reset(); print(len(env.recv().observation))\n")
    old, new = nim.parent / "old", nim.parent / "new"
    old.mkdir()
    nim.rename(old / "nim.py")

    def run(folder):
        run = subprocess.run([sys.executable, "-c", code, folder / "nim.py"], capture_output=True, text=True)
        assert run.stdout == "2\n", run.stderr

    run(old)
    old.rename(new)
    run(new)
    cached = list((new / "__pycache__").glob("nim.*.nbc"))
    assert cached
    for file in cached:
        file.write_bytes(file.read_bytes()[:100])
    run(new)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("    over = state.stones == 0\n", "    over = state.stones ==\n", ["line 27", "SyntaxError"]),
    ("STONES = 21", "STONES = stones", ["line 7", "NameError", "stones"]),
    ("state.player = 0", "state.plyer = 0", ["init", "plyer"]),
    ("return (1.0 if over else 0.0), over", "return over", ["step", "line"]),
    ("out[count] = state.stones == count", "out[count] = unknown", ["observe", "line 31", "unknown"]),
    ("@compiled\ndef step", "def step", ["step", "@compiled"]),
    ("GAME = Game(", "OTHER = Game(", ["GAME"]),
    ('np.dtype([("stones", np.int8), ("player", np.int8)], align=True)', "np.dtype(np.int8)", ["state_dtype"]),
])
def test_a_broken_file_gives_a_one_line_message(nim, old, new, words):
    assert old in NIM
    nim.write_text(NIM.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_game(str(nim))
    message = str(caught.value)
    assert "nim.py" in message and "\n" not in message and all(word in message for word in words), message


def test_unknown_game_names_are_refused_with_suggestions():
    assert {"othello", "connect_four", "tictactoe", "snake", "woodoku"} <= set(game_names())
    with pytest.raises(UserError, match="Did you mean 'othello'"):
        load_game("othelo")
    with pytest.raises(UserError, match=r"Known games: .*tictactoe"):
        load_game("xyzzy")
    with pytest.raises(UserError, match=r"no file 'nowhere\.py'"):
        load_game("nowhere.py")


def test_an_entry_point_that_fails_to_load_is_reported(monkeypatch):
    from importlib.metadata import EntryPoint

    from myosu.games import registry

    entry = EntryPoint("lost", "no_such_package.lost", "myosu.games")
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    with pytest.raises(UserError, match=r"'lost' \(no_such_package.lost\) cannot be loaded: ModuleNotFoundError"):
        load_game("lost")


def test_one_file_may_hold_several_games():
    for name in ("snake", "snake-published", "woodoku", "woodoku-published"):
        assert load_game(name).name == name
    assert load_game("snake-published") is snake.PUBLISHED


def test_error_at_import_is_named(nim):
    nim.write_text(NIM + "\nassert np.array(1) == 2, 'never'\n")
    with pytest.raises(UserError, match="AssertionError: never"):
        load_game(str(nim))
