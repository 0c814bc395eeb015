"""Reads and writes datasets of Minari (Farama's format for offline data). Needs minari: ``pip install
"myosu[minari]"``.

Among recordings, ``minari:DATASET`` names a dataset on this machine, such as ``minari:D4RL/door/human-v2``;
``minari download DATASET`` downloads one.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from myosu.envs.game_history import GameHistory
from myosu.envs.pettingzoo_single import play_known
from myosu.envs.playback import Move, actions_of
from myosu.envs.registry import Environment
from myosu.envs.single_game import SingleGame
from myosu.envs.spaces import MASK, BadValue, Layout, native_action, own_action
from myosu.envs.vector import EnvSpec
from myosu.errors import UserError
from myosu.runs.games import GameRecord
from myosu.runs.reading import tell

PREFIX = "minari:"
#: Fields of ``EnvSpec`` that must agree for one environment to learn from another's episodes.
COMMON = ("observation_shape", "observation_dtype", "num_actions", "action_branches", "action_low", "action_high")


def read_minari(source: str, spec: EnvSpec) -> Iterator[GameRecord]:
    """Read the episodes of ``minari:DATASET``, oldest first, with observations as in an environment of ``spec``. Action
    masks are read where ``TwoPlayerEnv`` or Gymnasium have them; without masks, all actions are legal.

    Raises UserError if there is no such dataset, if its spaces differ, or if an episode does not fit its space.
    """
    minari, name = _minari(), source.removeprefix(PREFIX)
    try:
        dataset = minari.load_dataset(name)
    except ImportError as error:
        raise UserError(f"The dataset {name} cannot be read: {error} (pip install \"myosu[minari]\").") from error
    except Exception as error:
        raise UserError(f"There is no dataset {name!r} of Minari on this machine ({error}). List those that are: "
                        f"minari list local. Download it: minari download {name}") from error
    layout = Layout(dataset.observation_space, dataset.action_space, name)
    theirs = layout.spec(spec.max_steps)
    for part in COMMON:
        if getattr(theirs, part) != getattr(spec, part):
            raise UserError(f"The dataset {name} is of another environment: its {part} is {getattr(theirs, part)}, "
                            f"here it is {getattr(spec, part)}.")
    for episode in dataset.iterate_episodes():
        try:
            yield _read(episode, layout, spec)
        except BadValue as error:
            raise UserError(f"Episode {episode.id} of the dataset {name}: {' '.join(error.args)}") from error


def write_minari(name: str, environment: Environment, records: Iterable[GameRecord],
                 data_format: Literal["hdf5", "arrow"] = "hdf5") -> int:
    """Replay recorded episodes and write them as the dataset ``name``. Returns their number. Observations are the
    environment's own; for native games, those of an agent, with action masks in the infos ("action_mask").

    Episodes that cannot be replayed are left out with a notice. Raises UserError if none is left, if the game has two
    players, or if the dataset exists.
    """
    minari = _minari()
    from minari.data_collector import EpisodeBuffer

    if environment.spec.num_players != 1:
        raise UserError(f"{environment.name} is for two players; Minari's datasets are for one.")
    if not re.fullmatch(r"[\w/-]+-v\d+", name):
        raise UserError(f"{name!r} cannot name a dataset of Minari: write it as NAME-v0 or FOLDER/NAME-v0.")
    if name in minari.list_local_datasets():
        raise UserError(f"There is a dataset {name!r} already. Take another name, or: minari delete {name}")
    observation_space, action_space = _spaces(environment)
    buffers: list[Any] = []
    for record in records:
        try:
            list(record.moves(environment))  # raises UserError if it cannot be replayed
            observations, infos, rewards = _played(environment, record)
        except UserError as error:
            tell(f"The episode {record.index} is left out: {error}")
            continue
        actions = [native_action(action_space, action) for action in actions_of(environment.spec, record.actions or [])]
        last = np.arange(len(actions)) == len(actions) - 1
        buffers.append(EpisodeBuffer(
            id=len(buffers), seed=record.seed, observations=_columns(observation_space, observations),
            actions=_columns(action_space, actions), rewards=rewards, infos=infos,
            terminations=(last & record.terminated).tolist(), truncations=(last & record.truncated).tolist()))
    if not buffers:
        raise UserError("There is no episode with recorded actions to write.")
    env = environment.name if environment.maker is not None and not environment.maker.kwargs else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Minari warns about metadata that only a published dataset needs
            minari.create_dataset_from_buffers(
                name, buffers, env=env if env in gymnasium.registry else None, observation_space=observation_space,
                action_space=action_space, author="Myosu", data_format=data_format,
                description=f"Episodes of {environment.name}, recorded by Myosu.")
    except (ValueError, ImportError) as error:
        raise UserError(f"Minari cannot write the dataset {name!r}: {error}") from error
    return len(buffers)


def _minari() -> Any:
    try:
        import minari
    except ImportError as error:
        raise UserError("Datasets of Minari need it: pip install \"myosu[minari]\".") from error
    return minari


def _read(episode: Any, layout: Layout, spec: EnvSpec) -> GameRecord:
    moves, count = [], len(episode.rewards)
    row = np.zeros((1, *spec.observation_shape), spec.observation_dtype)
    masks = (episode.infos or {}).get(MASK)
    for t in range(count):
        observation = _at(layout.observation_space, episode.observations, t)
        layout.write(row, observation)
        mask = observation[layout.mask_key] if layout.mask_key is not None else None if masks is None else masks[t]
        legal = np.ones(spec.num_actions, np.bool_) if mask is None else np.ravel(mask).astype(np.bool_)
        action = own_action(layout.action_space, _at(layout.action_space, episode.actions, t))
        _check(action, legal, spec, t)
        moves.append(Move(row[0].copy(), legal, action, 0, np.array([episode.rewards[t]], np.float64),
                          bool(episode.terminations[t]), bool(episode.truncations[t])))
    return GameRecord.of_moves(moves, int(episode.id))


def _check(action: np.ndarray, legal: np.ndarray, spec: EnvSpec, step: int) -> None:
    """Raises BadValue if the action of the step is not finite, out of range or masked."""
    if not np.isfinite(action).all():
        raise BadValue(f"the action of step {step} is {action.tolist()}.", "It must be finite.")
    choices = np.ravel(action)[spec.components:].astype(np.int64)
    for mask, choice in zip(spec.branch_masks(legal), choices.tolist(), strict=True):
        if not 0 <= choice < len(mask) or not mask[choice]:
            raise BadValue(f"the action of step {step} is {action.tolist()}, which is not legal there.",
                           "Correct the dataset.")


def _spaces(environment: Environment) -> tuple[spaces.Space, spaces.Space]:
    if environment.game is not None:
        return SingleGame(environment.game, 1, None).observation_space(), spaces.Discrete(environment.game.num_actions)
    assert environment.maker is not None
    with environment.maker.opened() as env:
        return env.observation_space, env.action_space


def _played(environment: Environment, record: GameRecord) -> tuple[list[Any], dict[str, Any] | None, list[float]]:
    """Replay an episode. Returns its observations (one more than actions), infos (the masks, None without masks) and
    rewards."""
    seed, played = record.seed_and_actions()
    actions = actions_of(environment.spec, played)
    if environment.game is not None:
        history = GameHistory(environment.game, seed)
        positions = [history.now, *(history.play(int(action)) for action in actions)]
        totals = [position.returns[0] for position in positions]
        masks = [history.legal_actions(position).astype(np.int8) for position in positions]
        return [history.observation(position) for position in positions], {MASK: masks}, np.diff(totals).tolist()
    assert environment.maker is not None
    with environment.maker.opened() as env:
        play_known(env, record.replies)
        observation, info = env.reset(seed=seed)
        observations, infos, rewards = [observation], [info], []
        for action in actions:
            observation, reward, _, _, info = env.step(native_action(env.action_space, action))
            observations.append(observation)
            infos.append(info)
            rewards.append(float(reward))
    masked = all(MASK in info for info in infos)
    return observations, {MASK: [np.array(info[MASK]) for info in infos]} if masked else None, rewards


def _columns(space: spaces.Space, values: list[Any]) -> Any:
    """Values of a space in Minari's form: one array per part of a dictionary or tuple space."""
    if isinstance(space, spaces.Dict):
        return {key: _columns(part, [value[key] for value in values]) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_columns(part, [value[k] for value in values]) for k, part in enumerate(space))
    return np.array(values, space.dtype) if space.dtype is not None else values


def _at(space: spaces.Space, columns: Any, t: int) -> Any:
    """Inverse of ``_columns`` for one value, the one at index ``t``."""
    if isinstance(space, spaces.Dict):
        return {key: _at(part, columns[key], t) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_at(part, columns[k], t) for k, part in enumerate(space))
    return columns[t]
