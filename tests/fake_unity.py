"""A client that speaks ML-Agents' protocol as a Unity build does, well or badly:
`fake_unity.py MODE|FILE --mlagents-port N [--stubs mlagents]`.

Its agents walk in a corridor of five cells; the last one ends the episode and pays 1, each step costs 0.1, 20 steps
are the limit. With |FILE a bad MODE shows only once (it makes FILE then), at the third step. The messages are made by
Myosu's descriptions, or by ML-Agents' own stubs.
"""

import io
import os
import struct
import sys
import time
from uuid import UUID

import grpc
import numpy as np
from PIL import Image


def stubs(kind):
    """The classes of the messages, by name."""
    if kind == "mlagents":
        import importlib
        import pkgutil

        import mlagents_envs.communicator_objects as package
        modules = [importlib.import_module(f"{package.__name__}.{found.name}")
                   for found in pkgutil.iter_modules(package.__path__) if found.name.endswith("_pb2")]
        return lambda name: next(getattr(module, name) for module in modules if hasattr(module, name))
    from myosu.envs.engines.unity_messages import message_class
    return message_class


class Walker:
    """One agent. Its id is a new one for each episode."""

    ids = 0

    def __init__(self, mode, period=1):
        self.mode, self.period = mode, period
        self.begin()

    def begin(self):
        Walker.ids += 1
        self.id, self.place, self.steps, self.reward = Walker.ids, 0, 0, 0.0

    def act(self, action):
        if self.mode == "continuous":
            assert len(action.continuous_actions) == 2 == len(action.vector_actions_deprecated)
            move = round(action.continuous_actions[0])
        else:
            chosen = list(action.discrete_actions)
            gas = list(action.continuous_actions)  # 0: the trainer's default action while it counts the agents
            assert gas in ([0.5], [0.0]) if self.mode == "mixed" else not gas, action
            assert [*action.continuous_actions, *chosen] == list(action.vector_actions_deprecated), action
            assert len(chosen) == (2 if self.mode == "branches" else 1), chosen
            move = 0 if gas == [0.0] else chosen[0] - 1
            assert not (move == -1 and self.place == 0), "a forbidden action"
        self.place = min(4, max(0, self.place + move))
        self.steps += 1
        self.reward += (1.0 if self.place == 4 else 0.0) - 0.1

    @property
    def done(self):
        return self.place == 4 or self.steps == 20

    def info(self, info):
        info.id, info.reward, info.done = self.id, self.reward, self.done
        info.max_step_reached = self.done and self.place != 4
        self.reward = 0.0
        self.observe(info)
        if self.mode not in ("continuous", "unmasked"):
            info.action_mask.extend([self.place == 0, False, False, *[False, False] * (self.mode == "branches")])
        return info

    def observe(self, info):
        cells = np.zeros(5, np.float32)
        cells[self.place] = 1
        vector = info.observations.add(shape=[5], name="cells")
        vector.float_data.data.extend(cells)
        if self.mode == "picture":
            # Two pictures of three channels for four: the last two of the second one go nowhere.
            planes = np.arange(2 * 3 * 6, dtype=np.uint8).reshape(2, 3, 6) + self.place
            data = b""
            for half in (planes[..., :3], planes[..., 3:]):
                file = io.BytesIO()
                Image.fromarray(half).save(file, "PNG")
                data += file.getvalue()
            info.observations.add(shape=[2, 3, 4], name="camera", compression_type=1, compressed_data=data,
                                  compressed_channel_mapping=[0, 1, 2, 3, -1, -1])


def read_channels(data):
    """What the trainer says: {"time_scale": …, parameter: …}."""
    found, place = {}, 0
    while place < len(data):
        channel, (length,) = UUID(bytes_le=data[place:place + 16]), struct.unpack_from("<i", data, place + 16)
        body = data[place + 20:place + 20 + length]
        place += 20 + length
        if str(channel) == "e951342c-4f7e-11ea-b238-784f4387d1f7":
            if body[0] == 2:
                found["time_scale"] = struct.unpack("<f", body[4:])[0]
        elif str(channel) == "534c891e-810f-11ea-a9d0-822485860400":
            size = struct.unpack_from("<i", body)[0]
            found[body[4:4 + size].decode()] = struct.unpack_from("<f", body, 8 + size)[0]
        else:  # what ML-Agents says of its training
            assert str(channel) == "b664a4a9-d86f-5a5f-95cb-e8353a7e8356", channel
    return found


