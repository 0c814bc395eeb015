import numpy as np
import pytest

from myosu.errors import UserError
from myosu.games.game import Symmetries
from myosu.games.symmetry import board_symmetries
from myosu.replay.priorities import SumTree
from myosu.replay.replay import BLOCK_ROWS, Replay
from myosu.replay.unroll import UnrollSettings, lambda_returns, sample_unrolled, value_targets

COLUMNS = {
    "observation": ((1, 3, 3), np.uint8), "action": ((), np.int16), "reward": ((), np.float32),
    "policy": ((9,), np.float16), "search_value": ((), np.float32), "value_after": ((), np.float32),
}


def rows_of(length, first=0, rewards=None, search_values=None, value_after=0.0):
    observation = np.zeros((length, 1, 3, 3), np.uint8)
    actions = np.arange(first, first + length, dtype=np.int16) % 9
    observation.reshape(length, 9)[np.arange(length), actions] = 1
    policy = np.zeros((length, 9), np.float16)
    policy[np.arange(length), actions] = 1
    zeros = np.zeros(length, np.float32)
    columns = {
        "observation": observation, "action": actions, "policy": policy,
        "reward": zeros if rewards is None else np.array(rewards, np.float32),
        "search_value": zeros if search_values is None else np.array(search_values, np.float32),
        "value_after": np.append(zeros[1:], np.float32(value_after)),
    }
    return columns


def test_ring_overwrites_the_oldest_and_counts_games():
    replay = Replay(COLUMNS, 10)
    replay.add(rows_of(4), version=0)
    replay.add(rows_of(4), version=0)
    assert (replay.positions, replay.games, replay.cursor) == (8, 2, 8)
    rows = replay.add(rows_of(5), version=0)  # takes the whole first game's place but its last row
    assert rows.tolist() == [8, 9, 0, 1, 2]
    assert (replay.positions, replay.games, replay.total_positions) == (10, 3, 13)
    assert replay.columns["remaining"][3] == 1, "the last row of the first game is still there and still its end"
    replay.add(rows_of(1), version=0)
    assert replay.games == 3
    with pytest.raises(UserError, match="replay_capacity"):
        replay.add(rows_of(11), version=0)


def test_value_targets_by_hand():
    # Two players, four plies, the mover of the last one wins 1. Seen by the mover of each: −1, +1, −1, +1.
    replay = Replay(COLUMNS, 16)
    replay.add(rows_of(4, rewards=[0, 0, 0, 1], search_values=[0.1, 0.2, 0.3, 0.4]), version=0)
    rows = np.arange(4)
    assert np.allclose(value_targets(replay, rows, -1.0, 0, 0.0), [-1, 1, -1, 1])
    assert np.allclose(value_targets(replay, rows, -1.0, 0, 0.5), [-0.45, 0.6, -0.35, 0.7])
    # One step: r_t − v_{t+1}, and the last position has its reward alone.
    assert np.allclose(value_targets(replay, rows, -1.0, 1, 0.0), [-0.2, -0.3, -0.4, 1])
    # Two steps: r_t − r_{t+1} + v_{t+2}.
    assert np.allclose(value_targets(replay, rows, -1.0, 2, 0.0), [0.3, 0.4, -1, 1])
    # Three steps with the discount 0.5 of one player: 0 + 0 + 0 + 0.125·v_3.
    assert np.allclose(value_targets(replay, rows[:1], 0.5, 3, 0.0), [0.05])


def test_lambda_returns_by_hand():
    # The game of above, in a ring whose end it crosses. λ = 0.5, from the end on: 1; −(0.5·0.4 + 0.5·1) = −0.7;
    # −(0.5·0.3 − 0.5·0.7) = 0.2; −(0.5·0.2 + 0.5·0.2) = −0.2.
    replay = Replay(COLUMNS, 6)
    replay.add(rows_of(4, search_values=[9, 9, 9, 9]), version=0)
    rows = replay.add(
        rows_of(4, rewards=[0, 0, 0, 1], search_values=[0.1, 0.2, 0.3, 0.4]), version=0)
    assert rows.tolist() == [4, 5, 0, 1]
    assert np.allclose(value_targets(replay, rows, -1.0, 0, 0.0, td_lambda=0.5), [-0.2, 0.2, -0.7, 1])
    # λ = 0 is the return of one step, λ = 1 of all; and the position's own search counts besides.
    assert np.allclose(value_targets(replay, rows, -1.0, 0, 0.0, 0.0), value_targets(replay, rows, -1.0, 1, 0.0))
    assert np.allclose(value_targets(replay, rows[None], -1.0, 0, 0.5, 0.5), [[-0.05, 0.2, -0.2, 0.7]])
    # One player, discount 0.5, rewards on the way: 4; 1 + 0.5·(0.5·0.3 + 0.5·4) = 2.075; 2 + 0.5·(0.5·0.2 + 0.5·2.075).
    replay.add(rows_of(3, rewards=[2, 1, 4], search_values=[0.1, 0.2, 0.3]), version=0)
    assert np.allclose(value_targets(replay, np.array([2]), 0.5, 0, 0.0, 0.5), [2 + 0.5 * (0.1 + 0.5 * 2.075)])


