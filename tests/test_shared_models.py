"""Real graphs against their truth: shapes that ONNX Runtime produced, MACs from its executed kernels, torch's parameters."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from costmodel.counts import count
from costmodel.dims import value_at
from costmodel.graph import Network, Tensor
from costmodel.read.onnx import load
from tests.conftest import shared_folder

FOLDER = shared_folder()
MANIFEST: dict[str, Any] = json.loads((FOLDER / "models" / "manifest.json").read_text()) if FOLDER else {}
pytestmark = pytest.mark.skipif(FOLDER is None, reason="the reference graphs are not beside this checkout")
BINDINGS = [(name, i) for name, entry in MANIFEST.items() for i in range(len(entry["symbols"]))]

# the exporter folded batch norms into convolutions: of four numbers a channel, one bias is left
FOLDED_BATCH_NORM = {"resnet50", "mobilenet_v2"}


@lru_cache(maxsize=8)
def network(name: str) -> Network:
    assert FOLDER is not None
    return load(FOLDER / "models" / f"{name}.onnx")


def truth(name: str, run: int) -> dict[str, Any]:
    assert FOLDER is not None
    runs: list[dict[str, Any]] = json.loads(gzip.open(FOLDER / "models" / "truth" / f"{name}.json.gz").read())["runs"]
    return runs[run]


def sizes_of(net: Network, run: dict[str, Any]) -> dict[str, int]:
    """The binding, read off the shapes of the inputs that were fed."""
    bound: dict[str, int] = {}
    for name, (_, shape) in run["inputs"].items():
        for extent, number in zip(net.inputs[name].dims, shape, strict=True):
            if not isinstance(extent, int) and len(extent.names) == 1 and str(extent) == str(next(iter(extent.names))):
                bound[next(iter(extent.names))] = number
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
    counted = int(count(network(name)).total.params)
    stated = MANIFEST[name]["torch_params"]
    if name in FOLDED_BATCH_NORM:
        channels = sum(net_layer_channels(network(name)))
        assert counted == stated - channels
    else:
        assert counted == stated


def net_layer_channels(net: Network) -> list[int]:
    """Output channels of every convolution: each had a batch norm of scale and shift, of which the bias remains."""
    return [int(net.tensors[layer.inputs[1]].dims[0]) for layer in net.layers if layer.op == "Conv"]
