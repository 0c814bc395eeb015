"""Sequences of transitions in one ring."""

import numpy as np
import pytest

from myosu.replay.sequences import Sequences

COLUMNS = {"observation": ((), np.int64), "acted": ((), np.bool_), "terminated": ((), np.bool_),
           "env_id": ((), np.int64)}


def filled(capacity, lengths, burn_in=2, length=3, steps=1):
    """Episodes of these lengths in turn in two environments; observation = 100 · episode + step, the last observation
    included."""
    replay, episodes = Sequences(COLUMNS, capacity, steps, False, burn_in, length), list(enumerate(lengths))
    running = [None, None]
    while episodes or any(running):
        for env in range(2):
            if running[env] is None and episodes:
                running[env] = [*episodes.pop(0), 0]
            if running[env] is None:
                continue
            number, last, step = running[env]
            over = step == last
            replay.add({"observation": np.array([100 * number + step]), "acted": np.array([not over]),
                        "terminated": np.array([step == last - 1]), "env_id": np.array([env]),
                        "remaining": np.zeros(1, np.int32)}, 0)
            running[env] = None if over else [number, last, step + 1]
    return replay


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("capacity", [500, 40])
def test_sequences_stay_in_their_episodes(steps, capacity):
    """... also where the ring has overwritten the beginning of some."""
    replay = filled(capacity, [1, 9, 2, 12, 5, 3, 20, 7, 7, 4], steps=steps)
    shown, rng = replay.columns["observation"], np.random.default_rng(0)
    seen, burnt = set(), 0
    for _ in range(50):
        batch = replay.sample_sequences(8, rng)
        rows = shown[batch.rows]
        change = np.diff(rows, axis=1)
        assert np.isin(change, [0, 1]).all(), "one step after the other, or the last one repeated"
        assert (np.diff(change, axis=1) <= 0).all()
        now, after = rows.ravel()[batch.first], rows.ravel()[batch.after]
        assert (now == shown[batch.windows.rows]).all() and (after == shown[batch.windows.after]).all()
        assert (after - now == batch.windows.length).all() and replay.columns["acted"][batch.windows.rows].all()
        goes_on = replay.columns["acted"][batch.windows.after]
        assert ((batch.windows.length == steps) | ~goes_on).all()
        assert batch.rows.shape[1] <= 2 + 3 + steps and len(now) >= 8
        begin = np.array([batch.first[batch.first // rows.shape[1] == i].min() % rows.shape[1] for i in range(8)])
        assert (begin <= 2).all()
        # Before the first step that is learnt from there are two more, if there are any.
        for i in range(8):
            before = replay.columns["previous_row"][batch.rows[i, 0]]
            gone = before < 0 or replay.columns["next_row"][before] != batch.rows[i, 0]
            assert begin[i] == 2 or gone
            burnt += begin[i]
        seen |= set(now.tolist())
    stored = replay.windows(np.flatnonzero(replay.columns["acted"][: replay.filled]))
    assert seen == set(shown[stored.rows[stored.complete]].tolist()), "every step must be sampled"
    assert burnt > 200


def test_steps_are_sampled_about_equally_often():
    replay = filled(500, [40, 40])
    rng, counts = np.random.default_rng(0), np.zeros(40)
    for _ in range(300):
        batch = replay.sample_sequences(8, rng)
        np.add.at(counts, replay.columns["observation"][batch.windows.rows] % 100, 1)
    assert counts.min() > 0.4 * counts.mean() and counts.max() < 1.7 * counts.mean(), counts


def test_saved_sequences_are_restored(tmp_path):
    replay = filled(40, [9, 12, 5, 20])
    manifest = replay.save(tmp_path)
    other = Sequences(COLUMNS, 40, 1, False, 2, 3)
    other.load(tmp_path, manifest)
    for one, same in zip(replay.sample_sequences(8, np.random.default_rng(1))[:1],
                         other.sample_sequences(8, np.random.default_rng(1))[:1], strict=True):
        assert np.array_equal(one, same)