def test_lambda_returns_equal_a_backward_recursion():
    """By the formula, row by row from the end, in a ring; asked for in any order, alone or one after another."""
    rng, replay = np.random.default_rng(0), Replay(COLUMNS, 40)
    for length, value_after in ((9, 0.0), (30, 0.7), (12, -0.3)):  # the first is overwritten
        rows = replay.add(rows_of(length, rewards=rng.normal(size=length), search_values=rng.normal(size=length),
                                  value_after=value_after), version=0)
    columns, expected = replay.columns, np.zeros(40)
    for game in (rows, np.arange(11, 39)):  # the first two rows of the second game are overwritten, too
        for k, row in reversed(list(enumerate(game))):
            after = columns["value_after"][row] if k + 1 == len(game) else (
                0.2 * columns["search_value"][game[k + 1]] + 0.8 * expected[game[k + 1]])
            expected[row] = columns["reward"][row] - 0.9 * after
    stored = np.concatenate([np.arange(11, 40), np.arange(11)])
    for order in (stored, stored[::-1], rng.permutation(stored), rng.choice(stored, (7, 3))):
        assert lambda_returns(columns, order, -0.9, 0.8) == pytest.approx(expected[order], rel=1e-5)
    whole = lambda_returns(columns, rows, 0.5)
    assert whole[-1] == pytest.approx(columns["reward"][rows[-1]] + 0.5 * -0.3, rel=1e-6)


def test_unrolled_samples_end_with_their_game():
    replay = Replay(COLUMNS, 16)
    replay.add(rows_of(3, first=0, rewards=[0, 0, 1]), version=0)
    replay.add(rows_of(5, first=3, rewards=[0, 0, 0, 0, -1]), version=0)
    rng = np.random.default_rng(0)
    batch = sample_unrolled(replay, np.array([1, 3]), UnrollSettings(4, -1.0, next_observations=True), rng)
    assert batch.valid.tolist() == [[True, True, False, False, False], [True] * 5]
    assert batch.value.tolist() == [[-1, 1, 0, 0, 0], [-1, 1, -1, 1, -1]]
    assert batch.reward.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]
    assert batch.action[0, :2].tolist() == [1, 2] and batch.action[1].tolist() == [3, 4, 5, 6]
    assert batch.policy[0, 2:].sum() == 0
    assert batch.next_observations.shape == (2, 4, 1, 3, 3)
    assert batch.next_observations[1, 0].reshape(9)[4] == 1


def test_values_after_the_end():
    """Where rewards are not predicted the end keeps the outcome; where an episode was cut, what was to come."""
    replay, rng = Replay(COLUMNS, 16), np.random.default_rng(0)
    replay.add(rows_of(2, first=0, rewards=[0, 1]), version=0)
    # cut: 0.5 to the player to move then
    replay.add(rows_of(2, first=2, rewards=[0, 0], value_after=0.5), version=0)

    def values(rewards, discount=-1.0):
        settings = UnrollSettings(4, discount, predict_rewards=rewards)
        batch = sample_unrolled(replay, np.array([0, 2]), settings, rng)
        return batch.value.tolist(), batch.reward.tolist()

    assert values(True) == ([[-1, 1, 0, 0, 0], [0.5, -0.5, 0.5, -0.5, 0.5]], [[0, 1, 0, 0], [0] * 4])
    assert values(False) == ([[-1, 1, -1, 1, -1], [0.5, -0.5, 0.5, -0.5, 0.5]], [[0] * 4, [0] * 4])
    assert values(False, 0.5)[0] == [[0.5, 1, 2, 4, 8], [0.125, 0.25, 0.5, 1, 2]]


def test_symmetry_moves_board_policy_and_action_together():
    replay = Replay(COLUMNS, 16)
    replay.add(rows_of(9), version=0)
    rng = np.random.default_rng(0)
    settings = UnrollSettings(3, -1.0, next_observations=True)
    batch = sample_unrolled(replay, np.zeros(64, np.int64), settings, rng, board_symmetries(3, 3))
    # Every stored policy and observation has its one at the action.
    assert (batch.policy[:, :3].argmax(2) == batch.action).all()
    assert (batch.observation.reshape(64, 9).argmax(1) == batch.action[:, 0]).all()
    assert (batch.next_observations.reshape(64, 3, 9)[:, :2].argmax(2) == batch.action[:, 1:]).all()
    assert set(batch.action[:, 0]) == {0, 2, 6, 8}, "corner a1 goes to the four corners"


