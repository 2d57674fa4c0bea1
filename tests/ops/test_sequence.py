"""Sequences and optionals: what they hold, against ONNX Runtime and ONNX's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from official import all_cases
from one_node import executed

from costmodel.dims import Dim, value_at
from costmodel.errors import MalformedModel, ShapeMismatch
from costmodel.graph import Container, Cost, MapOf, OptionalOf, SequenceOf, Tensor
from costmodel.read.onnx import load

OPS = {
    "SequenceConstruct", "SequenceAt", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceLength", "SequenceMap",
    "SplitToSequence", "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement",
}  # fmt: skip


def is_held(info: onnx.ValueInfoProto) -> bool:
    return not info.type.HasField("tensor_type")


OFFICIAL = {
    case.name: case
    for case in all_cases()
    if OPS & {node.op_type for node in case.model.graph.node}
    or any(map(is_held, (*case.model.graph.input, *case.model.graph.output)))
}


def unlike(value: Tensor, reference: Any, sizes: dict[str, int], where: str) -> Iterator[str]:
    """Where a value cannot be what the reference is; sizes that are not bound may be anything."""
    if reference is None:
        if not isinstance(value, OptionalOf) or value.is_present:
            yield f"{where}: {value}, not nothing"
    elif isinstance(value, OptionalOf):
        if value.is_present is False:
            yield f"{where}: nothing, not {reference}"
        yield from unlike(value.element, reference, sizes, where)
    elif isinstance(reference, list):
        if not isinstance(value, SequenceOf):
            yield f"{where}: {value}, not a sequence"
            return
        if not _same(value.length, len(reference), sizes):
            yield f"{where}: length {value.length}, not {len(reference)}"
        for i, element in enumerate(reference):
            known = value.elements[i] if value.elements is not None else value.element
            yield from unlike(known, element, sizes, f"{where}[{i}]")
    else:
        array = np.asarray(reference)
        shape = value.shape
        if isinstance(value, Container) or value.dtype != array.dtype.name:
            yield f"{where}: {value}, not {array.dtype}{array.shape}"
        elif shape is not None and not _same_shape(shape, array.shape, sizes):
            yield f"{where}: shape {shape}, not {array.shape}"


def _same_shape(got: Any, real: tuple[int, ...], sizes: dict[str, int]) -> bool:
    return len(got) == len(real) and all(_same(extent, number, sizes) for extent, number in zip(got, real, strict=True))


def _same(got: Any, real: int, sizes: dict[str, int]) -> bool:
    if isinstance(got, Dim) and not got.names <= sizes.keys():
        return True
    return value_at(got, sizes) == real


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official(name: str) -> None:
    case = OFFICIAL[name]
    network = load(case.model)
    assert [layer.problem for layer in network.layers if layer.problem] == []
    expected = [_value(item) for item in case.data_sets[0][1]]
    found = [
        text
        for (output, value), reference in zip(network.outputs.items(), expected, strict=True)
        for text in unlike(value, reference, {}, output)
    ]
    assert found == []


def _value(item: Any) -> Any:
    readers = {
        onnx.SequenceProto: onnx.numpy_helper.to_list,
        onnx.OptionalProto: onnx.numpy_helper.to_optional,
        onnx.TensorProto: onnx.numpy_helper.to_array,
    }
    return readers[type(item)](item) if type(item) in readers else item


def test_official_cases_are_there() -> None:
    assert len(OFFICIAL) >= 34


def model(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{text}')


# graph, inputs, sizes
CASES = [
    ("g (float[n, 4] a, float[n, 4] b) => (seq(float[n, 4]) s) { s = SequenceConstruct (a, b) }", {"n": 3}),
    ("g (float[n, 4] a, float[m, 4] b) => (seq(float[k, 4]) s) { s = SequenceConstruct (a, b) }", {"n": 3, "m": 5}),
    (
        "g (float[n, 4] a, float[m, 4] b) => (float[k, 4] y) <int64 i = {1}> { s = SequenceConstruct (a, b) "
        "y = SequenceAt (s, i) }",
        {"n": 3, "m": 5},
    ),
    (
        "g (float[n, 4] a, float[m, 4] b) => (float[k, 4] y) <int64 i = {-2}> { s = SequenceConstruct (a, b) "
        "y = SequenceAt (s, i) }",
        {"n": 3, "m": 5},
    ),
    (
        "g (float[n, 4] a, float[m, 4] b) => (seq(float[k, 4]) t) <int64 i = {0}> { s = SequenceConstruct (a, b) "
        "t = SequenceInsert (s, b, i) }",
        {"n": 3, "m": 5},
    ),
    (
        "g (float[n, 4] a, float[m, 4] b) => (seq(float[k, 4]) t) { s = SequenceConstruct (a, b) t = SequenceErase (s) }",
        {"n": 3, "m": 5},
    ),
    ("g (float[n, 4] a) => (int64 y) { s = SequenceConstruct (a, a, a) y = SequenceLength (s) }", {"n": 3}),
    ("g (float[n, 4] a) => (seq(float[n, 4]) t) { s = SequenceEmpty () t = SequenceInsert (s, a) }", {"n": 3}),
    ("g (float[n, 4] a) => (seq(float[1, 4]) s) { s = SplitToSequence (a) }", {"n": 3}),
    ("g (float[n, 4] a) => (seq(float[4]) s) { s = SplitToSequence <keepdims = 0> (a) }", {"n": 3}),
    ("g (float[n, 4] a) => (seq(float[k, 4]) s) <int64 c = {2}> { s = SplitToSequence (a, c) }", {"n": 5}),
    ("g (float[7, 4] a) => (seq(float[k, 4]) s) <int64 c = {3}> { s = SplitToSequence (a, c) }", {}),
    ("g (float[n, 4] a) => (seq(float[n, k]) s) <int64[2] c = {1, 3}> { s = SplitToSequence <axis = -1> (a, c) }", {"n": 5}),
    (
        "g (float[n, 4] a, float[m, 4] b) => (float[k, 4] y) { s = SequenceConstruct (a, b) "
        "y = ConcatFromSequence <axis = 0> (s) }",
        {"n": 3, "m": 5},
    ),
    (
        "g (float[n, 4] a) => (float[n, 4, k] y) { s = SequenceConstruct (a, a, a) "
        "y = ConcatFromSequence <axis = -1, new_axis = 1> (s) }",
        {"n": 3},
    ),
    ("g (float[n, 4] a) => (float[n, 4] y) { s = SplitToSequence (a) y = ConcatFromSequence <axis = 0> (s) }", {"n": 3}),
    (
        "g (float[n, 4] a, float[m, 4] b) => (seq(float[k, 4]) t) { s = SequenceConstruct (a, b) "
        "t = SequenceMap (s) <body = g (float[k, 4] e) => (float[k, 4] r) { r = Relu (e) }> }",
        {"n": 3, "m": 5},
    ),
    (
        "g (float[n, 4] a) => (seq(float[n, 4]) t) <int64 count = {3}> { s = SequenceEmpty () t = Loop (count, , s) "
        "<body = b (int64 i, bool c, seq(float[n, 4]) si) => (bool go, seq(float[n, 4]) so) "
        "{ go = Identity (c) so = SequenceInsert (si, a) }> }",
        {"n": 3},
    ),
]


@pytest.mark.parametrize(("text", "sizes"), CASES)
def test_outputs_equal_those_of_onnx_runtime(text: str, sizes: dict[str, int]) -> None:
    proto = model(text)
    feeds = {
        info.name: np.zeros([sizes.get(dim.dim_param, dim.dim_value) for dim in info.type.tensor_type.shape.dim], np.float32)
        for info in proto.graph.input
    }
    network = load(proto)
    references = executed(proto, feeds)
    found = [
        text
        for (name, value), reference in zip(network.outputs.items(), references, strict=True)
        for text in unlike(value, reference, sizes, name)
    ]
    assert found == []


def cost_of(text: str, op: str) -> Cost:
    layer = next(layer for layer in load(model(text)).layers if layer.op == op)
    assert layer.cost is not None, layer.problem
    return layer.cost


def test_a_map_counts_every_element() -> None:
    text = """g (float[n, 4] a, float[m, 4] b) => (seq(float[k, 4]) t) {
      s = SequenceConstruct (a, b)
      t = SequenceMap (s) <body = g (float[k, 4] e) => (float[k, 4] r) { r = Relu (e) }>
    }"""
    cost = cost_of(text, "SequenceMap")
    assert value_at(cost.other_flops, {"n": 3, "m": 5}) == sum(rows * 4 for rows in (3, 5))
    alike = cost_of(text.replace("SequenceConstruct (a, b)", "SequenceConstruct (a, a, a)"), "SequenceMap")
    assert value_at(alike.other_flops, {"n": 3}) == 3 * 3 * 4
    assert [body.times for body in alike.bodies] == [3]


def test_a_loop_that_collects_gives_as_many_elements_as_trips() -> None:
    network = load(model("""g (float[n, 4] a, int64 trip) => (seq(float[n, 4]) t, float[k, 4] y) {
      s = SequenceEmpty ()
      t = Loop (trip, , s) <
        body = b (int64 i, bool c, seq(float[n, 4]) si) => (bool go, seq(float[n, 4]) so) {
          go = Identity (c)
          so = SequenceInsert (si, a)
        }
      >
      y = ConcatFromSequence <axis = 0> (t)
    }"""))
    collected = network.outputs["t"]
    assert isinstance(collected, SequenceOf)
    assert (collected.length, collected.element.shape) == (Dim.size("trip"), (Dim.size("n"), 4))
    assert network.outputs["y"].shape == (Dim.size("trip") * Dim.size("n"), 4)


def test_bytes_of_what_is_held() -> None:
    n = Dim.size("N")
    a, b = Tensor("float32", (n, 4)), Tensor("float32", (3, 4))
    assert SequenceOf.of(a, 2, (a, b)).nbytes == 16 * n + 48
    assert SequenceOf.of(b, n).nbytes == 48 * n
    assert SequenceOf.of(Tensor("float32", None), 0).nbytes == 0
    assert OptionalOf.of(b, True).nbytes == OptionalOf.of(b).nbytes == 48
    assert OptionalOf.of(b, False).nbytes == 0
    assert MapOf.of("int64", "float32", n).nbytes == 12 * n


WRONG: list[tuple[type[Exception], str, str]] = [
    (
        MalformedModel,
        "g (float[4] x) => (float[4] y) <int64 i = {0}> { y = SequenceAt (x, i) }",
        "a sequence is needed here, not a tensor",
    ),
    (
        MalformedModel,
        "g (float[4] x) => (float[4] y) { s = SequenceConstruct (x, x) y = Relu (s) }",
        "a tensor is needed here, not a sequence",
    ),
    (
        MalformedModel,
        "g (float[4] x) => (float[4] y) <int64 i = {2}> { s = SequenceConstruct (x, x) y = SequenceAt (s, i) }",
        "there is no element 2 in a sequence of 2",
    ),
    (
        MalformedModel,
        "g (float[4] x, int64[4] z) => (seq(float[4]) y) { y = SequenceConstruct (x, z) }",
        r"values of different types \(float32, int64\)",
    ),
    (
        ShapeMismatch,
        "g (float[7, 4] a) => (seq(float[k, 4]) s) <int64[2] c = {3, 3}> { s = SplitToSequence (a, c) }",
        "the sum of the parts and the extent that is split must be equal: 6 against 7",
    ),
]


@pytest.mark.parametrize(("error", "text", "message"), WRONG)
def test_messages(error: type[Exception], text: str, message: str) -> None:
    with pytest.raises(error, match=message):
        load(model(text))
