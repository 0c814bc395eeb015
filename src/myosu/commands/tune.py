"""``myosu tune``: search for the best settings of an algorithm."""

from __future__ import annotations

import dataclasses
import shlex
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from tyro.conf import Positional

from myosu.commands.options import ENV_FLAGS, check_seed, parse, read_environment_flags
from myosu.errors import UserError

if TYPE_CHECKING:
    from myosu.tuning.study import Scores, Study


@dataclass
class Options:
    """Search for the best settings of an algorithm on a game or an environment, with Optuna. The result is a
    preset file for myosu train --preset. The same command resumes an interrupted study; a greater --trials extends
    it."""

    env: Annotated[Positional[str], tyro.conf.arg(metavar="GAME|ENV")]
    """A game, a Gymnasium environment's id, or a .py file, as myosu train takes it."""
    algorithm: str
    """The algorithm: ppo, dqn, sac, muzero, muesli, or the path of your own .py file (with --space)."""
    trials: int = 30
    """Number of trials; bad ones are pruned."""
    env_steps: int = 50_000
    """Environment steps of each training run, including those for the final figure."""
    space: Path | None = None
    """A .toml file that defines the search space, in place of Myosu's own (docs/tune.md)."""
    study: Path | None = None
    """The folder of the study; studies/ENV-ALGORITHM by default."""
    final_seeds: int = 3
    """At the end the best settings and the preset's are trained from this many seeds that the search never used; 0 for
    no final figure."""
    evaluation_opponent: str = "random"
    """Opponent of the evaluations in two-player games, as in myosu train. Choose one that the agent does not always
    beat."""
    evaluation_games: int | None = None
    """Games or episodes per evaluation, as in myosu train."""
    seed: int = 0
    """Seed of the study."""
    env_kwargs: Annotated[str, tyro.conf.arg(help=ENV_FLAGS["env_kwargs"])] = "{}"
    wrapper: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(help=ENV_FLAGS["wrapper"])] = ()


def main(arguments: list[str]) -> int:
    options = parse(Options, "tune", arguments)
    for name, least in (("trials", 1), ("env_steps", 1), ("final_seeds", 0)):
        if getattr(options, name) < least:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: it must be {least} or more.")
    if options.final_seeds == 1:
        raise UserError("--final-seeds 1: one run has no interval; choose 2 or more, or 0 for no final figure.")
    check_seed(options.seed)
    from myosu.algorithms import load_algorithm
    from myosu.envs.making import absolute_name
    from myosu.randomness import use_one_thread
    from myosu.tuning.space import load_space
    from myosu.tuning.study import Plan, Study

    use_one_thread()
    game, algorithm = absolute_name(options.env), absolute_name(options.algorithm)
    space = load_space(algorithm, load_algorithm(algorithm).Config, options.space)
    plan = Plan(game, algorithm, space, options.env_steps,
                read_environment_flags(env_kwargs=options.env_kwargs, wrapper=options.wrapper),
                options.evaluation_opponent, options.evaluation_games, options.seed)
    plan.check()  # before a folder is created
    name = f"{Path(game.rpartition(':')[2]).stem}-{Path(algorithm).stem}"
    with closing(Study(plan, options.study or Path("studies") / name)) as study:
        try:
            study.search(options.trials)
            scores = study.measure(options.final_seeds) if options.final_seeds else None
        except KeyboardInterrupt:
            print(f"\nInterrupted after {len(study.done())} trials. The same command resumes the study.")
            raise
        _report(study, scores, options, shlex.join(["myosu", "tune", *arguments]))
    return 0


def _report(study: Study, scores: Scores | None, options: Options, command: str) -> None:
    """Write the preset, with the command that found it, the plot and report.json. Print the results."""
    from myosu.runs.files import write_json
    from myosu.tuning.study import write_preset

    best, settings = study.best()
    spent, done = study.spent(), study.done()
    pruned = sum(trial.state.name == "PRUNED" for trial in done)
    failed = sum(trial.state.name == "FAIL" for trial in done)
    lines = [f"search: {len(done)} trials ({pruned} pruned, {failed} failed), {_budget(spent['search'])}; best mean "
             f"reward {best.value:.4g} (trial {best.number}), the maximum of many noisy numbers, so too high"]
    if scores:
        mean, (low, high) = scores.difference
        verdict = "better" if low > 0 else "worse" if high < 0 else "no difference is shown"
        lines += [f"final: {_budget(spent['final'])}, from {len(scores.tuned)} fresh seeds each",
                  f"tuned: {_with_interval(scores.tuned)}   preset: {_with_interval(scores.preset)}",
                  f"difference: {mean:+.4g} ({low:+.4g} to {high:+.4g}), {verdict}"]
    preset = study.folder / "preset.toml"
    write_preset(settings, preset, "\n".join([command, *lines]))
    write_json(study.folder / "report.json", {
        "best_trial": best.number, "search_score": best.value, "settings": settings, "spent": spent,
        "final": dataclasses.asdict(scores) if scores else None})
    _draw(study, scores)
    print("\n" + "\n".join(lines))
    print(f"\n{preset}\nTrain with it:  myosu train {shlex.quote(options.env)} --algorithm {options.algorithm} "
          f"--preset {preset}")


def _draw(study: Study, scores: Scores | None) -> None:
    from myosu.plots.study import plot_study

    rows = [(trial.number, value, trial.state.name == "PRUNED") for trial in study.trials.get_trials()
            if (value := trial.value if trial.value is not None else _last(trial)) is not None]
    try:
        plot_study(rows, {} if scores is None else {"tuned": scores.tuned, "preset": scores.preset},
                   study.folder / "study.png", f"{study.plan.game}, {Path(study.plan.algorithm).stem}")
    except UserError as error:  # matplotlib is missing; the figures are printed anyway
        print(error)


def _last(trial: Any) -> float | None:
    """The last evaluation of an unfinished trial; None if it has none."""
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def _budget(spent: dict[str, Any]) -> str:
    return f"{spent['runs']} runs, {spent['env_steps']:,} steps, {spent['seconds'] / 60:.1f} minutes"


def _with_interval(scores: list[float]) -> str:
    import numpy as np

    from myosu.evaluation.statistics import mean_interval

    low, high = mean_interval(np.array(scores))
    return f"{np.mean(scores):.4g} ({low:.4g} to {high:.4g})"
