#!/usr/bin/env bash
# Creates an environment (.venv-mlagents) with mlagents_envs 0.28, whose stubs tests/envs/test_unity.py uses; its pins
# (protobuf below 3.21) conflict with Myosu's.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -x .venv-mlagents/bin/python ] || "${PYTHON:-python3}" -m venv .venv-mlagents
.venv-mlagents/bin/python -m pip install --quiet "mlagents_envs==0.28.0" "protobuf<3.21" "setuptools<80"
.venv-mlagents/bin/python -c "import mlagents_envs.communicator_objects.unity_message_pb2; print('mlagents_envs is there')"
