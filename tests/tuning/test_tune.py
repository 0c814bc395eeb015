"""A study finds what is better, says what it cost, goes on where it was, and refuses what cannot be compared."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from myosu import cli
from myosu.algorithms import load_algorithm
from myosu.envs.registry import load_environment
from myosu.errors import UserError
from myosu.presets import load_preset
from myosu.runs.reading import load_json
from myosu.tuning import study as study_module
from myosu.tuning.space import inside, load_space, suggest
from myosu.tuning.study import EVALUATIONS, Plan, Pruning, Scores, Study, write_preset

optuna = pytest.importorskip("optuna")

SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "num_envs": [4, 8], "hidden": [[8], [16, 16]]}
SHIPPED = ("ppo", "dqn", "sac", "muzero", "muesli")


def plan(**changes):
    return dataclasses.replace(Plan("CartPole-v1", "ppo", SPACE, 1000), **changes)


@pytest.fixture
def trained(monkeypatch):
    """Nothing is trained: a run's reward falls with the distance of its learning rate from 1e-3, and rises with its
    evaluations. Returns what was asked: settings, seed and folder's name of each training."""
    asked = []

    def train(self, settings, seed, folder, *callbacks):
        asked.append(SimpleNamespace(settings=dict(settings), seed=seed, name=folder.name))
        folder.mkdir(parents=True)
        (folder / "replay").mkdir()
        if settings["learning_rate"] > 9e-3:
            raise UserError("the loss is not finite")
        score = -abs(np.log10(settings["learning_rate"]) + 3)
        for mark in range(1, EVALUATIONS + 1):
            evaluation = {"env_steps": 200 * mark, "mean_reward": score - (EVALUATIONS - mark)}
            if any(callback.on_evaluation(evaluation) is False for callback in callbacks):
                break
        return SimpleNamespace(env_steps=200 * mark, seconds=1.0, evaluation=evaluation)

    monkeypatch.setattr(Study, "_train", train)
    monkeypatch.setattr(study_module, "load_agent", lambda folder: (None, load_environment("CartPole-v1"), None))
    monkeypatch.setattr(study_module, "evaluation_report",
                        lambda agent, environment, name, *rest, **more: {"mean_reward": float(len(name))})
    return asked


@pytest.mark.parametrize("algorithm", SHIPPED)
def test_shipped_spaces_hold_valid_settings(algorithm):
    kind = load_algorithm(algorithm).Config
    space = load_space(algorithm, kind)
    for name, allowed in space.items():
        for value in allowed if isinstance(allowed, list) else (allowed["low"], allowed["high"]):
            kind(**{name: value})


@pytest.mark.parametrize(("text", "message"), [
    ("learning_rat = [1]", "names learning_rat, which ppo does not have"),
    ("learning_rate = 3", "must be a list of choices"),
    ("learning_rate = []", "has no choices"),
    ("learning_rate = { low = 1 }", "must be a list"),
    ("learning_rate = { low = 2, high = 1 }", "low below high"),
    ("learning_rate = { low = 0.0, high = 1.0, log = true }", "logarithmic"),
    ("learning_rate = {", "is not valid TOML"), ("", "is empty"), (None, "cannot be read")])
def test_invalid_spaces_are_refused(tmp_path, text, message):
    file = tmp_path / "space.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=message):
        load_space("ppo", load_algorithm("ppo").Config, file)


def test_suggestions_lie_in_the_space_and_start_at_the_preset():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(inside(SPACE, {"learning_rate": 2e-3, "num_envs": 16, "hidden": (16, 16)}))
    first = suggest(study.ask(), SPACE)
    assert first["learning_rate"] == 2e-3 and first["hidden"] == [16, 16], "16 environments are not in the space"
    drawn = [suggest(study.ask(), SPACE) for _ in range(30)]
    assert all(1e-4 <= one["learning_rate"] <= 1e-2 for one in drawn)
    assert {one["num_envs"] for one in drawn} == {4, 8}
    assert {tuple(one["hidden"]) for one in drawn} == {(8,), (16, 16)}


def test_a_study_finds_better_settings_and_counts_its_cost(trained, tmp_path):
    study = Study(plan(), tmp_path / "study", say=lambda text: None)
    study.search(12)
    assert len(study.done()) == len(trained) == 12
    _, settings = study.best()
    assert abs(np.log10(settings["learning_rate"]) + 3) < 0.3
    assert settings["clip_range"] == plan().base()["clip_range"], "other settings are the preset's"
    pruned = [trial for trial in study.done() if trial.state.name == "PRUNED"]
    assert pruned and all(trial.user_attrs["env_steps"] < 1000 for trial in pruned)
    spent = study.spent()["search"]
    assert spent["env_steps"] == sum(trial.user_attrs.get("env_steps", 0) for trial in study.done()) < 12 * 1000
    assert not list((tmp_path / "study").glob("trials/*/replay"))
    study.close()


def test_final_scores_use_new_seeds_and_are_measured_once(trained, tmp_path):
    study = Study(plan(), tmp_path / "study", say=lambda text: None)
    study.search(6)
    searched = {one.seed for one in trained}
    scores = study.measure(2)
    final = trained[6:]
    assert len(searched) == 6 and not searched & {one.seed for one in final}
    assert [one.seed for one in final[:2]] == [one.seed for one in final[2:]], "both are trained from the same seeds"
    assert final[2].settings == plan().base()
    assert len(scores.tuned) == len(scores.preset) == 2 and study.spent()["final"]["runs"] == 4
    study.measure(3)
    assert len(trained) == 6 + 6, "only the missing runs are trained"
    study.close()


