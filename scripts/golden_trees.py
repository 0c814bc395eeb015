"""Writes mctx's search trees to files, as references for Myosu's (``tests/search/test_search_golden.py``).

    sh scripts/setup_mctx.sh && .venv-mctx/bin/python scripts/golden_trees.py

The model is a table, a small random Markov decision process, so no network is needed. Every file has the table, the
root noise and the complete trees of a batch of searches.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import mctx
import numpy as np

GOLDEN = Path(__file__).parents[1] / "tests" / "search" / "golden"
STATES = 48


@dataclass
class Case:
    rule: str
    discount: float
    masked: bool
    num_simulations: int
    batch: int = 4
    num_actions: int = 7
    max_considered_actions: int = 8
    c_scale: float = 1.0
    dirichlet_fraction: float = 0.25
    #: Standard deviation of the prior's logits.
    sharpness: float = 1.0

    @property
    def name(self) -> str:
        players = "two_players" if self.discount < 0 else "one_player"
        legal = "masked" if self.masked else "all_legal"
        return f"{self.rule}_{players}_{legal}_{self.num_actions}_actions_{self.num_simulations}_simulations"


CASES = [
    Case("gumbel", -1.0, False, 16),
    Case("gumbel", -1.0, True, 64),
    Case("gumbel", 0.99, False, 64, max_considered_actions=4),
    Case("gumbel", 0.99, True, 4, batch=8),
    Case("gumbel", -0.97, True, 32, batch=3, num_actions=65, max_considered_actions=16, c_scale=0.1, sharpness=3.0),
    Case("gumbel", 0.99, True, 50, batch=2, num_actions=3, c_scale=0.1),
    Case("puct", -1.0, False, 16),
    Case("puct", -1.0, True, 64),
    Case("puct", 0.99, False, 64, dirichlet_fraction=0.0),
    Case("puct", 0.99, True, 4, batch=8),
    Case("puct", -0.97, True, 50, batch=3, num_actions=65, sharpness=3.0),
    # All legal root actions get visited; for some the mixed value lies outside all Q, so illegal actions matter.
    Case("gumbel", -1.0, True, 4, batch=32, num_actions=4),
]


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for seed, case in enumerate(CASES):
        path = GOLDEN / f"{case.name}.npz"
        np.savez_compressed(path, case=json.dumps(asdict(case)), **make(case, np.random.default_rng(seed), seed))
        print(f"{path.name}: {path.stat().st_size:,} bytes")


def make(case: Case, rng: np.random.Generator, seed: int) -> dict[str, np.ndarray]:
    table = {
        "next_state": rng.integers(STATES, size=(STATES, case.num_actions)),
        "reward": (0.3 * rng.normal(size=(STATES, case.num_actions))).astype(np.float32),
        "value": rng.normal(size=STATES).astype(np.float32),
        "logits": (case.sharpness * rng.normal(size=(STATES, case.num_actions))).astype(np.float32),
    }
    roots = rng.integers(STATES, size=case.batch)
    legal = np.ones((case.batch, case.num_actions), bool)
    if case.masked:
        legal = rng.random(legal.shape) < 0.6
        legal[0] = np.arange(case.num_actions) == 2  # a forced move
        legal[:, 2] = True
    run = gumbel if case.rule == "gumbel" else puct
    noise, output = run(case, table, roots, legal, rng, jax.random.PRNGKey(seed))
    tree = output.search_tree
    fields = ("node_visits", "raw_values", "node_values", "parents", "action_from_parent", "children_index",
              "children_visits", "children_rewards", "children_values")
    return {
        **table, "roots": roots, "legal": legal, "noise": noise,
        **{name: np.asarray(getattr(tree, name)) for name in fields},
        "action": np.asarray(output.action), "policy": np.asarray(output.action_weights),
        "search_value": np.asarray(tree.summary().value),
    }  # fmt: skip


def model(case: Case, table: dict[str, np.ndarray]):
    tables = {name: jnp.asarray(array) for name, array in table.items()}

    def recurrent(params, key, action, state):
        child = tables["next_state"][state, action]
        output = mctx.RecurrentFnOutput(
            reward=tables["reward"][state, action],
            discount=jnp.full(state.shape, case.discount, jnp.float32),
            prior_logits=tables["logits"][child],
            value=tables["value"][child],
        )
        return output, child

    return recurrent


def gumbel(case, table, roots, legal, rng, key):
    root = mctx.RootFnOutput(
        prior_logits=jnp.asarray(table["logits"][roots]), value=jnp.asarray(table["value"][roots]),
        embedding=jnp.asarray(roots))  # fmt: skip

    def completed(tree, node):
        return mctx.qtransform_completed_by_mix_value(tree, node, value_scale=case.c_scale, maxvisit_init=50.0)

    output = mctx.gumbel_muzero_policy(
        (), key, root, model(case, table), case.num_simulations, invalid_actions=jnp.asarray(~legal),
        qtransform=completed, max_num_considered_actions=case.max_considered_actions)  # fmt: skip
    return np.asarray(output.search_tree.extra_data.root_gumbel), output


def puct(case, table, roots, legal, rng, key):
    """The noise is mixed in here, because Myosu samples Dirichlet noise over legal actions only and mctx over all."""
    noise = np.array([scatter_dirichlet(row, rng) for row in legal])
    prior = np.where(legal, np.exp(table["logits"][roots].astype(np.float64)), 0)
    prior /= prior.sum(axis=1, keepdims=True)
    mixed = (1 - case.dirichlet_fraction) * prior + case.dirichlet_fraction * noise
    root = mctx.RootFnOutput(
        prior_logits=jnp.asarray(np.log(np.maximum(mixed, 1e-30)), jnp.float32),
        value=jnp.asarray(table["value"][roots]), embedding=jnp.asarray(roots))  # fmt: skip
    output = mctx.muzero_policy(
        (), key, root, model(case, table), case.num_simulations, invalid_actions=jnp.asarray(~legal),
        dirichlet_fraction=0.0)  # fmt: skip
    return noise, output


def scatter_dirichlet(legal, rng):
    noise = np.zeros(len(legal))
    noise[legal] = rng.dirichlet(np.full(legal.sum(), 0.3))
    return noise


if __name__ == "__main__":
    main()
