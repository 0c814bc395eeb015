import numpy as np
import pytest
import torch

from myosu.nets.flat import FlatAdam, FlatParameters
from myosu.nets.fused import FusedMuZero, fused
from myosu.nets.int8 import Int8MuZero, int8_fits
from myosu.nets.layers import ConvHead, scale_gradient, scale_rows, scale_to_unit
from myosu.nets.muzero import ActionPlanes, MuZeroNet
from myosu.nets.towers import TowersInNumPy, TwinTowers


def trained_net(shape=(3, 8, 8), actions=65, blocks=2, rewards=True):
    """A network whose weights and running statistics differ from their initial values."""
    torch.manual_seed(0)
    net = MuZeroNet(shape, actions, channels=16, blocks=blocks, atoms=11, rewards=rewards,
                    consistency=True).train()
    for head in filter(None, (net.policy, net.value, net.reward)):
        torch.nn.init.normal_((head.out if hasattr(head, "out") else head[-1]).weight)
    for _ in range(3):
        latent, *_ = net.initial(torch.rand(32, *shape))
        net.recurrent(latent, torch.randint(0, actions, (32,)))
    return net.eval()


def test_head_with_pooled_channels_by_hand():
    """One channel of each kind on two cells: the located one keeps its cells, the pooled one gives mean and maximum."""
    head = ConvHead(channels=2, cells=2, outputs=1, located=1, pooled=1)
    with torch.no_grad():
        head.project.weight.copy_(torch.eye(2)[:, :, None, None])
        head.project.bias.zero_()
        head.out.weight.copy_(torch.tensor([[1.0, 10.0, 100.0, 1000.0]]))  # located, located, mean, greatest
        head.out.bias.zero_()
    board = torch.tensor([[[[1.0, 2.0]], [[3.0, 5.0]]]])
    assert head(board).item() == 1 + 20 + 400 + 5000
    assert head(board.flip(3)).item() == 2 + 10 + 400 + 5000


def test_head_channels_keep_a_gradient_when_negative():
    """Latent states are never negative. With a relu, a channel that is negative everywhere would get no gradient: one
    of the value's four channels died like this within 25 updates, and three in the end."""
    head = ConvHead(channels=8, cells=4, outputs=3, located=4, hidden=16)
    with torch.no_grad():
        head.project.bias.fill_(-10.0)
        head.hidden.weight.abs_().neg_()  # so that the hidden units stay active
    head(torch.rand(32, 8, 2, 2)).square().sum().backward()
    assert (head.project.weight.grad.abs().amax((1, 2, 3)) > 0).all()


def test_folding_normalisations_changes_nothing():
    net = trained_net()
    quick = net.for_inference(torch.float32)
    observation, action = torch.rand(5, 3, 8, 8), torch.tensor([0, 7, 31, 63, 64])
    for expected, actual in zip(net.initial(observation), quick.initial(observation), strict=True):
        assert torch.allclose(expected, actual, atol=1e-4)
    latent = net.initial(observation)[0]
    for expected, actual in zip(net.recurrent(latent, action), quick.recurrent(latent, action), strict=True):
        assert torch.allclose(expected, actual, atol=1e-4)


@pytest.mark.parametrize(("shape", "actions"), [((3, 8, 8), 65), ((2, 6, 7), 7), ((2, 3, 3), 9), ((4, 5, 5), 75)])
def test_fused_operators_compute_the_same(shape, actions):
    net = trained_net(shape, actions)
    with torch.inference_mode():
        plain = net.for_inference(torch.float32)
        quick = fused(plain, batch=16)
        if quick is None:
            pytest.skip("this torch or processor has not oneDNN's fused operators")
        assert isinstance(quick, FusedMuZero)
        observation, action = torch.rand(16, *shape), torch.arange(16) % actions
        latent = plain.initial(observation)[0]
        kept = latent.clone()
        for _ in range(3):
            for expected, actual in zip(plain.recurrent(latent, action), quick.recurrent(latent, action), strict=True):
                assert torch.allclose(expected, actual, atol=1e-4)
        assert torch.equal(latent, kept), "the fused operators wrote over their input"


@pytest.mark.parametrize(("shape", "actions", "blocks", "rewards"), [
    ((3, 8, 8), 65, 2, True), ((3, 8, 8), 65, 2, False), ((2, 6, 7), 7, 0, False), ((2, 3, 3), 9, 1, True),
    ((4, 5, 5), 75, 2, True)])
