"""The frame of spec files: figures with their rounding, layers unfolded from what a person writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from costmodel.errors import InvalidSpec
from costmodel.schema.spec import Figure, Step, read_family


@pytest.mark.parametrize(
    ("figure", "agreeing", "others"),
    [
        (25_557_032, [25_557_032], [25_557_031, 25_557_033]),
        ("4.089 G", [4_088_500_000, 4_089_184_256, 4_089_500_000], [4_088_499_999, 4_089_500_001]),
        ("569 M", [568_740_352], [568_499_999, 569_500_001]),
        ("0.040 G", [40_476_448], [41_000_000]),
        ("5.29M", [5_288_548], [5_280_000]),
        ("12 k", [11_500, 12_500], [11_499]),
        ("7", [7], [8]),
    ],
)
def test_a_figure_agrees_with_what_rounds_to_it(figure: int | str, agreeing: list[int], others: list[int]) -> None:
    read = Figure.read(figure)
    assert all(map(read.agrees, agreeing))
    assert not any(map(read.agrees, others))


@pytest.mark.parametrize("given", ["4.089 GFLOPs", "-1", "1e9", True, 1.5, None, ""])
def test_figures_that_are_none(given: Any) -> None:
    with pytest.raises(ValueError, match=r"whole number, or a text such as '4\.089 G'"):
        Figure.read(given)


def test_layers_unfold() -> None:
    assert Step.model_validate("relu").kind == "relu"
    common = {"from": "a", "as": ["b", "c"], "when": "x", "repeat": 2, "name": "n"}
    step = Step.model_validate({"conv": 64, "kernel": 3, **common})
    assert (step.kind, step.value, step.options) == ("conv", 64, {"kernel": 3})
    assert (step.source, step.names, step.when, step.repeat, step.name) == ("a", ("b", "c"), "x", 2, "n")
    join = Step.model_validate({"concat": ["p4", [], ["relu"], {"when": "x", "layers": ["relu"]}], "axis": 2})
    assert [(branch.tensor, len(branch.steps), branch.when) for branch in join.branches] == [
        ("p4", 0, None), (None, 0, None), (None, 1, None), (None, 1, "x"),
    ]  # fmt: skip
    assert join.options == {"axis": 2}
    assert len(Step.model_validate({"layers": ["relu", "bn"]}).steps) == 2


@pytest.mark.parametrize("given", [{}, 3, [], {"when": "x", "conv": 3}, {"add": {}}, {"add": [3]}, {"add": [{"lyers": []}]}])
def test_layers_that_are_none(given: Any) -> None:
    with pytest.raises(ValidationError):
        Step.model_validate(given)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('path = "x"', ["unknown key 'path'"]),
        ("blocks.b = {}", ["blocks.b.layers", "Field required"]),
        ("blocks.b = { layers = [] }", ["blocks.b.layers", "at least 1"]),
        ('blocks.b = { layers = ["relu"], nedes = [] }', ["blocks.b.nedes", "did you mean 'needs'"]),
        ('body = { layers = ["relu"], output = ["x"] }', ["body.output", "did you mean 'outputs'"]),
        ("networks.n.benchmarks.ncn = { names = ['n'] }", ["networks.n.benchmarks.ncn"]),
        ("networks.n.benchmarks.ncnn = { names = [] }", ["networks.n.benchmarks.ncnn, entry 1, names"]),
        ("networks.n.published = [{ source = 's', prams = 1 }]", ["published, entry 1, prams", "did you mean 'params'"]),
        ("inputs = { x = [1.5] }", ["inputs.x"]),
    ],
)
def test_faults_of_the_frame(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "net.toml"
    path.write_text(text)
    with pytest.raises(InvalidSpec) as caught:
        read_family(path)
    assert all(part in str(caught.value) for part in ["net.toml", *parts]), str(caught.value)
