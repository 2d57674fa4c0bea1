"""Damaged files: an answer or a CostModelError, nothing else.

The 20,000 of benchmarks/mutations.py also watch time and memory.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from costmodel.counts import count
from costmodel.errors import CostModelError
from costmodel.planning import memory
from costmodel.read.onnx import load
from tests.conftest import shared_folder
from tests.read.mutations import mutations

COUNT = 500


def models() -> list[bytes]:
    """Small real graphs: the reference graphs where they are, and those inside the onnx package."""
    folder = shared_folder()
    own = sorted((folder / "models").glob("*.onnx")) if folder else []
    light = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
    return [path.read_bytes() for path in (*own, *light) if path.stat().st_size < 200_000]


def answer(data: bytes) -> str:
    try:
        network = load(data)
        str(count(network).total.macs)
        memory(network).lifetimes.blocks  # noqa: B018
    except CostModelError as error:
        return type(error).__name__
    return "read"


def test_damage_is_an_answer_or_an_error_of_ours() -> None:
    outcomes: dict[str, int] = {}
    for seed, data in mutations(models(), COUNT):
        try:
            outcome = answer(data)
        except Exception as error:
            pytest.fail(f"seed {seed}: {type(error).__name__}: {error}")
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert outcomes.get("MalformedModel", 0) > COUNT // 10
    assert outcomes.get("read", 0) > 0
