"""A game that speaks Godot RL's protocol without Godot, well or badly: `fake_godot.py MODE|FILE --port=N`.

It counts to ten: action 1 of "step" adds 1 (reward 1), any other leaves it. A bad MODE shows at the third step. With
|FILE it does so only once: FILE is made then, and where it is there, the game behaves. After SIGUSR1 it answers the
next action with what is no JSON.
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
    count = steps = 0

    def seen():
        if mode == "parts":
            return [{"camera_2d": bytes([count, 1, 2, 255]).hex(), "kind": 2}]
        return [{"obs": [count, steps]}] * 2

    assert hear()["type"] == "handshake"
    while True:
        message = hear()
        match message["type"]:
            case "env_info":
                if mode == "nonsense at once":
                    say(b"hello")
                say({"type": "env_info", "n_agents": 1 if mode == "parts" else 2, "observation_space": [observations],
                     "action_space": [actions]})
            case "reset":
                count, steps = message.get("seed", 0) % 3, 0
                say({"type": "reset", "obs": seen()})
            case "action":
                steps += 1
                action = message["action"][0]
                gained = action.get("step", 0) == 1
                if mode == "parts":
                    assert len(action["turn"]) == 2 and len(action["gas"]) == 1, action
                    gained = action["gas"][0] > 0.5
                if mode == "mixed":
                    assert action["gas"] == [0.5], action
                count += gained
                if steps == 3 and mode != "plain" and not (once and os.path.exists(once)):
                    if once:
                        open(once, "w").close()
                    misbehave(mode, stream, say)
                if wrong:
                    misbehave(wrong.pop(), stream, say)
                say({"type": "step", "obs": seen(), "reward": [float(gained), 9.0], "done": [count >= 10, False],
                     **({"truncated": [steps >= 20, False]} if mode == "plain" else {})})
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
