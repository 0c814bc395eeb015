"""GPU benchmarks in parts, each with its own time limit; run by ``scripts/device_check.sh``.

    python benchmarks/device.py --out FOLDER [--parts network,learner] [--device cuda] [--tiny]

Results are written to FOLDER/device.json as they come, and as a table at the end of the output. ``--tiny`` is a smoke
test for a CPU: small sizes, meaningless figures.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numba
import numpy as np
import torch

from myosu.algorithms import muzero, ppo, sac
from myosu.envs.native import NativeVectorEnv, game_spec
from myosu.envs.registry import Environment
from myosu.envs.vector import EnvSpec, Step
from myosu.games import load_game
from myosu.kernels.graphs import captured, make_stream
from myosu.losses.categorical import Support
from myosu.nets.cuda_graph import GraphedMuZero
from myosu.nets.muzero import MuZeroNet
from myosu.presets import load_preset

ROOT = Path(__file__).parents[1]
TOWERS = ((32, 2), (64, 2), (64, 4))  # channels, blocks


class Check:
    """A session on a GPU: problem sizes, and the folder for results."""

    def __init__(self, device: torch.device, tiny: bool, out: Path) -> None:
        self.device, self.tiny, self.out = device, tiny, out
        self.found: dict[str, Any] = {}
        self.games: list[tuple[str, int, int]] = []
        self.minutes = 5.0

    def size(self, full: Any, tiny: Any) -> Any:
        return tiny if self.tiny else full

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], Any], repeats: int = 20) -> float:
        """Median time of a call, after three warm-up calls."""
        times = []
        for _ in range(self.size(repeats, 2) + 3):
            self.wait()
            start = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - start)
        return median(times[3:])

    def othello(self, **changes: Any) -> muzero.Config:
        game = load_game("othello")
        preset = load_preset("muzero", Environment("othello", game_spec(game), game), muzero.Config)
        return muzero.Config(**{**preset, "device": self.device.type, **changes})


def about(check: Check) -> dict[str, Any]:
    """Hardware and software versions."""
    card = torch.cuda.get_device_properties(check.device).name if check.device.type == "cuda" else "none"
    return {"card": card, "date": datetime.date.today().isoformat(), "cores": os.cpu_count(),
            "processor": platform.processor(), "python": platform.python_version(), "torch": torch.__version__,
            "numba": numba.__version__, "numpy": np.__version__}


def correctness(check: Check) -> dict[str, Any]:
    """The GPU tests: models against the CPU's, golden trees, rules."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/search/test_search_gpu.py"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    (check.out / "correctness.txt").write_text(answer.stdout + answer.stderr)
    return {"passed": answer.returncode == 0, "summary": answer.stdout.strip().splitlines()[-1:],
            "failed": [line for line in answer.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]}


def network(check: Check) -> dict[str, Any]:
    """Evaluations/s of dynamics and heads alone: with torch's operators, and with the Triton kernel."""
    found: dict[str, Any] = {}
    dtype = torch.bfloat16 if check.device.type == "cuda" else torch.float32
    for channels, blocks in check.size(TOWERS, TOWERS[:1]):
        for batch in check.size((4096,), (16,)):
            net = MuZeroNet((3, 8, 8), 65, channels, blocks, 41, rewards=False).eval()
            model = GraphedMuZero(net, Support(-32.0, 32.0, 41), batch, 1, dtype, check.device)
            name, rng = f"{blocks}x{channels} batch {batch}", np.random.default_rng(0)
            model.roots(rng.integers(0, 2, (batch, 3, 8, 8)).astype(np.uint8))
            model.asked[1].copy_(torch.from_numpy(rng.integers(0, 65, batch)))
            parents, actions, slots = model.asked
            slots.fill_(1)
            tower = model.tower
            if tower is not None:
                found[f"{name} tiles, microseconds"] = {
                    str(tuple(tile)): round(1e6 * seconds, 1) for seconds, tile in model.tiles}
            for kind in ("torch", *(["kernel"] if tower is not None else [])):
                model.tower = tower if kind == "kernel" else None

                @torch.inference_mode()
                def evaluate(model: GraphedMuZero = model, asked: tuple = (parents, actions, slots)) -> None:
                    for _ in range(10):
                        model.expand_on_gpu(*asked)

                with torch.inference_mode():
                    run = captured(evaluate, make_stream(check.device))
                found[f"{name} {kind}"] = round(10 * batch / check.seconds(run))
    return found


