"""NAS-Bench-201's networks on a Raspberry Pi 5: time and the energy of the core, from 100 measured networks.

The table of HW-NAS-Bench-360 (roldebijvank/HW-NAS-Bench-360, commit a9b243e07fb8) states no licence, so none of it comes
with the library. The protocol reads a copy of the user's own, which the environment variable COSTMODEL_PI5_TABLE names: a
CSV file, gzipped or not, with the columns arch_idx (the row of NAS-Bench-201's list, as in nasbench201.npz), device
(raspberry_pi_5), framework (onnx, torchmobile), task, latency_ms_median and energy_mj.
"""

from __future__ import annotations

import csv
import gzip
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import BayesianRidge

from costmodel.accuracy.figures import Accuracy, Metrics, summarise
from costmodel.accuracy.protocols.nb201 import op_counts, tables
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.costing import LEVEL
from costmodel.errors import CannotCalibrate
from costmodel.intervals import conformal_radius
from costmodel.spaces.nasbench201 import EDGES, OPS

Array = NDArray[np.float64]
Index = NDArray[np.intp]

VARIABLE = "COSTMODEL_PI5_TABLE"
COLUMNS = {"time": "latency_ms_median", "energy": "energy_mj"}
MEASURED = 100
FOLDS = 10
LEAST_SHARE = 0.02  # of the mean: no prediction is below
MACS = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}  # for each pair of channels and position


def repeated_ops(cells: Index) -> Array:
    """How many average poolings, and how many ReLUs before convolutions, another one of the same node makes superfluous.

    Times under ONNX Runtime and TorchMobile show that both calculate equal ops of one tensor once.
    """
    names = list(OPS)
    pools = cells == names.index("avg_pool_3x3")
    relus = np.isin(cells, [names.index(op) for op in MACS])
    leaving = [[edge for edge, (source, _) in enumerate(EDGES) if source == node] for node in range(3)]
    return np.column_stack(
        [sum(np.maximum(ops[:, edges].sum(axis=1) - 1, 0) for edges in leaving) for ops in (pools, relus)]
    ).astype(float)


def columns(cells: Index) -> Mapping[str, Array]:
    """What a cost is linear in: the method's columns first, then those of its baselines."""
    counts, counted = op_counts(cells), [op for op in OPS if op != "none"]
    macs = counts[:, [counted.index(op) for op in MACS]] @ np.array(list(MACS.values()), dtype=float)
    return {
        "distinct_ops": np.column_stack([counts, repeated_ops(cells)]),
        "op_counts": counts,
        "macs_linear": macs[:, None],
    }


def read(path: Path) -> dict[tuple[str, str, str], dict[int, float]]:
    """Cost by network, for each framework, task and quantity on the Raspberry Pi 5."""
    found: dict[tuple[str, str, str], dict[int, float]] = {}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for row in csv.DictReader(file):
            if (row["device"], row["framework"]) in {("raspberry_pi_5", "onnx"), ("raspberry_pi_5", "torchmobile")}:
                for quantity, column in COLUMNS.items():
                    if row[column] and float(row[column]) > 0:
                        costs = found.setdefault((row["framework"], row["task"], quantity), {})
                        costs[int(row["arch_idx"])] = float(row[column])
    return found


@dataclass(frozen=True, eq=False)
class _Draw:
    """What 100 networks say of the others."""

    log_errors: Array
    radius: float
    spearman: float


def _draw(work: Array, costs: Array, order: Index) -> _Draw:
    """The first networks of an order are measured; folds of them give the radius for the others."""
    from scipy.stats import spearmanr

    few, others = order[:MEASURED], order[MEASURED:]
    inner = [_log_errors(work, costs, np.setdiff1d(few, few[i::FOLDS]), few[i::FOLDS]) for i in range(FOLDS)]
    radius, _ = conformal_radius(np.abs(np.concatenate(inner)).tolist(), LEVEL)
    errors = _log_errors(work, costs, few, others)
    return _Draw(errors, radius, float(spearmanr(costs[others] * np.exp(errors), costs[others]).statistic))


def _log_errors(work: Array, costs: Array, few: Index, asked: Index) -> Array:
    mean = costs[few].mean()
    fitted = BayesianRidge().fit(work[few], costs[few] / mean, sample_weight=(mean / costs[few]) ** 2)
    found: Array = np.log(mean * np.maximum(fitted.predict(work[asked]), LEAST_SHARE) / costs[asked])
    return found


def _metrics(draws: Iterable[_Draw]) -> Metrics:
    found = list(draws)
    radii = np.concatenate([np.full(len(draw.log_errors), draw.radius) for draw in found])
    return summarise(
        np.concatenate([draw.log_errors for draw in found]), radii, float(np.mean([draw.spearman for draw in found]))
    )


def few_networks(
    measured: Mapping[tuple[str, str, str], Mapping[int, float]], cells: Index, protocol: str, *, draws: int = 10
) -> Accuracy:
    """100 random networks are measured under each framework and task; the others are predicted."""
    work = columns(cells)
    found: dict[str, dict[str, list[_Draw]]] = {name: {} for name in work}
    for (framework, _, quantity), costs in measured.items():
        known, values = np.array(list(costs)), np.array(list(costs.values()))
        for draw in range(draws):
            order = np.random.default_rng(draw).permutation(len(known))
            for name, all_columns in work.items():
                found[name].setdefault(f"{framework}, {quantity}", []).append(_draw(all_columns[known], values, order))
    if not measured:
        raise CannotCalibrate("the table holds no network on raspberry_pi_5 under onnx or torchmobile")
    method, *baselines = found
    return Accuracy(
        protocol=protocol,
        metrics=_metrics(chain(*found[method].values())),
        baselines={name: _metrics(chain(*found[name].values())) for name in baselines},
        groups={group: _metrics(members) for group, members in found[method].items()},
    )


def _run() -> Accuracy:
    path = Path(os.environ.get(VARIABLE, ""))
    if not path.is_file():
        where = f"{VARIABLE} names {str(path)!r}, which is no file" if VARIABLE in os.environ else f"{VARIABLE} is not set"
        raise CannotCalibrate(
            f"{where}; the table has no licence and does not come with the library: "
            "set it to your copy of HW-NAS-Bench-360's results as CSV"
        )
    return few_networks(read(path), tables().cells, "pi5-nb201")


PROTOCOLS: Mapping[str, Protocol] = {
    "pi5-nb201": Protocol(
        f"NAS-Bench-201 on a Raspberry Pi 5, time and energy from 100 measured networks (in a table that {VARIABLE} names)",
        _run,
    ),
}
