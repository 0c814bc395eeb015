"""Encoders from observations to features: linear layers for vectors, convolutions for boards and images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from myosu.envs.vector import EnvSpec, observation_parts

#: The parts of observations, [n, *shape] each, by name. The only part of a plain observation has the name "".
Observation = dict[str, Tensor]

#: Observations of rank 3 with sides of at most this many cells are boards, which are convolved without strides.
BOARD_SIDE = 24
#: Images with sides of at least this many pixels use the convolutions of Mnih et al. 2015.
NATURE_SIDE = 36
#: Integers with at most this many different values are categories without an order, such as the pieces on a board.
MOST_CODES = 16


def to_tensors(observation: np.ndarray, device: torch.device | str = "cpu") -> Observation:
    """Convert observations [n, *shape] to tensors of the same dtypes; records are split into their parts."""
    return {name: torch.from_numpy(np.ascontiguousarray(part)).to(device)
            for name, part in observation_parts(observation).items()}


def has_images(spec: EnvSpec) -> bool:
    """Whether a part of the observation is a board or an image."""
    return any(part.ndim == 4 for part in spec.parts().values())


def default_hidden(spec: EnvSpec, hidden: tuple[int, ...]) -> tuple[int, ...]:
    """Widths of the hidden layers: one layer of 512 units if a part of the observation is an image (Mnih et al. 2015),
    else ``hidden``."""
    images = (part.ndim == 4 and not _is_board(spec, part.shape[1:]) for part in spec.parts().values())
    return (512,) if any(images) else hidden


def _is_board(spec: EnvSpec, shape: tuple[int, ...]) -> bool:
    return max(shape[:2] if spec.channels_last(shape) else shape[1:]) <= BOARD_SIDE


class Encoder(nn.Module):
    """Encodes observations as features float32 [n, ``features``]. Each part is encoded separately; the results are
    concatenated.

    A part of rank 3 is a board or an image. A board (both sides at most ``BOARD_SIDE``) goes through a 3×3 convolution,
    ``blocks`` residual blocks of ``channels`` channels, and one linear layer of the last width in ``hidden``. An image
    goes through three strided convolutions (those of Mnih et al. 2015 from 36 pixels a side on) and the same linear
    layer; its bytes are divided by 255. Other numbers that can exceed ±1 are divided by a running maximum (``Scale``,
    updated by ``observe``), or one-hot encoded (``Codes``) if they are integers with few values.
    ``spec.channels_last`` tells which axis holds the channels. Any other part is flattened and goes through linear
    layers of the widths ``hidden``.

    learns_scale: whether ``observe`` has an effect.

    cells: (channels, H, W) if the observation is a single board, else None. ``forward`` then returns the output of the
    convolutions beside the features.

    normalize: subtract the running mean of ``observe`` and divide by its standard deviation, then clip to ±10; only for
    parts that are neither boards nor images.

    layer_norm: apply layer normalisation before ``activation`` in the linear layers of vectors.
    """

    def __init__(self, spec: EnvSpec, hidden: tuple[int, ...], channels: int = 32, blocks: int = 1,
                 activation: type[nn.Module] = nn.ReLU, normalize: bool = False, layer_norm: bool = False) -> None:
        super().__init__()
        sample = spec.parts()
        self.names = list(sample)
        self.norms, self.parts, self.features = nn.ModuleList(), nn.ModuleList(), 0
        self.cells: tuple[int, int, int] | None = None
        bounds = spec.observation_bounds or [None] * len(sample)
        for part, range_ in zip(sample.values(), bounds, strict=True):
            shape = part.shape[1:]
            is_image = len(shape) == 3
            self.norms.append(RunningNorm(shape) if normalize and not is_image else nn.Identity())
            self.parts.append(
                ImageEncoder(shape, part.dtype, range_, hidden[-1], channels, blocks, spec.channels_last(shape))
                if is_image else layers(int(np.prod(shape)), hidden, activation, layer_norm))
            self.features += hidden[-1] if is_image or hidden else int(np.prod(shape))

        self.learns_scale = any(isinstance(module, (RunningNorm, Scale)) for module in self.modules())
        if len(self.parts) == 1 and isinstance(self.parts[0], ImageEncoder) and self.parts[0].is_board:
            self.cells = self.parts[0].cells

    def forward(self, observation: Observation) -> tuple[Tensor, Tensor | None]:
        """Return the features and, for a single board, the output of the convolutions [n, *cells], else None."""
        if self.cells is not None:
            return self.parts[0].both(observation[self.names[0]])  # type: ignore[operator]
        found = [part(observation[name] if isinstance(part, ImageEncoder) else norm(observation[name].float()))
                 for name, norm, part in zip(self.names, self.norms, self.parts, strict=True)]
        return (found[0] if len(found) == 1 else torch.cat(found, dim=1)), None

    def vectors(self, observation: np.ndarray) -> np.ndarray:
        """``forward`` in NumPy, for an encoder without layers: float32 [n, ``features``]."""
        found = []
        for part, norm in zip(observation_parts(observation).values(), self.norms, strict=True):
            x = part.astype(np.float32, copy=False)
            x = norm(torch.from_numpy(x)).numpy() if isinstance(norm, RunningNorm) else x
            found.append(x.reshape(len(x), -1))
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    @torch.no_grad()
    def observe(self, observation: Observation) -> None:
        """Update the running means and deviations of ``normalize`` and the running maxima of ``Scale`` with
        observations [n, *shape]."""
        for name, norm, part in zip(self.names, self.norms, self.parts, strict=True):
            if isinstance(norm, RunningNorm):
                norm.observe(observation[name].float())
            if isinstance(part, ImageEncoder):
                part.observe(observation[name].float())


class RunningNorm(nn.Module):
    """(x − mean) / deviation with running statistics from ``observe`` (initially 0 and 1), clipped to ±10."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        # float64: sums over hundreds of millions of observations
        self.count: Tensor
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("variance", torch.ones(shape, dtype=torch.float64))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Update the statistics with x [n, *shape], by Chan's formula for combining means and variances."""
        x = x.double()
        n, mean, variance = len(x), x.mean(0), x.var(0, unbiased=False)
        total = self.count + n
        shift = mean - self.mean
        between = shift.square() * self.count * n / total**2
        self.variance.copy_((self.variance * self.count + variance * n) / total + between)
        self.mean.add_(shift * n / total)
        self.count.copy_(total)

    def forward(self, x: Tensor) -> Tensor:
        scaled = (x - self.mean.float()) / (self.variance.float() + 1e-8).sqrt()
        return scaled.clamp(-10.0, 10.0)


