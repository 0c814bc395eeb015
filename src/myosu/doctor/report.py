"""A verdict as one HTML page with inline charts, to read in a browser or to print."""

from __future__ import annotations

import re
import time
from html import escape
from pathlib import Path

import numpy as np

from myosu.doctor.finding import Finding
from myosu.doctor.run_view import RunView
from myosu.doctor.shown import column_of, curves_of
from myosu.doctor.verdict import Verdict
from myosu.errors import UserError
from myosu.runs.curves import thin

#: Width and height of a chart, and its left and bottom margins for numbers, in pixels; bars of a histogram; maximum
#: number of curves per finding.
WIDTH, HEIGHT, LEFT, BELOW, BARS, MOST = 340, 130, 52, 20, 30, 2

_STYLE = Path(__file__).with_name("report.css")


def write_report(verdict: Verdict, file: Path) -> None:
    """Write the report to ``file``. Raises UserError if the file cannot be written."""
    try:
        file.write_text(report(verdict), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--html {file}: {error.strerror}.") from error


def report(verdict: Verdict) -> str:
    """The report as the text of a self-contained HTML page."""
    loud = [finding for finding in verdict.findings if finding.severity != "info"]
    notes = [finding for finding in verdict.findings if finding.severity == "info"]
    grave = loud[0].severity if loud else "info" if notes else "good"
    name = Path(verdict.name).name or verdict.name
    parts = [f"<h1>{escape(name)}</h1>", f'<p class="faint">{escape(_about(verdict))}</p>',
             f'<p class="verdict {grave}">{_with_flags(_capital(verdict.sentence))}</p>']
    for title, findings in (("What is wrong", loud), ("Worth knowing", notes)):
        parts += [f"<h2>{title}</h2>", *(_article(finding, verdict.run) for finding in findings)] if findings else []
    for title, lines in (("Looked at and found healthy", verdict.healthy), ("Not judged", verdict.missing)):
        parts += [f"<h2>{title}</h2><ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"] if lines else []
    style = _STYLE.read_text(encoding="utf-8")
    return (f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(name)}: Myosu's doctor</title><style>{style}</style></head>\n<body>\n"
            + "\n".join(parts) + "\n</body>\n</html>\n")


def _about(verdict: Verdict) -> str:
    parts = ["Myosu's doctor", time.strftime("%Y-%m-%d %H:%M")]
    if (run := verdict.run) is not None:
        latest = run.metrics.latest
        parts += [run.algorithm, f"{latest.get('update', 0):,} updates", f"{latest.get('env_steps', 0):,} steps",
                  f"{latest.get('seconds', 0) / 60:.1f} minutes of training"]
    return " · ".join(parts)


def _article(finding: Finding, run: RunView | None) -> str:
    rows = [("Likely cause" if finding.confidence < 0.9 else "Cause", f"{_capital(finding.cause)} "
             f"({finding.confidence:.0%} sure)" if finding.cause else ""),
            ("What to change", finding.advice), ("After the actions", " ".join(finding.history))]
    pictures = [] if run is None else _pictures(finding, run)
    severity = "note" if finding.severity == "info" else finding.severity
    return (f'<article class="{finding.severity}"><h3>{escape(_capital(finding.check.replace("-", " ")))} '
            f"<span>{severity}</span></h3><p>{escape(_capital(finding.message))}</p>"
            + (f'<div class="pictures">{"".join(pictures)}</div>' if pictures else "")
            + "<dl>" + "".join(f"<dt>{title}</dt><dd>{_with_flags(text)}</dd>" for title, text in rows if text)
            + "</dl></article>")


def _pictures(finding: Finding, run: RunView) -> list[str]:
    pictures = []
    for name in curves_of(finding, run.metrics.names)[:MOST]:
        points = np.stack([run.metrics.at(name, "minutes"), run.metrics.values(name)], axis=1)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) > 1:
            pictures.append(_figure(f"{name} over minutes of training", curve(thin(points))))
    column = column_of(finding)
    if column and len(run.games) > 1:
        values = run.returns if column == "return" else run.column("length")
        what = "returns of the first seat" if column == "return" and run.num_players == 2 else f"{column}s"
        pictures.append(_figure(f"{what} of {len(values):,} games", distribution(values)))
    return pictures


def _figure(caption: str, picture: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"


def curve(points: np.ndarray) -> str:
    """An SVG chart of finite points float64 [n, 2], n > 1, sorted by x."""
    x, y = _scale(points[:, 0], LEFT, WIDTH - 6), _scale(points[:, 1], HEIGHT - BELOW, 8)
    path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))
    dots = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.2"/>' for a, b in zip(x, y, strict=True)) \
        if len(points) <= BARS else ""
    low, high = points.min(axis=0), points.max(axis=0)
    return _picture(f'<path d="{path}"/>{dots}', (low[0], high[0]), (low[1], high[1]))


def distribution(values: np.ndarray) -> str:
    """An SVG histogram of ``values`` float64 [n]."""
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, BARS, (low, high) if high > low else (low - 0.5, high + 0.5))
    x = _scale(edges, LEFT, WIDTH - 6)
    top = _scale(np.append(counts, 0), HEIGHT - BELOW, 8)[:-1]
    bars = "".join(f'<rect x="{x[k]:.1f}" y="{top[k]:.1f}" width="{max(1.0, x[k + 1] - x[k] - 1):.1f}" '
                   f'height="{HEIGHT - BELOW - top[k]:.1f}"/>' for k in range(BARS) if counts[k])
    return _picture(bars, (edges[0], edges[-1]), (0, counts.max()))


def _picture(inside: str, x: tuple[float, float], y: tuple[float, float]) -> str:
    texts = [(LEFT - 6, 14, "end", y[1]), (LEFT - 6, HEIGHT - BELOW, "end", y[0]),
             (LEFT, HEIGHT - 5, "start", x[0]), (WIDTH - 6, HEIGHT - 5, "end", x[1])]
    numbers = "".join(f'<text x="{a}" y="{b}" text-anchor="{anchor}">{value:.3g}</text>'
                      for a, b, anchor, value in texts)
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="from {y[0]:.3g} to {y[1]:.3g}">'
            f'<line x1="{LEFT}" y1="{HEIGHT - BELOW}" x2="{WIDTH - 6}" y2="{HEIGHT - BELOW}"/>{inside}{numbers}</svg>')


def _scale(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """Map ``values`` linearly: the least to ``start``, the greatest to ``end``; the middle if all are equal."""
    span = float(np.ptp(values))
    return start + (end - start) * ((values - values.min()) / span if span else np.full(len(values), 0.5))


def _with_flags(text: str) -> str:
    """``text`` as HTML, with each command-line flag in <code>, which is not broken over two lines."""
    return re.sub(r"--[a-z][a-z-]*", r"<code>\g<0></code>", escape(text))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
