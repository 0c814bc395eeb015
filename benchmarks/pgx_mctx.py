"""Othello self-play with mctx and pgx on one core: Gumbel MuZero with Myosu's network, compiled by XLA as a whole.

    sh scripts/setup_mctx.sh
    taskset -c 0 .venv-mctx/bin/python benchmarks/pgx_mctx.py [--batch 64] [--simulations 16] [--dtype float32]

The network is that of ``myosu.nets.muzero`` for inference, with batch normalisation folded in: convolution and residual
blocks for representation and dynamics, 1×1 convolution heads. Weights are random; only the speed matters.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import mctx
import pgx
from pgx.experimental import auto_reset

from worker import rate, serve

SIDE, ACTIONS, ATOMS, PLANES = 8, 65, 41, 2


def convolution(x, layer):
    weight, bias = layer
    return jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + bias


def tower(x, blocks):
    for first, second in blocks:
        x = jax.nn.relu(x + convolution(jax.nn.relu(convolution(x, first)), second))
    return x


def head(x, layers):
    project, *linear = layers
    x = convolution(x, project).reshape(len(x), -1)
    for k, (weight, bias) in enumerate(linear):
        x = x @ weight + bias
        if k + 1 < len(linear):
            x = jax.nn.relu(x)
    return x


def make_params(channels: int, blocks: int, dtype):
    keys = iter(jax.random.split(jax.random.PRNGKey(0), 1000))

    def conv(inputs: int, outputs: int, kernel: int = 3):
        scale = (2 / (inputs * kernel * kernel)) ** 0.5
        weight = scale * jax.random.normal(next(keys), (kernel, kernel, inputs, outputs))
        return weight.astype(dtype), jnp.zeros(outputs, dtype)

    def linear(inputs: int, outputs: int):
        return (jax.random.normal(next(keys), (inputs, outputs)) / inputs**0.5).astype(dtype), jnp.zeros(outputs, dtype)

    def residual():
        return [(conv(channels, channels), conv(channels, channels)) for _ in range(blocks)]

    cells = 4 * SIDE * SIDE
    return {
        "observation": (conv(PLANES, channels), residual()),
        "latent": (conv(channels, channels), residual()),
        "action": (0.1 * jax.random.normal(next(keys), (ACTIONS, SIDE, SIDE, channels))).astype(dtype),
        "policy": [conv(channels, 4, 1), linear(cells, ACTIONS)],
        "value": [conv(channels, 4, 1), linear(cells, 64), linear(64, ATOMS)],
        "reward": [conv(channels, 4, 1), linear(cells, 64), linear(64, ATOMS)],
    }


def unit(x):
    low, high = x.min((1, 2, 3), keepdims=True), x.max((1, 2, 3), keepdims=True)
    return (x - low) / (high - low + 1e-5)


def scalar(logits):
    return jax.nn.softmax(logits.astype(jnp.float32)) @ jnp.linspace(-1, 1, ATOMS)


def initial(params, observation):
    stem, blocks = params["observation"]
    latent = unit(tower(jax.nn.relu(convolution(observation, stem)), blocks))
    return head(latent, params["policy"]).astype(jnp.float32), scalar(head(latent, params["value"])), latent


def recurrent(params, key, action, latent):
    stem, blocks = params["latent"]
    latent = unit(tower(jax.nn.relu(latent + convolution(latent, stem) + params["action"][action]), blocks))
    reward = scalar(head(latent, params["reward"])) if "reward" in params else jnp.zeros(len(latent))
    return mctx.RecurrentFnOutput(
        reward=reward, discount=-jnp.ones_like(reward),
        prior_logits=head(latent, params["policy"]).astype(jnp.float32), value=scalar(head(latent, params["value"])),
    ), latent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--simulations", type=int, default=16)
    parser.add_argument("--considered", type=int, default=8, help="actions considered at the root")
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--no-rewards", action="store_true", help="without a reward head")
    parser.add_argument("--wall", action="store_true", help="wall-clock seconds, as an accelerator needs")
    parser.add_argument("--serve", action="store_true", help="measure once for each line on stdin")
    args = parser.parse_args()
    dtype = jnp.dtype(args.dtype)
    env = pgx.make("othello")
    step_env = jax.vmap(auto_reset(env.step, env.init))
    params = make_params(args.channels, args.blocks, dtype)
    if args.no_rewards:
        del params["reward"]

    @jax.jit
    def step(params, state, key):
        search_key, step_key = jax.random.split(key)
        logits, value, latent = initial(params, state.observation.astype(dtype))
        output = mctx.gumbel_muzero_policy(
            params, search_key, mctx.RootFnOutput(prior_logits=logits, value=value, embedding=latent), recurrent,
            num_simulations=args.simulations, invalid_actions=~state.legal_action_mask,
            max_num_considered_actions=args.considered)
        stored = (output.action, output.action_weights, output.search_tree.summary().value)
        return step_env(state, output.action, jax.random.split(step_key, args.batch)), stored

    key = jax.random.PRNGKey(1)
    state = jax.jit(jax.vmap(env.init))(jax.random.split(key, args.batch))

    def play() -> int:
        nonlocal state, key
        key, now = jax.random.split(key)
        state, _ = jax.block_until_ready(step(params, state, now))
        return args.batch * args.simulations

    play()  # compiles
    serve(lambda: {"simulations_per_second": rate(
        play, args.seconds, time.perf_counter if args.wall else time.process_time)})


if __name__ == "__main__":
    main()
