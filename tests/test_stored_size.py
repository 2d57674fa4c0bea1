"""The size of files, against those that ONNX Runtime's quantisers wrote (tests/data, by benchmarks/stored_size.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from costmodel.build import Builder
from costmodel.errors import InvalidChoice
from costmodel.graph import Network
from costmodel.specs import zoo
from costmodel.stored_size import storage

CASES = json.loads((Path(__file__).parent / "data" / "stored_size.json").read_text())["cases"]
WITHIN = 0.02


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['network']}-{case['precision']}-{case['options']}")
def test_as_the_file_is(case: Mapping[str, Any]) -> None:
    told = storage(zoo(case["network"]), case["precision"], **case["options"]).at()
    assert told == pytest.approx(case["file_bytes"], rel=WITHIN)


def layers() -> Network:
    """Two products of one matrix, a bias, and a norm."""
    b = Builder("small")
    w = b.weight("w", (64, 64))
    x = b.op("MatMul", b.input("x", ("N", 64)), w)
    y = b.layer_norm(b.add_weight(b.op("MatMul", x, w), (64,)))
    return b.finish(y)


MATRIX, SMALL = 64 * 64, 3 * 64  # the bias, and scale and bias of the norm

# by hand: numbers, scales of 4 bytes, zero points of 4 bits (two to a byte)
SIZES: list[tuple[str, Mapping[str, Any], int]] = [
    ("stored", {}, 4 * (MATRIX + SMALL)),
    ("fp32", {}, 4 * (MATRIX + SMALL)),
    ("fp16", {}, 2 * (MATRIX + SMALL)),
    ("bf16", {}, 2 * (MATRIX + SMALL)),
    ("int8-dynamic", {}, MATRIX + 64 * 5 + 4 * SMALL),
    ("int4", {}, MATRIX // 2 + 64 * 2 * 4 + 4 * SMALL),
    ("int4", {"zero_points": True}, MATRIX // 2 + 64 * 2 * 4 + 64 + 4 * SMALL),
    ("int4", {"group": 128}, 64 * 128 // 2 + 64 * 4 + 4 * SMALL),  # padded to a whole group
]


@pytest.mark.parametrize(("precision", "options", "nbytes"), SIZES)
def test_weights_by_hand(precision: str, options: Mapping[str, Any], nbytes: int) -> None:
    assert storage(layers(), precision, **options).weight_bytes == nbytes


def test_scales_have_the_type_of_the_network() -> None:
    full, half = (storage(zoo("bert_tiny", precision=precision), "int4").scale_bytes for precision in ("fp32", "fp16"))
    assert full == 2 * half


def test_open_parameters_stay_open() -> None:
    told = storage(zoo("resnet18", classes="K"), "fp16")
    assert told.weight_bytes.at(K=1000) == storage(zoo("resnet18"), "fp16").weight_bytes


WRONG = [
    ({"precision": "int5"}, "there is no precision 'int5' to store in; did you mean 'int"),
    ({"precision": "int4", "group": 0}, "group=0: numbers that share a scale are at least one; usual are 32, 64 and 128"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_errors_tell_the_cure(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(InvalidChoice) as told:
        storage(layers(), **options)
    assert message in str(told.value)
