"""Whole search spaces, built and counted: all columns of a table, from cold, on one core, against the ways without one.

    python benchmarks/nas.py [--sample 60]

Each line is a fresh process, its start and imports included; seconds are of wall clock and of processor (on a machine that
others use, the second tells more). The ways that take networks one at a time run a sample; their whole time is scaled.

- table: costmodel.search.table, all candidates.
- alone: space.network, then count, memory and features, one candidate after the other.
- onnx: the network written as an ONNX model and read again, then the same.
- onnx-tool: the same model through onnx-tool's shape inference and profile (multiply-adds and memory of layers alone),
  where it is installed.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SUBJECTS: dict[str, tuple[str, dict[str, Any], int]] = {
    "NAS-Bench-201": ("nasbench201", {}, 15_625),
    "NAS-Bench-201, pruned": ("nasbench201", {"pruned": True}, 15_625),
    "once-for-all": ("ofa_mobilenet_v3", {}, 10_000),
    "FBNet": ("fbnet", {}, 10_000),
}
WAYS = ("table", "alone", "onnx", "onnx-tool")


def run(subject: str, way: str, count: int) -> None:
    """What a child process does."""
    import numpy as np

    import costmodel as cm

    name, options, _ = SUBJECTS[subject]
    space = cm.search.space(name, **options)
    rng = np.random.default_rng(0)
    candidates = list(space) if count == space.size else [space.sample(rng) for _ in range(count)]
    if way == "table":
        columns = cm.search.table(space, candidates)
        assert len(columns["macs"]) == count
    else:
        for candidate in candidates:
            taken(way)(space.network(candidate, **space.defaults))


def taken(way: str) -> Callable[[Any], object]:
    import costmodel as cm
    from costmodel.search import whole_row

    def through_onnx(network: cm.Network) -> object:
        return whole_row(cm.load(cm.to_onnx(network).SerializeToString()), "")

    def through_onnx_tool(network: cm.Network) -> object:
        import onnx_tool  # type: ignore[import-untyped]

        model = onnx_tool.Model(cm.to_onnx(network))
        model.graph.shape_infer(None)
        return model.graph.profile()

    return {"alone": lambda network: whole_row(network, ""), "onnx": through_onnx, "onnx-tool": through_onnx_tool}[way]


def measured(subject: str, way: str, count: int) -> tuple[float, float] | None:
    """Seconds of wall clock and of processor of a fresh process on one core; None where it fails."""
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, __file__, "--run", subject, "--way", way, "--count", str(count)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    child = subprocess.run(
        command, preexec_fn=lambda: os.sched_setaffinity(0, {core}), capture_output=True, check=False
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return None if child.returncode else (wall, processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=60)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run, arguments.way, arguments.count)
        return
    print(f"{'space':24}{'networks':>9}  {'way':10}{'wall s':>9}{'cpu s':>9}{'us each':>9}{'x table':>9}")
    for subject, (_, _, total) in SUBJECTS.items():
        whole: float | None = None
        for way in WAYS:
            none, some = measured(subject, way, 0), measured(subject, way, total if way == "table" else arguments.sample)
            if none is None or some is None:
                print(f"{subject:24}{total:9}  {way:10}{'-':>9}")
                continue
            factor = 1 if way == "table" else total / arguments.sample
            wall, cpu = (start + (end - start) * factor for start, end in zip(none, some, strict=True))
            whole = whole or cpu
            print(f"{subject:24}{total:9}  {way:10}{wall:9.1f}{cpu:9.1f}{cpu / total * 1e6:9.0f}{cpu / whole:9.1f}")


if __name__ == "__main__":
    main()
