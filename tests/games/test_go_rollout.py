"""The rollout policy: its features, sampling from its softmax, and learning."""

import numpy as np
import pytest

from myosu.errors import UserError
from myosu.games.go import GO9
from myosu.games.go.board import NOWHERE, is_eye
from myosu.games.go.rollout import (
    NEARS,
    PATTERNS,
    SELF_ATARI,
    RolloutPolicy,
    canonical_codes,
    choose,
    eyes,
    nearness,
    place_of,
    play_in_rollout,
    rollout,
    rollout_dtype,
    start_rollout,
    tactics_of,
)
from myosu.games.go.rollout_learning import (
    MOST_FEATURES,
    NEAR,
    NOTHING,
    PLACE,
    RESPONSE,
    TACTICS,
    fit_of,
    learn_rollout_policy,
    list_moves,
)
from myosu.games.go.sgf import GoRecord
from positions import legal


def random_policy(seed=0):
    random = np.random.default_rng(seed)
    parts = [random.normal(0, 1, n).astype(np.float32) for n in (PATTERNS, PATTERNS, 100, NEARS, 4)]
    parts[4][SELF_ATARI] = -1.5
    return RolloutPolicy(*parts)


def random_state(plies, seed):
    random, state = np.random.default_rng(seed), GO9.new_states(1)[0]
    for _ in range(plies):
        GO9.step(state, int(random.choice(np.flatnonzero(legal(GO9, state)[:81]))))
    return state


def scratch_of(state, policy, seed=1):
    scratch = np.zeros(1, rollout_dtype(9))[0]
    scratch["chance"] = seed
    start_rollout(state, state["last"], scratch, policy.weights())
    return scratch


def probabilities(state, policy):
    """Probability of each point: the softmax over all moves, computed from their features."""
    parts = [policy.pattern, policy.response, policy.place, policy.near, policy.tactics, np.zeros(1)]
    vector = np.concatenate(parts)
    points, features = np.zeros(81, np.int64), np.zeros((81, MOST_FEATURES), np.int64)
    count = list_moves(state, canonical_codes(), points, features)
    weights = np.exp(vector[features[:count]].sum(1))
    found = np.zeros(121)
    found[points[:count]] = weights / weights.sum()
    return found


@pytest.mark.parametrize(("plies", "seed"), [(0, 0), (1, 1), (30, 2), (60, 3), (75, 4), (90, 5)])
def test_moves_are_drawn_from_the_softmax(plies, seed):
    policy, state, draws = random_policy(), random_state(plies, seed), 40_000
    scratch, weights = scratch_of(state, policy), policy.weights()
    before = scratch["weight"].copy()
    counts, expected = np.zeros(121), probabilities(state, policy)
    for _ in range(draws):
        counts[choose(scratch, state["player"] + 1, weights)] += 1
    assert np.array_equal(scratch["weight"], before) and scratch["changes"] == 0
    deviation = np.sqrt(draws * expected * (1 - expected)) + 1e-9
    assert (np.abs(counts - draws * expected) <= 5 * deviation + 1).all()


def test_incremental_weights_equal_recomputed_ones():
    policy, state = random_policy(), GO9.new_states(1)[0]
    weights, scratch, fresh, colour = policy.weights(), scratch_of(state, policy), scratch_of(state, policy), 1
    taken = 0
    for _ in range(150):
        point = choose(scratch, colour, weights)
        if point == NOWHERE:
            break
        stones = (scratch["stones"] == 3 - colour).sum()
        play_in_rollout(scratch, point, colour, weights)
        taken += stones > (scratch["stones"] == 3 - colour).sum()
        start_rollout(scratch, scratch["last"], fresh, weights)
        assert np.allclose(scratch["weight"], fresh["weight"], rtol=1e-9)
        assert np.allclose(scratch["row_sum"], fresh["row_sum"], rtol=1e-6, atol=1e-6)
        colour = 3 - colour
    assert taken > 3


def test_rollouts_end_and_are_scored_by_area():
    policy, state = random_policy(), GO9.new_states(1)[0]
    for seed in range(20):
        scratch = scratch_of(state, policy, seed)
        points, moves = rollout(scratch, 1, policy.weights())
        board = scratch["stones"].reshape(11, 11)[1:-1, 1:-1]
        assert -81 <= points <= 81 and 40 < moves <= 243 and (board == 0).sum() < 30


def test_patterns_are_invariant_under_symmetry_and_colour_swap():
    codes = canonical_codes()
    # Up, left, right, down, and the diagonals: up-left, up-right, down-left, down-right.
    corner = {"up": 1, "right": 1, "up_right": 2}

    def code(**stones):
        order = ("up", "left", "right", "down", "up_left", "up_right", "down_left", "down_right")
        return sum(stones.get(name, 0) << 2 * k for k, name in enumerate(order))

    turned = [code(up=1, left=1, up_left=2), code(left=1, down=1, down_left=2), code(right=1, down=1, down_right=2)]
    assert {int(codes[0, other]) for other in turned} == {int(codes[0, code(**corner)])}
    assert codes[1, code(up=2, right=2, up_right=1)] == codes[0, code(**corner)]
    assert codes[0, code(up=1, right=1, down_left=2)] != codes[0, code(**corner)]
    assert codes[0, code(up=3, up_left=3, up_right=3)] == codes[1, code(left=3, up_left=3, down_left=3)]
    # A reflection that is not a rotation.
    assert codes[0, code(up=1, up_right=2)] == codes[0, code(up=1, up_left=2)]
    # Burnside's lemma: (4⁸ + 2·4² + 4⁴ + 4·4⁵) / 8 patterns of eight cells with four states.
    assert len(np.unique(codes[0])) == (4**8 + 2 * 4**2 + 4**4 + 4 * 4**5) // 8
    assert eyes()[0, code(up=1, left=1, right=1, down=1)] and not eyes()[1, code(up=1, left=1, right=1, down=1)]


