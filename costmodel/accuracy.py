"""Held-out error, coverage and width: the only producer of published accuracy figures.

A protocol splits the measurements that come with the library, fits on one side, predicts the other, and reports the
method beside its baselines on the same splits. Nothing is chosen on the rows that a protocol reports: the pull towards
the prior and the widths of the intervals come from splits inside the training side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.calibration import FEWEST, Pool, Table, gather, is_usable, pools, work_of
from costmodel.errors import CannotCalibrate, InvalidChoice, nearest
from costmodel.features import NAMES
from costmodel.model import fit_relative
from costmodel.prediction import LEVEL, conformal_radius, seconds_per_unit
from costmodel.schema.data import data_folder
from costmodel.schema.device import load_devices
from costmodel.schema.measurement import Measurement, read_measurements
from costmodel.schema.profile import Profile
from costmodel.specs import benchmark_names

Array = NDArray[np.float64]
Fit = Callable[[Pool, Table, frozenset[str]], Array]
MACS = np.array([name.endswith("_macs") for name in NAMES])
SAMPLE = 10  # every tenth configuration decides the pull towards the prior


@dataclass(frozen=True, slots=True)
class Case:
    """One held-out prediction: log ratios to the measured time, and the group that it is reported in."""

    table: str
    network: str
    group: str
    log_error: float
    radius: float
    measured_s: float


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
    errors = np.abs(np.expm1([case.log_error for case in cases]))
    radii = np.array([case.radius for case in cases])
    covered = np.abs([case.log_error for case in cases]) <= radii + 1e-12
    return Metrics(
        n=len(cases),
        mape=float(errors.mean()),
        median_ape=float(np.median(errors)),
        within_10=float((errors <= 0.1).mean()),
        spearman=_mean_rank_correlation(cases),
        coverage=float(covered.mean()),
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
    radius, supported = conformal_radius([abs(residual) for residual in profile.held_out.residuals], level)
    coefficients = np.array(list(seconds_per_unit(profile).values()))
    cases = []
    for row in measurements:
        if row.profile == profile.id and row.network not in seen and row.time_s is not None and is_usable(row):
            work = np.array(work_of(row.runtime, row.network, tuple(sorted(row.sizes.items()))))
            error = float(np.log(max(float(work @ coefficients), 1e-12) / row.time_s))
            cases.append(Case(profile.id, row.network, profile.device_kind, error, radius, row.time_s))
    return Accuracy(f"evaluate {profile.id}", metrics(cases), supported)


# -- protocols --------------------------------------------------------------------------------------------------


def _alone(pool: Pool, table: Table, hidden: frozenset[str]) -> Array:
    """A configuration's own fit, without a prior."""
    return fit_relative(*table.without(hidden))


def _macs_and_constant(table: Table) -> Table:
    """The studies' law: a time per MAC and a constant."""
    return replace(table, work=np.column_stack([table.work[:, MACS].sum(axis=1), np.ones(len(table.times))]))


def leave_one_network_out(tables: Sequence[Table], protocol: str, *, group_of: Callable[[Table], str]) -> Accuracy:
    """Hide one network from every configuration, fit, predict it on each; the intervals come from hiding a second one.

    Raises CannotCalibrate for a configuration with too few networks to hide two of them.
    """
    for table in tables:
        if len(set(table.networks)) < FEWEST:
            raise CannotCalibrate(
                f"{table.id} has {len(set(table.networks))} networks; leaving networks out takes at least {FEWEST}"
            )
    reduced = [_macs_and_constant(table) for table in tables]
    results = {
        "pooled": _held_out_cases(tables, _pooled, group_of),
        "macs_linear": _held_out_cases(reduced, _unpooled, group_of),
        "class_wise": _held_out_cases(tables, _unpooled, group_of),
    }
    return _accuracy(protocol, results)


def _unpooled(pool: Pool, hidden: frozenset[str]) -> Fit:
    return _alone


def _pooled(pool: Pool, hidden: frozenset[str]) -> Fit:
    """The library's own method; the pull towards the prior is chosen without the hidden network."""
    strength = Pool(pool.tables[::SAMPLE]).strength(hidden)
    return lambda pool, table, hidden: pool.fit(table, strength, hidden)


def _held_out_cases(
    tables: Sequence[Table], method: Callable[[Pool, frozenset[str]], Fit], group_of: Callable[[Table], str]
) -> list[Case]:
    cases: list[Case] = []
    for pool in pools(tables).values():
        for name in pool.networks:
            fit = method(pool, frozenset({name}))
            for table in pool.tables:
                cases += _cases(pool, table, name, fit, group_of(table))
    return cases


def _cases(pool: Pool, table: Table, name: str, fit: Fit, group: str) -> Iterable[Case]:
    """The rows of one hidden network on one configuration."""
    hidden = frozenset({name})
    others = [other for other in dict.fromkeys(table.networks) if other != name]
    if len(others) == len(set(table.networks)) or len(others) < 2:
        return
    scores = [
        abs(error) for other in others for error in table.log_errors(other, fit(pool, table, hidden | {other}))
    ]
    radius, _ = conformal_radius(scores, LEVEL)
    errors = table.log_errors(name, fit(pool, table, hidden))
    for row, error in zip(table.rows_of(name), errors, strict=True):
        yield Case(table.id, name, group, error, radius, float(table.times[row]))


def _accuracy(protocol: str, results: Mapping[str, Sequence[Case]]) -> Accuracy:
    method, *baselines = results
    cases = results[method]
    groups = sorted({case.group for case in cases})
    networks = sorted({case.network for case in cases})
    return Accuracy(
        protocol=protocol,
        metrics=metrics(cases),
        baselines={name: metrics(results[name]) for name in baselines},
        groups={group: metrics([case for case in cases if case.group == group]) for group in groups},
        networks={name: float(np.median([case.log_error for case in cases if case.network == name])) for name in networks},
    )


def _ncnn(processor: str, protocol: str) -> Accuracy:
    rows = read_measurements(data_folder("calibration") / "measurements" / "ncnn.csv")
    known = benchmark_names("ncnn")
    floats = [row for row in rows if not row.precision.startswith("int") and row.network in known]
    tables = [table for table in gather(floats) if table.group[1] == processor and len(table.networks) >= 10]
    devices = load_devices()
    return leave_one_network_out(tables, protocol, group_of=lambda table: devices[table.rows[0].device].kind)


PROTOCOLS: Mapping[str, tuple[str, Callable[[], Accuracy]]] = {
    "ncnn-cpu-network": (
        "leave one network out of all devices: ncnn, CPU, floating point",
        lambda: _ncnn("cpu", "ncnn-cpu-network"),
    ),
    "ncnn-gpu-network": (
        "leave one network out of all devices: ncnn, Vulkan, floating point",
        lambda: _ncnn("gpu", "ncnn-gpu-network"),
    ),
}


def run_protocol(name: str) -> Accuracy:
    """Run a protocol by name. Raises InvalidChoice with the nearest names."""
    if name not in PROTOCOLS:
        raise InvalidChoice(f"there is no protocol {name!r}; {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name][1]()