def test_int8_network_is_close_to_float32(shape, actions, blocks, rewards):
    """Heads that the kernels support, with and without pooled channels, and one (75 actions) that they do not
    support."""
    net = trained_net(shape, actions, blocks, rewards)
    if not int8_fits(net, torch.device("cpu")):
        pytest.skip("this torch or processor does not multiply bytes")
    with torch.inference_mode():
        plain = net.for_inference(torch.float32)
        observation, action = torch.rand(61, *shape), torch.arange(61) % actions
        quick = Int8MuZero(plain, 64, observation)
        assert bool(quick.heads.layers) == (actions != 75)
        expected, actual = plain.initial(observation), quick.initial(observation)
        # Only as many steps as were calibrated; later activations of a random network exceed the calibrated range.
        for _ in range(3):
            latent, bytes_ = expected[0], actual[0]
            assert bytes_.dtype == torch.uint8
            # One step of a byte is 0.004. A wrong scale, weight or action plane causes errors of tenths.
            assert (latent - bytes_ / 255).abs().mean() < 0.01
            for logits, nearly in zip(expected[1:], actual[1:], strict=True):
                assert logits is None or (logits - nearly).abs().mean() < 0.05 * logits.std()
            kept = bytes_.clone()
            expected, actual = plain.recurrent(latent, action), quick.recurrent(bytes_, action)
            assert bytes_.equal(kept), "the integers wrote over their input"


def test_action_planes_encode_distance_to_the_action():
    with torch.no_grad():
        planes = ActionPlanes(65, 8, 8, 4)
        table = planes()
        assert table.shape == (65, 4, 8, 8)
        # Two right and three down of the action, for two actions; and all distances have different encodings.
        assert torch.equal(table[8 * 1 + 2, :, 4, 4], table[8 * 4 + 5, :, 7, 7])
        assert torch.equal(table[8 * 1 + 2, :, 4, 4], planes.kernel[:, 7 + 3, 7 + 2])
        assert len(table[0, 0].unique()) == 64
        assert all(len(plane.unique()) == 1 for plane in table[64]), "the plane of a pass must be uniform"
        columns = ActionPlanes(7, 6, 7, 4)()
        assert columns.shape == (7, 4, 6, 7) and torch.equal(columns[2, :, 0], columns[2, :, 5])
        assert torch.equal(columns[2, :, 3, 5], columns[3, :, 3, 6])
        pieces = ActionPlanes(3 * 25, 5, 5, 4)
        assert torch.equal(pieces()[2 * 25 + 5 * 1 + 3, :, 4, 2], pieces.kernel[8:, 4 + 3, 4 - 1])
        directions = ActionPlanes(4, 5, 5, 8)()
        assert directions.shape == (4, 8, 5, 5) and len(directions[3, 0].unique()) == 1


def test_actions_change_the_imagined_state():
    net = trained_net()
    latent = net.initial(torch.rand(1, 3, 8, 8))[0].expand(65, -1, -1, -1)
    out = net.recurrent(latent, torch.arange(65)).latent.flatten(1)
    distances = torch.cdist(out, out) + 10 * torch.eye(65)
    assert float(distances.min().detach()) > 1e-3


def test_latents_are_scaled_to_unit_range():
    scaled = scale_to_unit(torch.randn(4, 3, 5, 5) * 7)
    assert torch.allclose(scaled.flatten(1).amin(1), torch.zeros(4)) and scaled.max() <= 1
    assert torch.allclose(scaled.flatten(1).amax(1), torch.ones(4), atol=1e-4)


def test_gradient_of_scale_to_unit_equals_autograd():
    """Compared with automatic differentiation through minimum and maximum; for boards in both memory layouts."""
    torch.manual_seed(0)
    for x in (torch.randn(6, 8), torch.randn(3, 4, 5, 5),
              torch.randn(3, 4, 5, 5).contiguous(memory_format=torch.channels_last)):
        x.requires_grad_()
        flat = x.flatten(1)
        low, high = (extreme.view(-1, *[1] * (x.dim() - 1)) for extreme in torch.aminmax(flat, dim=1))
        expected, found = (x - low) / (high - low + 1e-5), scale_to_unit(x)
        gradient = torch.randn_like(x)
        assert torch.allclose(found, expected, atol=1e-6)
        assert torch.allclose(torch.autograd.grad(found, x, gradient)[0], torch.autograd.grad(expected, x, gradient)[0],
                              atol=1e-5)


def test_gradient_is_scaled():
    x = torch.ones(3, requires_grad=True)
    scale_gradient(x, 0.5).sum().backward()
    assert torch.equal(x.grad, torch.full((3,), 0.5))


