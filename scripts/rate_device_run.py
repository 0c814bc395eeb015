"""Evaluates the last checkpoint of a GPU training run against an opponent, on a CPU.

    python scripts/rate_device_run.py OUT/othello.tar 'gtp:gtp-rhino -l 3' [--games 100] [--simulations 64]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tarfile
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from myosu.algorithms import algorithm_of, load_settings
from myosu.evaluation.match import play_match
from myosu.players.agent import AgentPlayer
from myosu.players.opponents import make_opponent
from myosu.randomness import prepare_process
from myosu.runs.config import RunConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("opponent")
    parser.add_argument("--games", type=int, default=100)
    parser.add_argument("--simulations", type=int, default=64)
    args = parser.parse_args()
    prepare_process(0)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(args.archive) as archive:
        archive.extractall(folder, filter="data")
        (file,) = Path(folder).glob("*/manifest.json")
        config = RunConfig.from_json(json.loads(file.read_text())["config"])
        weights = load_file(file.with_name("weights.safetensors"))
    # The GPU run may have another precision; the weights are float32.
    settings = dataclasses.replace(load_settings(config), device="cpu", precision="float32")
    environment = config.environment
    agent = algorithm_of(config).make_agent(settings, environment.spec, weights,
                                                        simulations=args.simulations, seed=0)
    game = environment.rules
    opponent = make_opponent(args.opponent, game)
    try:
        result = play_match(game, AgentPlayer(game, agent, file.parent.name), opponent, args.games, seed=0)
    finally:
        if hasattr(opponent, "close"):
            opponent.close()
    print(json.dumps(result.to_json(), indent=1))


if __name__ == "__main__":
    main()
