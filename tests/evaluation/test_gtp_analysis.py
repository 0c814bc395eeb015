"""The commands lz-analyze and kata-analyze, in the format that controllers read."""

import io
import re
import threading

import numpy as np
import pytest

from myosu.evaluation.gtp_analysis import AnalysisEngine
from myosu.games.go import make_game
from myosu.games.go.rollout import RolloutPolicy
from myosu.players.apv import APVPlayer
from myosu.players.rollouts import expected_owners, linear_rollouts
from myosu.search.apv import APVConfig

GAME = make_game(5, komi=0.5)
INFO = re.compile(r"info move (\S+) visits (\d+) winrate (\S+) prior (\S+) lcb (\S+) order (\d+) pv (\S+(?: \S+)*?)"
                  r"(?= info| ownership|$)")


@pytest.fixture
def engine():
    player = APVPlayer(GAME, None, None, linear_rollouts(GAME, RolloutPolicy.zeros()), APVConfig(
        rollout_weight=1.0, c_puct=1.0))
    return AnalysisEngine(GAME, lambda state, history, n: int(player.choose(state, [history], n)[0]), 20, player)


def answers(engine, *commands):
    said = io.StringIO()
    engine.serve([f"{command}\n" for command in commands], said)
    return said.getvalue().split("\n\n")


def test_analysis_lists_moves_in_order_of_visits(engine):
    said = answers(engine, "play b c3", "7 lz-analyze w 10", "name")
    assert said[2] == "= Myosu"
    first, *lines = said[1].split("\n")
    assert first == "=7" and len(lines) == 1, "one line only: the next command was already waiting"
    found = INFO.findall(lines[0])
    assert [int(order) for *_, order, _ in found] == list(range(len(found))) and len(found) > 1
    visits = [int(info[1]) for info in found]
    assert visits == sorted(visits, reverse=True) and "C3" not in [info[0] for info in found]
    for move, _, rate, prior, *_, line in found:
        assert line.split()[0] == move and 0 <= int(rate) <= 10000 and 0 < int(prior) <= 10000
    assert lines[0] == " ".join(match.group(0) for match in INFO.finditer(lines[0])), "the line has only infos"


def test_analysis_continues_until_input(engine):
    """The number of visits increases from line to line, until any input, even an empty line, ends the analysis."""
    enough, said = threading.Event(), []

    class Answers(io.StringIO):
        def write(self, text):
            said.append(text)
            if sum("info" in part for part in said) == 3:
                enough.set()
            return len(text)

    def commands():
        yield "kata-analyze interval 1\n"
        assert enough.wait(60)
        yield "\n"
        yield "protocol_version\n"

    engine.serve(commands(), Answers())
    lines = [part for part in said if "info" in part]
    visits = [sum(int(info[1]) for info in INFO.findall(line)) for line in lines]
    assert len(lines) >= 3 and visits == sorted(visits) and visits[0] < visits[2]
    assert all(0 <= float(info[2]) <= 1 for info in INFO.findall(lines[-1]))
    assert said[0] == "=\n" and said[-2:] == ["\n", "= 2\n\n"]


def test_ownership_is_from_the_view_of_the_player_to_move(engine):
    """Only Black has stones, so it will own most of the board."""
    commands = [f"play {'bw'[k % 2]} {'pass' if k % 2 else f'C{k // 2 + 1}'}" for k in range(10)]
    said = answers(engine, *commands, "kata-analyze b ownership true", "play b b2", "kata-analyze ownership true",
                   "quit")
    for answer, sign in ((said[10], 1), (said[12], -1)):
        owners = np.array(answer.split(" ownership ")[1].split(), float)
        assert len(owners) == 25 and (sign * owners).mean() > 0.5


def test_expected_owners_by_hand():
    """A board of black stones with three eyes: Black owns every point."""
    state = GAME.new_states(1)
    for cell in range(24):
        if cell not in (0, 4):
            for action in (cell, 25):
                GAME.batch.step(state, np.array([action]), np.empty(1, np.float32), np.empty(1, np.bool_))
    assert expected_owners(GAME, state, RolloutPolicy.zeros(), 5, 1).tolist() == [1.0] * 25


def test_invalid_arguments_are_refused(engine):
    said = answers(engine, "lz-analyze w", "kata-analyze b x", "lz-analyze interval -3", "known_command lz-analyze",
                   "play b pass", "play w pass", "lz-analyze")
    assert said[:4] == ["? black is to move", "? syntax error", "? syntax error", "= true"]
    assert said[6] == "? the game is over" and "kata-analyze" in answers(engine, "list_commands")[0]