def selfplay(check: Check) -> dict[str, Any]:
    """Simulations/s of actors in threads of this process, with 2x32 and 32 simulations: trees on the CPU (stage one),
    trees on the GPU (stage two)."""
    found: dict[str, Any] = {}
    for where, count, envs in check.games:
        if where == "card" and check.device.type == "cpu":
            continue
        name = f"trees on the {where}, {count} x {envs} games"
        try:
            found[name] = _play(check, count, envs, where == "card")
        except Exception as error:
            found[name] = repr(error)[:300]
        print(name, found[name], flush=True)
    return found


def _play(check: Check, count: int, envs: int, on_gpu: bool) -> dict[str, float]:
    config = check.othello(num_envs=envs, precision="bfloat16" if check.device.type == "cuda" else "float32")
    game, actors = load_game("othello"), []
    for k in range(count):
        env = NativeVectorEnv(game, envs, seed=k)
        actor = muzero.make_actor(config, env, seed=k)
        actor.planner = muzero.Planner(config, env.spec, envs, config.simulations, explore=True, seed=k,
                                       trees_on_gpu=on_gpu)
        actor.step()
        actors.append(actor)
    moves, stop = [0] * count, threading.Event()

    def play(k: int) -> None:
        while not stop.is_set():
            actors[k].step()
            moves[k] += envs

    threads = [threading.Thread(target=play, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    time.sleep(check.size(1.0, 0.1))
    before, start = sum(moves), time.perf_counter()
    time.sleep(check.size(4.0, 0.5))
    rate = (sum(moves) - before) / (time.perf_counter() - start)
    stop.set()
    for thread in threads:
        thread.join()
    planning = check.seconds(lambda: actors[0].planner.plan(actors[0].current.observation,
                                                            actors[0].current.legal_actions), 5)
    alone = check.seconds(actors[0].step, 5)
    return {"simulations_per_second": round(rate * config.simulations), "one_search_ms": round(1e3 * planning, 2),
            "one_step_ms": round(1e3 * alone, 2)}


def learner(check: Check) -> dict[str, Any]:
    """Samples/s of Othello's preset with larger batches: of whole updates, and of the captured update on the GPU
    alone."""
    found: dict[str, Any] = {}
    game = load_game("othello")
    for batch in check.size((256, 1024, 4096), (16,)):
        config = check.othello(batch_size=batch, num_envs=check.size(1024, 8),
                               **({} if check.device.type == "cuda" else {"precision": "float32"}))
        env = NativeVectorEnv(game, config.num_envs, seed=0)
        replay = muzero.make_replay(config, env.spec)
        _fill(replay, config, env, check.size(60_000, 200))
        fit = muzero.make_learner(config, env.spec, game.symmetries, seed=0)
        seconds = check.seconds(lambda fit=fit, replay=replay: fit.update(replay, 0.5), 20)
        start, count = time.perf_counter(), check.size(60, 3)
        for _ in range(count):
            last = fit.update(replay, 0.5)
        check.wait()
        found[f"batch {batch}"] = {
            "samples_per_second": round(count * batch / (time.perf_counter() - start)),
            "one_update_ms": round(1e3 * seconds, 2), "loss": last.get("loss")}
        if fit.captured is not None:
            found[f"batch {batch}"]["on_the_card_alone"] = round(batch / check.seconds(fit.captured._run, 20))
        print(found, flush=True)
    return found


def _fill(replay: Any, config: muzero.Config, env: NativeVectorEnv, positions: int) -> None:
    """Fill a replay with games of an actor that uses very few simulations."""
    quick = muzero.Config(**{**vars(config), "simulations": 1, "channels": 16, "blocks": 0})
    actor = muzero.make_actor(quick, env, seed=0)
    while replay.positions < positions:
        for rows in actor.step().sequences:
            replay.add(rows, version=0)


def othello(check: Check) -> dict[str, Any]:
    """Train Othello from scratch for a given time; the last checkpoint is copied to the output, to be rated
    elsewhere."""
    run = Path(tempfile.mkdtemp()) / "run"
    sizes = check.size(["--minutes", str(check.minutes), "--actors", "3", "--num-envs", "2048", "--batch-size", "512",
                        "--replay-capacity", "2000000", "--replay-ratio", "1.0", "--checkpoint-every-minutes", "60"],
                       ["--updates", "2", "--num-envs", "4", "--batch-size", "8", "--learning-starts", "100",
                        "--simulations", "2"])
    precision = "bfloat16" if check.device.type == "cuda" else "float32"
    answer = subprocess.run(
        [sys.executable, "-m", "myosu.cli", "train", "othello", "--run", str(run), "--evaluate-every", "0",
         "--device", check.device.type, "--precision", precision, *sizes],
        capture_output=True, text=True, timeout=60 * check.minutes + 60)
    (check.out / "othello.txt").write_text(answer.stdout + answer.stderr)
    last = max((run / "checkpoints").glob("update-*"))
    with tarfile.open(check.out / "othello.tar", "w") as archive:
        for file in (last / "manifest.json", last / "weights.safetensors", run / "metrics.jsonl"):
            archive.add(file, f"{last.name}/{file.name}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    wanted = ("seconds", "update", "games", "env_steps", "samples", "replay_ratio", "env_steps_per_second",
              "updates_per_second", "memory_mib", "loss/loss", "replay_age_updates")
    return {"arguments": sizes, "last": {name: lines[-1].get(name) for name in wanted},
            "updates_per_second": [line.get("updates_per_second") for line in lines]}


class Pictures:
    """Environments with negligible cost: random images of Atari's shape, uint8 [4, 84, 84], and 4 actions."""

    spec = EnvSpec((4, 84, 84), np.uint8, 4, 1, (-1.0, 1.0), 1000)

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.rng, self.ids = num_envs, np.random.default_rng(0), np.arange(num_envs)
        self.shown = self.rng.integers(0, 256, (64, num_envs, 4, 84, 84), dtype=np.uint8)
        self.steps = 0

    def reset(self) -> None:
        pass

    def send(self, actions: np.ndarray, env_ids: np.ndarray) -> None:
        self.steps += 1

    def recv(self, min_ready: int | None = None) -> Step:
        n, reward = self.num_envs, self.rng.random(self.num_envs, np.float32)
        ended = self.rng.random(n) < 0.002 * (self.steps > 0)
        return Step(self.ids, self.shown[self.steps % 64].copy(), np.ones((n, 4), bool), np.zeros(n, np.int8), reward,
                    ended, np.zeros(n, bool), np.zeros((n, 4, 84, 84), np.uint8), reward, np.zeros(n, np.uint64))


def pictures(check: Check) -> dict[str, Any]:
    """Steps/s of PPO, acting and learning, on images, with the settings of CleanRL's ppo_atari and larger ones."""
    found: dict[str, Any] = {}
    for envs, batch in check.size(((8, 256), (128, 4096)), ((2, 8),)):
        config = ppo.Config(num_envs=envs, rollout_steps=check.size(128, 8), epochs=4, batch_size=batch,
                            hidden=(512,), activation="relu", device=check.device.type)
        env: Any = Pictures(envs)
        actor, replay = ppo.make_actor(config, env, seed=0), ppo.make_replay(config, env.spec)
        fit = ppo.make_learner(config, env.spec, None, seed=0)

        def round_of_learning(config=config, actor=actor, replay=replay, fit=fit) -> int:  # type: ignore[no-untyped-def]
            steps = 0
            while not (experience := actor.step()).sequences:
                steps += experience.steps
            replay.add(experience.sequences[0], version=0)
            for _ in range(config.epochs * config.rollout_size // config.batch_size):
                fit.update(replay, 0.5)
            actor.load_weights(fit.weights(), fit.updates)
            return steps + experience.steps

        round_of_learning()
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < check.size(4.0, 0.1):
            count += round_of_learning()
        check.wait()
        found[f"{envs} environments, minibatches of {batch}"] = round(count / (time.perf_counter() - start))
    return found


def sac_pictures(check: Check) -> dict[str, Any]:
    """Samples/s of SAC's learner on images, its sampling included."""
    found: dict[str, Any] = {}
    for batch in check.size((64, 256, 1024), (8,)):
        config = sac.Config(num_envs=8, batch_size=batch, replay_capacity=4096, hidden=(512,),
                            learning_starts=check.size(2048, 64), device=check.device.type)
        env: Any = Pictures(config.num_envs)
        actor, replay = sac.make_actor(config, env, seed=0), sac.make_replay(config, env.spec)
        while replay.positions < config.learning_starts:
            for rows in actor.step().sequences:
                replay.add(rows, version=0)
        fit = sac.make_learner(config, env.spec, None, seed=0)
        seconds = check.seconds(lambda fit=fit, replay=replay: fit.update(replay, 0.5))
        found[f"batch {batch}"] = round(batch / seconds)
    return found


class Mctx:
    """mctx and pgx on the same GPU, with the network and search of ``selfplay``. One process per batch size, which
    compiles while other parts run and measures on request."""

    def __init__(self, check: Check) -> None:
        self.processes = {}
        for batch in check.size((1024, 4096, 16384), (4,)):
            command = [sys.executable, "benchmarks/pgx_mctx.py", "--batch", str(batch), "--simulations",
                       str(check.size(32, 2)), "--considered", "16", "--dtype", "bfloat16", "--wall", "--serve",
                       "--no-rewards", "--seconds", str(check.size(3, 0.1))]
            self.processes[batch] = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                stderr=open(check.out / f"mctx-{batch}.txt", "w"),  # noqa: SIM115
                env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"})

    def __call__(self, check: Check) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for batch, process in self.processes.items():
            assert process.stdin is not None and process.stdout is not None
            timer = threading.Timer(check.size(60, 120), process.kill)
            timer.start()
            ready = process.stdout.readline()
            if ready:
                process.stdin.write("\n")
                process.stdin.flush()
                found[f"batch {batch}"] = json.loads(process.stdout.readline() or "null")
            else:
                found[f"batch {batch}"] = (check.out / f"mctx-{batch}.txt").read_text()[-500:]
            timer.cancel()
            process.kill()
            print(batch, found[f"batch {batch}"], flush=True)
        return found


PARTS = {part.__name__: part for part in (about, correctness, network, selfplay, learner, othello, pictures,
                                      sac_pictures)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", default=",".join([*PARTS, "mctx"]))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--games", default="CPU:2x2048,CPU:4x2048,CPU:8x1024,card:1x4096,card:2x4096,card:2x8192,"
                        "card:4x4096,card:2x16384", help="self-play: where the trees are, actors x games per actor")
    parser.add_argument("--minutes", type=float, default=5.0, help="minutes of training Othello")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    check = Check(torch.device(args.device), args.tiny, args.out)
    check.minutes = args.minutes
    for text in args.games.split(","):
        where, _, size = text.partition(":")
        count, _, envs = size.partition("x")
        check.games.append((where, *((2, 8) if args.tiny else (int(count), int(envs)))))
    wanted = args.parts.split(",")
    parts = {**PARTS, **({"mctx": Mctx(check)} if "mctx" in wanted else {})}
    for name in wanted:
        start = time.perf_counter()
        try:
            check.found[name] = parts[name](check)
        except Exception:
            check.found[name] = {"error": traceback.format_exc()}
        check.found[name]["seconds"] = round(time.perf_counter() - start, 1)
        (args.out / "device.json").write_text(json.dumps(check.found, indent=1))
        print(f"== {name}\n{json.dumps(check.found[name], indent=1)}", flush=True)


if __name__ == "__main__":
    main()
