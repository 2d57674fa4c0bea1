"""NAS-Bench-201's networks on a device where ten of them were measured: the devices and the split of HELP.

HELP (Lee et al. 2021, arXiv 2106.08630) learns from nine devices and predicts all 15,625 networks on six others. It reports
the rank correlation, mean .932: .987 Titan RTX, .989 Gold 6226, .802 Pixel 2, .890 Raspberry Pi 4, .940 Eyeriss, .985 FPGA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from costmodel.accuracy.figures import Accuracy, Metrics, summarise
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.costing import LEVEL
from costmodel.intervals import conformal_radius
from costmodel.schema.data import data_folder
from costmodel.spaces.nasbench201 import OPS, live_edges
from costmodel.transfer.cells import CellForecast, CellTimes

Array = NDArray[np.float64]
Index = NDArray[np.intp]

MEASURED = 10
CANDIDATES = 1000  # of which the measured ones are chosen, anew in each draw
WIDEST = 3.0  # in log time: beyond that an interval says nothing


@dataclass(frozen=True, eq=False)
class Space:
    """The networks as positions of ops on edges, and their times on the source devices and on those not seen."""

    cells: Index
    sources: Mapping[str, Array]
    unseen: Mapping[str, Array]


def tables() -> Space:
    """The times of all networks on HELP's devices."""
    with np.load(data_folder("calibration") / "measurements" / "nasbench201.npz") as stored:
        times = stored["times_s"].astype(np.float64)
        names = [*map(str, stored["sources"]), *map(str, stored["unseen"])]
        columns = dict(zip(names, times.T, strict=True))
        known = len(stored["sources"])
        return Space(
            cells=stored["cells"].astype(np.intp),
            sources={name: columns[name] for name in names[:known]},
            unseen={name: columns[name] for name in names[known:]},
        )


def op_counts(cells: Index) -> Array:
    """How often each op that does something is in a cell, whether or not its result is used."""
    names = list(OPS)
    return np.column_stack([(cells == names.index(op)).sum(axis=1) for op in names if op != "none"]).astype(np.float64)


def structure(cells: Index) -> Array:
    """Which op is on each edge and on each pair of edges, and on which edges something comes from the input and is used."""
    names = list(OPS)
    is_on = (cells[:, :, None] == np.arange(len(names))).astype(np.float64)
    live = np.array([live_edges(tuple(names[op] for op in cell)) for cell in cells], dtype=np.float64)
    edges = cells.shape[1]
    pairs = [is_on[:, i, :, None] * is_on[:, j, None, :] for i in range(edges) for j in range(i)]
    parts = [is_on, *pairs, is_on * live[:, :, None], live.sum(axis=1), live.any(axis=1)]
    return np.column_stack([part.reshape(len(cells), -1) for part in parts])


# -- drawing ----------------------------------------------------------------------------------------------------


Choice = Callable[[CellTimes, Index], list[int]]


def chosen(model: CellTimes, shuffled: Index) -> list[int]:
    """Ten of some random candidates that tell most, by their ops and the source devices alone."""
    return model.choose(MEASURED, shuffled[:CANDIDATES].tolist())


def at_random(_: CellTimes, shuffled: Index) -> list[int]:
    return [int(i) for i in shuffled[:MEASURED]]


@dataclass(frozen=True, eq=False)
class _Draw:
    """What one draw of measured networks gives for the others on one device."""

    log_errors: Array
    scores: Array
    deviations: Array
    spearman: float


def _draws(model: CellTimes, times: Array, choice: Choice, draws: int, random_state: int) -> list[_Draw]:
    found = []
    for draw in range(draws):
        shuffled = np.random.default_rng([random_state, draw]).permutation(len(times))
        few = choice(model, shuffled)
        found.append(_compared(model.predict(few, times[few]), times, np.setdiff1d(shuffled, few)))
    return found


def _compared(forecast: CellForecast, times: Array, others: Index) -> _Draw:
    from scipy.stats import spearmanr

    predicted, measured = forecast.time[others], times[others]
    log_errors, deviations = np.log(predicted / measured), forecast.deviation[others] / predicted
    return _Draw(log_errors, np.abs(log_errors) / deviations, deviations, float(spearmanr(predicted, measured).statistic))


def _metrics(draws: list[_Draw], scale: float) -> Metrics:
    """The figures over some draws; an interval is ``scale`` deviations wide either way."""
    errors = np.concatenate([draw.log_errors for draw in draws])
    radii = np.minimum(scale * np.concatenate([draw.deviations for draw in draws]), WIDEST)
    return summarise(errors, radii, float(np.mean([draw.spearman for draw in draws])))


# -- the protocol -----------------------------------------------------------------------------------------------


def unseen_devices(space: Space, protocol: str, *, draws: int = 50, random_state: int = 0) -> Accuracy:
    """Ten measured networks on each unseen device, chosen and, for comparison, at random.

    How many deviations an interval takes comes from the source devices, each predicted from the others.
    """
    counts, shape = op_counts(space.cells), structure(space.cells)

    def fitted(hidden: str) -> CellTimes:
        known = [times for name, times in space.sources.items() if name != hidden]
        return CellTimes().fit(counts, shape, np.column_stack(known))

    model, without = fitted(""), {name: fitted(name) for name in space.sources}
    found: dict[str, tuple[dict[str, list[_Draw]], float]] = {}
    for label, choice in {"chosen": chosen, "random": at_random}.items():
        scores = [
            draw.scores
            for name, other in without.items()
            for draw in _draws(other, space.sources[name], choice, max(draws // 10, 1), random_state)
        ]
        scale, _ = conformal_radius(np.concatenate(scores).tolist(), LEVEL)
        by_device = {name: _draws(model, times, choice, draws, random_state) for name, times in space.unseen.items()}
        found[label] = by_device, scale
    by_device, scale = found["chosen"]
    other, other_scale = found["random"]
    return Accuracy(
        protocol=protocol,
        metrics=_metrics([*chain(*by_device.values())], scale),
        baselines={
            "random_samples": _metrics([*chain(*other.values())], other_scale),
            "ridge": _ridge(counts, space.unseen, draws, random_state),
        },
        groups={name: _metrics(members, scale) for name, members in by_device.items()}
        | {f"{name}, random samples": _metrics(members, other_scale) for name, members in other.items()},
    )


def _ridge(counts: Array, unseen: Mapping[str, Array], draws: int, random_state: int) -> Metrics:
    """Ridge regression on the counts of ops from ten random networks of the device alone; it gives no interval."""
    columns = counts - counts.mean(axis=0)
    found = []
    for times in unseen.values():
        for draw in range(draws):
            shuffled = np.random.default_rng([random_state, draw]).permutation(len(times))
            few = shuffled[:MEASURED]
            mean = times[few].mean()
            centred = columns[few] - columns[few].mean(axis=0)
            costs = np.linalg.solve(centred.T @ centred + np.eye(columns.shape[1]), centred.T @ (times[few] - mean))
            predicted = np.maximum(mean + (columns - columns[few].mean(axis=0)) @ costs, 0.01 * mean)
            found.append(_compared(CellForecast(predicted, np.zeros_like(predicted) + mean), times, shuffled[MEASURED:]))
    return _metrics(found, 0.0)


PROTOCOLS: Mapping[str, Protocol] = {
    "nb201-help": Protocol(
        "NAS-Bench-201: an unseen device with 10 measured networks, asked about the others (HELP's nine and six devices)",
        lambda: unseen_devices(tables(), "nb201-help"),
    ),
}
