"""Models of one node: ONNX Runtime runs them, the rules derive them, and the two are compared.

Every check is made twice: with the extents as numbers, and with a size for each number among the extents (5 becomes
``n5`` wherever it stands), bound again to compare. A table's line is the op, its inputs and its attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from costmodel.dims import Dim, value_at
from costmodel.errors import CostModelError
from costmodel.graph import Layer, Network, Tensor
from costmodel.read.onnx import load

RANDOM = np.random.default_rng(7)


@dataclass(frozen=True)
class Stored:
    """An input that the file stores."""

    array: Any


def floats(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def halves(*shape: int) -> Any:
    return floats(*shape).astype(np.float16)


def weights(*shape: int) -> Stored:
    return Stored(floats(*shape))


def ids(*shape: int, below: int = 4, dtype: Any = np.int64) -> Any:
    return RANDOM.integers(0, below, shape).astype(dtype)


def stored(value: Any, dtype: Any = np.int64) -> Stored:
    return Stored(np.asarray(value, dtype))


def model_of(
    op: str, *inputs: Any, outputs: int | Sequence[int] = 1, domain: str = "", opset: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """A model of one node; an input is an array that is fed, a Stored one, or None where it is left out.

    ``outputs``: how many, or the positions of those that are wanted.
    """
    wanted = range(outputs) if isinstance(outputs, int) else outputs
    results = [f"y{i}" if i in wanted else "" for i in range(max(wanted) + 1)]
    names = ["" if given is None else f"x{i}" for i, given in enumerate(inputs)]
    fed = {n: a for n, a in zip(names, inputs, strict=True) if n and not isinstance(a, Stored)}
    kept = {n: a.array for n, a in zip(names, inputs, strict=True) if isinstance(a, Stored)}
    node = helper.make_node(op, names, results, name="node", domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in fed.items()],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
        [numpy_helper.from_array(array, name) for name, array in kept.items()],
    )
    imports = [helper.make_opsetid("", opset if not domain else 21)]
    if domain:
        imports.append(helper.make_opsetid(domain, opset))
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def executed(model: onnx.ModelProto, feeds: Mapping[str, Any]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    results: list[Any] = session.run(None, dict(feeds))
    return results


def feeds_of(inputs: tuple[Any, ...]) -> dict[str, Any]:
    return {f"x{i}": given for i, given in enumerate(inputs) if given is not None and not isinstance(given, Stored)}


def opened(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, int]]:
    """The model with a size in place of every number above 1 among its inputs' extents, and what binds them."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    sizes = {}
    for dim in (dim for info in free.graph.input for dim in info.type.tensor_type.shape.dim):
        if dim.dim_value > 1:
            sizes[f"n{dim.dim_value}"] = dim.dim_value
            dim.dim_param = f"n{dim.dim_value}"
    return free, sizes


def layer_of(network: Network) -> Layer:
    """The one layer. Fails where it could not be derived."""
    layer = network.layers[-1]
    assert layer.cost is not None, layer.problem
    return layer


def differences(network: Network, expected: list[Any], sizes: Mapping[str, int]) -> Iterator[str]:
    """Where outputs have another dtype or shape; a new size must be able to take the number that came out."""
    limits = dict(layer_of(network).cost.bounds)  # type: ignore[union-attr]
    for (name, tensor), real in zip(network.outputs.items(), expected, strict=True):
        dtype = "string" if real.dtype.kind in "OUS" else real.dtype.name
        if tensor.dtype != dtype:
            yield f"{name} is {tensor.dtype}, not {dtype}"
        if tensor.shape is None or len(tensor.shape) != real.ndim:
            yield f"{name} has the shape {tensor.shape}, not {real.shape}"
            continue
        for extent, number in zip(tensor.shape, real.shape, strict=True):
            if not _fits(extent, number, sizes, limits):
                yield f"{name} has the shape {_text(tensor)}, not {real.shape}"


def _fits(extent: Any, number: int, sizes: Mapping[str, int], limits: Mapping[str, Any]) -> bool:
    new = next(iter(extent.names - sizes.keys()), None) if isinstance(extent, Dim) else None
    if new is None:
        return value_at(extent, sizes) == number
    return extent == Dim.size(new) and (new not in limits or number <= value_at(limits[new], sizes))


def _text(tensor: Tensor) -> str:
    return "[" + ", ".join(map(str, tensor.dims)) + "]"


def faults(op: str, inputs: tuple[Any, ...], **node: Any) -> list[str]:
    """What the rule and ONNX Runtime disagree on, with numbers and with sizes."""
    model = model_of(op, *inputs, **node)
    expected = executed(model, feeds_of(inputs))
    found = list(differences(load(model), expected, {}))
    free, sizes = opened(model)
    try:
        network = load(free)
    except CostModelError as error:
        return [*found, f"with open sizes: {error}"]
    return found + [f"with open sizes: {text}" for text in differences(network, expected, sizes)]
