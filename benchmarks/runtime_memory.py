"""The peak of the heap while ONNX Runtime runs a network, beside the plan for the same session options.

    python benchmarks/runtime_memory.py resnet18 model.onnx --at N=1,seq=16 [--csv heap.csv]

Networks of the zoo run with zeros for weights; so do files whose weights are not there. Needs Linux, a C compiler and
onnxruntime. The heap holds a network's outputs and not its inputs, at one thread.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import costmodel as cm
from costmodel.export import to_onnx
from costmodel.planners import OnnxRuntime

TRACE = Path(__file__).with_name("heap_trace.c")
SETTINGS = [
    {"reuse": False},
    {"reuse": True},
    {"reuse": True, "pattern": True},
    {"reuse": True, "pattern": True, "arena": True},
]


def under_trace(arguments: list[str]) -> int:
    """Run this script once more with the heap traced."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "heap_trace.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(TRACE)], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "HEAP_TRACED": "1"}
        return subprocess.run([sys.executable, __file__, *arguments], env=environment, check=False).returncode


def model_of(name: str) -> tuple[cm.Network, bytes]:
    if not name.endswith(".onnx"):
        network = cm.zoo(name)
        return network, to_onnx(network, weights="zeros").SerializeToString()
    model = onnx.load(name, load_external_data=False)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tensor.dims, dtype), tensor.name))
    return cm.load(name), model.SerializeToString()


def peaks(data: bytes, feeds: Mapping[str, np.ndarray], planner: OnnxRuntime, runs: int = 2) -> int:
    """The highest peak of some runs of one session."""
    heap = ctypes.CDLL(None)
    heap.heap_stop.restype = ctypes.c_long
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_reuse, options.enable_mem_pattern = planner.reuse, planner.pattern
    options.enable_cpu_mem_arena = planner.arena
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if planner.optimized else levels.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found = []
    for _ in range(runs):
        heap.heap_start()
        outputs = session.run(None, dict(feeds))
        found.append(heap.heap_stop())
        del outputs
    return max(found)


def rows(name: str, given: Mapping[str, int]) -> Iterator[dict[str, object]]:
    network, data = model_of(name)
    point = network.bind({size: value for size, value in given.items() if size in network.sizes})
    feeds = {
        key: np.ones([cm.dims.value_at(extent, point) for extent in tensor.dims], tensor.dtype)
        for key, tensor in network.inputs.items()
    }
    for optimized in (False, True):
        for settings in SETTINGS:
            planner = OnnxRuntime(optimized=optimized, **settings)
            planned = cm.memory(network, planner=planner).at(point).peak_bytes
            sizes = ",".join(f"{size}={value}" for size, value in point.items())
            yield {
                "network": Path(name).stem, "sizes": sizes, "planner": planner.name,
                "heap_bytes": peaks(data, feeds, planner), "planned_bytes": planned,
            }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--at", default="")
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    given = {name: int(value) for name, value in (part.split("=") for part in arguments.at.split(",") if part)}
    found = []
    for name in arguments.networks:
        for row in rows(name, given):
            found.append(row)
            off = int(row["planned_bytes"]) / int(row["heap_bytes"]) - 1
            bytes_of_both = f"{row['heap_bytes']:>12,} {row['planned_bytes']:>12,}"
            print(f"{row['network']:24} {row['planner']:34} {bytes_of_both} {off:+8.2%}", flush=True)
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [key for key in found[0] if key != "planned_bytes"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(found)


if __name__ == "__main__":
    if "HEAP_TRACED" not in os.environ:
        sys.exit(under_trace(sys.argv[1:]))
    main()