def layers(inputs: int, hidden: tuple[int, ...], activation: type[nn.Module], layer_norm: bool) -> nn.Sequential:
    """Flatten, then for each width in ``hidden`` a linear layer, optional layer normalisation, and ``activation``."""
    modules: list[nn.Module] = [Flat()]
    for width in hidden:
        modules += [nn.Linear(inputs, width), *([nn.LayerNorm(width)] if layer_norm else []), activation()]
        inputs = width
    return nn.Sequential(*modules)


class ImageEncoder(nn.Module):
    """Encodes a board or an image, [n, *shape] → [n, width]; ``both`` also returns the output of the convolutions."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, bounds: tuple[float, float] | None, width: int,
                 channels: int, blocks: int, last: bool) -> None:
        """bounds: (lowest, highest) value, or None if unknown. last: whether the channels are the last axis of
        ``shape``."""
        super().__init__()
        self.shape = shape
        c, h, w = (shape[2], shape[0], shape[1]) if last else shape
        self.is_board = max(h, w) <= BOARD_SIDE
        prepared: list[nn.Module] = [ChannelsFirst()] if last else []
        numbers = self._numbers(dtype, bounds, c)
        prepared += [] if numbers is None else [numbers]
        c = numbers.planes if isinstance(numbers, Codes) else c
        if self.is_board:
            prepared += [_Stem(c, h, w, channels), nn.ReLU(), *(_Residual(channels) for _ in range(blocks))]
        else:
            sizes = ((8, 4, 0), (4, 2, 0), (3, 1, 0)) if min(h, w) >= NATURE_SIDE else ((3, 2, 1), (3, 2, 1), (3, 1, 1))
            for inputs, outputs, (kernel, stride, padding) in zip((c, 32, 64), (32, 64, 64), sizes, strict=True):
                prepared += [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]
        self.convolutions = nn.Sequential(*prepared)
        with torch.no_grad():
            _, *cells = self.convolutions(torch.zeros(1, *shape)).shape
        self.cells = (cells[0], cells[1], cells[2])
        self.out = nn.Linear(int(np.prod(cells)), width)

    def _numbers(self, dtype: np.dtype, bounds: tuple[float, float] | None, channels: int) -> nn.Module | None:
        """The module that scales or encodes the inputs; None if they are used as they are."""
        if bounds is None:
            return Bytes() if dtype == np.uint8 and not self.is_board else None
        low, high = bounds
        if low >= -1 and high <= 1:
            return None
        if dtype.kind in "iu" and high - low < MOST_CODES:
            return Codes(channels, int(low), int(high))
        if dtype == np.uint8 and not self.is_board and high == 255:
            return Bytes()
        return Scale(channels, max(-low, high))

    def observe(self, x: Tensor) -> None:
        """Update the running maxima of ``Scale``, if the inputs are scaled, with observations [n, *shape]."""
        for module in self.convolutions:
            if isinstance(module, Scale):
                module.observe(x)
                return
            if not isinstance(module, ChannelsFirst):
                return
            x = module(x)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.is_board and x.device.type == "cpu" and torch.is_grad_enabled():
            # Torch trains convolutions faster in this layout. Convert before ``float``, which makes bytes four times as
            # large.
            x = x.contiguous(memory_format=torch.channels_last)
        found = self.convolutions(x.float())
        return F.relu(self.out(found.flatten(1))), found

    def forward(self, x: Tensor) -> Tensor:
        return self.both(x)[0]


def acts_by_cell(num_actions: int, cells: tuple[int, int, int] | None) -> bool:
    """Whether the number of actions is a multiple of the cells of the board ``cells`` (C, H, W), so that action =
    layer · H · W + row · W + column."""
    return cells is not None and num_actions > 0 and num_actions % (cells[1] * cells[2]) == 0


class ActionHead(nn.Module):
    """Outputs [n, A], one per action: a 1×1 convolution if actions are cells of the board (``acts_by_cell``), else a
    linear layer on the features.

    beside: number of last actions that belong to no cell (passing, in Go); their outputs are a linear layer on the
    features.
    """

    def __init__(self, features: int, num_actions: int, cells: tuple[int, int, int] | None, beside: int = 0) -> None:
        super().__init__()
        self.by_cell = acts_by_cell(num_actions - beside, cells)
        self.out: nn.Module = nn.Linear(features, num_actions)
        self.beside = nn.Linear(features, beside) if self.by_cell and beside else None
        if cells is not None and self.by_cell:
            self.out = nn.Conv2d(cells[0], (num_actions - beside) // (cells[1] * cells[2]), 1)

    def forward(self, features: Tensor, cells: Tensor | None) -> Tensor:
        outputs = self.out(cells).flatten(1) if self.by_cell else self.out(features)
        return outputs if self.beside is None else torch.cat([outputs, self.beside(features)], dim=1)


class Flat(nn.Module):
    """[n, *shape] → [n, product of shape]; [n, 1] for scalars."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1)  # torch.export would make len(x) a constant


