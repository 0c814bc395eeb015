"""Myosu's trees compared with mctx's, node by node. ``scripts/golden_trees.py`` made the files."""

import json
from pathlib import Path

import numpy as np
import pytest

from myosu.search import Expansion, GumbelConfig, PUCTConfig, Search

FILES = sorted((Path(__file__).parent / "golden").glob("*.npz"))


class TableModel:
    """The decision process of a golden file, as ``expand``."""

    def __init__(self, golden, num_nodes, discount):
        self.discount = np.full(len(golden["roots"]), discount, np.float32)
        self.golden, self.rows = golden, np.arange(len(golden["roots"]))
        self.states = np.zeros((len(self.rows), num_nodes), np.int64)
        self.states[:, 0] = golden["roots"]

    def expand(self, parents, actions, slot):
        state = self.states[self.rows, parents]
        child = self.golden["next_state"][state, actions]
        self.states[:, slot] = child
        return Expansion(self.golden["reward"][state, actions], self.discount, self.golden["value"][child],
                         self.golden["logits"][child])


def config_of(case):
    if case["rule"] == "gumbel":
        return GumbelConfig(case["num_simulations"], case["max_considered_actions"], c_visit=50.0,
                            c_scale=case["c_scale"])
    return PUCTConfig(case["num_simulations"], dirichlet_fraction=case["dirichlet_fraction"])


def search(golden, case, capacity_margin=0):
    simulations = case["num_simulations"]
    batch, num_actions = golden["legal"].shape
    agent = Search(config_of(case), batch + capacity_margin, num_actions, seed=0)
    model = TableModel(golden, simulations + 1, case["discount"])
    roots = golden["roots"]
    result = agent._run(golden["logits"][roots], golden["value"][roots], golden["legal"], model.expand, simulations,
                        golden["noise"])
    return agent._nodes[:batch], result


def by_child(nodes, field, empty, num_actions):
    """A field of the child nodes as [B, N, A], as mctx stores it."""
    batch, num_nodes = nodes.shape
    out = np.full((batch, num_nodes, num_actions), empty, nodes[field].dtype)
    rows, slots = np.arange(batch)[:, None], np.arange(1, num_nodes)[None]
    out[rows, nodes["parent"][:, 1:], nodes["action"][:, 1:]] = nodes[field][rows, slots]
    return out


def test_there_are_golden_trees():
    assert len(FILES) >= 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_tree_equals_mctx(path):
    golden = dict(np.load(path))
    case = json.loads(str(golden["case"]))
    assert_equals_mctx(golden, case, *search(golden, case, capacity_margin=1))


def assert_equals_mctx(golden, case, nodes, result):
    num_actions = case["num_actions"]

    np.testing.assert_array_equal(nodes["parent"], golden["parents"])
    np.testing.assert_array_equal(nodes["action"], golden["action_from_parent"])
    np.testing.assert_array_equal(nodes["visits"], golden["node_visits"])
    np.testing.assert_array_equal(by_child(nodes, "visits", 0, num_actions), golden["children_visits"])
    index = np.broadcast_to(np.arange(nodes.shape[1]), nodes.shape)
    indexed = np.rec.fromarrays([nodes["parent"], nodes["action"], index], names="parent,action,index")
    np.testing.assert_array_equal(by_child(indexed, "index", -1, num_actions), golden["children_index"])
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(nodes["raw_value"], golden["raw_values"], **close)
    np.testing.assert_allclose(nodes["value"], golden["node_values"], **close)
    np.testing.assert_allclose(by_child(nodes, "value", 0, num_actions), golden["children_values"], **close)
    np.testing.assert_allclose(by_child(nodes, "reward", 0, num_actions), golden["children_rewards"], **close)

    np.testing.assert_array_equal(result.visits, golden["children_visits"][:, 0])
    np.testing.assert_allclose(result.value, golden["search_value"], **close)
    # With logits up to 100, float32 leaves five digits of the improved policy.
    np.testing.assert_allclose(result.policy, golden["policy"], rtol=1e-3, atol=2e-5)
    if case["rule"] == "gumbel":  # PUCT samples its action with its own random number generator
        np.testing.assert_array_equal(result.action, golden["action"])


@pytest.mark.parametrize("rule", ["gumbel", "puct"])
def test_golden_trees_notice_a_wrong_sign(rule):
    """The comparison can fail: with the wrong sign of the discount the trees differ."""
    path = next(path for path in FILES if path.stem.startswith(f"{rule}_two_players_all_legal"))
    golden = dict(np.load(path))
    case = json.loads(str(golden["case"])) | {"discount": 1.0}
    nodes, _ = search(golden, case)
    assert not np.array_equal(nodes["parent"], golden["parents"])