def test_symmetry_permutes_direction_planes():
    """Planes 0 and 1: a right and a left neighbour. The mirrored board has them exchanged, in later positions too."""
    columns = {**COLUMNS, "observation": ((2, 1, 3), np.uint8), "policy": ((2,), np.float16)}
    replay = Replay(columns, 16)
    original = np.array([[[1, 0, 0]], [[0, 0, 0]]], np.uint8)
    played = rows_of(3)
    played.update(observation=np.stack([original] * 3), policy=np.zeros((3, 2), np.float16),
                          action=np.zeros(3, np.int16))
    replay.add(played, version=0)
    mirror = Symmetries(np.array([[0, 1, 2], [2, 1, 0]]), np.array([[0, 1], [1, 0]]), np.array([[0, 1], [1, 0]]))
    rng = np.random.default_rng(0)
    settings = UnrollSettings(2, 1.0, next_observations=True)
    batch = sample_unrolled(replay, np.zeros(32, np.int64), settings, rng, mirror)
    for observation, later, action in zip(batch.observation, batch.next_observations, batch.action, strict=True):
        wanted = original if action[0] == 0 else [[[0, 0, 0]], [[0, 0, 1]]]
        assert np.array_equal(observation, wanted) and all(np.array_equal(other, wanted) for other in later)
    assert set(batch.action[:, 0]) == {0, 1}


def test_replay_is_saved_incrementally_and_restored(tmp_path):
    capacity = 2 * BLOCK_ROWS + 100
    replay = Replay(COLUMNS, capacity)
    for k in range(2100):
        replay.add(rows_of(8, first=k), version=k)
    first = replay.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    replay.add(rows_of(8, first=5), version=9)
    second = replay.save(tmp_path)
    new = {path.name for path in tmp_path.iterdir()} - names
    assert 1 <= len(new) <= 2 < len(names), "only the blocks that changed are written"
    for manifest in (first, second):
        again = Replay(COLUMNS, capacity)
        again.load(tmp_path, manifest)
        assert again.games == manifest["games"] and again.cursor == manifest["cursor"]
    for name, column in replay.columns.items():
        assert np.array_equal(column, again.columns[name]), name
    replay.prune(tmp_path, [second])
    assert {path.name for path in tmp_path.iterdir()} == {name for name in second["files"] if name}
    (tmp_path / second["files"][0]).write_bytes(b"cut")
    with pytest.raises(UserError, match="damaged"):
        Replay(COLUMNS, capacity).load(tmp_path, second)


def test_sum_tree_draws_in_proportion():
    tree = SumTree(5)
    tree.set(np.array([0, 1, 4]), np.array([1.0, 2.0, 5.0]))
    assert tree.total == 8.0
    rows = tree.sample(8000, np.random.default_rng(0))
    counts = np.bincount(rows, minlength=5) / 8000
    assert np.allclose(counts, [1 / 8, 2 / 8, 0, 0, 5 / 8], atol=0.01)
    tree.set(np.array([4]), np.array([0.0]))
    assert set(tree.sample(100, np.random.default_rng(0))) == {0, 1}


def test_given_remaining_column_marks_episode_ends():
    replay = Replay({"reward": ((), np.float32)}, 4)
    replay.add({"reward": np.zeros(3, np.float32), "remaining": np.array([0, 1, 0])}, version=2)
    assert replay.games == 1 and replay.columns["remaining"].tolist() == [0, 1, 0, 0]
    replay.add({"reward": np.zeros(3, np.float32), "remaining": np.array([1, 1, 0])}, version=3)
    assert replay.games == 2, "one more in the free row and one over the first; the old end was not overwritten"
    assert replay.columns["version"].tolist() == [3, 3, 2, 3]


def test_dict_observations_are_stored_and_saved(tmp_path):
    record = np.dtype([("camera", np.uint8, (2, 2)), ("speed", np.float32)], align=True)
    replay = Replay({"observation": ((), record)}, 10)
    observation = np.zeros(3, record)
    observation["camera"][1], observation["speed"] = 7, [0.5, 1.5, 2.5]
    replay.add({"observation": observation}, version=0)
    again = Replay({"observation": ((), record)}, 10)
    again.load(tmp_path, replay.save(tmp_path))
    assert np.array_equal(again.columns["observation"][:3], observation)
