"""Network -> ONNX: a model that ONNX Runtime runs and that reads back to the same counts.

Weights are random, zero or left out; a network of this library knows the shapes of its weights, never their values.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from costmodel.dims import Dim, product
from costmodel.errors import InvalidChoice, MalformedModel, nearest
from costmodel.graph import DTYPE_BITS, FLOAT_DTYPES, NUMBERED_DTYPES, Layer, Network, Subgraph, Tensor

if TYPE_CHECKING:
    import numpy
    import onnx

Weights = Literal["random", "zeros", "none"]

PROTOBUF_LIMIT = 2_000_000_000
EXTERNAL_THRESHOLD = 1024
INT8_WEIGHTS = (-127, 127)  # symmetric, as per-channel quantisation of weights is
# The newest IR version that ONNX Runtime of an opset's time reads (ONNX, docs/Versioning).
IR_VERSIONS = ((9, 4), (10, 5), (11, 6), (14, 7), (18, 8), (20, 9), (22, 10), (23, 11))
# What must not be random for a network to run: a variance is positive.
ONES = {("BatchNormalization", 4)}


def to_onnx(network: Network, *, weights: Weights = "random", seed: int = 0) -> onnx.ModelProto:
    """The network as an ONNX model; open sizes become named dimensions.

    ``weights="random"`` scales weights so that values stay moderate through many layers, ``"zeros"`` is for runs whose
    time does not depend on values, ``"none"`` stores shapes alone: such a model can be counted, not run.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> model = to_onnx(b.finish(b.conv(b.input("x", ("N", 3, "H", "W")), 8)), weights="none")
    >>> model.graph.node[0].op_type, model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    ('Conv', 'N')

    Raises MalformedModel for a weight whose shape holds an open size: bind the parameters first.
    """
    import numpy
    from onnx import helper

    choices = ("random", "zeros", "none")
    if weights not in choices:
        raise InvalidChoice(f"weights={weights!r} must be one of {', '.join(choices)}; {nearest(weights, choices)}")
    fill = _Fill(network, weights, numpy.random.default_rng(seed))
    computed = network.producers
    stored = [name for name in network.tensors if name not in computed and name not in network.inputs]
    graph = helper.make_graph(
        [_node(layer, network.opsets) for layer in network.layers],
        network.name,
        [_value_info(name, tensor) for name, tensor in network.inputs.items()],
        [_value_info(name, tensor) for name, tensor in network.outputs.items()],
        [fill.tensor(name) for name in stored],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in network.opsets.items()]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="costmodel")
    model.ir_version = next((ir for opset, ir in IR_VERSIONS if network.opsets.get("", 1) <= opset), IR_VERSIONS[-1][1])
    return model


def save_onnx(network: Network, path: str | os.PathLike[str], *, weights: Weights = "random", seed: int = 0) -> None:
    """Write the network as an ONNX file: beside its place first, then renamed, so that no half of a file is ever seen.

    Weights beyond what one protobuf message holds (2 GB) go to ``PATH.data`` beside it.
    """
    import onnx

    target = Path(path)
    model = to_onnx(network, weights=weights, seed=seed)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        written, data = Path(folder) / target.name, f"{target.name}.data"
        if sum(len(tensor.raw_data) for tensor in model.graph.initializer) < PROTOBUF_LIMIT:
            written.write_bytes(model.SerializeToString())
        else:
            onnx.save_model(
                model, str(written), save_as_external_data=True, location=data, size_threshold=EXTERNAL_THRESHOLD
            )
            (Path(folder) / data).replace(target.with_name(data))
        written.replace(target)


class _Fill:
    """Values for the stored tensors of a network."""

    def __init__(self, network: Network, weights: Weights, random: numpy.random.Generator) -> None:
        self.network, self.weights, self.random = network, weights, random
        self.uses: dict[str, tuple[str, int]] = {}
        for layer in network.layers:
            for position, name in enumerate(layer.inputs):
                self.uses.setdefault(name, (layer.op, position))

    def tensor(self, name: str) -> onnx.TensorProto:
        import onnx

        tensor = self.network.tensors[name]
        shape = tuple(extent for extent in tensor.dims if isinstance(extent, int))
        if len(shape) != tensor.rank:
            raise MalformedModel(f"weight {name!r} has the open shape {list(map(str, tensor.dims))}; give its sizes numbers")
        proto = onnx.TensorProto(name=name, dims=shape, data_type=NUMBERED_DTYPES.index(tensor.dtype))
        if self.weights != "none" or tensor.value is not None or tensor.fill is not None:
            proto.raw_data = self._values(name, tensor, shape).tobytes()
        return proto

    def _values(self, name: str, tensor: Tensor, shape: tuple[int, ...]) -> Any:
        import numpy

        if tensor.value is not None:
            return numpy.array(tensor.value, _numpy_dtype(tensor)).reshape(shape)
        if tensor.fill is not None:
            return numpy.full(shape, tensor.fill, _numpy_dtype(tensor))
        if self.uses.get(name, ("", 0)) in ONES:
            return numpy.ones(shape, _numpy_dtype(tensor))
        if self.weights == "random" and tensor.dtype == "int8":
            return self.random.integers(*INT8_WEIGHTS, shape, _numpy_dtype(tensor), endpoint=True)
        if self.weights == "zeros" or tensor.dtype not in FLOAT_DTYPES:
            return numpy.zeros(shape, _numpy_dtype(tensor))
        fan_in = product(shape[1:]) if len(shape) > 1 else 1
        gain = 1 if tensor.dtype == "float16" else 2  # sums of many residuals must stay below 65504 there
        scale = numpy.float32((gain / max(Dim.of(fan_in).at(), 1)) ** 0.5)
        return (self.random.standard_normal(shape, numpy.float32) * scale).astype(_numpy_dtype(tensor))


def _numpy_dtype(tensor: Tensor) -> Any:
    import numpy

    if tensor.dtype == "bfloat16":
        from onnx import TensorProto, helper

        return helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)
    if DTYPE_BITS[tensor.dtype] < 8 or not hasattr(numpy, tensor.dtype):
        raise MalformedModel(f"values of dtype {tensor.dtype} cannot be made up; write the model with weights='none'")
    return numpy.dtype(tensor.dtype)


def _node(layer: Layer, opsets: Mapping[str, int]) -> onnx.NodeProto:
    from onnx import defs, helper

    node = helper.make_node(layer.op, list(layer.inputs), list(layer.outputs), name=layer.name, domain=layer.domain)
    known = defs.has(layer.op, layer.domain) and defs.get_schema(layer.op, opsets.get(layer.domain, 1), layer.domain)
    for name, value in layer.attributes.items():
        stated = known.attributes.get(name) if known else None
        node.attribute.append(_attribute(layer, name, value, stated.type if stated else None))
    return node


def _attribute(layer: Layer, name: str, value: Any, kind: Any) -> onnx.AttributeProto:
    """An attribute of the type that the op's schema states: 1 and 1.0 are different things to ONNX."""
    from onnx import AttributeProto, defs, helper, numpy_helper

    if isinstance(value, (Dim, Subgraph)) or (isinstance(value, tuple) and any(isinstance(v, Dim) for v in value)):
        raise MalformedModel(f"{layer.label}: attribute {name!r} is {value}, which cannot be written; give it a number")
    if isinstance(value, Tensor):
        import numpy

        array = numpy.array(value.value, _numpy_dtype(value)).reshape([Dim.of(extent).at() for extent in value.dims])
        return helper.make_attribute(name, numpy_helper.from_array(array))
    try:
        if kind == defs.OpSchema.AttrType.FLOAT:
            value = float(value)
        if kind == defs.OpSchema.AttrType.FLOATS:
            value = tuple(map(float, value))
    except (TypeError, ValueError):
        raise MalformedModel(f"{layer.label}: attribute {name!r} must be a number, not {value!r}") from None
    empty = AttributeProto.INTS if isinstance(value, tuple) and not value else None
    return helper.make_attribute(name, list(value) if isinstance(value, tuple) else value, attr_type=empty)


def _value_info(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    from onnx import helper

    shape = [extent if isinstance(extent, int) else str(extent) for extent in tensor.dims]
    return helper.make_tensor_value_info(name, NUMBERED_DTYPES.index(tensor.dtype), shape)
