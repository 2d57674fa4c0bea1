"""Error, coverage and width of predictions that were compared with measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.calibration import is_usable, work_of
from costmodel.costing import LEVEL, costing
from costmodel.errors import CannotCalibrate
from costmodel.intervals import conformal_radius
from costmodel.schema.measurement import Measurement
from costmodel.schema.profile import Profile


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out prediction: log ratios to the measured time, and the group that it is reported in."""

    table: str
    network: str
    group: str
    log_error: float
    radius: float
    measured_s: float

    def within(self, radius: float) -> Case:
        return replace(self, radius=radius)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Errors as fractions. ``coverage``: how often the interval held the truth; ``width``: mean (high - low) / value.

    ``spearman`` is the mean over configurations of the rank correlation between predicted and measured times.
    """

    n: int
    mape: float
    median_ape: float
    within_10: float
    spearman: float
    coverage: float
    width: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A protocol's result: the method, its baselines on the same splits, and the method by group."""

    protocol: str
    metrics: Metrics
    level: float = LEVEL
    baselines: Mapping[str, Metrics] = field(default_factory=dict)
    groups: Mapping[str, Metrics] = field(default_factory=dict)
    networks: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, under stable keys; ``networks`` holds the median log error of each held-out network."""
        return {
            "protocol": self.protocol,
            **asdict(self.metrics),
            "level": self.level,
            "baselines": {name: asdict(metrics) for name, metrics in self.baselines.items()},
            "groups": {name: asdict(metrics) for name, metrics in self.groups.items()},
            "networks": dict(self.networks),
        }


def metrics(cases: Sequence[Case]) -> Metrics:
    """Summarise held-out predictions."""
    if not cases:
        raise CannotCalibrate("no held-out prediction to report; the measurements hold nothing for this protocol")
    errors, radii = np.array([case.log_error for case in cases]), np.array([case.radius for case in cases])
    return summarise(errors, radii, _mean_rank_correlation(cases))


def summarise(log_errors: NDArray[np.float64], radii: NDArray[np.float64], spearman: float) -> Metrics:
    """The figures of log(predicted / measured) and of the half-widths of the intervals about the predictions."""
    errors = np.abs(np.expm1(log_errors))
    return Metrics(
        n=len(errors),
        mape=float(errors.mean()),
        median_ape=float(np.median(errors)),
        within_10=float((errors <= 0.1).mean()),
        spearman=spearman,
        coverage=float((np.abs(log_errors) <= radii + 1e-12).mean()),
        width=float(np.mean(2 * np.sinh(radii))),
    )


def _mean_rank_correlation(cases: Sequence[Case]) -> float:
    from scipy.stats import spearmanr

    by_table: dict[str, list[Case]] = {}
    for case in cases:
        by_table.setdefault(case.table, []).append(case)
    correlations = []
    for members in by_table.values():
        measured = [case.measured_s for case in members]
        if len(members) > 2 and len(set(measured)) > 1:
            predicted = [case.measured_s * np.exp(case.log_error) for case in members]
            correlations.append(float(spearmanr(predicted, measured).statistic) if len(set(predicted)) > 1 else 0.0)
    return float(np.mean(correlations)) if correlations else float("nan")


# -- evaluating one profile -------------------------------------------------------------------------------------


def evaluate(profile: Profile, measurements: Sequence[Measurement], *, level: float = LEVEL) -> Accuracy:
    """How a profile does on measurements that it was not fitted on.

    Rows of networks that the profile was fitted on are left out. Raises CannotCalibrate where none remain.
    """
    seen = set(profile.provenance.networks)
    radius, supported = conformal_radius(profile.held_out.margins, level)
    coefficients = costing(profile).unit_s
    cases = []
    for row in measurements:
        if row.profile == profile.id and row.network not in seen and row.time_s is not None and is_usable(row):
            work = np.array(work_of(row.runtime, row.network, tuple(sorted(row.sizes.items())))[0])
            error = float(np.log(max(float(work @ coefficients), 1e-12) / row.time_s))
            cases.append(Case(profile.id, row.network, profile.device_kind, error, radius, row.time_s))
    return Accuracy(f"evaluate {profile.id}", metrics(cases), supported)
