"""Search, tested on hand-worked examples, solvable games, and invariants."""

import json

import numpy as np
import pytest

from myosu.errors import UserError
from myosu.search import Expansion, GumbelConfig, PUCTConfig, Search, kl_from_prior, policy_entropy
from myosu.search.kernels import TAKEN
from myosu.search.search import considered_visits

RULES = [GumbelConfig(24), PUCTConfig(24)]
rule = pytest.mark.parametrize("config", RULES, ids=["gumbel", "puct"])


def f32(*values):
    return np.array(values, np.float32)


def scripted(outputs, discount=-1.0):
    """An ``expand`` that returns ``outputs[slot - 1]`` = (reward, value, probabilities) for a batch of one."""

    def expand(parents, actions, slot):
        reward, value, probabilities = outputs[slot - 1]
        return Expansion(f32(reward), f32(discount), f32(value), np.log(f32(probabilities)))

    return expand


def random_problem(batch, num_actions, num_simulations, seed=0, discount=-1.0):
    rng = np.random.default_rng(seed)
    slots = num_simulations + 1
    rewards, values = rng.normal(size=(2, slots, batch)).astype(np.float32)
    logits = rng.normal(size=(slots, batch, num_actions)).astype(np.float32)
    legal = rng.random((batch, num_actions)) < 0.5
    legal[np.arange(batch), rng.integers(num_actions, size=batch)] = True
    discounts = np.full(batch, discount, np.float32)

    def expand(parents, actions, slot):
        # Depends on the parent and the action, so that a wrong one is detected.
        value = np.sin(values[slot] + parents + 3 * actions).astype(np.float32)
        return Expansion(rewards[slot], discounts, value, logits[slot])

    return logits[0], values[0], legal, expand


