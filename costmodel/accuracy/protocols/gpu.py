"""A GPU from its datasheet alone: the time of its kernels, and of whole transformers as sums of kernels.

Cards of one chip are hidden together, so that no twin of the hidden card tells. What is known of it is its datasheet
(``calibration/devices``); the numbers of the law come from the other chips of its vendor. Of matrix products only sizes that
networks have are fitted; those of random sizes are reported as groups of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costmodel.accuracy.figures import Accuracy, Case
from costmodel.accuracy.protocols.protocol import Protocol
from costmodel.accuracy.splits import summary
from costmodel.costing import LEVEL
from costmodel.gpu.costing import Costed
from costmodel.gpu.measured import Measured, chip_of, fitted, measured_kernels, sheet_of
from costmodel.gpu.unseen import Run, law_without, measured_networks
from costmodel.intervals import alike_quantile
from costmodel.model import fit_relative

Array = NDArray[np.float64]
Columns = Callable[[Measured], Array]


def roofline_s(part: Measured) -> Array:
    """The least time that the datasheet allows."""
    sheet = sheet_of(part.device)
    found: Array = np.maximum(part.kernels.flops / sheet.product_flop_per_s, moved_bytes(part) / sheet.bandwidth_b_per_s)
    return found


def arithmetic_s(part: Measured) -> Array:
    """The least time of multiply-adds, or of elements where there are none."""
    flops, peak = part.kernels.flops, sheet_of(part.device).product_flop_per_s
    return np.where(flops > 0, flops, moved_bytes(part)) / peak


def moved_bytes(part: Measured) -> Array:
    kernels = part.kernels
    return kernels.read_bytes + kernels.write_bytes + kernels.weight_bytes


def kernels(parts: Sequence[Measured], protocol: str) -> Accuracy:
    """Each card's kernels by the other chips of its vendor. Of a family that those have not run, nothing is predicted."""
    results: dict[str, list[Case]] = {"law": [], "roofline_constant": [], "macs_linear": []}
    for part in parts:
        chip, sheet = chip_of(part.device), sheet_of(part.device)
        model = fitted(sheet.vendor, part.kernels.family, frozenset({chip}))
        if model is None:
            continue
        others = [
            other
            for other in parts
            if other.is_fitted and other.kernels.family == part.kernels.family
            if sheet_of(other.device).vendor == sheet.vendor and chip_of(other.device) != chip
        ]
        results["law"] += _cases(part, model.predict(part.kernels, sheet))
        results["roofline_constant"] += _cases(part, _linear(part, others, roofline_s))
        results["macs_linear"] += _cases(part, _linear(part, others, arithmetic_s))
    return summary(protocol, {name: with_radii(cases, lambda case: case.group) for name, cases in results.items()})


def _linear(part: Measured, others: Iterable[Measured], column: Columns) -> Array:
    """A constant and so many times a column, fitted on the other chips for the least relative error."""
    known = list(others)
    costs = fit_relative(
        _with_constant(np.concatenate([column(other) for other in known])), np.concatenate([other.time_s for other in known])
    )
    found: Array = _with_constant(column(part)) @ costs
    return found


def _with_constant(column: Array) -> Array:
    return np.column_stack([column, np.ones(len(column))])


def _cases(part: Measured, predicted_s: Array) -> list[Case]:
    errors = np.log(np.maximum(predicted_s, 1e-12) / part.time_s)
    group = f"{part.kernels.family}, {part.sizes} sizes"
    return [
        Case(part.device, part.op, group, float(error), 0.0, float(time_s))
        for error, time_s in zip(errors, part.time_s, strict=True)
    ]


def with_radii(cases: Sequence[Case], label: Callable[[Case], str]) -> list[Case]:
    """Each case with the half-width that covers the errors of its label on the chips of others, each of which weighs alike.

    A chip errs in one direction in most of its cases, so chips are what is exchangeable, not cases (two-layer hierarchical
    models, Dunn, Wasserman and Ramdas 2022).
    """
    found = []
    for group in sorted({label(case) for case in cases}):
        by_chip: dict[str, list[Case]] = {}
        for case in cases:
            if label(case) == group:
                by_chip.setdefault(chip_of(case.table), []).append(case)
        sizes = {chip: [abs(case.log_error) for case in members] for chip, members in by_chip.items()}
        for chip, members in by_chip.items():
            radius = alike_quantile([size for other, size in sizes.items() if other != chip] or [sizes[chip]], LEVEL)
            found += [case.within(radius) for case in members]
    return found


# -- whole networks ---------------------------------------------------------------------------------------------


def networks(runs: Sequence[Run], protocol: str) -> Accuracy:
    """Each network on each card as the sum of its kernels, by the other chips of the card's vendor."""
    columns = {run: _columns(run, _costed(run)) for run in runs}
    results: dict[str, list[Case]] = {"law": [], "roofline_constant": [], "macs_linear": []}
    for run in runs:
        results["law"].append(_run_case(run, float(columns[run][0])))
        others = [other for other in runs if other.task == run.task and chip_of(other.device) != chip_of(run.device)]
        for i, name in enumerate(("roofline_constant", "macs_linear"), start=1):
            column = np.array([columns[other][i] for other in others])
            costs = fit_relative(_with_constant(column), np.array([other.time_s for other in others]))
            results[name].append(_run_case(run, float(np.array([columns[run][i], 1.0]) @ costs)))
    return summary(protocol, {name: with_radii(cases, lambda _: "all") for name, cases in results.items()})


@lru_cache(maxsize=256)
def _costed(run: Run) -> tuple[Costed, ...]:
    return tuple(run.kernels(law_without(run.device)))


def _columns(run: Run, costed: Iterable[Costed]) -> Array:
    """The time of a run by the law, its roofline, and its multiply-adds at the datasheet's peak."""
    sheet, found = sheet_of(run.device), list(costed)
    predicted = [sum(one.seconds.values()) for one in found]
    roofline = [one.utilisation * time_s for one, time_s in zip(found, predicted, strict=True)]
    return np.array([sum(predicted), sum(roofline), sum(one.flops for one in found) / sheet.product_flop_per_s])


def _run_case(run: Run, predicted_s: float) -> Case:
    error = float(np.log(max(predicted_s, 1e-12) / run.time_s))
    return Case(run.device, run.network, run.task, error, 0.0, run.time_s)


PROTOCOLS: Mapping[str, Protocol] = {
    "gpu-kernels-unseen": Protocol(
        "an unseen GPU from its datasheet: kernels of eager PyTorch in single precision, by op",
        lambda: kernels(measured_kernels(), "gpu-kernels-unseen"),
    ),
    "gpu-networks-unseen": Protocol(
        "an unseen GPU from its datasheet: whole transformers as sums of kernels",
        lambda: networks(measured_networks(), "gpu-networks-unseen"),
    ),
}
