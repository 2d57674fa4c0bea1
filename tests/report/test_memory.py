"""Memory plans as tables and pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from costmodel.build import Builder
from costmodel.errors import InvalidChoice
from costmodel.planning import Memory, memory
from costmodel.report.memory import memory_report, step_rows
from costmodel.specs import zoo


def planned() -> Memory:
    b = Builder("two")
    return memory(b.finish(b.linear(b.linear(b.input("x", ("N", 16)), 64, name="wide"), 4, name="y")))


def test_steps_say_what_is_taken_and_given_back() -> None:
    found = planned()
    rows = step_rows(found.layers, found.at(N=1))
    assert [(row["layer"], row["live_bytes"], row["taken_bytes"], row["given_back_bytes"]) for row in rows] == [
        ("wide", 320, 320, 64),
        ("y", 272, 16, 272),
    ]


@pytest.mark.parametrize("name", ["resnet18", "bert_tiny"])
@pytest.mark.parametrize("planner", ["ideal", "onnxruntime", "naive"])
def test_what_is_taken_and_not_given_back_is_alive(name: str, planner: str) -> None:
    found = memory(zoo(name), planner=planner)
    alive = 0
    for row in step_rows(found.layers, found.at()):
        alive += row["taken_bytes"]
        assert alive == row["live_bytes"]
        alive -= row["given_back_bytes"]
    assert alive == 0


def test_steps_are_the_rows_of_a_csv() -> None:
    found = planned()
    report = memory_report(found, found.at(N=1), {"N": 1}, by="step")
    assert [row["layer"] for row in report.rows] == ["wide", "y"]
    assert report.data["steps"] == report.rows


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_a_plan_is_drawn(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra 'plots'")
    from costmodel.report.arena import plot_plan

    path = tmp_path / f"arena{suffix}"
    plot_plan(planned().at(N=1), path, title="two")
    drawn = path.read_bytes()
    assert len(drawn) > 2000
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if suffix == ".svg":
        text = drawn.decode()
        assert "peak 320 B" in text
        assert "offset in the arena (B)" in text
        assert text.count("wide") >= 1


def test_a_picture_of_no_known_kind(tmp_path: Path) -> None:
    from costmodel.report.arena import plot_plan

    with pytest.raises(InvalidChoice, match=r"not as 'arena.txt'; call it arena.svg"):
        plot_plan(planned().at(N=1), tmp_path / "arena.txt")
