"""Common to all plots: size, colours and output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from myosu.errors import UserError

#: The palette of Okabe and Ito, which is safe for colour-blind readers, in an order of good contrast.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#8C6D1F")
MARKERS = "osD^vP*X"
GREY = "#6b6b6b"
STYLE: dict[Any, Any] = {
    "font.size": 10, "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.titlepad": 12, "axes.labelcolor": "#333333", "axes.edgecolor": "#999999", "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "grid.color": "#e6e6e6",
    "xtick.color": "#555555", "ytick.color": "#555555", "legend.frameon": False, "lines.linewidth": 1.6,
    "svg.fonttype": "none", "svg.hashsalt": "myosu", "savefig.dpi": 160,
}


@contextmanager
def figure(path: Path, width: float = 8.0, height: float = 4.5) -> Iterator[tuple[Any, Any]]:
    """Context with a figure and axes of the given size in inches, written to ``path``, a .png or .svg, at the end."""
    if path.suffix not in (".png", ".svg"):
        raise UserError(f"-o {path}: a plot must be a .png or .svg file.")
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError("Plots need matplotlib: pip install 'myosu[plot]'") from None
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(drawn)
        yield drawn, drawn.add_subplot()
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date, and a fixed salt for ids: the same data give the same file.
        drawn.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {})
