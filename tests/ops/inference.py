"""ONNX's own shape inference and function bodies, as oracles for single ops at any opset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from official import at, run, tensor_of
from onnx import helper, numpy_helper

from costmodel.dims import Dim
from costmodel.graph import Tensor, dtype_numbered
from costmodel.read.onnx import load


def versions(op: str) -> list[int]:
    """The opsets at which the op changed, and the newest."""
    known = [s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == op and s.domain == ""]
    assert known, f"ONNX has no op {op}"
    return sorted(known)


def _model(op: str, inputs: Sequence[Any], *, opset: int, n_outputs: int, attributes: Mapping[str, Any]) -> onnx.ModelProto:
    names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
    outputs = [f"y{i}" for i in range(n_outputs)]
    given = {name: np.asarray(array) for name, array in zip(names, inputs, strict=True) if name}
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, **attributes)],
        "one",
        [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(a, n) for n, a in given.items() if a.dtype.kind == "i" or a.size <= 8],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=4)


Outputs = list[tuple[str, tuple[int, ...]]]


def inferred(op: str, *inputs: Any, opset: int, n_outputs: int = 1, **attributes: Any) -> Outputs | None:
    """Dtype and shape of each output; None where ONNX infers none. Raises where it finds fault with the node."""
    model = _model(op, inputs, opset=opset, n_outputs=n_outputs, attributes=attributes)
    outputs = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.output
    types = [output.type.tensor_type for output in outputs]
    if not all(kind.elem_type and kind.HasField("shape") for kind in types):
        return None
    if not all(dim.HasField("dim_value") for kind in types for dim in kind.shape.dim):
        return None
    return [(dtype_numbered(kind.elem_type), tuple(dim.dim_value for dim in kind.shape.dim)) for kind in types]


def derived(
    op: str, *inputs: Any, opset: int, n_outputs: int = 1, names: Mapping[int, str] | None = None, **attributes: Any
) -> Outputs:
    """The same by the rule, with the extents in ``names`` open, except of lists of integers, and bound again."""
    given = [tensor_of(array, named=None if _is_list(array) else names) for array in inputs]
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in attributes.items()}
    cost = run(op, *given, opset=opset, n_outputs=n_outputs, **plain)
    sizes = {name: extent for extent, name in (names or {}).items()}
    return [(y.dtype, tuple(at(extent, sizes) for extent in y.dims)) for y in cost.outputs[:n_outputs]]


def _is_list(array: Any) -> bool:
    return np.ndim(array) < 2 and np.asarray(array).dtype.kind == "i"


def disagreements(rows: Sequence[tuple[Any, ...]], names: Mapping[int, str] | None = None) -> Iterator[str]:
    """Rows are (op, opset, inputs, attributes, number of outputs = 1)."""
    for op, opset, inputs, attributes, *more in rows:
        n_outputs = more[0] if more else 1
        expected = inferred(op, *inputs, opset=opset, n_outputs=n_outputs, **attributes)
        for open_sizes in (None, names):
            got = derived(op, *inputs, opset=opset, n_outputs=n_outputs, names=open_sizes, **attributes)
            if expected is not None and got != expected:
                yield f"{op} (opset {opset}) {[np.shape(x) for x in inputs]} {attributes}: {got}, not {expected}"


def floats(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


def flops_of_body(op: str, *inputs: Any, opset: int, **attributes: Any) -> tuple[Any, Any]:
    """Operations by the rule, and by the rules of the simple ops in which ONNX's function body defines the op."""
    schema = onnx.defs.get_schema(op, opset)
    defaults = [a.default_value for a in schema.attributes.values() if a.default_value.name]
    stated = {a.name: helper.get_attribute_value(a) for a in defaults} | attributes
    model = _model(op, inputs, opset=opset, n_outputs=1, attributes=stated)
    node = model.graph.node[0]
    body = onnx.FunctionProto.FromString(_body(schema, node, [info.type.SerializeToString() for info in model.graph.input]))
    body.domain, body.name = "body", op
    expanded = onnx.ModelProto()
    expanded.CopyFrom(model)
    expanded.ir_version = 10
    expanded.functions.append(body)
    expanded.graph.node[0].domain = "body"
    del expanded.opset_import[:]
    imported = max((item.version for item in body.opset_import if not item.domain), default=opset)
    expanded.opset_import.extend([helper.make_opsetid("", imported), helper.make_opsetid("body", 1)])
    return _flops(model), _flops(expanded)


def _body(schema: Any, node: onnx.NodeProto, types: list[bytes]) -> bytes:
    if schema.has_function:
        return bytes(schema.get_function_with_opset_version(max(schema.function_opset_versions)))
    version = max(schema.context_dependent_function_opset_versions)
    return bytes(schema.get_context_dependent_function_with_opset_version(version, node.SerializeToString(), types))


def _flops(model: onnx.ModelProto) -> Any:
    costs = [layer.cost for layer in load(model).layers]
    assert all(cost is not None for cost in costs)
    return sum(cost.flops for cost in costs if cost is not None)


def open_tensor(*shape: Any, dtype: str = "float32", **more: Any) -> Tensor:
    """A tensor whose extents may be written as texts."""
    return Tensor(dtype, tuple(Dim.parse(extent) if isinstance(extent, str) else extent for extent in shape), **more)
