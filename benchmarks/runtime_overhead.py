"""The memory of a process that runs one network with ONNX Runtime, beside its weights and the planned peak.

    python benchmarks/runtime_overhead.py resnet18 mobilenet_v2 ... [--csv overhead.csv]

Each network runs in a process of its own, with zeros for weights, from a file, at one thread. Told is the
highest resident set (VmHWM) beyond what the process held once onnxruntime was imported. Needs Linux.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import costmodel as cm
from costmodel.dims import value_at
from costmodel.export import to_onnx
from costmodel.footprint import convolution_bytes


def run(path: str, feeds: str) -> None:
    """In the child: load, run twice, print the growth of the resident set in bytes."""
    import onnxruntime

    given = dict(np.load(feeds))
    Path("/proc/self/clear_refs").write_text("5")  # from here on the peak counts
    before = resident("VmRSS")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for _ in range(2):
        session.run(None, given)
    print(resident("VmHWM") - before, before)


def resident(key: str) -> int:
    """A figure of the process's status in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def measured(name: str) -> dict[str, object]:
    network = cm.zoo(name)
    point = network.bind({})
    feeds = {
        key: np.ones([value_at(extent, point) for extent in tensor.dims], tensor.dtype)
        for key, tensor in network.inputs.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path, given = Path(folder) / "network.onnx", Path(folder) / "feeds.npz"
        path.write_bytes(to_onnx(network, weights="zeros").SerializeToString())
        np.savez(given, **feeds)
        command = [sys.executable, __file__, "--child", str(path), str(given)]
        grown, imported = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    plan = cm.memory(network, planner="onnxruntime-arena-optimized").at(point)
    weights = value_at(cm.count(network).total.weight_bytes, point)
    return {
        "network": name,
        "weight_bytes": weights,
        "convolution_bytes": value_at(convolution_bytes(network), point),
        "planned_bytes": plan.peak_bytes + plan.input_bytes,
        "grown_bytes": grown,
        "imported_bytes": imported,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.networks:
        rows.append(measured(name))
        print(rows[-1], flush=True)
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        run(*sys.argv[2:4])
    else:
        main()
