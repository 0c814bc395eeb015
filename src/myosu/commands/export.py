"""``myosu export``"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from myosu.commands.options import parse, trust_if


@dataclass
class Options:
    """Export the network of a trained agent to files that other programs can run without Myosu."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run's folder (its latest checkpoint), RUN/checkpoints/best, or the folder of one checkpoint."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]
    """The folder to write to."""
    format: Literal["onnx", "torch"] = "onnx"
    """onnx: for onnxruntime and others (needs pip install "myosu[onnx]"); torch: for torch.export.load."""

    trust: bool = False
    """Allow user code that the run names: a game, environment or algorithm in a file or module."""


def main(arguments: list[str]) -> int:
    options = parse(Options, "export", arguments)
    trust_if(options.trust)
    from myosu.publish.export import export

    for path in export(options.run, options.output, options.format):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    return 0
