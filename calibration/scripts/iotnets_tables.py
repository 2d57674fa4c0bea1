"""Make calibration/measurements/iotnets.csv and calibration/features/iotnets.*.csv.gz.

    python calibration/scripts/iotnets_tables.py iotnets_latency.csv.gz iotnets_graph.csv.gz

The first file holds one network on one device a row: net_id, device, latency_ms, latency_std_ms. The second holds the layers
of each network in the order in which they run: net_id, node, op, inputs (numbers of nodes, -1 for the image), c_out,
kernel_h, stride, pad, groups, bias. calibration/SOURCES.md tells what the measurements are worth.
"""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path

from costmodel.build import Builder
from costmodel.features import works
from costmodel.graph import Network
from costmodel.schema.device import Device, load_devices
from costmodel.schema.measurement import Measurement, write_measurements
from costmodel.stored import of_one_image, write_works

CALIBRATION = Path(__file__).resolve().parent.parent
SOURCE = "iotnets"
LICENCE = "MIT"
# on Arm PyTorch had no library of convolutions then and unrolled them (costmodel/features.py, UNROLLING)
RUNTIMES = {"rpi3b+": "torch-native", "macbookpro": "torch"}
IMAGE = (1, 3, 32, 32)
SPREAD = 0.1  # standard deviation / mean of the five runs above which their mean says little

Row = Mapping[str, str]


def measurements(rows: Iterable[Row], devices: Mapping[str, Device]) -> list[Measurement]:
    """The table's rows as measurements; ``devices`` by the source's names."""
    return [_measurement(row, devices[row["device"]]) for row in rows]


def _measurement(row: Row, device: Device) -> Measurement:
    spread = float(row["latency_std_ms"]) / float(row["latency_ms"])
    return Measurement(
        device=device.id,
        runtime=RUNTIMES[row["device"]],
        precision="fp32",
        variant="eager",
        network=f"{SOURCE}:{row['net_id']}",
        sizes={"N": 1},
        time_s=_seconds(row["latency_ms"]),
        time_std_s=_seconds(row["latency_std_ms"]),
        runs=5,
        source=SOURCE,
        licence=LICENCE,
        suspect=f"the runs differ: standard deviation / mean is {spread:.2f}" if spread > SPREAD else "",
    )


def _seconds(milliseconds: str) -> float:
    return float(Decimal(milliseconds) / 1000)


def networks(rows: Iterable[Row]) -> dict[str, Network]:
    """Each network of the second file, layer by layer."""
    return {name: network(name, list(layers)) for name, layers in groupby(rows, key=lambda row: row["net_id"])}


def network(name: str, rows: Sequence[Row]) -> Network:
    """One network; what no layer reads is its output."""
    b = Builder(name)
    nodes = {"-1": b.input("image", IMAGE)}
    for row in rows:
        nodes[row["node"]] = _layer(b, row, [nodes[node] for node in row["inputs"].split()])
    return b.finish(nodes[rows[-1]["node"]])


def _layer(b: Builder, row: Row, inputs: Sequence[str]) -> str:
    width, kernel, stride, padding = (int(row[column]) for column in ("c_out", "kernel_h", "stride", "pad"))
    x = inputs[0]
    match row["op"]:
        case "conv":
            groups, bias = int(row["groups"]), row["bias"] == "1"
            return b.conv(x, width, kernel=kernel, stride=stride, padding=padding, groups=groups, bias=bias)
        case "bn":
            return b.bn(x)
        case "relu":
            return b.relu(x)
        case "add":
            return b.add(*inputs)
        case "concat":
            return b.concat(*inputs)
        case "maxpool":
            return b.max_pool(x, kernel, stride=stride, padding=padding)
        case "avgpool":
            return b.avg_pool(x, kernel, stride=stride, padding=padding, count_padding=True)
        case "flatten":
            return b.flatten(x)
        case "linear":
            return b.linear(x, width, bias=row["bias"] == "1")
    raise ValueError(f"op {row['op']!r} of {row['net_id']}, node {row['node']}: no such layer; say how it is built")


def titled(devices: Iterable[Device]) -> dict[str, Device]:
    return {title: device for device in devices for title in device.listed_as.get(SOURCE, ())}


def read_rows(path: str) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main(latency: str, graph: str) -> None:
    found = measurements(read_rows(latency), titled(load_devices().values()))
    path = CALIBRATION / "measurements" / "iotnets.csv"
    write_measurements(path, found)
    print(f"{path}: {len(found)} rows, {sum(bool(row.suspect) for row in found)} of them suspect")
    built = networks(read_rows(graph))
    for runtime in RUNTIMES.values():
        timed = {row.network.partition(":")[2] for row in found if row.runtime == runtime and not row.suspect}
        kernels = {name: of_one_image(works(built[name], runtime), {}) for name in timed}
        path = CALIBRATION / "features" / f"{SOURCE}.{runtime}.csv.gz"
        write_works(path, kernels)
        print(f"{path}: {sum(map(len, kernels.values()))} kernels of {len(kernels)} networks")


if __name__ == "__main__":
    main(*sys.argv[1:])
