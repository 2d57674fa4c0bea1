"""ONNX's own node tests: every output's dtype and shape against the reference data.

Where a shape depends on data, the rank must be right and the open extent must be able to take the reference's number;
with the deciding inputs as constants it must be exact.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from costmodel.dims import Dim, bounds
from costmodel.graph import NUMBERED_DTYPES, Tensor
from costmodel.read.onnx import load

# ops whose output shape follows from the content of float or byte data even where that is constant: bounded, not exact
DECIDED_BY_CONTENT = {
    "ImageDecoder": "height and width stand inside the encoded image",
    "NonMaxSuppression": "how many boxes remain depends on how they overlap",
}


@functools.lru_cache(maxsize=1)
def cases() -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return tuple(collect_testcases(None))


def with_constants(model: onnx.ModelProto, inputs: list[Any]) -> onnx.ModelProto:
    """The model with its integer inputs fixed to the test's numbers."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for info, value in zip(model.graph.input, inputs, strict=False):
        if isinstance(value, (np.ndarray, np.generic)) and info.type.HasField("tensor_type") and value.size <= 1024:
            fixed.graph.initializer.append(numpy_helper.from_array(np.asarray(value), info.name))
    return fixed


def faults(model: onnx.ModelProto, outputs: list[Any], *, exact: bool) -> Iterator[str]:
    network = load(model)
    yield from (layer.problem for layer in network.layers if layer.problem)
    for info, expected in zip(model.graph.output, outputs, strict=False):
        tensor = network.outputs[info.name]
        if not isinstance(expected, np.ndarray) or not isinstance(tensor, Tensor):
            continue
        dtype = NUMBERED_DTYPES[info.type.tensor_type.elem_type] if info.type.HasField("tensor_type") else None
        if dtype and tensor.dtype != dtype:
            yield f"{info.name} is {tensor.dtype}, not {dtype}"
        shape = tensor.shape or ()
        fits = len(shape) == expected.ndim and all(
            _possible(got, real, exact) for got, real in zip(shape, expected.shape, strict=True)
        )
        if tensor.shape is None or not fits:
            yield f"{info.name} has shape {tensor.shape}, not {expected.shape}"


def _possible(got: Any, real: int, exact: bool) -> bool:
    if isinstance(got, int):
        return got == real
    low, high = bounds(got)
    return isinstance(got, Dim) and not exact and low <= max(real, 1) and real <= high


@functools.lru_cache(maxsize=1)
def tally() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for case in cases():
        inputs, outputs = case.data_sets[0]
        by_content = any(node.op_type in DECIDED_BY_CONTENT for node in case.model.graph.node)
        wrong = []
        for model, exact in ((case.model, False), (with_constants(case.model, inputs), not by_content)):
            try:
                wrong += list(faults(model, outputs, exact=exact))
            except Exception as error:
                wrong.append(f"{type(error).__name__}: {error}")
        found[case.name] = wrong
    return found


def test_the_whole_suite(capsys: pytest.CaptureFixture[str]) -> None:
    results = tally()
    wrong = {name: messages for name, messages in results.items() if messages}
    ops = Counter(message.split(":")[0][:80] for messages in wrong.values() for message in messages[:1])
    with capsys.disabled():
        right = f"{len(results) - len(wrong)} of {len(cases())}"
        print(f"\nofficial suite: {right} cases right, with open and with constant inputs")
        for message, times in ops.most_common(60):
            print(f"  {times:4} {message}")
    assert len(cases()) >= 1800
    assert not wrong, f"{len(wrong)} cases are wrong, such as {list(wrong.items())[:5]}"
