"""Sequences of one length from steps of running episodes, by hand."""

import numpy as np

from myosu.envs.vector import Step
from myosu.replay.replay import Columns
from myosu.replay.segments import ANSWER_COLUMNS, Segments

COLUMNS: Columns = {"observation": ((), np.float32), "legal_actions": ((2,), np.bool_), "action": ((), np.int64),
                    **ANSWER_COLUMNS}


def play(segments, ids, now, after, reward, terminated=(), truncated=()):
    """One step from the observations ``now`` to ``after``, on from 100 where an episode ended; action = 10 · now."""
    ids, now, after = np.array(ids), np.array(now, np.float32), np.array(after, np.float32)
    ended = np.isin(ids, [*terminated, *truncated])
    one_legal = np.tile([True, False], (len(ids), 1))
    segments.act(ids, observation=now, legal_actions=one_legal, action=10 * now.astype(np.int64))
    return segments.answer(Step(
        ids, np.where(ended, np.float32(100), after), one_legal, np.zeros(len(ids), np.int8),
        np.array(reward, np.float32), np.isin(ids, terminated), np.isin(ids, truncated),
        np.where(ended, after, np.float32(0)), np.array(reward, np.float32), np.zeros(len(ids), np.uint64)))


def table(rows):
    names = ("observation", "action", "reward", "acted", "terminated", "remaining")
    return list(zip(*(rows[name].tolist() for name in names), strict=True))


def test_last_row_bootstraps_and_starts_the_next_sequence():
    s = Segments(COLUMNS, 1, 3)
    assert play(s, [0], [0], [1], [5.0]) == []
    first, = play(s, [0], [1], [2], [6.0])
    assert table(first) == [(0, 0, 5, True, False, 0), (1, 10, 6, True, False, 0), (2, 0, 0, False, False, 0)]
    assert first["legal_actions"].tolist() == [[True, False]] * 3
    assert play(s, [0], [2], [3], [7.0], terminated=[0]) == []
    second, = play(s, [0], [100], [101], [8.0])
    assert table(second) == [(2, 20, 7, True, True, 1), (100, 1000, 8, True, False, 0), (101, 0, 0, False, False, 0)]


def test_truncated_episodes_store_their_final_observation():
    s = Segments(COLUMNS, 1, 4)
    assert play(s, [0], [0], [1], [5.0], truncated=[0]) == []
    rows, = play(s, [0], [100], [101], [6.0])
    assert table(rows) == [(0, 0, 5, True, False, 0), (1, 0, 0, False, False, 1), (100, 1000, 6, True, False, 0),
                           (101, 0, 0, False, False, 0)]
    assert rows["legal_actions"][1].all(), "the mask of a final observation is unknown"
    # Cut just before the end of a sequence, and one step earlier, where no room is left to act once more.
    play(s, [0], [0], [1], [0.0])
    play(s, [0], [1], [2], [0.0])
    rows, = play(s, [0], [2], [3], [0.0], truncated=[0])
    assert [row[0] for row in table(rows)] == [0, 1, 2, 3] and rows["remaining"].tolist() == [0, 0, 0, 1]
    play(s, [0], [0], [1], [0.0])
    rows, = play(s, [0], [1], [2], [0.0], truncated=[0])
    assert [(row[0], row[3]) for row in table(rows)] == [(0, True), (1, True), (2, False), (100, False)]


def test_environments_that_step_at_different_times():
    s = Segments(COLUMNS, 3, 2)
    ends = play(s, [2, 0], [1, 2], [3, 4], [1.0, 2.0], truncated=[0])
    assert [table(rows) for rows in ends] == [[(1, 10, 1, True, False, 0), (3, 0, 0, False, False, 0)],
                                             [(2, 20, 2, True, False, 0), (4, 0, 0, False, False, 1)]]
    assert len(play(s, [1], [7], [8], [1.0])) == 1


def test_restored_segments_continue():
    first, second = Segments(COLUMNS, 1, 3), Segments(COLUMNS, 1, 3)
    play(first, [0], [0], [1], [1.0])
    second.load_state_dict(first.state_dict())
    play(first, [0], [7], [7], [7.0])  # what was saved is not touched by it
    rows, = play(second, [0], [1], [2], [2.0])
    assert [row[:3] for row in table(rows)] == [(0, 0, 1), (1, 10, 2), (2, 0, 0)]
