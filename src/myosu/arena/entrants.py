"""The players of a league. Their names are resolved once, so that a resumed league has the same players."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from myosu.errors import UserError
from myosu.games.game import Game
from myosu.players.opponents import make_opponent, split_simulations
from myosu.runs.checkpoint import Checkpoint, Checkpoints, find_checkpoint
from myosu.runs.reading import Count


@dataclass(frozen=True)
class Entrant:
    """A player of a league.

    name: its name in tables, such as ``s3-40/21001:32`` for a checkpoint with its simulations per move. text: the
    argument of ``make_opponent`` for this player. repeats: whether it is deterministic.

    run, update, simulations: for a checkpoint, the folder of its run (None if it was copied out of a run), its update,
    and its simulations per move.
    """

    name: str
    text: str
    repeats: bool
    run: str | None = None
    update: Count | None = None
    simulations: Count | None = None


def find_entrants(words: list[str], game: Game, simulations: int | None = None) -> list[Entrant]:
    """The players named on the command line, without duplicates. Random comes first, because it is the zero of the
    scale.

    A word is anything that ``make_opponent`` accepts, or ``RUN/checkpoints`` for all checkpoints of a run. Any folder
    may be followed by ``:SIMULATIONS``. simulations: per move, for agents named without a number; None: the number they
    were trained with.
    """
    if game.num_players != 2:
        raise UserError(f"A league needs players against each other; {game.name} is a single-player game.")
    found: dict[str, Entrant] = {}
    for word in ["random", *words]:
        for entrant in _entrants_of(word, game, simulations):
            found.setdefault(entrant.text, entrant)
    names = [entrant.name for entrant in found.values()]
    for text, entrant in found.items():
        if names.count(entrant.name) > 1:  # runs with the same name in different folders
            found[text] = Entrant(text, text, entrant.repeats, entrant.run, entrant.update, entrant.simulations)
    return list(found.values())


def _entrants_of(word: str, game: Game, simulations: int | None) -> list[Entrant]:
    folder, own_simulations = split_simulations(word)
    path = Path(folder)
    if not path.is_dir() and path.parent.name != "checkpoints":
        player = make_opponent(word, game)  # raises an error that explains what is wrong
        player.close()
        return [Entrant(player.name, player.name, player.repeats_itself)]
    if path.name == "checkpoints":
        checkpoints = [find_checkpoint(part) for part in Checkpoints(path).paths()]
        if not checkpoints:
            raise UserError(f"There is no checkpoint in {path} yet.")
    else:
        checkpoints = [find_checkpoint(path)]
    return [_checkpoint_entrant(checkpoint, game, own_simulations or simulations) for checkpoint in checkpoints]


def _checkpoint_entrant(checkpoint: Checkpoint, game: Game, simulations: int | None) -> Entrant:
    config = checkpoint.config
    if config.environment.game is None or config.environment.game.name != game.name:
        raise UserError(f"{checkpoint.path} plays {config.environment.name}, not {game.name}.")
    path = checkpoint.path.resolve()
    run = path.parent.parent if path.parent.name == "checkpoints" else None
    simulations = simulations or config.algorithm_config.get("simulations")
    thought = f":{simulations}" if simulations else ""
    name = f"{run.name}/{checkpoint.update}" if run else path.name
    text = f"{path}{thought}"
    if thought and Path(text).exists():
        text = f"{path}/{thought}"  # otherwise the text would name that other folder
    return Entrant(name + thought, text, True, str(run) if run else None, checkpoint.update, simulations)
