"""What reports say of results that a whole command cannot easily give: disagreements, missing rules, undefined figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.accuracy import Accuracy, Metrics
from costmodel.build import Builder
from costmodel.checking import Checked
from costmodel.counts import count
from costmodel.planning import memory
from costmodel.prediction import Estimate
from costmodel.report.calibrating import accuracy_report, calibration_report
from costmodel.report.counting import MOST_PROBLEMS, counts_report
from costmodel.report.listing import devices_report
from costmodel.report.memory import memory_report
from costmodel.report.networks import as_printed, network_report
from costmodel.report.output import Grid, Report
from costmodel.report.predicting import interval
from costmodel.schema.spec import Figure
from costmodel.specs import described, zoo
from costmodel.units import parse_quantity


def cells(report: Report) -> list[list[str]]:
    return [list(row) for part in report.text() if isinstance(part, Grid) for row in part.rows]


def texts(report: Report) -> list[str]:
    return [part for part in report.text() if isinstance(part, str)]


# -- counts -----------------------------------------------------------------------------------------------------


def unknown_ops(layers: int) -> Builder:
    b = Builder("odd")
    x = b.conv(b.input("image", (1, 3, 4, 4)), 8)
    for _ in range(layers):
        b.output(b.op("Frobnicate", x, domain="com.example"))
    return b


@pytest.mark.parametrize(("layers", "told"), [(1, "without 1 layer:"), (MOST_PROBLEMS + 3, "and 3 more")])
def test_what_was_not_counted_is_said(layers: int, told: str) -> None:
    network = unknown_ops(layers).finish()
    report = counts_report(count(network), memory(network), {})
    assert len(report.data["unsupported"]) == layers
    assert told in "\n".join(texts(report))
    assert len([line for line in texts(report) if "Frobnicate" in line]) == min(layers, MOST_PROBLEMS)


def test_shares_of_macs_add_up_to_the_whole() -> None:
    b = Builder("two")
    network = b.finish(b.linear(b.relu(b.linear(b.input("x", ("N", 30)), 10)), 1))  # 300 and 10 MACs
    report = counts_report(count(network), memory(network), {"N": 1}, by="layer")
    assert [row[-1] for row in cells(report) if len(row) > 3] == ["96.8%", "0.0%", "3.2%"]


def test_no_macs_is_no_share() -> None:
    b = Builder("none")
    network = b.finish(b.relu(b.input("x", (4,))))
    report = counts_report(count(network), memory(network), {}, by="op")
    assert cells(report)[-1] == ["Relu", "1", "0", "4", "0", "16 B"]


def test_memory_names_what_is_alive_at_the_peak() -> None:
    b = Builder("two")
    network = b.finish(b.linear(b.linear(b.input("x", ("N", 16)), 64), 4))
    planned = memory(network)
    report = memory_report(planned, planned.at(N=1), {"N": 1})
    assert [row["bytes"] for row in report.data["holders"]] == [256, 64]
    assert ["peak", "320", "320 B"] in cells(report)


# -- figures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("printed", "counted", "verdict"),
    [("4.09 G", 4_089_184_256, "none"), ("4.12 G", 4_089_184_256, "-0.75%"), (100, 101, "+1.00%"), (100, 100, "none")],
)
def test_a_published_figure_agrees_or_tells_by_how_much(printed: str | int, counted: int, verdict: str) -> None:
    family, name, _ = described("resnet18")
    checked = Checked("a paper", "macs", Figure.read(printed), counted, {}, {"N": 1})
    report = network_report(zoo(name), [checked], family=family, spec=family.networks[name], parameters={})
    row = cells(report)[-1]
    assert row[-1] == verdict
    assert report.data["published"][0]["agrees"] is (verdict == "none")
    assert "[1] a paper" in texts(report)


@given(st.integers(1, 999), st.sampled_from(["k", "M", "G"]))
def test_a_rounded_figure_is_shown_as_it_was_printed(number: int, prefix: str) -> None:
    assert as_printed(Figure.read(f"{number} {prefix}")) == f"{number} {prefix}"


@given(st.floats(1e-6, 1e3), st.floats(1.0, 1e4))
def test_an_interval_reads_back_to_its_ends(low: float, factor: float) -> None:
    first, _, last = interval(Estimate(low, low, low * factor, 0.9), "s").partition(" to ")
    unit = last.partition(" ")[2]
    shown_low = first if " " in first else f"{first} {unit}"
    assert parse_quantity(shown_low, "s") == pytest.approx(low, rel=6e-3)
    assert parse_quantity(last, "s") == pytest.approx(low * factor, rel=6e-3)


# -- lists and accuracy -----------------------------------------------------------------------------------------


def test_a_profile_of_an_undescribed_device_is_listed() -> None:
    report = devices_report([], ["my-board/ncnn/fp32/t1", "my-board/ncnn/fp32/t4", "my-board/tflite/int8/t4"])
    assert [row[:3] + row[3].split("\n") for row in cells(report)] == [
        ["my-board", "", "", "ncnn/fp32/t1, t4", "tflite/int8/t4"]
    ]  # fmt: skip
    assert texts(report)[0].startswith("1 device, 3 profiles.")


def accuracy(groups: Iterable[str], spearman: float = 0.98) -> Accuracy:
    found = Metrics(40, 0.2, 0.123456, 0.4, spearman, 0.91, 1.234)
    return Accuracy("a-protocol", found, baselines={"macs_linear": found}, groups=dict.fromkeys(groups, found))


def test_accuracy_stands_beside_its_baselines_and_by_group() -> None:
    report = accuracy_report(accuracy(["phone", "gpu"]))
    assert [row[0] for row in cells(report)] == ["costmodel", "macs_linear", "phone", "gpu"]
    assert cells(report)[0] == ["costmodel", "40", "12.3%", "20%", "40%", "0.980", "91%", "1.23"]
    assert [row["method"] for row in report.rows] == ["costmodel", "baseline macs_linear", "of phone", "of gpu"]


def test_a_single_group_is_not_repeated() -> None:
    assert [row[0] for row in cells(accuracy_report(accuracy(["phone"])))] == ["costmodel", "macs_linear"]


def test_what_calibration_left_out_is_said() -> None:
    report = calibration_report({}, Path("profiles"), {"a/b/c/d": "2 networks"})
    assert texts(report)[1:] == ["No profile of a/b/c/d: 2 networks", "Wrote 0 profiles to profiles"]
