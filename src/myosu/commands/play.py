"""``myosu play``: play against an agent, in the browser or in the terminal."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import tyro
from tyro.conf import Positional

from myosu.commands.options import check_seed, check_simulations, import_server, parse, trust_if
from myosu.errors import UserError
from myosu.games import Game
from myosu.players.player import RESIGNS, History, Player, legal_mask

if TYPE_CHECKING:
    from myosu.envs.registry import Environment
    from myosu.runs.config import RunConfig
    from myosu.web.room import Room
    from myosu.web.screen import Screen

#: Default port. It is fixed, so that an open page reconnects to its game when the command runs again.
PORT = 8610


@dataclass
class Options:
    """Play against the agent of a run, or a Gymnasium environment, in the browser or in the terminal."""

    run: Annotated[Positional[str], tyro.conf.arg(metavar="RUN|ENV")]
    """A run's folder (its latest checkpoint), RUN/checkpoints/best, or the folder of one checkpoint. Or AlphaGo's
    search, apv:prior=RUN,value=RUN,…. Or a Gymnasium environment's id, to play it without an agent."""
    seat: Literal["first", "second", "random"] = "first"
    """Your seat; the first moves first. In the browser, the default of a new game."""
    simulations: int | None = None
    """Simulations per move (more is stronger and slower); by default the number the run was trained with. In the
    browser, the default of a new game."""
    record: Path | None = None
    """Folder in which your episodes of a Gymnasium environment are recorded, as by myosu record. Cloning and GAIL can
    learn from it."""
    terminal: bool = False
    """Play in the terminal."""
    seed: int = 0
    """Seed of the agent's random choices, in the terminal."""
    host: str = "127.0.0.1"
    """Address to serve the page at. Everybody who can reach it can play; the default is your own machine only."""
    port: int = 0
    """Port of the page. 0 means 8610, so that an open page finds its game again, or any free port if that is taken."""
    browser: bool = True
    """Open the page in your browser."""
    trust: bool = False
    """Allow user code that the run names: a game, environment or algorithm in a file or module."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "play", arguments)
    trust_if(options.trust)
    check_seed(options.seed)
    check_simulations(options.simulations)
    server = None if options.terminal else import_server("Or play with --terminal.")
    playing = _environment_of(options) if server else None
    if options.record is not None and playing is None:
        raise UserError("--record is for Gymnasium environments: games of a run are kept in RUN/played anyway.")
    seat = {"first": 0, "second": 1, "random": random.randrange(2)}[options.seat]
    if server is None:
        return _in_terminal(options, seat)
    return _in_browser(options, server, _game_room(options, seat) if playing is None else _screen(options, *playing))


def _environment_of(options: Options) -> tuple[Environment, RunConfig | None] | None:
    """The Gymnasium environment to play, and the configuration of its run, if any; None if a native game is played."""
    from myosu.envs.registry import load_environment
    from myosu.runs.checkpoint import find_checkpoint

    if options.run.startswith("apv:"):
        return None
    path = Path(options.run)
    if path.exists() or len(path.parts) > 2:  # an id such as ALE/Pong-v5 has two parts
        config = find_checkpoint(options.run).config
        return None if config.environment.game else (config.environment, config)
    try:
        environment = load_environment(options.run)
    except UserError as error:
        if len(path.parts) > 1 and not re.search(r"-v\d+$", path.name):
            raise UserError(f"There is no run {options.run}. The runs of myosu train are folders in runs/.") from None
        raise UserError(f"{options.run} is neither a run nor an environment. {error}") from None
    if environment.game is not None:
        raise UserError(f"There is no agent for {options.run} yet: run myosu train {options.run}, then myosu play with "
                        "the run's folder.")
    return environment, None


def _screen(options: Options, environment: Environment, config: RunConfig | None) -> Screen:
    from myosu.players.agent import load_agent
    from myosu.web.screen import Recorder, Screen

    agent = load_agent(options.run, options.simulations, options.seed)[0] if config else None
    recorder = None
    if options.record is not None:
        recorder = Recorder(options.record, environment, config.env_kwargs if config else {})
    return Screen(environment, agent, recorder)


def _game_room(options: Options, seat: int) -> Room:
    from myosu.web.room import Room

    return Room(options.run, seat, options.simulations)


def _in_browser(options: Options, server: ModuleType, room: Room | Screen) -> int:
    from myosu.web.room import Room
    from myosu.web.watching import Gallery

    folder = room.folder if isinstance(room, Room) else Path(options.run)
    watched = [folder] if (folder / "config.json").is_file() else []  # a checkpoint may be outside a run
    app = server.make_app(room, Gallery(watched), options.host)
    server.serve(app, options.host, options.port, "Play at {}", options.browser, usual=PORT)
    return 0


def _in_terminal(options: Options, seat: int) -> int:
    from myosu.players.agent import AgentPlayer, load_agent
    from myosu.players.apv_name import named_apv
    from myosu.randomness import use_one_thread

    use_one_thread()
    if options.run.startswith("apv:"):
        searching = named_apv(options.run, None, options.simulations, options.seed)
        Table(searching.game, searching, seat).play()
        return 0
    agent, environment, _ = load_agent(options.run, options.simulations, options.seed)
    Table(environment.rules, AgentPlayer(environment.rules, agent, "agent"), seat).play()
    return 0


class Table:
    """One game between a person in ``seat`` and ``player``."""

    def __init__(self, game: Game, player: Player, seat: int) -> None:
        if game.num_players != 2:
            raise UserError(f"{game.name} is a single-player game; there is nobody to play against.")
        self.game, self.player, self.seat = game, player, seat
        self.go_to([])

    def go_to(self, history: History) -> None:
        """Set the position to that after ``history``. Sets ``reward``, the person's reward so far, and ``legal``, the
        names of the legal actions."""
        self.history: History = []
        self.state, self.over, self.reward = self.game.new_states(1), False, 0.0
        self._look()
        for action in history:
            self.act(action)

    def act(self, action: int) -> None:
        earned, ended = np.empty(1, np.float32), np.empty(1, np.bool_)
        self.game.batch.step(self.state, np.array([action]), earned, ended)
        self.reward += float(earned[0]) if self.persons_turn else -float(earned[0])
        self.history.append(action)
        self.over = bool(ended[0]) or len(self.history) >= self.game.max_plies
        self._look()

    def play(self) -> None:
        """Play until the game ends or the person quits."""
        print(f"You are {('first', 'second')[self.seat]}. Write {self._help()}.\n")
        self._show()
        while not self.over:
            if not self.persons_turn:
                action = self._agents_choice()
                if action == RESIGNS:
                    print("The agent resigns. You win.")
                    return
                print(f"The agent plays {self.game.action_name(action)}.\n")
                self.act(action)
                self._show()
            elif self.legal == ["pass"]:
                print("You have no move and must pass.\n")
                self.act(self.game.parse_action("pass"))
            elif not self._obey(self._read()):
                return
        result = "A draw." if self.reward == 0 else "You win." if self.reward > 0 else "The agent wins."
        print(f"{result} Your reward: {self.reward:+g}")

    def _obey(self, text: str) -> bool:
        """Execute the person's input. Returns whether the game continues."""
        match text.lower():
            case "quit" | "exit" | "q":
                return False
            case "" | "help" | "?":
                print(f"Enter {self._help()}.")
            case "moves":
                print(" ".join(self.legal))
            case "board":
                self._show()
            case "hint":
                action = self._agents_choice()
                wish = "resign" if action == RESIGNS else f"play {self.game.action_name(action)}"
                print(f"The agent would {wish}.")
            case "undo":
                self._undo()
            case _:
                self._move(text)
        return True

    def _move(self, text: str) -> None:
        try:
            action = self.game.parse_action(text)
        except ValueError as error:
            print(f"{error}. Or enter {self._help()}.")
            return
        if not 0 <= action < self.game.num_actions or self.game.action_name(action) not in self.legal:
            print(f"{text} is not legal here. Legal: {' '.join(self.legal)}")
            return
        self.act(action)
        self._show()

    def _undo(self) -> None:
        """Take back moves to the person's last decision."""
        for plies in range(len(self.history) - 1, -1, -1):
            if plies % 2 == self.seat:
                played = self.history
                self.go_to(played[:plies])
                if self.legal != ["pass"]:
                    self._show()
                    return
                self.go_to(played)
        print("There is nothing to take back.")

    def _agents_choice(self) -> int:
        return int(self.player.choose(self.state, [self.history])[0])

    def _look(self) -> None:
        to_play = np.empty(1, np.int8)
        self.game.batch.to_play(self.state, to_play)
        self.persons_turn = int(to_play[0]) == self.seat
        self.legal = [self.game.action_name(int(a)) for a in np.flatnonzero(legal_mask(self.game, self.state)[0])]

    def _show(self) -> None:
        print(self.game.render(self.state[0]), end="\n\n")

    def _help(self) -> str:
        return f"a move such as {self.legal[0]}, or moves (lists the legal ones), hint, undo, board, quit"

    @staticmethod
    def _read() -> str:
        try:
            return input("your move> ").strip()
        except EOFError:
            print()
            return "quit"
