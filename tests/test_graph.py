"""Tensors and networks: bytes against ONNX's own types, the graph against a search by brute force, sizes by table."""

from __future__ import annotations

import itertools

import networkx
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.build import Builder
from costmodel.dims import Dim, value_at
from costmodel.errors import MalformedModel, UnknownSize
from costmodel.graph import (
    DTYPE_BITS,
    NUMBERED_DTYPES,
    Body,
    Cost,
    Layer,
    MapOf,
    Network,
    OptionalOf,
    SequenceOf,
    Tensor,
    dtype_numbered,
)  # fmt: skip
from costmodel.read.onnx import load

N = Dim.size("N")
RENAMED = {"float": "float32", "double": "float64"}  # what the standard calls them, what numpy does
NARROW = {"uint4": 4, "int4": 4, "float4e2m1": 4, "uint2": 2, "int2": 2, "float6e2m3": 6, "float6e3m2": 6}


# -- tensors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "number"), [item for item in onnx.TensorProto.DataType.items() if item[1]])
def test_dtypes_are_those_of_onnx(name: str, number: int) -> None:
    dtype = dtype_numbered(number)
    assert dtype == RENAMED.get(name.lower(), name.lower())
    if dtype != "string":
        bits = NARROW.get(dtype) or 8 * onnx.helper.tensor_dtype_to_np_dtype(number).itemsize
        assert DTYPE_BITS[dtype] == bits


@pytest.mark.parametrize("number", [-1, 0, len(NUMBERED_DTYPES), 10**9])
def test_a_number_without_a_dtype_is_told(number: int) -> None:
    with pytest.raises(MalformedModel, match=f"data type {number} is none of ONNX's"):
        dtype_numbered(number)


