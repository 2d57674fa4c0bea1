"""Scratch memory: what recurrent layers and fused attention hold while they run, against measured peaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from costmodel.planning import memory
from costmodel.read.onnx import load

NETWORKS = ("lstm_gru", "bert_base_fused")


@pytest.mark.parametrize("binding", [0, 1])
@pytest.mark.parametrize("name", NETWORKS)
def test_peaks_are_those_that_onnx_runtime_was_measured_with(shared: Path, name: str, binding: int) -> None:
    """Without reuse, arena and optimisation the runtime holds what is alive, and scratch memory."""
    entry: dict[str, Any] = json.loads((shared / "models" / "manifest.json").read_text())[name]
    measured, = (
        min(run["peak_bytes"])
        for run in entry["memory"]
        if run["binding"] == binding and not run["opt"] and not run["arena"] and not run["reuse"]
    )
    plan = memory(load(shared / "models" / f"{name}.onnx")).at(entry["symbols"][binding])
    assert plan.peak_bytes == pytest.approx(measured, rel=0.03)