def test_place_and_nearness_features():
    assert place_of(1 * 11 + 1, 11) == place_of(9 * 11 + 9, 11) == 0 and place_of(5 * 11 + 5, 11) == 44
    assert place_of(1 * 11 + 4, 11) == place_of(6 * 11 + 9, 11) == place_of(4 * 11 + 1, 11) == 3
    last = 5 * 11 + 5
    assert [nearness(last + step, last, 11) for step in (1, 12, 2, 13, 3, 24, 4, 25)] == [1, 2, 3, 4, 5, 5, 0, 0]
    assert nearness(last, NOWHERE, 11) == 0


def test_tactical_features():
    state = GO9.new_states(1)[0]
    for move in ["E5", "E6", "A1", "E4", "A5", "D5", "J1", "B1", "H9", "H1", "J9", "G9"]:
        GO9.step(state, GO9.parse_action(move))
    # Black's E5, A1 and J1 are in atari at F5, A2 and J2; the chain H9 J9 has the liberties H8 and J8.
    point = {name: 11 * (10 - int(name[1])) + "ABCDEFGHJ".index(name[0]) + 1 for name in ("F5", "A2", "H8", "J2", "C3")}
    assert tactics_of(state, point["F5"], 1).tolist() == [False, False, True, False]
    assert tactics_of(state, point["F5"], 2).tolist() == [True, False, False, False]
    assert tactics_of(state, point["C3"], 1).tolist() == [False] * 4
    GO9.step(state, GO9.parse_action("C7"))
    GO9.step(state, GO9.parse_action("J8"))
    assert tactics_of(state, point["H8"], 2).tolist() == [False, True, False, False]
    assert tactics_of(state, point["H8"], 1).tolist() == [False, False, True, False]


def games_of(policy, count):
    """Self-play games of ``policy`` by the true rules."""
    records, weights = [], policy.weights()
    for seed in range(count):
        state, actions = GO9.new_states(1)[0], []
        scratch = scratch_of(state, policy, 1000 * seed + 1)
        for _ in range(60):
            point = choose(scratch, state["player"] + 1, weights)
            action = (point // 11 - 1) * 9 + point % 11 - 1
            if point == NOWHERE or not legal(GO9, state)[action]:
                break
            actions.append(action)
            play_in_rollout(scratch, point, state["player"] + 1, weights)
            GO9.step(state, action)
        records.append(GoRecord(9, actions))
    return records


def test_a_policy_is_learnt_from_its_games():
    wanted = RolloutPolicy.zeros()
    wanted.tactics[:] = 1.5, 2.5, 1.0, -2.0
    wanted.near[:] = 0.0, 1.5, 1.0, 0.5, 0.0, 0.0
    wanted.place[:10] = -1.0
    played, held_out = games_of(wanted, 160), games_of(wanted, 200)[160:]
    learnt = learn_rollout_policy(played, epochs=4)
    assert np.abs(learnt.tactics - wanted.tactics).max() < 0.7
    assert np.abs((learnt.near - learnt.near[0]) - wanted.near).max() < 0.4
    assert learnt.place[[0, 1, 4]].mean() < learnt.place[[22, 33, 44]].mean() - 0.4
    best, fit, nothing = (fit_of(policy, held_out) for policy in (wanted, learnt, RolloutPolicy.zeros()))
    assert nothing.positions == fit.positions > 1000
    assert nothing.log_likelihood < fit.log_likelihood - 0.2 and fit.log_likelihood > best.log_likelihood - 0.15
    assert nothing.uniform == pytest.approx(np.exp(nothing.log_likelihood), rel=0.2)


def test_feature_numbers_of_a_move_do_not_overlap():
    assert 0 < PATTERNS == RESPONSE < PLACE < NEAR < TACTICS < NOTHING
    state = random_state(40, 7)
    points, features = np.zeros(81, np.int64), np.zeros((81, MOST_FEATURES), np.int64)
    count = list_moves(state, canonical_codes(), points, features)
    mask = legal(GO9, state)
    mine = [p for p in range(121) if state["stones"][p] == 0 and mask[(p // 11 - 1) * 9 + p % 11 - 1]
            and not is_eye(state, p, state["player"] + 1)]
    assert points[:count].tolist() == mine
    for point, row in zip(points[:count], features[:count], strict=True):
        assert (row[0] < RESPONSE, PLACE <= row[1] < NEAR <= row[2] < TACTICS) == (True, True)
        assert (np.sort(row[3:][row[3:] < PLACE]) == RESPONSE + row[0]).all()
        assert (nearness(point, state["last"], 11) in (1, 2)) == (RESPONSE + row[0] in row)


def test_policies_are_saved_and_loaded(tmp_path):
    policy = random_policy()
    policy.save(tmp_path / "policy.npz")
    again = RolloutPolicy.load(tmp_path / "policy.npz")
    assert all(np.array_equal(getattr(policy, part), getattr(again, part)) for part in vars(policy))
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "other.npz", pattern=np.zeros(3))
    for name in ("broken", "other", "missing"):
        with pytest.raises(UserError, match=f"{name}.npz holds no rollout policy"):
            RolloutPolicy.load(tmp_path / f"{name}.npz")
