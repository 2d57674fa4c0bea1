"""iotnets: every layer of every published network, and the counts that were published with them."""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import costmodel as cm
from costmodel.dims import Dim

FAMILIES = {"densenet": "densenet", "googlenet": "googlenet", "mobilenetv2": "mobilenet_v2", "pnasnet": "pnasnet"}
OPS = {
    "Conv": "conv", "BatchNormalization": "bn", "Relu": "relu", "Add": "add", "Concat": "concat", "MaxPool": "maxpool",
    "AveragePool": "avgpool", "Flatten": "flatten", "Gemm": "linear",
}  # fmt: skip

Rows = list[dict[str, str]]


def published(shared: Path, table: str) -> Iterator[dict[str, str]]:
    with gzip.open(shared / "data" / f"iotnets_{table}.csv.gz", "rt", encoding="utf-8") as file:
        yield from csv.DictReader(file)


@pytest.fixture(scope="module")
def graphs(shared: Path) -> Mapping[str, Rows]:
    found: dict[str, Rows] = defaultdict(list)
    for row in published(shared, "graph"):
        found[row["net_id"]].append(row)
    return found


@pytest.fixture(scope="module")
def networks(shared: Path) -> Mapping[str, tuple[dict[str, str], cm.Network]]:
    """Each network of the tables, built from its sampled configuration alone."""
    found = {}
    for row in published(shared, "latency"):
        if row["net_id"] not in found:
            law = row["net_id"].split("_")[1]
            space = cm.search.space(f"iotnets_{FAMILIES[row['family']]}", law=law)
            found[row["net_id"]] = row, space.network(space.parse(row["config"]), N=1)
    return found


def described(net: cm.Network) -> list[dict[str, str]]:
    """The layers in the table's terms."""
    position = {"x": -1, **{layer.outputs[0]: i for i, layer in enumerate(net.layers)}}
    return [_row(net, layer, i, position) for i, layer in enumerate(net.layers)]


def _row(net: cm.Network, layer: cm.Layer, node: int, position: Mapping[str, int]) -> dict[str, str]:
    read = [name for name in layer.inputs if not net.tensors[name].constant]
    window: Any = layer.attributes.get("kernel_shape", (0, 0))
    stride: Any = layer.attributes.get("strides", (0,))
    pads: Any = layer.attributes.get("pads", (0,))
    given, taken = net.tensors[layer.outputs[0]].dims, net.tensors[read[0]].dims
    facts = {
        "node": node, "op": OPS[layer.op], "inputs": " ".join(str(position[name]) for name in read),
        "c_in": given[1] if layer.op == "Concat" else taken[1], "c_out": given[1],
        "kernel_h": window[0], "kernel_w": window[1], "stride": stride[0], "pad": pads[0],
        "groups": layer.attributes.get("group", 0), "bias": int(layer.op in ("Conv", "Gemm") and len(layer.inputs) == 3),
        "h_out": given[2] if len(given) == 4 else 1, "w_out": given[3] if len(given) == 4 else 1,
    }  # fmt: skip
    return {name: str(value) for name, value in facts.items()}


def test_every_layer_of_every_network(networks: Mapping[str, Any], graphs: Mapping[str, Rows]) -> None:
    assert len(networks) > 1000
    for net_id, (_, net) in networks.items():
        expected = [{name: value for name, value in row.items() if name != "net_id"} for row in graphs[net_id]]
        assert described(net) == expected, net_id


def size(net: cm.Network, name: str) -> int:
    return Dim.of(net.tensors[name].size).at()


def reported_flops(net: cm.Network) -> int:
    """The source's convention: multiply-adds without biases and 2 per batch-norm element."""
    norms = [layer for layer in net.layers if layer.op == "BatchNormalization"]
    return cm.count(net).total.macs.at() + 2 * sum(size(net, layer.outputs[0]) for layer in norms)


def more_in_googlenet(net: cm.Network) -> int:
    """There alone it counts biases of convolutions, one for each element of a ReLU and one for each that enters a pool."""
    biased = [layer.outputs[0] for layer in net.layers if layer.op == "Conv" and len(layer.inputs) == 3]
    rectified = [layer.outputs[0] for layer in net.layers if layer.op == "Relu"]
    pooled = [layer.inputs[0] for layer in net.layers if layer.op in ("MaxPool", "AveragePool")]
    return sum(size(net, name) for name in (*biased, *rectified, *pooled))


def test_published_counts(networks: Mapping[str, Any]) -> None:
    for net_id, (row, net) in networks.items():
        norms = sum(layer.op == "BatchNormalization" for layer in net.layers)
        more = more_in_googlenet(net) if row["family"] == "googlenet" else 0
        found = cm.count(net).total.weights.at() + norms, reported_flops(net) + more  # a counter for each batch norm
        assert found == (int(row["params"]), int(row["flops_reported"])), net_id


# "params" and "flops" of some entries of random_net_resnext in configs/NetConfigs.json of github.com/IBM/iotnets (commit
# db744e5), law s3; their arguments are what the law draws from the seed that is the entry's id
RESNEXT = {
    49: ("[2, 5, 3]", "[6, 5, 4]", 11822, 5728240),
    50: ("[6, 2, 3]", "[4, 4, 7]", 13568, 8433508),
    57: ("[3, 4, 1]", "[7, 6, 5]", 14475, 9373604),
    69: ("[4, 3, 5]", "[6, 7, 5]", 20461, 10641972),
    75: ("[2, 1, 1]", "[4, 4, 7]", 4094, 2650828),
    99: ("[1, 2, 1]", "[5, 7, 5]", 4771, 2336676),
}


@pytest.mark.parametrize("entry", RESNEXT)
def test_published_counts_of_resnext(entry: int) -> None:
    cardinalities, widths, params, flops = RESNEXT[entry]
    space = cm.search.space("iotnets_resnext", law="s3")
    arguments = f'{{"num_blocks": [1, 1, 1], "cardinalities": {cardinalities}, "bottleneck_widths": {widths}}}'
    net = space.network(space.parse(f'{{"args": {arguments}}}'), N=1)
    norms = sum(layer.op == "BatchNormalization" for layer in net.layers)
    assert (cm.count(net).total.weights.at() + norms, reported_flops(net)) == (params, flops)
