"""A game that speaks Godot RL's protocol without Godot, well or badly: `fake_godot.py MODE|FILE --port=N`.

Each agent counts to ten: action 1 of "step" adds 1 (reward 1), any other leaves it. A bad MODE shows at the third step.
With |FILE it does so only once: FILE is made then, and where it is there, the game behaves. After SIGUSR1 it answers
the next action with what is no JSON. The scenes have three agents; those of "plugin scene" begin their episodes by
themselves, as Godot RL's do.
"""

import json
import os
import signal
import socket
import struct
import sys
import time

SPACES = {
    "plain": ({"obs": {"size": [2], "space": "box"}}, {"step": {"size": 2, "action_type": "discrete"}}),
    "parts": ({"camera_2d": {"size": [2, 2, 1], "space": "box"}, "kind": {"size": 3, "space": "discrete"}},
              {"turn": {"size": 2, "action_type": "continuous"}, "gas": {"size": 1, "action_type": "continuous"}}),
    "branches": ({"obs": {"size": [2], "space": "box"}},
                 {"step": {"size": 2, "action_type": "discrete"}, "jump": {"size": 3, "action_type": "discrete"}}),
    "mixed": ({"obs": {"size": [2], "space": "box"}},
              {"step": {"size": 2, "action_type": "discrete"}, "gas": {"size": 1, "action_type": "continuous"}}),
    "no spaces": ({}, {}),
}
SCENES = ("scene", "plugin scene", "policies", "different spaces")


class Agent:
    def __init__(self):
        self.reset(0)

    def reset(self, seed):
        self.count, self.steps, self.reward, self.done = seed % 3, 0, 0.0, False

    def act(self, mode, action):
        if self.done and mode == "plugin scene":
            self.reset(0)
        if self.done:
            return
        self.steps += 1
        gained = action.get("step", 0) == 1
        if mode == "parts":
            assert len(action["turn"]) == 2 and len(action["gas"]) == 1, action
            gained = action["gas"][0] > 0.5
        if mode == "mixed":
            assert action["gas"] == [0.5], action
        self.count, self.reward = self.count + gained, float(gained)
        self.done = self.count >= 10

    def seen(self, mode):
        if mode == "parts":
            return {"camera_2d": bytes([self.count, 1, 2, 255]).hex(), "kind": 2}
        return {"obs": [self.count, self.steps]}


def main(mode: str, once: str, port: int) -> None:
    if mode == "dies at once":
        print("the scene is broken")
        sys.exit(3)
    if mode == "never connects":
        time.sleep(60)
    stream = socket.create_connection(("127.0.0.1", port))

    def hear():
        header = stream.recv(4, socket.MSG_WAITALL)
        if not header:
            sys.exit()
        return json.loads(stream.recv(struct.unpack("<I", header)[0], socket.MSG_WAITALL))

    def say(message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        stream.sendall(struct.pack("<I", len(data)) + data)

    wrong = []
    signal.signal(signal.SIGUSR1, lambda *_: wrong.append("no json"))
    observations, actions = SPACES.get(mode, SPACES["plain"])
    agents = [Agent() for _ in range(3 if mode in SCENES else 1)]
    steps = 0

    def seen():
        return [agent.seen(mode) for agent in agents]

    assert hear()["type"] == "handshake"
    while True:
        message = hear()
        match message["type"]:
            case "env_info":
                if mode == "nonsense at once":
                    say(b"hello")
                info = {"n_agents": len(agents), "observation_space": [observations], "action_space": [actions]}
                if mode == "scene":
                    info["separate_resets"] = True
                if mode in ("policies", "different spaces"):
                    info["action_space"] = [actions, {"jump": {"size": 2, "action_type": "continuous"}}, actions]
                    info["observation_space"] = [observations] * 3
                if mode == "policies":
                    info["agent_policy_names"] = ["cat", "mouse", "cat"]
                say({"type": "env_info", **info})
            case "reset":
                seeds = message.get("seeds", [message.get("seed", 0)] * len(agents))
                for agent, seed in zip(agents, seeds, strict=True):
                    if seed is not None:
                        agent.reset(seed)
                steps = 0
                say({"type": "reset", "obs": seen()})
            case "action":
                steps += 1
                for agent, action in zip(agents, message["action"], strict=True):
                    if mode == "policies" and agent is agents[1]:
                        assert action == {"jump": [0, 0]}, action
                    else:
                        agent.act(mode, action)
                if steps == 3 and mode not in ("plain", *SCENES) and not (once and os.path.exists(once)):
                    if once:
                        open(once, "w").close()
                    misbehave(mode, stream, say)
                if wrong:
                    misbehave(wrong.pop(), stream, say)
                say({"type": "step", "obs": seen(), "reward": [agent.reward for agent in agents],
                     "done": [agent.done for agent in agents],
                     **({"truncated": [agent.steps >= 20 for agent in agents]} if mode == "plain" else {})})
            case "close":
                sys.exit()


def misbehave(mode, stream, say):
    match mode:
        case "dies":
            sys.exit(7)
        case "hangs":
            time.sleep(60)
        case "no json":
            say(b"\xff\xfe nonsense")
        case "long":
            stream.sendall(struct.pack("<I", 1 << 31))
            time.sleep(60)
        case "half":
            stream.sendall(struct.pack("<I", 100) + b"{")
            time.sleep(60)
        case "other message":
            say({"type": "reset", "obs": []})
        case "no reward":
            say({"type": "step", "obs": [{"obs": [0, 0]}], "done": [False]})
        case "other observation":
            say({"type": "step", "obs": [{"obs": [0, 0, 0]}], "reward": [0], "done": [False]})
        case "hangs up":
            stream.close()
            time.sleep(60)


if __name__ == "__main__":
    mode, _, once = sys.argv[1].partition("|")
    given = dict(word.lstrip("-").split("=", 1) for word in sys.argv[2:] if "=" in word)
    main(mode, once, int(given["port"]))
