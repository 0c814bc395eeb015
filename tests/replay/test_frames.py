"""Stacked frames are stored once, and come out as they went in."""

import dataclasses

import numpy as np
import pytest

from myosu.algorithms import dqn
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.replay.frames import StackedFrames
from myosu.replay.replay import row_bytes
from myosu.replay.transitions import Transitions, stored_columns, transition_columns

SPEC = EnvSpec((4, 6, 5), np.uint8, 2, 1, (-1.0, 1.0), 100, frame_stack=4)


def stacks(count, rng, envs=3):
    """Stacks [count, 4, 6, 5] of several environments in turn, whose episodes end now and then."""
    running = [None] * envs
    for t in range(count):
        frame = rng.integers(0, 256, (1, 6, 5), dtype=np.uint8)
        now = running[t % envs]
        now = np.repeat(frame, 4, axis=0) if now is None or rng.random() < 0.1 else np.concatenate([now[1:], frame])
        running[t % envs] = now
        yield now


def test_stacked_frames_read_like_an_array():
    """Written over many times, in pieces, at random places too: what is read is what an array would hold."""
    rng = np.random.default_rng(0)
    column, array = StackedFrames(100, (4, 6, 5), np.uint8), np.zeros((100, 4, 6, 5), np.uint8)
    assert column.dtype == array.dtype and column.shape == array.shape and not column[:].any()
    come = np.array(list(stacks(700, rng)))
    cursor = 0
    while cursor < 700:
        n = int(rng.integers(1, 9))
        part = come[cursor:cursor + n]
        rows = (cursor + np.arange(len(part))) % 100
        column[rows] = part
        array[rows] = part
        cursor += n
        drawn = rng.integers(0, 100, 20)
        assert np.array_equal(column.take(drawn, axis=0), array[drawn]) and np.array_equal(column[10:30], array[10:30])
    assert np.array_equal(column[:], array)
    # A frame a row, those that its first rows still show, and no more.
    assert 100 * 0.8 <= column.distinct <= 100 + 3 * 3
    column[0:100] = array[:1].repeat(100, axis=0)
    assert column.distinct == len(np.unique(array[0], axis=0))


def test_stacks_without_shared_frames_fit():
    rng = np.random.default_rng(0)
    column, array = StackedFrames(50, (3, 4, 4), np.uint8), rng.integers(0, 256, (50, 3, 4, 4), dtype=np.uint8)
    for _ in range(3):
        column[0:50] = array
    assert np.array_equal(column[:], array) and column.distinct == 150


def test_frames_with_equal_hashes_are_kept_apart(monkeypatch):
    monkeypatch.setattr("myosu.replay.frames.hash", lambda value: 7, raising=False)
    rng = np.random.default_rng(0)
    column, array = StackedFrames(20, (2, 3, 3), np.uint8), np.zeros((20, 2, 3, 3), np.uint8)
    for t in range(200):
        rows, values = rng.integers(0, 20, 3), rng.integers(0, 2, (3, 2, 3, 3)).astype(np.uint8)
        column[rows], array[rows] = values, values
        rows = np.unique(rows)
        assert np.array_equal(column[rows], array[rows]), t
    assert np.array_equal(column[:], array)


def rows_of(observations, t):
    n = len(observations)
    return {"observation": observations, "legal_actions": np.ones((n, 2), np.bool_), "action": np.zeros((n, 1), int),
            "reward": np.arange(n, dtype=np.float32), "terminated": np.zeros(n, np.bool_),
            "truncated": np.zeros(n, np.bool_), "acted": np.ones(n, np.bool_),
            "env_id": (t + np.arange(n)) % 3, "remaining": np.zeros(n, np.int32)}


def filled(frames_once, count=500):
    replay = Transitions(transition_columns(SPEC, ((1,), np.int64)), 200, 1, frames_once)
    come = np.array(list(stacks(count, np.random.default_rng(1))))
    for t in range(0, count, 3):
        replay.add(rows_of(come[t:t + 3], t), 0)
    return replay


def test_frame_replay_equals_replay_of_stacks(tmp_path):
    """Drawn, saved and loaded: the same as without; and what is saved are frames, not stacks."""
    once, plain = filled(True), filled(False)
    assert isinstance(once.columns["observation"], StackedFrames)
    again = Transitions(transition_columns(SPEC, ((1,), np.int64)), 200, 1, True)
    again.load(tmp_path, manifest := once.save(tmp_path))
    for replay in (once, again):
        views = [one.view(one.sample_windows(64, np.random.default_rng(2)).rows) for one in (replay, plain)]
        for name in views[0]:
            assert np.array_equal(views[0][name], views[1][name]), name
    assert again.columns["observation"].distinct == once.columns["observation"].distinct
    (tmp_path / "plain").mkdir()
    plain.save(tmp_path / "plain")
    sizes = [sum(file.stat().st_size for file in folder.glob("block-*")) for folder in (tmp_path, tmp_path / "plain")]
    assert sizes[0] < 0.6 * sizes[1]
    with pytest.raises(UserError, match="has no observation that fits this replay"):
        other = dataclasses.replace(SPEC, observation_shape=(4, 6, 6))
        Transitions(transition_columns(other, ((1,), np.int64)), 200, 1, True).load(tmp_path, manifest)


def test_memory_is_counted_by_the_frame(monkeypatch):
    columns = transition_columns(SPEC, ((1,), np.int64))
    assert row_bytes(columns) - row_bytes(stored_columns(SPEC, columns)) == 3 * 30 - 4 * 4
    assert stored_columns(dataclasses.replace(SPEC, frame_stack=0), columns) == columns
    big = dataclasses.replace(SPEC, observation_shape=(4, 84, 84))
    monkeypatch.setattr("myosu.replay.replay.machine_memory", lambda: 2 * 10_000 * 7500)
    with pytest.warns(UserWarning, match="replay_capacity = "):
        fits = dqn.resolve(dqn.Config(replay_capacity=100_000), big, False).replay_capacity
    assert 10_000 < fits < 11_000
    replay = dqn.make_replay(dqn.Config(replay_capacity=100, learning_starts=10), big)
    assert isinstance(replay.columns["observation"], StackedFrames)
