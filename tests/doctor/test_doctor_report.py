"""The report: one self-contained page, with every finding and a chart that illustrates it."""

import dataclasses
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from faults.run_faults import RUN_FAULTS, alone
from myosu import cli
from myosu.doctor.finding import Finding
from myosu.doctor.report import BARS, HEIGHT, WIDTH, curve, distribution, report, write_report
from myosu.doctor.run import examine_run
from myosu.doctor.shown import column_of, curves_of
from myosu.doctor.verdict import Verdict
from myosu.errors import UserError
from web_runs import untrained_run


class Text(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.parts, self.open, self.inside = [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "path", "line", "circle", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "line", "circle", "rect"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.parts.append(data)


@pytest.mark.parametrize("fault", RUN_FAULTS[::3], ids=str)
def test_report_contains_every_finding_with_its_advice(fault):
    run = fault.make()
    findings = examine_run(run)
    page = report(Verdict("runs/a<b>", findings, ["seats"], ["its environment: gone & lost"], run))
    parsed = Text(page)
    text = " ".join(" ".join(parsed.parts).split())
    assert parsed.open == []
    for finding in findings:
        for part in (finding.message[1:], finding.cause[1:], re.sub(r"\s*(--[a-z-]+)\s*", r" \1 ", finding.advice)):
            assert "".join(part.split()) in "".join(text.split())
    assert "a<b>" in text and "<b>" not in page and "gone & lost" in text
    assert not re.search(r"(src|href)=|url\(|@import|<script", page), "the report must not load other files"
    pictures = page.count("<svg")
    assert pictures >= any(curves_of(finding, run.metrics.names) or column_of(finding) for finding in findings)


def test_a_curve_is_drawn_to_scale():
    root = ElementTree.fromstring(curve(np.array([[0.0, -1.0], [1.0, 3.0], [4.0, 1.0]])))
    x, y = zip(*(map(float, pair.split()) for pair in root.find("path").get("d")[1:].split("L")), strict=True)
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(0.25, abs=0.01)
    assert (y[0] - y[2]) / (y[0] - y[1]) == pytest.approx(0.5, abs=0.01) and y[1] < y[2] < y[0]
    assert min(x) > 0 and max(x) < WIDTH and min(y) > 0 and max(y) < HEIGHT
    assert {text.text for text in root.iter("text")} == {"-1", "3", "0", "4"}
    flat = ElementTree.fromstring(curve(np.array([[0.0, 2.0], [1.0, 2.0]])))
    assert "nan" not in flat.find("path").get("d")


def test_histogram_bars_are_proportional_to_counts():
    root = ElementTree.fromstring(distribution(np.array([0.0] * 30 + [29.0] * 10 + [15.0] * 15)))
    heights = [float(bar.get("height")) for bar in root.iter("rect")]
    assert len(heights) == 3 and heights[1] / heights[0] == pytest.approx(0.5, abs=0.01)
    assert heights[2] / heights[0] == pytest.approx(1 / 3, abs=0.01) and BARS == 30
    assert len(list(ElementTree.fromstring(distribution(np.full(5, 7.0))).iter("rect"))) == 1


def test_verdict_is_the_most_severe_then_most_confident_finding():
    unsure = Finding("warning", "entropy", "it fell", cause="settled", confidence=0.7)
    sure = Finding("warning", "learning-rate", "it is 1", cause="too high", confidence=0.9)
    grave = Finding("error", "fit", "no", cause="broken", confidence=0.3)
    assert Verdict("run", [unsure, sure], [], []).sentence == "too high"
    assert Verdict("run", [grave, unsure, sure], [], []).sentence == "broken"
    assert Verdict("run", [dataclasses.replace(sure, severity="info")], [], []).sentence == "nothing looks wrong."
    assert 'class="verdict good"' in report(Verdict("run", [], [], []))


def test_doctor_command_writes_the_html_report(tmp_path, capsys):
    folder, file = untrained_run(tmp_path / "run", "tictactoe"), tmp_path / "report.html"
    assert cli.run(["doctor", str(folder), "--minutes", "0", "--html", str(file)]) == 2  # no records
    assert str(file) in capsys.readouterr().out and "nothing looks wrong" in file.read_text().lower()
    with pytest.raises(UserError, match=r"--html .*No such file"):
        write_report(Verdict("run", [], [], [], alone(0)), tmp_path / "nowhere" / "report.html")