def assert_same(one, other):
    for field in ("action", "policy", "value", "visits", "q"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


def test_puct_by_hand():
    """Two players, three simulations; c_base only adds log(1 + 2/19652)."""
    search = Search(PUCTConfig(3, dirichlet_fraction=0.0, temperature=0.0), 1, 2, seed=0)
    outputs = [
        # visits 1: 1.25 * 0.6 > 1.25 * 0.4, so action 0. Q = 0.25 - 0.5 = -0.25; root (0 - 0.25) / 2.
        (0.25, 0.5, (0.5, 0.5)),
        # visits 2: 0 + 1.77 * 0.6 / 2 = 0.53 < 1.77 * 0.4 = 0.71, so action 1. Q = 1; root (-0.25 + 1) / 3.
        (0.0, -1.0, (0.5, 0.5)),
        # visits 3: 0 + 2.17 * 0.3 = 0.65 < 1 + 2.17 * 0.2 = 1.43, so action 1 and below it action 0 (a tie).
        # There 0.5 - 0.2 = 0.3, so Q of action 1 is -(-1 + 0.3) / 2 = 0.35; root (0.75 - 0.3) / 4.
        (0.5, 0.2, (0.5, 0.5)),
    ]
    result = search.run(np.log(f32((0.6, 0.4))), f32(0.0), np.ones((1, 2), bool), scripted(outputs))
    assert search._nodes["parent"].tolist() == [[-1, 0, 0, 2]]
    assert search._nodes["action"].tolist() == [[-1, 0, 1, 0]]
    assert result.visits.tolist() == [[1, 2]]
    np.testing.assert_allclose(result.q, [[-0.25, 0.35]], rtol=1e-6)
    np.testing.assert_allclose(result.value, [0.1125], rtol=1e-6)
    np.testing.assert_allclose(result.policy, [[1 / 3, 2 / 3]], rtol=1e-6)
    assert result.action.tolist() == [1]


def test_backup_of_one_player_by_hand():
    """A single action. Values backed up to the root: 1; 1 + 0.9 * 2 = 2.8; 1 + 0.9 * (0.5 - 0.9) = 0.64."""
    search = Search(PUCTConfig(2), 1, 1, seed=0)
    expand = scripted([(1.0, 2.0, (1,)), (0.5, -1.0, (1,))], discount=0.9)
    result = search.run(f32([0.0]), f32(1.0), np.ones((1, 1), bool), expand)
    np.testing.assert_allclose(result.value, [(1 + 2.8 + 0.64) / 3], rtol=1e-6)
    np.testing.assert_allclose(result.q, [[1 + 0.9 * (2 + 0.5 - 0.9) / 2]], rtol=1e-6)


def test_gumbel_improved_policy_by_hand():
    """Q is (-0.4, 0.2, untried); the mixed value is (0 + 2 * (0.5 * -0.4 + 0.3 * 0.2) / 0.8) / 3 = -0.11667."""
    config = GumbelConfig(2, max_considered_actions=2, c_visit=1.0, c_scale=1.0, gumbel_scale=0.0)
    search = Search(config, 1, 3, seed=0)
    outputs = [(0.0, 0.4, (0.2, 0.3, 0.5)), (0.0, -0.2, (0.2, 0.3, 0.5))]
    result = search.run(np.log(f32((0.5, 0.3, 0.2))), f32(0.0), np.ones((1, 3), bool), scripted(outputs))
    weights = np.array([0.5, 0.3 * np.exp(2.0), 0.2 * np.exp(2 * (0.4 - 0.35 / 3) / 0.6)])
    np.testing.assert_allclose(result.policy[0], weights / weights.sum(), rtol=1e-5)
    np.testing.assert_allclose(result.q, [[-0.4, 0.2, -0.35 / 3]], rtol=1e-5)
    np.testing.assert_allclose(result.value, [-0.2 / 3], rtol=1e-5)
    assert result.visits.tolist() == [[1, 1, 0]] and result.action.tolist() == [1]


def test_small_differences_of_q_are_not_blown_up_by_hand():
    """The same tree. The Q range of 0.6 is rescaled to 0.6 / 1.5 instead of 1, because least_q_range is 1.5."""
    config = GumbelConfig(2, max_considered_actions=2, c_visit=1.0, c_scale=1.0, least_q_range=1.5, gumbel_scale=0.0)
    search = Search(config, 1, 3, seed=0)
    outputs = [(0.0, 0.4, (0.2, 0.3, 0.5)), (0.0, -0.2, (0.2, 0.3, 0.5))]
    result = search.run(np.log(f32((0.5, 0.3, 0.2))), f32(0.0), np.ones((1, 3), bool), scripted(outputs))
    weights = np.array([0.5, 0.3 * np.exp(2 * 0.6 / 1.5), 0.2 * np.exp(2 * (0.4 - 0.35 / 3) / 1.5)])
    np.testing.assert_allclose(result.policy[0], weights / weights.sum(), rtol=1e-5)


def test_sequential_halving_by_hand():
    assert considered_visits(8, 16)[:, 8].tolist() == [0] * 8 + [1] * 4 + [2, 2, 3, 3]
    assert considered_visits(8, 6)[:, 1].tolist() == [0, 1, 2, 3, 4, 5]
    logits, value, legal, expand = random_problem(32, 20, 16)
    result = Search(GumbelConfig(16, 8), 32, 20, seed=0).run(logits, value, legal, expand)
    wide = legal.sum(axis=1) >= 8
    visits = -np.sort(-result.visits[wide], axis=1)
    assert wide.any() and (visits[:, :9] == [4, 4, 2, 2, 1, 1, 1, 1, 0]).all()


@rule
@pytest.mark.parametrize("discount", [-1.0, 0.97])
def test_search_invariants_hold(config, discount):
    for seed in range(5):
        logits, value, legal, expand = random_problem(33, 9, 24, seed)
        result = Search(config, 40, 9, seed).run(logits, value, legal, expand)
        rows = np.arange(33)
        assert (result.visits.sum(axis=1) == 24).all()
        assert (result.visits[~legal] == 0).all() and (result.policy[~legal] == 0).all()
        assert legal[rows, result.action].all() and (result.visits[rows, result.action] > 0).all()
        np.testing.assert_allclose(result.policy.sum(axis=1), 1, rtol=1e-5)
        # The root's value is the mean of its own value and of the values backed up from its children.
        np.testing.assert_allclose(result.value * 25, value + (result.visits * result.q).sum(axis=1), atol=1e-3)


@rule
def test_simulations_can_be_chosen_for_a_run(config):
    logits, value, legal, expand = random_problem(5, 9, 100)
    search = Search(config, 5, 9, seed=0)
    for count in (100, 3, 24):
        assert (search.run(logits, value, legal, expand, num_simulations=count).visits.sum(axis=1) == count).all()


@rule
@pytest.mark.parametrize("spread", [0.0, 1000.0])
def test_extreme_logits(config, spread):
    """Priors that are all equal or underflow to 0, with more and fewer actions than simulations."""
    for num_actions in (2, 5, 30):
        logits, value, legal, expand = random_problem(16, num_actions, 24)

        def extreme(parents, actions, slot, expand=expand, num_actions=num_actions):
            leaf = expand(parents, actions, slot)
            assert ((actions >= 0) & (actions < num_actions)).all() and (parents < slot).all()
            return leaf._replace(prior_logits=leaf.prior_logits * np.float32(spread))

        result = Search(config, 16, num_actions, 0).run(logits * np.float32(spread), value, legal, extreme)
        assert (result.visits.sum(axis=1) == 24).all() and np.isfinite(result.value).all()
        np.testing.assert_allclose(result.policy.sum(axis=1), 1, rtol=1e-5)


@rule
def test_same_seed_same_search(config):
    problem = random_problem(16, 9, 24)
    one, other = (Search(config, 16, 9, seed=7) for _ in range(2))
    first = one.run(*problem)
    assert_same(first, other.run(*problem))
    assert not np.array_equal(first.visits, one.run(*problem).visits), "the noise must differ from run to run"
    assert not np.array_equal(first.visits, Search(config, 16, 9, seed=8).run(*problem).visits)


@rule
def test_random_state_survives_json(config):
    problem = random_problem(16, 9, 24)
    search = Search(config, 16, 9, seed=7)
    search.run(*problem)
    other = Search(config, 16, 9, seed=0)
    other.load_state_dict(json.loads(json.dumps(search.state_dict())))
    assert_same(search.run(*problem), other.run(*problem))


@rule
def test_batched_trees_are_independent_and_reset(config):
    logits, value, legal, expand = random_problem(12, 9, 24)
    noise = np.random.default_rng(1).dirichlet(np.ones(9), 12).astype(np.float32)
    search = Search(config, 12, 9, seed=0)
    search.run(*random_problem(12, 9, 40, seed=5), num_simulations=40)
    together = search._run(logits, value, legal, expand, 24, noise)
    for b in range(12):
        row = slice(b, b + 1)

        def expand_one(parents, actions, slot, row=row):
            spread = np.broadcast_to(parents, 12), np.broadcast_to(actions, 12)
            return Expansion(*(None if array is None else array[row] for array in expand(*spread, slot)))

        alone = Search(config, 1, 9, seed=0)._run(logits[row], value[row], legal[row], expand_one, 24, noise[row])
        np.testing.assert_array_equal(alone.visits, together.visits[row])
        np.testing.assert_array_equal(alone.q, together.q[row])
        np.testing.assert_array_equal(alone.policy, together.policy[row])


class Nim:
    """Nim: take 1 to 3; taking the last one wins, and taking more than are left loses. The model is exact, with value 0
    and a uniform prior everywhere."""

    PILES = np.array([1, 2, 3, 5, 6, 7, 9, 10, 11])

    def __init__(self, num_nodes, discount):
        self.discount = np.full(len(self.PILES), discount, np.float32)
        self.piles = np.zeros((len(self.PILES), num_nodes), np.int64)
        self.piles[:, 0] = self.PILES
        self.rows = np.arange(len(self.PILES))

    def expand(self, parents, actions, slot):
        pile = self.piles[self.rows, parents]
        left = pile - actions - 1
        reward = np.where(pile > 0, np.where(left == 0, 1.0, np.where(left < 0, -1.0, 0.0)), 0.0)
        self.piles[:, slot] = np.maximum(left, 0)
        return Expansion(reward.astype(np.float32), self.discount, np.zeros(len(pile), np.float32),
                         np.zeros((len(pile), 3), np.float32))


def nim_moves(config, discount):
    nim = Nim(config.num_simulations + 1, discount)
    piles = nim.PILES
    legal = np.arange(3)[None] < piles[:, None]
    search = Search(config, len(piles), 3, seed=3)
    return search.run(np.zeros((len(piles), 3), np.float32), np.zeros(len(piles), np.float32), legal, nim.expand)


@pytest.mark.parametrize(
    "config",
    [GumbelConfig(800, gumbel_scale=0.0), PUCTConfig(800, dirichlet_fraction=0.0, temperature=0.0)],
    ids=["gumbel", "puct"],
)
def test_solves_nim(config):
    """The winning move leaves a multiple of 4. With the discount's sign for a single player it is not found."""
    winning = Nim.PILES % 4 - 1
    result = nim_moves(config, -1.0)
    assert result.action.tolist() == winning.tolist()
    assert (result.q[np.arange(len(winning)), winning] > 0).all()
    assert nim_moves(config, 1.0).action.tolist() != winning.tolist()


class NimByRules(Nim):
    """Nim by its true rules: only legal actions are tried, and the empty pile is terminal."""

    def expand(self, parents, actions, slot):
        pile = self.piles[self.rows, parents]
        assert (actions < pile).all() and ((actions >= 0) == (pile > 0)).all()
        left = np.maximum(pile - actions - 1, 0)
        over = left == 0
        self.piles[:, slot] = left
        return Expansion(over.astype(np.float32), np.where(over, 0, self.discount), np.zeros(len(pile), np.float32),
                         np.zeros((len(pile), 3), np.float32), np.arange(3)[None] < left[:, None])


@pytest.mark.parametrize(
    "config",
    [GumbelConfig(800, gumbel_scale=0.0), PUCTConfig(800, dirichlet_fraction=0.0, temperature=0.0)],
    ids=["gumbel", "puct"],
)
def test_solves_nim_by_its_rules(config):
    """Masks and terminal leaves are respected, and the Q of an immediately winning move is exact."""
    nim = NimByRules(config.num_simulations + 1, -1.0)
    piles, shape = nim.PILES, (len(nim.PILES), 3)
    search = Search(config, len(piles), 3, seed=3)
    result = search.run(np.zeros(shape, np.float32), np.zeros(len(piles), np.float32),
                        np.arange(3)[None] < piles[:, None], nim.expand)
    winning = piles % 4 - 1
    assert result.action.tolist() == winning.tolist()
    assert (result.visits.sum(axis=1) == config.num_simulations).all()
    assert result.q[np.arange(3), winning[:3]].tolist() == [1.0, 1.0, 1.0], "piles of 1, 2 and 3 are won at once"


def test_terminal_leaf_is_backed_up_again_by_hand():
    """One action that ends the game with reward 1: the root is (0 + 1 + 1 + 1) / 4, regardless of the leaf's value."""

    def expand(parents, actions, slot):
        assert actions.tolist() == ([0] if slot == 1 else [-1])
        return Expansion(f32(1.0), f32(0.0), f32(5.0), f32([0.0]), np.zeros((1, 1), bool))

    search = Search(PUCTConfig(3, dirichlet_fraction=0.0, temperature=0.0), 1, 1, seed=0)
    result = search.run(f32([0.0]), f32(0.0), np.ones((1, 1), bool), expand)
    assert result.visits.tolist() == [[3]] and result.value.tolist() == [0.75] and result.q.tolist() == [[1.0]]


def test_illegal_actions_of_a_leaf_get_no_prior():
    """Logits (0, 100, 0) with the middle action illegal give each of the others 1/2."""
    search = Search(PUCTConfig(1, dirichlet_fraction=0.0), 1, 3, seed=0)
    legal = np.array([[True, False, True]])
    search.run(f32([0.0, 0.0, 0.0]), f32(0.0), legal,
               lambda parents, actions, slot: Expansion(f32(0.0), f32(-1.0), f32(0.0), f32([0.0, 100.0, 0.0]), legal))
    assert search._open_scores[0, 1].tolist() == [0.5, TAKEN, 0.5]


def frequencies(config, prior, draws=4000):
    """Frequency of each chosen action in one position whose actions all have the same value."""
    logits = np.broadcast_to(np.log(f32(prior)), (draws, len(prior)))
    zeros = np.zeros(draws, np.float32)
    search = Search(config, draws, len(prior), seed=0)
    result = search.run(logits, zeros, np.ones(logits.shape, bool), 
                        lambda p, a, s: Expansion(zeros, zeros - 1, zeros, logits))
    return np.bincount(result.action, minlength=len(prior)) / draws, result


def test_gumbel_draws_from_the_prior():
    """If the search adds no information, the Gumbel action is a sample from the prior."""
    prior = [0.6, 0.3, 0.1]
    drawn, _ = frequencies(GumbelConfig(1, max_considered_actions=1, c_scale=0.0), prior)
    np.testing.assert_allclose(drawn, prior, atol=0.04)


def test_temperature():
    hot, result = frequencies(PUCTConfig(9, dirichlet_fraction=0.0), [0.6, 0.3, 0.1])
    np.testing.assert_allclose(hot, result.policy[0], atol=0.04)
    cool, _ = frequencies(PUCTConfig(9, dirichlet_fraction=0.0, temperature=0.5), [0.6, 0.3, 0.1])
    squared = result.policy[0] ** 2
    np.testing.assert_allclose(cool, squared / squared.sum(), atol=0.04)
    cold, _ = frequencies(PUCTConfig(9, dirichlet_fraction=0.0, temperature=0.0), [0.6, 0.3, 0.1])
    assert cold.tolist() == [1, 0, 0]


@pytest.mark.parametrize("alpha", [0.001, 0.3, 10.0])
def test_dirichlet_noise_is_over_legal_actions(alpha):
    legal = random_problem(64, 9, 1)[2]
    noise = Search(PUCTConfig(1), 64, 9, seed=0)._dirichlet(legal, alpha)
    assert (noise[~legal] == 0).all() and (noise >= 0).all()
    np.testing.assert_allclose(noise.sum(axis=1), 1)


def test_entropy_and_kl():
    policy, legal = f32((0.5, 0.5, 0.0)), np.array([[True, True, False]])
    prior_logits = np.log(f32((0.2, 0.6, 0.2)))
    np.testing.assert_allclose(policy_entropy(policy), [np.log(2)], rtol=1e-6)
    # The prior over the legal actions is (1/4, 3/4).
    np.testing.assert_allclose(kl_from_prior(policy, prior_logits, legal), [0.5 * np.log(2) + 0.5 * np.log(2 / 3)],
                               rtol=1e-5)


@rule
def test_invalid_input_is_reported(config):
    logits, value, legal, expand = random_problem(4, 9, 24)
    search = Search(config, 4, 9, seed=0)
    with pytest.raises(ValueError, match="up to 4 positions"):
        search.run(*random_problem(5, 9, 24))
    with pytest.raises(ValueError, match="no legal action in row 2"):
        search.run(logits, value, legal & (np.arange(4) != 2)[:, None], expand)
    with pytest.raises(FloatingPointError, match="at the root"):
        search.run(logits * np.float32(np.nan), value, legal, expand)
    nan = np.full(4, np.nan, np.float32)
    with pytest.raises(FloatingPointError, match="below the root"):
        search.run(logits, value, legal, lambda *_: Expansion(nan, value, value, logits))


def test_invalid_settings_are_refused_by_name():
    with pytest.raises(UserError, match="num_simulations is 0"):
        GumbelConfig(num_simulations=0)
    with pytest.raises(UserError, match=r"dirichlet_fraction is 1\.5"):
        PUCTConfig(dirichlet_fraction=1.5)
    with pytest.raises(UserError, match="temperature is nan"):
        PUCTConfig(temperature=float("nan"))
