"""Fit the laws of memory: calibration/memory/*.csv -> calibration/memory/laws.toml.

    python calibration/scripts/fit_memory.py

The tables come from benchmarks/runtime_overhead.py. A law is fitted for the relative error, no part negative; its
margins are the errors on each network when it is left out. What was published as a law is written down as it was.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from costmodel.schema.profile import write_whole

MEMORY = Path(__file__).parent.parent / "memory"
PUBLISHED = """
[[law]]
name = "jetson-tx1/torch7"
constant_bytes = 200_000_000
per_convolution_weight = 1.3
per_other_weight = 1.3
scope = "memory of the whole system, at a small batch"
source = "Canziani et al. 2016 (arXiv 1605.07678), as quoted in lecture notes: 200 MB + 1.30 x parameters"
"""


def law(path: Path, planner: str) -> str:
    with path.open() as file:
        rows = [{key: float(value) for key, value in row.items() if key != "network"} for row in csv.DictReader(file)]
    taken = np.array([row["grown_bytes"] for row in rows])
    planned = np.array([row["planned_bytes"] for row in rows])
    work = np.array([[1, row["convolution_bytes"], row["weight_bytes"] - row["convolution_bytes"]] for row in rows])

    def fit(kept: NDArray[np.bool_]) -> NDArray[np.float64]:
        relative = work[kept] / taken[kept, None]
        return np.asarray(nnls(relative, 1 - planned[kept] / taken[kept])[0])

    costs = fit(np.ones(len(rows), dtype=bool))
    errors = []
    for i in range(len(rows)):
        predicted = work[i] @ fit(np.arange(len(rows)) != i) + planned[i]
        errors.append(abs(float(np.log(predicted / taken[i]))))
    margins = ", ".join(f"{error:.3f}" for error in sorted(errors))
    return f"""
[[law]]
name = "{path.stem}"
planner = "{planner}"
constant_bytes = {round(costs[0])}
per_convolution_weight = {costs[1]:.3f}
per_other_weight = {costs[2]:.3f}
margins = [{margins}]
scope = "what a process takes beyond its libraries, at its highest, from loading a file on; one thread"
source = "benchmarks/runtime_overhead.py, {len(rows)} networks, ONNX Runtime 1.32, x86-64 with AVX-512, Linux"
"""


if __name__ == "__main__":
    head = "# What a process takes to run a network. Written by calibration/scripts/fit_memory.py.\n"
    write_whole(MEMORY / "laws.toml", head + law(MEMORY / "onnxruntime.csv", "onnxruntime-arena-optimized") + PUBLISHED)
