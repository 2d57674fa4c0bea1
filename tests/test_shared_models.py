"""Real graphs against their truth: shapes that ONNX Runtime produced, MACs from its executed kernels, torch's parameters."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from functools import lru_cache
from typing import Any

import onnx
import pytest

from costmodel.counts import count
from costmodel.dims import Dim, value_at
from costmodel.graph import Network, Tensor
from costmodel.read.onnx import load
from tests.conftest import shared_folder

FOLDER = shared_folder()
MANIFEST: dict[str, Any] = json.loads((FOLDER / "models" / "manifest.json").read_text()) if FOLDER else {}
pytestmark = pytest.mark.skipif(FOLDER is None, reason="the reference graphs are not beside this checkout")
BINDINGS = [(name, i) for name, entry in MANIFEST.items() for i in range(len(entry["symbols"]))]


@lru_cache(maxsize=8)
def network(name: str) -> Network:
    assert FOLDER is not None
    return load(FOLDER / "models" / f"{name}.onnx")


def truth(name: str, run: int) -> dict[str, Any]:
    assert FOLDER is not None
    with gzip.open(FOLDER / "models" / "truth" / f"{name}.json.gz") as file:
        runs: list[dict[str, Any]] = json.load(file)["runs"]
    return runs[run]


def sizes_of(net: Network, run: dict[str, Any]) -> dict[str, int]:
    """The binding, read off the shapes of the inputs that were fed, and the numbers of those that count something."""
    bound: dict[str, int] = {}
    for source, (_, shape, *value) in run["inputs"].items():
        if value and source in net.sizes:
            bound[source] = value[0]
        for extent, number in zip(net.inputs[source].dims, shape, strict=True):
            if isinstance(extent, Dim) and (name := next(iter(extent.names))) and extent == Dim.size(name):
                bound[name] = number
    return bound


def shape_at(tensor: Tensor, sizes: dict[str, int]) -> list[int] | str:
    try:
        return [value_at(extent, sizes) for extent in tensor.dims]
    except Exception as error:
        return f"{tensor.shape}: {error}"


@pytest.mark.parametrize(("name", "run"), BINDINGS)
def test_every_tensor(name: str, run: int) -> None:
    net, expected = network(name), truth(name, run)
    sizes = sizes_of(net, expected)
    wrong = {}
    for tensor_name, (dtype, shape) in expected["tensors"].items():
        tensor = net.tensors[tensor_name]
        got = (tensor.dtype, shape_at(tensor, sizes))
        if got != (dtype, shape):
            wrong[tensor_name] = (got, (dtype, shape))
    assert not wrong


@pytest.mark.parametrize(("name", "run"), BINDINGS)
def test_macs_equal_those_of_the_executed_kernels(name: str, run: int) -> None:
    net = network(name)
    counts = count(net)
    assert not counts.unsupported
    assert counts.total.macs.at(sizes_of(net, truth(name, run))) == MANIFEST[name]["ort_macs"][run]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [name for name, entry in MANIFEST.items() if "torch_params" in entry])
def test_parameters_equal_those_of_the_torch_module(name: str) -> None:
    assert int(count(network(name)).total.params) + lost_in_export(name) == MANIFEST[name]["torch_params"]


def lost_in_export(name: str) -> int:
    """Parameters of the module that the exporter left out of the file, read off the file alone.

    These modules have random weights, so biases are 0 and scales 1: the exporter drops a bias of zeros, merges equal
    vectors into one, and folds a batch norm (two parameters a channel) into its convolution.
    """
    assert FOLDER is not None
    graph = onnx.load(FOLDER / "models" / f"{name}.onnx", load_external_data=False).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    uses = Counter(source for node in graph.node for source in node.input if len(shapes.get(source, ())) == 1)
    merged = sum((times - 1) * shapes[source][0] for source, times in uses.items())
    if MANIFEST[name]["exporter"] != "dynamo":
        return 0
    no_bias = [node for node in graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) == 2]
    dropped = sum(BATCH_NORM.get((name, node.op_type), 1) * filters(node, shapes) for node in no_bias)
    return merged + dropped


BATCH_NORM = {("resnet50", "Conv"): 2, ("mobilenet_v2", "Conv"): 2, ("odd_convs", "Conv"): 0, ("odd_convs", "Gemm"): 0}


def filters(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return shapes[node.input[1]][0 if node.op_type == "Conv" or transposed else 1]