def test_a_study_resumes(trained, tmp_path):
    first = Study(plan(), tmp_path / "study", say=lambda text: None)
    first.search(3)
    first.trials.ask()  # a trial that a kill interrupted
    with pytest.raises(UserError, match="by another process"):
        Study(plan(), tmp_path / "study")
    first.close()
    second = Study(plan(), tmp_path / "study", say=lambda text: None)
    assert len(second.done()) == 3
    second.search(5)
    assert len(second.done()) == 5 and len(trained) == 5
    assert len({json.dumps(one.settings) for one in trained}) == 5, "no suggestion is repeated"
    second.close()


def test_another_plans_study_is_refused_and_unchanged(trained, tmp_path):
    Study(plan(), tmp_path / "study").close()
    before = load_json(tmp_path / "study" / "study.json")
    for changes, message in (({"space": {"num_envs": [4, 8]}}, r"space\.\w+ = .*, now it is"),
                             ({"algorithm": "dqn"}, "algorithm"),
                             ({"env_steps": 2000}, "env_steps = 1000, now it is 2000"), ({"seed": 1}, "seed")):
        with pytest.raises(UserError, match=f"has {message}"):
            Study(plan(**changes), tmp_path / "study")
    assert load_json(tmp_path / "study" / "study.json") == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds no study"):
        Study(plan(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("arguments", "said"), [
    ("tictactoe --algorithm muzero --evaluation-games 5", "evaluation_games = 5: in a two-player game an even number"),
    ("tictactoe --algorithm muzero --evaluation-opponent gredy", "Did you mean 'greedy'"),
], ids=["odd", "opponent"])
def test_a_plan_that_cannot_be_trained_is_refused_without_a_folder(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["tune", *arguments.split()]) == 2
    assert said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_trials_that_all_fail_end_the_study(trained, tmp_path):
    space = {"learning_rate": [9.5e-3, 9.9e-3]}
    study = Study(plan(space=space), tmp_path / "study", say=lambda text: None)
    with pytest.raises(UserError, match=r"none succeeded.*the loss is not finite"):
        study.search(30)
    assert len(trained) == study_module.FAILURES
    study.close()


def test_evaluations_are_reported_once_at_each_mark():
    reported = {}
    trial = SimpleNamespace(report=lambda value, step: reported.setdefault(step, value),
                            should_prune=lambda: max(reported) == 3)
    pruning = Pruning(trial, 1000)
    for steps, reward in ((40, 0.0), (210, 1.0), (230, 2.0), (400, 3.0), (610, 4.0)):
        going_on = pruning.on_evaluation({"env_steps": steps, "mean_reward": reward})
    assert reported == {1: 1.0, 2: 3.0, 3: 4.0}
    assert going_on is False and pruning.pruned


def test_difference_is_paired():
    mean, (low, high) = Scores([3.0, 5.0, 4.0], [1.0, 2.0, 3.0]).difference
    # Differences 2, 3, 1: mean 2, deviation 1, and 2 ± 4.303 * 1 / sqrt(3).
    assert mean == 2.0 and np.allclose((low, high), (2 - 2.4843, 2 + 2.4843), atol=1e-3)


def test_a_written_preset_is_read_back(tmp_path):
    kind, settings = load_algorithm("ppo").Config, {"learning_rate": 1.25e-05, "hidden": [16, 16],
                                                    "anneal_learning_rate": True, "activation": "tanh"}
    write_preset(settings, tmp_path / "preset.toml", "a comment\nof two lines")
    read = load_preset("ppo", load_environment("CartPole-v1"), kind, tmp_path / "preset.toml")
    assert read == {**settings, "hidden": (16, 16)}


@pytest.mark.parametrize(("arguments", "message"), [
    ("tune CartPole-v1 --algorithm ppo --trials 0", "--trials 0"),
    ("tune CartPole-v1 --algorithm ppo --final-seeds 1", "no interval"),
    ("tune CartPole-v1 --algorithm ppoo", "Did you mean 'ppo'"),
    ("tune CartPole-v11 --algorithm ppo", "Did you mean 'CartPole-v1'"),
    ("tune CartPole-v1 --algorithm cloning", "no search space for cloning"),
    ("train CartPole-v1 --algorithm ppo --preset nowhere.toml", "The preset nowhere.toml cannot be read"),
])
def test_invalid_input_is_refused(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments.split()) == 2
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.slow
def test_tune_command_writes_a_preset_that_train_accepts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.toml").write_text("learning_rate = { low = 1e-4, high = 1e-2, log = true }\n")
    command = "tune CartPole-v1 --algorithm ppo --space space.toml --trials 1 --env-steps 300 --final-seeds 0 " \
              "--evaluation-games 2 --study mine"
    assert cli.run(command.split()) == 0
    assert "1 trials (0 pruned, 0 failed), 1 runs" in capsys.readouterr().out
    assert (tmp_path / "mine/study.png").stat().st_size > 1000
    assert (tmp_path / "mine/preset.toml").read_text().startswith(f"# myosu {command}\n")
    found = load_json(tmp_path / "mine/report.json")["settings"]["learning_rate"]
    command = "train CartPole-v1 --algorithm ppo --preset mine/preset.toml --env-steps 256 --evaluate-every 0 " \
              "--run run --quiet"
    assert cli.run(command.split()) == 0
    assert load_json(tmp_path / "run/config.json")["algorithm_config"]["learning_rate"] == found
