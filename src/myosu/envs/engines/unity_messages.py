"""The messages of ML-Agents' protocol (API 1.5.0) as protobuf classes, built at runtime.

The classes are made from ``PROTOCOL``, which lists the fields that Myosu reads or writes. Protobuf keeps other fields
as unknown fields.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "communicator_objects"

#: Fields of each message: number, type and name. "*" marks repeated fields, "map" maps with string keys.
PROTOCOL = {
    # envelope
    "UnityMessageProto": "1 HeaderProto header, 2 UnityOutputProto unity_output, 3 UnityInputProto unity_input",
    "HeaderProto": "1 int32 status, 2 string message",
    "UnityOutputProto": "1 UnityRLOutputProto rl_output, "
                        "2 UnityRLInitializationOutputProto rl_initialization_output",
    "UnityInputProto": "1 UnityRLInputProto rl_input, 2 UnityRLInitializationInputProto rl_initialization_input",
    # the handshake
    "UnityRLInitializationOutputProto": "1 string name, 2 string communication_version, 3 string log_path, "
                                        "5 *BrainParametersProto brain_parameters, 7 string package_version, "
                                        "8 UnityRLCapabilitiesProto capabilities",
    "UnityRLInitializationInputProto": "1 int32 seed, 2 string communication_version, 3 string package_version, "
                                       "4 UnityRLCapabilitiesProto capabilities, 5 int32 num_areas",
    "UnityRLCapabilitiesProto": "1 bool baseRLCapabilities, 2 bool concatenatedPngObservations, "
                                "3 bool compressedChannelMapping, 4 bool hybridActions, 5 bool trainingAnalytics, "
                                "6 bool variableLengthObservation, 7 bool multiAgentGroups",
    # behaviours
    "BrainParametersProto": "3 *int32 vector_action_size_deprecated, 6 int32 vector_action_space_type_deprecated, "
                            "7 string brain_name, 8 bool is_training, 9 ActionSpecProto action_spec",
    "ActionSpecProto": "1 int32 num_continuous_actions, 2 int32 num_discrete_actions, "
                       "3 *int32 discrete_branch_sizes, 4 *string action_descriptions",
    # steps
    "UnityRLOutputProto": "2 map ListAgentInfoProto agentInfos, 3 bytes side_channel",
    "UnityRLInputProto": "1 map ListAgentActionProto agent_actions, 4 int32 command, 5 bytes side_channel",
    "ListAgentInfoProto": "1 *AgentInfoProto value",
    "ListAgentActionProto": "1 *AgentActionProto value",
    "AgentInfoProto": "7 float reward, 8 bool done, 9 bool max_step_reached, 10 int32 id, 11 *bool action_mask, "
                      "13 *ObservationProto observations, 14 int32 group_id, 15 float group_reward",
    "AgentActionProto": "1 *float vector_actions_deprecated, 4 float value, 6 *float continuous_actions, "
                        "7 *int32 discrete_actions",
    "ObservationProto": "1 *int32 shape, 2 int32 compression_type, 3 bytes compressed_data, 4 FloatData float_data, "
                        "5 *int32 compressed_channel_mapping, 6 *int32 dimension_properties, "
                        "7 int32 observation_type, 8 string name",
    "FloatData": "1 *float data",
    # demonstrations
    "DemonstrationMetaProto": "1 int32 api_version, 2 string demonstration_name, 3 int32 number_steps, "
                              "4 int32 number_episodes, 5 float mean_reward",
    "AgentInfoActionPairProto": "1 AgentInfoProto agent_info, 2 AgentActionProto action_info",
}

#: Values of enumerations, which are sent as numbers.
STEP, RESET = 0, 1
PNG = 1
CONTINUOUS = 1
#: Values of ``HeaderProto.status``.
GOES_ON, ENDS = 200, 400

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"int32": _Field.TYPE_INT32, "float": _Field.TYPE_FLOAT, "bool": _Field.TYPE_BOOL,
            "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES}


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="myosu/unity.proto", package=PACKAGE, syntax="proto3")
    for name, fields in PROTOCOL.items():
        message = file.message_type.add(name=name)
        for text in fields.split(", "):
            found = re.fullmatch(r"(\d+) (\*|map )?(\w+) (\w+)", text)
            assert found, text
            number, many, kind, field_name = found.groups()
            field = message.field.add(name=field_name, number=int(number), json_name=field_name,
                                      label=_Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL)
            if many == "map ":
                entry = message.nested_type.add(name=f"{field_name.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
                _set_type(entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL), kind)
                kind = f"{name}.{entry.name}"
            _set_type(field, kind)
    return file


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


_pool = descriptor_pool.DescriptorPool()  # not the default pool, where ML-Agents' own package may use the same names
_pool.Add(_describe())


def message_class(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


UnityMessage = message_class("UnityMessageProto")
UnityInput = message_class("UnityInputProto")
BrainParameters = message_class("BrainParametersProto")
AgentInfo = message_class("AgentInfoProto")
AgentAction = message_class("AgentActionProto")
Observation = message_class("ObservationProto")
DemonstrationMeta = message_class("DemonstrationMetaProto")
AgentInfoActionPair = message_class("AgentInfoActionPairProto")