class Bytes(nn.Module):
    """0 … 255 → 0 … 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 255.0


class Scale(nn.Module):
    """Divide each channel of [n, C, H, W] by the greatest absolute value that ``observe`` has seen in it.

    Until the first ``observe`` it divides by the bound of the observation space, which is often much greater than any
    actual value (MiniGrid's space goes up to 255, its codes only up to 10)."""

    def __init__(self, channels: int, bound: float) -> None:
        super().__init__()
        self.greatest: Tensor
        self.seen: Tensor
        self.register_buffer("greatest", torch.full((channels,), bound if np.isfinite(bound) else 1.0))
        self.register_buffer("seen", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        greatest = x.abs().amax(dim=(0, 2, 3))
        self.greatest.copy_(torch.where(self.seen, torch.maximum(self.greatest, greatest), greatest.clamp(min=1.0)))
        self.seen.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        return x / self.greatest[:, None, None]


class Codes(nn.Module):
    """One-hot encoding of integers from ``low`` to ``high``: [n, C, H, W] → [n, C · (high − low + 1), H, W]."""

    def __init__(self, channels: int, low: int, high: int) -> None:
        super().__init__()
        self.planes = channels * (high - low + 1)
        self.codes: Tensor
        self.register_buffer("codes", torch.arange(low, high + 1, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, :, None] == self.codes[:, None, None]).flatten(1, 2).float()


class ChannelsFirst(nn.Module):
    """[n, H, W, C] → [n, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 3, 1, 2)


class _Stem(nn.Module):
    """Sum of a 3×3 convolution and a linear layer on the whole board, whose output is the same for every cell. Without
    the linear layer, a piece in one corner would not affect the cells in another.

    The linear layer is multiplied by a learnt factor that starts at 0 (ReZero, Bachlechner et al. 2020). Otherwise it
    would dominate the convolution early in training in games with local rules, such as Snake.
    """

    def __init__(self, planes: int, height: int, width: int, channels: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(planes, channels, 3, padding=1)
        self.whole = nn.Linear(planes * height * width, channels)
        self.share = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.near(x) + (self.share * self.whole(x.flatten(1)))[:, :, None, None]


class _Residual(nn.Module):
    """relu(x + conv(relu(conv(x)))), without normalisation, because the data distribution drifts in RL."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.first(x))))