def statistics(values):
    data = b""
    for name, value in values.items():
        body = struct.pack("<i", len(name)) + name.encode() + struct.pack("<fi", value, 1)
        data += UUID("a1d8f7b7-cec8-50f9-b78b-d3e165a78520").bytes_le + struct.pack("<i", len(body)) + body
    return data


def main(mode, once, port, message):
    if mode == "dies at once":
        print("Unity: no licence")
        sys.exit(3)
    if mode == "never connects":
        time.sleep(60)
    Message = message("UnityMessageProto")
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    call = channel.unary_unary("/communicator_objects.UnityToExternalProto/Exchange",
                               request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
                               response_deserializer=Message.FromString)

    def exchange(request):
        try:
            answer = call(request, wait_for_ready=True, timeout=60)
        except grpc.RpcError:
            sys.exit(5)
        if answer.header.status != 200:
            sys.exit(0)
        return answer.unity_input

    hello = Message()
    hello.header.status = 200
    about = hello.unity_output.rl_initialization_output
    about.name, about.package_version = "Corridor", "2.3.0"
    about.communication_version = {"other version": "2.0.0", "older": "1.3.0"}.get(mode, "1.5.0")
    about.capabilities.baseRLCapabilities = True
    welcome = exchange(hello).rl_initialization_input
    assert welcome.communication_version == "1.5.0" and welcome.capabilities.hybridActions, welcome
    empty = Message()
    empty.header.status = 200
    told = exchange(empty).rl_input
    groups = {"Walk?team=0": [Walker(mode, period) for period in ((1, 2, 3) if mode == "agents" else (1,))]}
    if mode == "two":
        groups["Other?team=0"] = [Walker("discrete")]
    said, steps, waiting = read_channels(told.side_channel), 0, {}
    while True:
        said |= read_channels(told.side_channel)
        reply = Message()
        reply.header.status = 200
        if told.command == 1:
            steps = 0
            for walkers in groups.values():
                for walker in walkers:
                    walker.begin()
            waiting = groups
        else:
            steps += 1
            if steps == 3 and once != "-" and not (once and os.path.exists(once)):
                if once:
                    open(once, "w").close()
                misbehave(mode, reply, exchange)
            for name, walkers in waiting.items():
                given = told.agent_actions[name].value
                assert len(given) == len(walkers), f"{len(given)} actions for {len(walkers)} agents of {name}"
                for walker, action in zip(walkers, given, strict=True):
                    walker.act(action)
        waiting, output = {}, reply.unity_output.rl_output
        for name, walkers in groups.items():
            ended = [walker for walker in walkers if walker.done]
            for walker in ended:
                walker.info(output.agentInfos[name].value.add())
                walker.begin()
            waiting[name] = [walker for walker in walkers if steps % walker.period == 0]
            for walker in waiting[name]:
                walker.info(output.agentInfos[name].value.add())
            if mode == "undescribed" or (not ended and not waiting[name]):
                continue
            brain = reply.unity_output.rl_initialization_output.brain_parameters.add(brain_name=name, is_training=True)
            if mode == "continuous":
                brain.action_spec.num_continuous_actions = 2
            elif mode == "older":
                brain.vector_action_size_deprecated.append(3)
            else:
                sizes = [3, 2] if mode == "branches" else [3]
                brain.action_spec.num_discrete_actions = len(sizes)
                brain.action_spec.discrete_branch_sizes.extend(sizes)
                brain.action_spec.num_continuous_actions = 1 if mode == "mixed" else 0
        output.side_channel = statistics(said)
        told = exchange(reply).rl_input


def misbehave(mode, reply, exchange):
    if mode == "dies":
        sys.exit(7)
    if mode == "hangs":
        time.sleep(60)
    if mode == "garbage":
        exchange(b"\xff\xff nonsense")
    if mode == "quits":
        reply.header.status = 400
        exchange(reply)
    if mode == "other observation":
        info = reply.unity_output.rl_output.agentInfos["Walk?team=0"].value.add(id=Walker.ids)
        info.observations.add(shape=[2]).float_data.data.extend([1, 2])
        exchange(reply)
    if mode == "channels":
        reply.unity_output.rl_output.side_channel = b"\x00" * 16 + struct.pack("<i", 99)
        exchange(reply)


if __name__ == "__main__":
    mode, bar, once = sys.argv[1].partition("|")
    given = dict(zip(sys.argv[2:], sys.argv[3:], strict=False))
    main(mode, once if bar else "-", int(given["--mlagents-port"]), stubs(given.get("--stubs")))
