"""Compares the whole-tower kernel with the plain model in Triton's interpreter; run by ``test_search_gpu.py``."""

import torch

from myosu.nets import triton_tower
from myosu.nets.muzero import MuZeroNet

for shape, actions, channels, blocks, rewards in (
        ((3, 8, 8), 65, 32, 2, False), ((2, 6, 7), 7, 32, 1, True), ((3, 8, 8), 65, 64, 0, False)):
    torch.manual_seed(0)
    _, height, width = shape
    net = MuZeroNet(shape, actions, channels, blocks, 41, rewards=rewards).eval()
    for parameter in net.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    net = net.for_inference(torch.float32)
    weights, n, cells = triton_tower.TowerWeights(net), 5, height * width
    for tile in triton_tower.TILES:
        latents = torch.rand(3 * n, cells, channels)
        latents[2 * n:] = float("nan")
        parents, chosen = torch.randint(0, 2 * n, (n,)), torch.randint(0, actions, (n,))
        projected = torch.full((n, cells, weights.project.shape[1]), float("nan"))
        triton_tower.step(weights, latents, parents, chosen, 2 * n + torch.arange(n),
                          torch.full((2, n, cells, channels), float("nan")), projected, tile)
        boards = latents[parents].view(n, height, width, channels).permute(0, 3, 1, 2)
        latent = net.imagine(boards, chosen)
        seen = torch.cat([head.project(latent) for head in net.board_heads()], 1)
        close = {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(latents[2 * n:], latent.permute(0, 2, 3, 1).flatten(1, 2), **close)
        torch.testing.assert_close(projected[:, :, :seen.shape[1]], seen.permute(0, 2, 3, 1).flatten(1, 2), **close)