@given(st.sampled_from(sorted(DTYPE_BITS)), st.lists(st.integers(0, 9), max_size=4), st.integers(0, 9))
def test_bytes_are_bits_rounded_up(dtype: str, shape: list[int], n: int) -> None:
    elements = int(np.prod(shape, dtype=int))
    whole = Tensor(dtype, tuple(shape))
    assert (whole.size, whole.rank) == (elements, len(shape))
    assert whole.nbytes == -(-elements * DTYPE_BITS[dtype] // 8)
    assert value_at(Tensor(dtype, (N, *shape)).nbytes, {"N": n}) == -(-n * elements * DTYPE_BITS[dtype] // 8)


def test_a_tensor_of_unknown_rank() -> None:
    tensor = Tensor("float32", None)
    assert not tensor.is_known
    for ask in (lambda: tensor.dims, lambda: tensor.rank, lambda: tensor.nbytes):
        with pytest.raises(MalformedModel, match="the rank of an input is unknown"):
            ask()


ROW = Tensor("float32", (N, 4))


@pytest.mark.parametrize(
    ("container", "nbytes"),
    [
        (SequenceOf.of(ROW, 3), 3 * 16 * N),
        (SequenceOf.of(ROW, N), 16 * N * N),
        (SequenceOf.of(ROW, 0), 0),
        (SequenceOf.of(ROW, 2, [ROW, Tensor("int8", (5,))]), 16 * N + 5),
        (OptionalOf.of(ROW), 16 * N),
        (OptionalOf.of(ROW, is_present=False), 0),
        (MapOf.of("int64", "float32", N), 12 * N),
        (MapOf.of("string", "int64", 7), 7 * 24),
    ],
)
def test_containers(container: SequenceOf, nbytes: object) -> None:
    assert container.nbytes == nbytes
    assert container.is_known
    with pytest.raises(MalformedModel, match=f"a tensor is needed here, not a {container.kind}"):
        _ = container.dims


# -- bodies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trips", [0, 1, 2, 7])
@pytest.mark.parametrize("text", ["5", "k", "3*k + 2", "k**2*N", "k**3", "max(k, 3)", "N"])
def test_runs_add_up(text: str, trips: int) -> None:
    count_of_run = Dim.parse(text)
    runs = [value_at(count_of_run, {"k": k, "N": 4}) for k in range(1, trips + 1)]
    body = Body("body", (), {}, (), (), ()).repeated(trips, "k")
    assert value_at(body.over_runs(count_of_run), {"N": 4}) == sum(runs)
    if trips:
        assert value_at(body.in_last_run(count_of_run), {"N": 4}) == runs[-1]


# -- the graph --------------------------------------------------------------------------------------------------


def branching() -> Network:
    b = Builder("branching")
    x = b.input("x", ("N", 8))
    left, right = b.split(x, 2)
    both = b.concat(left, right)
    return b.finish(b.add(both, b.relu(both)), left)


def capturing() -> Network:
    """A condition whose branch reads a tensor of the graph around it."""
    branch = onnx.parser.parse_graph("taken () => (float[N, 4] y) { y = Add (r, r) }")
    other = onnx.parser.parse_graph("spared () => (float[N, 4] z) { z = Identity (r) }")
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> main (float[N, 4] x, bool c) => (float[N, 4] out) { r = Relu (x) }'
    )
    node = onnx.helper.make_node("If", ["c"], ["out"], "choice", then_branch=branch, else_branch=other)
    model.graph.node.append(node)
    return load(model)


@pytest.mark.parametrize("network", [branching(), capturing()], ids=lambda network: network.name)
def test_who_writes_and_who_reads(network: Network) -> None:
    """Each pair of layers, compared by what is written on them."""
    for name in network.tensors:
        assert network.producers.get(name) == next((i for i, at in enumerate(network.layers) if name in at.outputs), None)
        readers = tuple(i for i, layer in enumerate(network.layers) if name in layer.reads)
        assert network.consumers.get(name, ()) == readers
    for (i, one), (j, other) in itertools.product(enumerate(network.layers), repeat=2):
        between = tuple(name for name in other.reads if name in one.outputs)
        assert network.graph.get_edge_data(i, j, {}).get("tensors", ()) == between
    assert networkx.is_directed_acyclic_graph(network.graph)
    assert [network.graph.nodes[i]["layer"] for i in network.graph] == list(network.layers)


def test_what_a_body_captures_is_read() -> None:
    network = capturing()
    assert network.layers[-1].reads == ("c", "r")
    assert network.consumers["r"] == (1,)


def test_layers_that_only_prepare_constants_do_not_run() -> None:
    b = Builder()
    b.weight("w", (8, 4))
    turned = b.transpose("w", (1, 0))
    network = b.finish(b.op("MatMul", b.input("x", (2, 4)), turned))
    assert [layer.op for layer in network.layers] == ["Transpose", "MatMul"]
    assert [layer.op for layer in network.running_layers] == ["MatMul"]


def test_names_and_labels() -> None:
    network = branching().with_name("other")
    assert repr(network) == "<Network 'other': 4 layers, open: N>"
    assert network.layers[2].label == "Relu (node 'relu1')"
    assert Layer("a", "Warp", ("x", "", "x"), ("y",), {}, "", Cost((ROW,))).reads == ("x",)


# -- sizes ------------------------------------------------------------------------------------------------------


def image(*shape: int | str, **options: dict[str, int]) -> Network:
    b = Builder("net")
    return b.finish(b.relu(b.input("x", shape)), **options)


@pytest.mark.parametrize(
    ("network", "given", "bound"),
    [
        (image("N", 3, "H", "W"), {"N": 1, "H": 2, "W": 3}, {"N": 1, "H": 2, "W": 3}),
        (image("batch", 3, "height", "width"), {"N": 1, "H": 2, "W": 3}, {"batch": 1, "height": 2, "width": 3}),
        (image("batch", 3, 224, 224), {"N": 4, "H": 224, "W": 224}, {"batch": 4}),
        (image("batch", "length"), {"N": 1, "S": 128}, {"batch": 1, "length": 128}),
        (image("batch", "length", 64), {"N": 1, "length": 2}, {"batch": 1, "length": 2}),
        (image(1, 3, 8, 8), {"N": 1}, {}),
        (image(1, 3, 8, 8), {}, {}),
        (image("N", 8), {"N": np.int64(3)}, {"N": 3}),
        (image("N", 8), {"N": 0}, {"N": 0}),
        (image("batch", 8), {"N": 2, "batch": 2}, {"batch": 2}),
        (image("N", 3, "H", "H", defaults={"N": 1, "H": 224}), {"H": 64}, {"N": 1, "H": 64}),
        (image("N", 3, "H", "W", defaults={"N": 1, "H": 224, "W": 224}), {}, {"N": 1, "H": 224, "W": 224}),
    ],
)
def test_binds(network: Network, given: dict[str, int], bound: dict[str, int]) -> None:
    found = network.bind(given)
    assert found == bound
    assert all(type(number) is int for number in found.values())


@pytest.mark.parametrize(
    ("network", "given", "told"),
    [
        (image("N", 8), {}, "network 'net' leaves N open; give a number for each, as in --at N=1"),
        (image("N", "C"), {}, "leaves N, C open; give a number for each, as in --at N=1,C=1"),
        (image("N", 8), {"M": 1}, "network 'net' has no size 'M': its sizes are N; known: 'N'"),
        (image("batch", 8), {"H": 1}, "has no size 'H': its sizes are batch"),
        (image(1, 8), {"M": 1}, "has no size 'M': it leaves no size open"),
        (image("N", 8), {"N": -1}, "size N=-1 of network 'net': sizes are whole numbers from 0 up"),
        (image("N", 8), {"N": True}, "size N=True of network 'net': sizes are whole numbers from 0 up"),
        (image("N", 8), {"N": 1.5}, "size N=1.5 of network 'net': sizes are whole numbers from 0 up"),
        (image("N", 8), {"N": "4"}, "size N=4 of network 'net': sizes are whole numbers from 0 up"),
        (image(1, 3, 8, 8), {"N": 2}, "size N=2: network 'net' fixes that axis at 1; free it with sizes (--sizes 'x=...')"),
        (image("batch", 8), {"N": 2, "batch": 3}, "size batch=3: network 'net' calls that axis batch, which is given as 2"),
        (image("2*B", 8), {"N": 4}, "size N=4: that axis of network 'net' is 2*B; give B instead"),
        (image("2*B", 8, defaults={"B": 1}), {"N": 4}, "that axis of network 'net' is 2*B"),
    ],
)
def test_refuses_sizes(network: Network, given: dict[str, int], told: str) -> None:
    with pytest.raises(UnknownSize) as error:
        network.bind(given)
    assert told in str(error.value)


def test_binds_some() -> None:
    assert image("N", 3, "H", "W").bind({"H": 5}, complete=False) == {"H": 5}


def test_sizes_come_in_the_order_of_the_inputs() -> None:
    b = Builder()
    b.input("x", ("N", "W", "H"))
    b.input("mask", ("A", "H"))
    assert list(b.finish("x").sizes) == ["N", "W", "H", "A"]


def test_sizes_inside_a_sequence_are_open_too() -> None:
    rows = {"rows": SequenceOf.of(Tensor("float32", (Dim.size("M"), 4)), length=Dim.size("L"))}
    network = Network("rows", inputs=rows, outputs=rows, tensors=rows, layers=())
    assert network.bind({"M": 2, "L": 3}) == {"M": 2, "L": 3}
