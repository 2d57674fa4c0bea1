"""Running single ops: through the rules, through ONNX Runtime, and over ONNX's own node tests."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from costmodel.dims import Dim, bounds
from costmodel.graph import Cost, Node, Tensor, dtype_numbered
from costmodel.ops.engine import Engine
from costmodel.ops.shapes import VALUE_LIMIT
from costmodel.read.onnx import load

NEWEST = 26


def run(
    op: str, *inputs: Tensor | None, opset: int = NEWEST, n_outputs: int = 1, domain: str = "", **attributes: Any
) -> Cost:
    """What the op's rule says, through the engine. Raises what the engine raises, also where there is no rule."""
    names = tuple("" if tensor is None else f"x{i}" for i, tensor in enumerate(inputs))
    engine = Engine({domain: opset})
    engine.tensors.update((name, tensor) for name, tensor in zip(names, inputs, strict=True) if tensor is not None)
    layer = engine.add(Node("node", op, names, tuple(f"y{i}" for i in range(n_outputs)), attributes, domain))
    assert layer.cost is not None, layer.problem
    return layer.cost


def tensor_of(array: Any, *, known: bool = True, named: Mapping[int, str] | None = None) -> Tensor | None:
    """A numpy array as the rules see it: with its value, if small and ``known``; extents in ``named`` become sizes."""
    if array is None:
        return None
    array = np.asarray(array)
    shape = tuple(Dim.size(named[extent]) if named and extent in named else extent for extent in array.shape)
    value = tuple(array.ravel().tolist()) if known and shape == array.shape and array.size <= VALUE_LIMIT else None
    return Tensor("string" if array.dtype.kind in "OUS" else array.dtype.name, shape, value, constant=value is not None)


def at(extent: Any, sizes: Mapping[str, int]) -> int:
    return extent.at(sizes) if isinstance(extent, Dim) else extent


# -- ONNX Runtime as the oracle -----------------------------------------------------------------------------------


def executed(op: str, *inputs: Any, opset: int, n_outputs: int = 1, domain: str = "", **attributes: Any) -> list[Any]:
    """The outputs of a model of this one node in ONNX Runtime."""
    given = {f"x{i}": np.asarray(array) for i, array in enumerate(inputs) if array is not None}
    names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(n_outputs)]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, domain=domain, **attributes)],
        "one",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(domain, 1)] if domain else [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, given)


def differences(op: str, inputs: tuple[Any, ...], *, names: Mapping[int, str] | None = None, **node: Any) -> list[str]:
    """Where the rule and ONNX Runtime differ in dtype, shape or known value.

    ``names`` opens the extents of floating-point inputs that have these numbers; they are bound again to compare.
    """
    expected = executed(op, *inputs, **node)
    cost = run(op, *(tensor_of(x, named=names if np.asarray(x).dtype.kind == "f" else None) for x in inputs), **node)
    sizes = {name: extent for extent, name in (names or {}).items()}
    return [text for y, real in zip(cost.outputs, expected, strict=False) for text in _compared(y, np.asarray(real), sizes)]


def _compared(y: Tensor, real: Any, sizes: Mapping[str, int]) -> Iterator[str]:
    dtype = "string" if real.dtype.kind in "OUS" else real.dtype.name
    shape = None if y.shape is None else tuple(at(extent, sizes) for extent in y.shape)
    if (y.dtype, shape) != (dtype, real.shape):
        yield f"{y.dtype}{shape}, not {dtype}{real.shape}"
    elif y.value is not None:
        numbers = real.ravel().tolist()
        known = [(at(e, sizes), number) for e, number in zip(y.value, numbers, strict=True) if e is not None]
        if any(got != number and got != np.float32(number) for got, number in known):
            yield f"value {y.value}, not {numbers}"


# -- ONNX's own node tests ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def all_cases() -> tuple[Any, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return tuple(collect_testcases(None))


def cases_of(*ops: str) -> dict[str, Any]:
    """The cases by name that consist of these ops only."""
    return {
        case.name: case
        for case in all_cases()
        if case.model.graph.node and {node.op_type for node in case.model.graph.node} <= set(ops)
    }


def faults(case: Any, *, constants: bool, exact: bool = True) -> list[str]:
    """Where the rules differ from the reference data; ``constants`` gives the inputs' numbers to the rules.

    With them every extent must be a number, if ``exact``; without them open extents need only be able to be right.
    """
    inputs, outputs = (list(map(_array, items)) for items in case.data_sets[0])
    network = load(_fixed(case.model, inputs) if constants else case.model)
    found = [layer.problem for layer in network.layers if layer.problem]
    for info, real in zip(case.model.graph.output, outputs, strict=False):
        found += _faults(network.outputs[info.name], info, real, exact=constants and exact)
    return found


def _array(item: Any) -> Any:
    return numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else np.asarray(item)


def _fixed(model: onnx.ModelProto, arrays: list[Any]) -> onnx.ModelProto:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    for info, array in zip(model.graph.input, arrays, strict=False):
        if array.size <= VALUE_LIMIT:
            fixed.graph.initializer.append(numpy_helper.from_array(array, info.name))
    return fixed


def _faults(y: Tensor, info: onnx.ValueInfoProto, real: Any, *, exact: bool) -> Iterator[str]:
    dtype = dtype_numbered(info.type.tensor_type.elem_type)
    if y.dtype != dtype:
        yield f"{info.name} is {y.dtype}, not {dtype}"
    if y.shape is None or not _possible(y.shape, real.shape, exact=exact):
        yield f"{info.name} has shape {y.shape}, not {real.shape}"
    elif y.value is not None and real.dtype.kind in "biuf":
        got = np.array([number if e is None else e for e, number in zip(y.value, real.ravel(), strict=True)], dtype=float)
        if not np.allclose(got, real.ravel().astype(float), rtol=1e-5, equal_nan=True):
            yield f"{info.name} has the value {y.value}, not {real.ravel().tolist()}"


def _possible(shape: Any, real: tuple[int, ...], *, exact: bool) -> bool:
    return len(shape) == len(real) and all(
        extent == number if isinstance(extent, int) else not exact and _within(number, *bounds(extent))
        for extent, number in zip(shape, real, strict=True)
    )


def _within(number: int, low: float, high: float) -> bool:
    return low <= max(number, 1) and number <= high
