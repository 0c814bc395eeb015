"""Games that cannot be compiled, that fail during play, or that are too large: one clear message each."""

from dataclasses import replace

import numpy as np
import pytest

from myosu.doctor import check_game
from myosu.errors import UserError
from myosu.games import compiled, load_game, tictactoe

GAME = tictactoe.GAME
RECORD = np.dtype([("x", np.int8), ("seen", np.bool_, (2,))])


def with_field(*field):
    return np.dtype([(name, GAME.state_dtype[name]) for name in GAME.state_dtype.names] + [("extra", *field)])


@pytest.mark.parametrize(("field", "message"), [
    ((np.bool_, (4,)), "'extra' is an array of bool, which Numba cannot compile: write np.uint8"),
    ((np.bool_, (2, 3)), "'extra' is an array of bool"),
    ((RECORD,), r"'extra\.seen' is an array of bool"),
    ((RECORD, (3,)), r"'extra\.seen' is an array of bool"),
    ((np.float16,), "'extra' is of type float16, .* write np.float32"),
    ((np.longdouble, (2,)), "'extra' is an array of float128, .* write np.float32"),
    (("U8",), "'extra' is of type <U8, .* one number per letter"),
    ((object,), "'extra' is of type object, .* keep numbers in the state"),
    (("M8[s]",), "'extra' is of type datetime64"),
    ((">i4",), "'extra' is of type >i4, .* write int32"),
], ids=("bool array", "2-D bools", "record", "records", "float16", "longdouble", "text", "object", "time", "order"))
def test_state_field_that_cannot_be_compiled_is_reported(field, message):
    with pytest.raises(UserError, match=message):
        replace(GAME, state_dtype=with_field(*field))


@pytest.mark.parametrize("field", [(np.bool_,), (np.int8, (2, 3)), (np.dtype([("x", np.int8)]), (3,)), ("S4",),
                                   (np.complex64,)], ids=("bool", "2-D", "records", "bytes", "complex"))
def test_compilable_state_fields_are_accepted(field):
    game = replace(GAME, state_dtype=with_field(*field))
    assert game.new_states(2)["extra"].shape[0] == 2  # compiled


@pytest.mark.parametrize(("changes", "message"), [
    ({"observation_shape": 9}, "observation_shape is 9, but must be a tuple"),
    ({"observation_shape": (9, 0)}, "observation_shape is"),
    ({"max_plies": 0}, "max_plies is 0"),
    ({"num_actions": 2.5}, "num_actions is 2.5"),
    ({"reward_range": None}, "reward_range is None"),
    ({"observation_dtype": np.float16}, "observation_dtype is float16"),
    ({"observation_dtype": object}, "observation_dtype is object"),
    ({"state_dtype": np.dtype(np.int8)}, "must be a record"),
], ids=("shape", "empty", "plies", "actions", "rewards", "float16", "object", "no record"))
def test_wrong_game_descriptions_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(GAME, **changes)


def test_error_in_a_game_file_names_field_and_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from dataclasses import replace\nimport numpy as np\nfrom myosu.games import tictactoe\n"
                    "GAME = replace(tictactoe.GAME, state_dtype=np.dtype([('seen', bool, (9,))]))\n")
    with pytest.raises(UserError, match="line 4: tictactoe: the state's field 'seen' is an array of bool"):
        load_game(str(file))


def test_uncompiled_heuristic_is_refused(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from dataclasses import replace\nfrom myosu.games import tictactoe\n"
                    "GAME = replace(tictactoe.GAME, heuristic=lambda state: 0.0)\n")
    with pytest.raises(UserError, match="heuristic must be decorated with @compiled"):
        load_game(str(file))


@compiled
def _fails_in_the_middle(state, action):
    if action == 4:
        raise ValueError("the middle is not written yet")
    state.board[action] = state.player
    state.player = 1 - state.player
    return 0.0, False


def _no_name(action):
    return "abc"[action]


@pytest.mark.parametrize(("changes", "check", "words"), [
    ({"step": _fails_in_the_middle}, "crash", "a rule fails: ValueError: the middle is not written yet"),
    ({"action_name": _no_name, "parse_action": "abc".index}, "action-names", "action_name(3) fails: IndexError"),
    ({"parse_action": lambda text: None.index(text)}, "action-names", "AttributeError"),
], ids=("step", "action_name", "parse_action"))
def test_failures_during_play_are_reported_as_findings(changes, check, words):
    findings = check_game(replace(GAME, **changes), games=5)
    assert any(f.severity == "error" and f.check == check and words in f.message for f in findings), findings


def test_crash_finding_lists_the_preceding_moves():
    crash = next(f for f in check_game(replace(GAME, step=_fails_in_the_middle), games=5) if f.check == "crash")
    assert crash.history and "b2" not in crash.history


@compiled
def _init_all(state, seed):
    tictactoe_init(state, seed)
    state.extra[:] = 0


tictactoe_init = tictactoe.init


def test_very_large_state_is_reported_and_not_copied_often():
    findings = check_game(replace(GAME, state_dtype=with_field(np.int8, (5_000_000,)), init=_init_all), games=5)
    told = {f.check for f in findings}
    assert {"state-size", "unjudged"} <= told and not any(f.severity == "error" for f in findings)
