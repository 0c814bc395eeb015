"""Policy and value networks in their fast form compute what torch's modules compute."""

import numpy as np
import pytest
import torch

from myosu.algorithms import cloning, value
from myosu.envs.registry import load_environment
from myosu.envs.vector import EnvSpec
from myosu.nets.encoder import Encoder
from myosu.nets.fused_board import FusedBoard, inference_encoder
from myosu.players.apv import APVPlayer, network_of
from myosu.search.apv import APVConfig


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def spec(shape, bounds, **fields):
    return EnvSpec(shape, np.uint8, 26, 2, (-1.0, 1.0), 100, observation_bounds=(bounds,), **fields)


PLANES = spec((6, 5, 5), (0.0, 1.0), planes_first=True)
CODES = spec((5, 5, 3), (0.0, 5.0))
COUNTS = spec((5, 7, 3), (0.0, 200.0))


@pytest.mark.parametrize(("spec", "channels", "blocks"), [
    (PLANES, 32, 2), (PLANES, 20, 1), (PLANES, 16, 0), (CODES, 16, 1), (COUNTS, 16, 1)],
    ids=["winograd", "onednn", "no-blocks", "codes", "counts"])
def test_fused_encoder_computes_the_same(spec, channels, blocks):
    torch.manual_seed(0)
    encoder = Encoder(spec, (24,), channels, blocks)
    for name, parameter in encoder.named_parameters():
        if name.endswith("share"):  # it begins at 0, which would hide the layer on the whole board
            torch.nn.init.normal_(parameter)
    high = int(spec.observation_bounds[0][1])
    board = torch.randint(0, high + 1, (3, *spec.observation_shape), dtype=torch.uint8)
    with torch.inference_mode():
        expected, fused = encoder({"": board}), inference_encoder(encoder)
        if not isinstance(fused, FusedBoard):
            pytest.skip("this torch or processor has not oneDNN's fused operators")
        found = fused({"": board})
        again = fused({"": board})
    for e, a, b in zip(expected, found, again, strict=True):
        assert e.shape == a.shape
        torch.testing.assert_close(a, e, atol=1e-4, rtol=1e-4)
        assert torch.equal(a, b), "an argument or a weight was changed"


def test_weights_that_are_not_reproduced_and_other_observations_keep_the_module(monkeypatch):
    vectors = Encoder(EnvSpec((4,), np.float32, 2, 1, (-1.0, 1.0), 100), (8,))
    assert inference_encoder(vectors) is vectors
    boards = Encoder(PLANES, (8,), 16, 1)
    monkeypatch.setattr(FusedBoard, "__call__", lambda self, observation: (torch.ones(2, 8), torch.ones(2, 16, 5, 5)))
    assert inference_encoder(boards) is boards


def networks():
    """Agents of a policy and a value network of 9×9 Go."""
    environment = load_environment("go9-features")
    torch.manual_seed(0)
    config, values = cloning.Config(channels=16, blocks=1, hidden=(16,)), value.Config(
        channels=16, blocks=1, hidden=(16,))
    return (environment,
            cloning.make_agent(config, environment.spec, cloning.make_policy(config, environment.spec).state_dict()),
            value.make_agent(values, environment.spec, value.make_value(values, environment.spec).state_dict()))


def test_agents_evaluate_as_their_modules():
    environment, policy, values = networks()
    env = environment.make(4, 0)
    env.reset()
    step = env.recv()
    tensor = {"": torch.from_numpy(step.observation)}
    nothing, logits = policy.evaluate(step.observation, step.legal_actions)
    value_, flat = values.evaluate(step.observation, step.legal_actions)
    with torch.inference_mode():
        np.testing.assert_allclose(logits, policy.policy(tensor).numpy(), atol=1e-4)
        np.testing.assert_allclose(value_, values.value(tensor).numpy(), atol=1e-4)
    assert not nothing.any() and not flat.any() and flat.shape == logits.shape == step.legal_actions.shape
    np.testing.assert_array_equal(values.analyze(step.observation, step.legal_actions).value, value_)
    probabilities = torch.from_numpy(logits).softmax(1).numpy()  # every action but superko's is legal at the beginning
    np.testing.assert_allclose(policy.analyze(step.observation, step.legal_actions).policy, probabilities, atol=1e-6)
    env.close()


def test_a_search_with_two_networks_is_the_same_together_and_apart():
    environment, policy, values = networks()
    game, trees = environment.rules, []
    together = network_of(policy, game, values)
    for prior, leaf in ((together, together), (network_of(policy, game), network_of(values, game))):
        player = APVPlayer(game, prior, leaf, None, APVConfig(40, rollout_weight=0.0))
        trees += player.analyze(game.new_states(1), [[]])
        player.close()
    first, second = trees
    assert first.used == second.used
    for name in ("action", "visits", "q"):
        np.testing.assert_allclose(first.nodes[name][:first.used], second.nodes[name][:first.used], atol=1e-5)
    assert len(set(first.nodes["visits"][1:first.used].tolist())) > 1, "the priors must differ"
