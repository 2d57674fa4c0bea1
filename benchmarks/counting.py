"""Time of load + shapes + symbolic count, against peers and against the floor, on the same graphs in one run.

    python benchmarks/counting.py FOLDER_OF_ONNX_FILES [--repeats 7]

The floor is what any Python tool pays: parsing the graph without its payloads, and one visit to every node and its
attributes. ``cold`` has counted nothing before; ``costmodel`` has met the layers in networks before, as in a search or a
service. Peers that are not installed are left out (pip install onnx-tool onnx-shape-inference onnxruntime).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx

import costmodel as cm
from costmodel.ops import engine
from costmodel.read import nodes, wire

Tool = Callable[[Path], object]


def floor(path: Path) -> object:
    with path.open("rb") as file:
        model = onnx.ModelProto.FromString(wire.without_weights(wire.File(file.fileno())))
    return visited(model.graph)


def visited(graph: onnx.GraphProto) -> list[object]:
    found: list[object] = []
    for node in graph.node:
        found.append((node.op_type, list(node.input), list(node.output), [a.name for a in node.attribute]))
        if node.op_type in ("If", "Loop", "Scan"):
            found += [visited(attribute.g) for attribute in node.attribute if attribute.HasField("g")]
    return found


def ours(path: Path) -> object:
    return cm.count(cm.load(path)).total


def ours_from_cold(path: Path) -> object:
    engine.forget()
    nodes.forget()
    return ours(path)


def onnx_inference(path: Path) -> object:
    return onnx.shape_inference.infer_shapes(onnx.load(path, load_external_data=False), data_prop=True)


def onnxruntime_symbolic(path: Path) -> object:
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    return SymbolicShapeInference.infer_shapes(onnx.load(path, load_external_data=False), auto_merge=True)


def onnx_shape_inference(path: Path) -> object:
    import onnx_ir
    import onnx_shape_inference as peer

    return peer.infer_symbolic_shapes(onnx_ir.from_proto(onnx.load(path, load_external_data=False)))


def onnx_tool(path: Path) -> object:
    import onnx_tool as peer

    model = peer.Model(str(path))
    model.graph.shape_infer(None)
    return model.graph.profile()


TOOLS: dict[str, Tool] = {
    "floor": floor,
    "cold": ours_from_cold,
    "costmodel": ours,
    "onnx": onnx_inference,
    "onnxruntime": onnxruntime_symbolic,
    "onnx-shape-inference": onnx_shape_inference,
    "onnx-tool": onnx_tool,
}


def best_ms(tool: Tool, path: Path, repeats: int) -> float | None:
    """The least time of some runs; None where the tool fails on the file or is not there."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                tool(path)
        except Exception:
            return None
        times.append(time.perf_counter() - started)
        if sum(times) > 5:
            break
    return min(times) * 1e3


def row(name: str, times: dict[str, float | None]) -> str:
    peers = [ms for tool, ms in times.items() if tool in ("onnxruntime", "onnx-shape-inference") and ms is not None]
    cells = "".join(f"{'-' if ms is None else f'{ms:.1f} ms':>22}" for ms in times.values())
    ratios = ""
    for mine in (times["cold"] or math.nan, times["costmodel"] or math.nan):
        ratios += f"{mine / (times['floor'] or math.nan):>8.1f}{f'{min(peers) / mine:.1f}' if peers else '-':>8}"
    return f"{name:24}{cells}{ratios}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{'':156}" + f"{'cold':>22}{'costmodel':>16}")
    print(f"{'graph':24}" + "".join(f"{name:>22}" for name in TOOLS) + f"{'x floor':>8}{'x peer':>8}" * 2)
    folder = arguments.folder.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # a peer leaves files where it runs
        for path in sorted(folder.glob("*.onnx")):
            times = {name: best_ms(tool, path, arguments.repeats) for name, tool in TOOLS.items()}
            print(row(path.stem, times), flush=True)


if __name__ == "__main__":
    main()
