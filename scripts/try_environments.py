"""Tries environments of third-party packages as a user would, and writes the table in docs/environments.md.

    python scripts/try_environments.py                        # those not tried yet; can be stopped at any time
    python scripts/try_environments.py --only minigrid FlappyBird --again
    python scripts/try_environments.py --table                # only write the table

Each package is installed into ``.venv-envs``, together with the packages of requirements.lock. For each environment, a
separate process runs ``check``, episodes with random actions, a training run of ``--seconds`` with default settings,
and episodes of the trained agent without exploration. Results are saved in benchmarks/environments.json after each
environment. Learnt: the mean return exceeds that of random play by more than two standard errors of the difference.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
VENV, RESULTS, PAGE = ROOT / ".venv-envs", ROOT / "benchmarks" / "environments.json", ROOT / "docs" / "environments.md"
BEGIN, END = "<!-- tried environments -->\n", "<!-- end of tried environments -->\n"
EPISODES = 20
#: Limits of an evaluation, of random play or of the trained agent: total steps, and seconds for slow environments.
MOST_STEPS, MOST_SECONDS = 10_000, 40.0
#: Seconds that a process may take in addition to its training.
PATIENCE = 180.0


class Case(NamedTuple):
    """name: the environment as in the command. packages: arguments of pip; the table shows the first. flags: of
    ``train`` and ``check``."""

    name: str
    packages: str
    flags: str = ""

    @property
    def key(self) -> str:
        return f"{self.name} {self.flags}".strip()


CASES = [
    *(Case(name, "gymnasium") for name in (
        "CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1", "MountainCarContinuous-v0", "Taxi-v4",
        "FrozenLake-v1", "FrozenLake8x8-v1", "Blackjack-v1")),
    Case("CliffWalking-v1", "gymnasium", "--max-episode-steps 200"),
    *(Case(name, "box2d pygame") for name in ("LunarLander-v3", "BipedalWalker-v3", "CarRacing-v3")),
    *(Case(name, "mujoco imageio") for name in ("InvertedPendulum-v5", "HalfCheetah-v5", "Hopper-v5")),
    *(Case(name, "ale-py", "--atari") for name in ("ALE/Pong-v5", "ALE/Breakout-v5", "ALE/Freeway-v5")),
    *(Case(name, "minigrid") for name in (
        "MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-5x5-v0", "MiniGrid-LavaGapS5-v0", "BabyAI-GoToRedBallGrey-v0")),
    *(Case(name, "highway-env") for name in ("highway-fast-v0", "parking-v0")),
    *(Case(name, "panda-gym") for name in ("PandaReach-v3", "PandaPush-v3")),
    Case("FlappyBird-v0", "flappy-bird-gymnasium", "--env-kwargs '{\"use_lidar\": false}'"),
    Case("FlappyBird-v0", "flappy-bird-gymnasium"),
    *(Case(name, "minatar") for name in (
        "MinAtar/Breakout-v1", "MinAtar/SpaceInvaders-v1", "MinAtar/Freeway-v1", "MinAtar/Asterix-v1")),
    *(Case(name, "gymnasium-robotics") for name in ("FetchReach-v4", "PointMaze_UMaze-v3")),
    *(Case(name, "popgym") for name in ("popgym-RepeatPreviousEasy-v0", "popgym-CountRecallEasy-v0")),
    Case("MiniWorld-OneRoom-v0", "miniworld"),
    Case("tetris_gymnasium/Tetris", "tetris-gymnasium"),
    Case("SimpleGrid-8x8-v0", "gym-simplegrid"),
    Case("SuperMarioBros-v0", "gym-super-mario-bros"),
    Case("BulletChess-v0", "gym-bullet-chess"),
    Case("VizdoomBasic-v1", "vizdoom"),
    *(Case(f"pettingzoo:{name}", "pettingzoo pygame") for name in ("tictactoe_v3", "connect_four_v3")),
    Case("forex-v0", "gym-anytrading"),
    Case("sudoku-v1", "gymnasium-sudoku"),
    Case("DescentEnv-v0", "bluesky-gym"),
    Case("Meta-World/MT1", "metaworld", "--env-kwargs '{\"env_name\": \"reach-v3\"}'"),
    Case("deep-sea-treasure-v0", "mo-gymnasium"),
    Case("NetHackScore-v0", "nle"),
    Case("lbforaging:Foraging-8x8-2p-1f-v3", "lbforaging"),
    Case("rware:rware-tiny-2ag-v2", "rware"),
    Case("envpool:CartPole-v1", "envpool"),
    Case("envpool:Pong-v5", "envpool"),
    Case("CartPole-v1", "gymnasium", "--env-workers vector"),
]


def install(packages: str) -> str:
    """Install into ``.venv-envs``. Returns an error message; empty if it succeeded."""
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not VENV.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        subprocess.run([*pip, "-r", str(ROOT / "requirements.lock")], check=True)
        subprocess.run([*pip, "--no-deps", "-e", str(ROOT)], check=True)
    wanted = [package for package in packages.split() if package != "gymnasium"]
    if not wanted:
        return ""
    pip += ["--only-binary", "numpy,torch,numba", "-c", str(ROOT / "requirements.lock")]
    done = subprocess.run(["timeout", "240", *pip, *wanted], capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith(("ERROR", "error"))]
    if done.returncode == 124:
        return "pip was not ready after 240 s"
    return "" if done.returncode == 0 else (lines or ["pip failed"])[0].removeprefix("ERROR: ")


def try_apart(case: Case, seconds: float, check: bool) -> dict[str, Any]:
    """``try_here`` in a separate process, which may crash or hang."""
    command = [str(VENV / "bin" / "python"), __file__, "--one", case.key, "--seconds", str(seconds),
               *["--no-check"] * (not check)]
    environment = {"MUJOCO_GL": "egl", "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
            command, cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True) as process:
        try:
            output, errors = process.communicate(timeout=seconds + PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
            return {"error": f"nothing came back within {seconds + PATIENCE:.0f} s"}
    for line in reversed(output.splitlines()):
        if line.startswith('{"case"'):
            return json.loads(line)
    return {"error": (errors.strip().splitlines() or [f"it ended with exit code {process.returncode}"])[-1]}


def try_here(case: Case, seconds: float, check: bool) -> dict[str, Any]:
    from myosu import api
    from myosu.envs.registry import load_environment
    from myosu.errors import UserError
    from myosu.evaluation.episodes import play_episodes

    found: dict[str, Any] = {"case": case.key}
    flags = shlex.split(case.flags)
    training = ["train", case.name, *flags, "--minutes", str(seconds / 60), "--evaluate-every", "0", "--run", "run",
                "--quiet"]
    checking = [] if "--env-workers" in flags or not check else ["check", case.name, *flags, "--games", "5", "--json"]
    for command in (checking, training):
        begin = time.perf_counter()
        rc, output, errors = typed(command) if command else (0, "", "")
        if command == checking and output.startswith("{"):
            found["findings"] = [f"{finding['severity']}: {finding['check']}" for finding in
                                 json.loads(output)["findings"] if finding["severity"] != "info"]
        elif rc:
            return found | {"error": errors.strip().splitlines()[-1] if errors.strip() else f"exit code {rc}"}
    found["seconds"] = round(time.perf_counter() - begin, 1)
    agent = api.load("run")
    config = agent.config
    environment = load_environment(case.name, config.env_kwargs)
    metrics = [json.loads(line) for line in Path("run/metrics.jsonl").read_text("utf-8").splitlines()]
    found |= {"algorithm": config.algorithm, "steps": max(line.get("env_steps", 0) for line in metrics)}
    most = min(MOST_STEPS, max(int(steps_per_second(environment) * MOST_SECONDS), 1))
    for name, player in (("random", AtRandom(environment.spec)), ("trained", agent.agent)):
        try:
            found[name] = figures(play_episodes(environment, player, EPISODES, 1, most).returns)
        except UserError as error:
            return found | {"error": f"myosu: {error}"}
    return found


def steps_per_second(environment: Any) -> float:
    """Steps/s of one environment with random actions, measured for two seconds."""
    env, player = environment.make(1, 0), AtRandom(environment.spec)
    env.reset()
    begin, steps = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < 2.0:
        step = env.recv()
        env.send(player.act(step.observation, step.legal_actions)[0], step.env_ids)
        steps += 1
    env.close()
    return steps / seconds


def typed(command: list[str]) -> tuple[int, str, str]:
    """Run a ``myosu`` command; returns exit code, output and errors."""
    from myosu.cli import run

    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        rc = run(command)
    return rc, output.getvalue(), errors.getvalue()


class AtRandom:
    """An agent that plays random legal actions."""

    has_memory = False

    def __init__(self, spec: Any) -> None:
        self._spec, self._number = spec, 0

    def act(self, observation: Any, legal_actions: Any, state: Any = None, starts: Any = None) -> tuple[Any, None]:
        from myosu.doctor.check_env import sample_actions

        self._number += 1
        return sample_actions(self._spec, legal_actions, self._number), None


def figures(returns: Any) -> dict[str, float]:
    return {"mean": round(float(returns.mean()), 3), "error": round(float(returns.std()) / math.sqrt(len(returns)), 3)}


def learnt(result: dict[str, Any]) -> bool:
    before, after = result["random"], result["trained"]
    return after["mean"] - before["mean"] > 2 * math.hypot(before["error"], after["error"])


def table(results: dict[str, dict[str, Any]]) -> str:
    rows = ["| environment | package | works | at random | after training (algorithm, steps) | learnt |",
            "|---|---|---|---|---|---|"]
    works = 0
    for case in CASES:
        if (result := results.get(case.key)) is None:
            continue
        package = f"{case.packages.split()[0]} {result.get('version', '')}".strip()
        if "trained" not in result:
            rows.append(f"| `{case.key}` | {package} | no | | | {one_line(result['error'])} |")
            continue
        works += 1
        how = f"{result['algorithm']}, {result['steps']:,} in {result['seconds']:.0f} s"
        rows.append(f"| `{case.key}` | {package} | yes | {result['random']['mean']:.4g} | "
                    f"{result['trained']['mean']:.4g} ({how}) | {'yes' if learnt(result) else 'no'} |")
    tried = [case for case in CASES if case.key in results]
    packages = {case.packages.split()[0] for case in tried}
    return (f"{len(tried)} environments of {len(packages)} packages: {works} work, "
            f"{sum(map(learnt, (results[case.key] for case in tried if 'trained' in results[case.key])))} learnt in "
            "this short training.\n\n" + "\n".join(rows) + "\n")


def one_line(text: str) -> str:
    text = " ".join(text.split()).replace("|", "\\|")
    return text if len(text) < 240 else text[:240] + " …"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[""],
                        help="names or packages that contain one of these")
    parser.add_argument("--seconds", type=float, default=40.0, help="duration of each training")
    parser.add_argument("--again", action="store_true", help="also repeat what has been tried")
    parser.add_argument("--no-check", action="store_true", help="only train; check can take a minute each")
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        case = next(case for case in CASES if case.key == args.one)
        print(json.dumps(try_here(case, args.seconds, not args.no_check)))
        return
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for case in [] if args.table else one_of_each_first(CASES):
        if not any(word.lower() in f"{case.key} {case.packages}".lower() for word in args.only) or (
                case.key in results and not args.again):
            continue
        print(f"{case.key} …", flush=True)
        why_not = install(case.packages)
        result = ({"error": f"cannot be installed: {why_not}"} if why_not else
                  try_apart(case, args.seconds, not args.no_check))
        if "error" in result:  # remove paths of this machine
            for here in (f"{VENV.parent}/", f"{sys.base_prefix}/"):
                result["error"] = result["error"].replace(here, "")
        results[case.key] = result | {"version": version(case), "date": time.strftime("%Y-%m-%d")}
        print(f"  {results[case.key]}", flush=True)
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", "utf-8")
        write_page(results)
    write_page(results)


def write_page(results: dict[str, dict[str, Any]]) -> None:
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + table(results) + END + rest.partition(END)[2], "utf-8")


def one_of_each_first(cases: list[Case]) -> list[Case]:
    """Order the cases so that one environment of every package comes before the second of any."""
    turns: dict[str, int] = {}
    order = []
    for case in cases:
        order.append((turns.get(case.packages, 0), case))
        turns[case.packages] = turns.get(case.packages, 0) + 1
    return [case for _, case in sorted(order, key=lambda turn: turn[0])]


def version(case: Case) -> str:
    """Version of the installed package."""
    name = case.packages.split()[0].partition("[")[0]
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run([str(VENV / "bin" / "python"), "-c", code], capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
