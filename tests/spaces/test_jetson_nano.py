"""The synthetic networks of the Jetson Nano: the published multiply-adds and parameters of every one."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import costmodel as cm
from costmodel.dims import Dim


def family(row: dict[str, str]) -> str:
    if float(row["depthwise"]):
        return "jetson_nano_dws"
    return "jetson_nano_mixed" if row["k2"] else "jetson_nano_plain"


def with_bias_adds(net: cm.Network) -> int:
    """The source's convention: one more operation for each output of a convolution or linear layer, for its bias."""
    written = [layer.outputs[0] for layer in net.layers if layer.op in ("Conv", "Gemm")]
    return cm.count(net).total.macs.at() + sum(Dim.of(net.tensors[name].size).at() for name in written)


def test_published_counts(shared: Path) -> None:
    spaces = {name: cm.search.space(name) for name in cm.search.spaces() if name.startswith("jetson")}
    seen = dict.fromkeys(spaces, 0)
    with gzip.open(shared / "data" / "jetson_nano_cnn.csv.gz", "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["group"] == "real_data":
                continue
            space = spaces[family(row)]
            candidate = space.parse(row["model"])
            assert space.format(candidate) == row["model"]
            net = space.network(candidate, N=1)
            found = with_bias_adds(net), cm.count(net).total.params.at()
            assert found == (int(row["macs_reported"]), int(row["params"])), row["model"]
            seen[space.name] += 1
    assert all(count > 2000 for count in seen.values())


def test_padding_narrows_for_good_at_the_first_odd_kernel() -> None:
    space = cm.search.space("jetson_nano_mixed")
    net = space.network(space.record(filters=64, kernels=(2, 3), counts=(2, 2), size=10), N=1)
    sizes = [net.tensors[layer.outputs[0]].dims[2] for layer in net.layers if layer.op == "Conv"]
    assert sizes == [10 + 4 - 1, 13 + 2 - 2, 13 + 2 - 1, 14 + 2 - 2]