def test_vector_observations_get_an_mlp():
    net = trained_net((4,), 2)
    latent, value, policy = net.initial(torch.rand(3, 4))
    assert latent.shape == (3, 16) and value.shape == (3, 11) and policy.shape == (3, 2)
    assert net.recurrent(latent, torch.tensor([0, 1, 0])).reward_logits.shape == (3, 11)


def test_flat_adam_equals_torch():
    torch.manual_seed(0)
    nets = [torch.nn.Linear(3, 2) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    plain = torch.optim.Adam(nets[0].parameters(), lr=0.01, eps=1e-5)
    flat = FlatParameters(nets[1])
    adam = FlatAdam(flat, epsilon=1e-5)
    for step in range(4):
        if step == 2:
            saved, adam = adam.state_dict(), FlatAdam(flat, epsilon=1e-5)
            adam.load_state_dict(saved)
        x = torch.randn(5, 3)
        plain.zero_grad()
        flat.zero_gradient()
        for net in nets:
            net(x).square().sum().backward()
        plain.step()
        adam.step(0.01)
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("activation", [torch.nn.Tanh, torch.nn.ReLU])
@pytest.mark.parametrize("hidden", [(6,), (6, 5), (4, 7, 3)])
def test_numpy_towers_equal_torch(activation, hidden):
    torch.manual_seed(0)
    net = torch.nn.ModuleList([TwinTowers(3, hidden, activation), *(torch.nn.Linear(hidden[-1], n) for n in (2, 1))])
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    flat = FlatParameters(net)
    by_hand = TowersInNumPy(*net)
    for n in (4, 4, 9):
        x, first, second = torch.randn(n, 3), torch.randn(n, 2), torch.randn(n, 1)
        towers = net[0](x)
        expected = net[1](towers[0]), net[2](towers[1])
        flat.zero_gradient()
        torch.autograd.backward(expected, (first, second))
        gradient = flat.gradient.clone()
        flat.zero_gradient()
        for a, b in zip(by_hand.forward(x.numpy()), expected, strict=True):
            assert np.allclose(a, b.detach(), atol=1e-5)
        by_hand.backward(first.numpy(), second.numpy())
        assert gradient.abs().min() > 0 or activation is torch.nn.ReLU
        assert torch.allclose(flat.gradient, gradient, atol=1e-4)
        net.load_state_dict({name: value + 0.1 for name, value in net.state_dict().items()})


@pytest.mark.parametrize(("shape", "actions", "rewards", "planes"), [
    ((3, 8, 8), 65, False, 5), ((2, 6, 7), 7, True, 0), ((1, 4, 4), 48, True, 3), ((6,), 4, True, 0)])
def test_joint_read_along_an_unroll_equals_each_head_alone(shape, actions, rewards, planes):
    torch.manual_seed(0)
    net = MuZeroNet(shape, actions, channels=16, blocks=1, atoms=11, rewards=rewards, decoded_planes=planes).eval()
    for parameter in net.parameters():  # the heads are initialised at 0
        parameter.data += 0.1 * torch.randn_like(parameter)
    latents = net.unroll(net.represent(torch.rand(5, *shape)), torch.randint(0, actions, (2, 5)))
    joined, read = torch.cat(latents), net.read(latents)
    expected = (net.policy(joined), net.value(joined), net.reward and net.reward(joined[5:]),
                net.decoder and net.decoder(joined))
    for there, alone in zip(read, expected, strict=True):
        assert (there is None) == (alone is None)
        assert alone is None or (torch.allclose(there, alone, atol=1e-6) and there.std() > 0.01)


@pytest.mark.parametrize("row", [[3.0, -2.0, 5.0], [-4.0, -1.0, -9.0], [0.0, -0.0, 0.0], [1e-40, 1.0, 1e30, -1e30]])
def test_rows_of_any_sign_are_scaled_to_unit_range(row):
    rows, scales = np.array([row], np.float32), np.empty((1, 1), np.float32)
    low, high = rows.min(), rows.max()
    out = np.empty_like(rows)
    scale_rows(rows, out, scales)
    assert np.allclose(out, (rows - low) / (high - low + 1e-5), rtol=1e-5, atol=0)


def test_scale_rows_keeps_nan():
    rows = np.array([[0.0, np.nan, 2.0], [0.0, 1.0, 2.0]], np.float32)
    scale_rows(rows, rows, np.empty((2, 1), np.float32))
    assert np.isnan(rows[0, 1]) and not np.isnan(rows[1]).any()
