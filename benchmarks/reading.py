"""Reading a file with a gigabyte of inline weights: time and memory, against ``onnx.load`` in the same run.

    python benchmarks/reading.py [--gigabytes 1]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 3200
CHILD = """
import sys, time
from pathlib import Path
{setup}
def peak_bytes():
    return next(int(line.split()[1]) * 1024 for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))
before = peak_bytes()
start = time.perf_counter()
{read}
seconds = time.perf_counter() - start
print(seconds, peak_bytes() - before)
"""
READERS = {
    "costmodel": ("import costmodel, costmodel.read.onnx, onnx", "costmodel.load(sys.argv[1])"),
    "onnx.load": ("import onnx", "onnx.load(sys.argv[1])"),
}


def write_model(path: Path, gigabytes: float) -> None:
    """A chain of matrix products whose weights fill the file."""
    layers = max(1, round(gigabytes * 1e9 / (4 * WIDTH * WIDTH)))
    weight = np.zeros((WIDTH, WIDTH), dtype=np.float32)
    nodes = [helper.make_node("MatMul", [f"t{i}", f"w{i}"], [f"t{i + 1}"]) for i in range(layers)]
    ends = [helper.make_tensor_value_info(f"t{i}", TensorProto.FLOAT, ["N", WIDTH]) for i in (0, layers)]
    stored = [numpy_helper.from_array(weight, f"w{i}") for i in range(layers)]
    graph = helper.make_graph(nodes, "large", ends[:1], ends[1:], stored)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())


def measure(setup: str, read: str, path: Path) -> tuple[float, float]:
    child = subprocess.run(
        [sys.executable, "-c", CHILD.format(setup=setup, read=read), str(path)], capture_output=True, text=True, check=True
    )
    seconds, grown = map(float, child.stdout.split())
    return seconds, grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.onnx"
        write_model(path, arguments.gigabytes)
        print(f"{path.stat().st_size / 1e9:.2f} GB, onnx {onnx.__version__}")
        for name, (setup, read) in READERS.items():
            seconds, grown = min(measure(setup, read, path) for _ in range(3))
            print(f"{name:12} {seconds * 1e3:9.1f} ms {grown / 1e6:9.1f} MB")


if __name__ == "__main__":
    main()
