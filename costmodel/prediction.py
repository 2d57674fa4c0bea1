"""(network, profile, sizes) -> Prediction: time and energy with honest intervals, memory, and where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.costing import BOUNDS, LEVEL, Column, Costing, column, costing
from costmodel.counts import count
from costmodel.dims import value_at
from costmodel.errors import CostModelError, UnsupportedOp
from costmodel.features import NAMES, Work
from costmodel.finding import find_profile
from costmodel.gpu.costing import Costed, cost, unmeasured
from costmodel.graph import Network
from costmodel.planning import memory
from costmodel.programs import program
from costmodel.schema.profile import Profile

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the interval that holds the truth with probability ``level`` (split conformal)."""

    value: float
    low: float
    high: float
    level: float


@dataclass(frozen=True, slots=True)
class KernelTime:
    """What one kernel takes: its layers, its time and the resource that most of it goes to.

    ``share`` of the network's time; ``utilisation``: its rate of multiply-adds as a part of the highest that any kind of
    kernel reaches on the profile, None for a kernel without multiply-adds; of a profile from a datasheet, the least time
    that the peaks allow as a part of the kernel's.
    """

    name: str
    op: str
    kind: str
    layers: tuple[str, ...]
    time_s: float
    share: float
    bound: str
    utilisation: float | None


@dataclass(frozen=True, eq=False)
class Breakdown:
    """The seconds of every kernel under each resource, of shape (kernels, bounds), and its multiply-adds."""

    kernels: tuple[Work, ...]
    seconds: Array
    macs: Array
    fastest_macs_per_s: float | None

    def kernel_times(self) -> tuple[KernelTime, ...]:
        times = self.seconds.sum(axis=1)
        whole = times.sum()
        return tuple(
            KernelTime(
                name=work.name,
                op=work.op,
                kind=work.kind,
                layers=work.layers,
                time_s=float(time_s),
                share=float(time_s / whole) if whole else 0.0,
                bound=_largest(seconds),
                utilisation=self._utilisation(float(time_s), float(macs)),
            )
            for work, seconds, time_s, macs in zip(self.kernels, self.seconds, times, self.macs, strict=True)
        )

    def _utilisation(self, time_s: float, macs: float) -> float | None:
        if not (macs and time_s and self.fastest_macs_per_s):
            return None
        return min(macs / time_s / self.fastest_macs_per_s, 1.0)


@dataclass(frozen=True, eq=False)
class LawBreakdown:
    """The kernels of a profile from a datasheet, each timed by the law of its shape."""

    costed: tuple[Costed, ...]

    def kernel_times(self) -> tuple[KernelTime, ...]:
        times = [sum(one.seconds.values()) for one in self.costed]
        whole = sum(times)
        return tuple(
            KernelTime(
                name=one.kernel.name,
                op=one.kernel.op,
                kind=one.kernel.family,
                layers=one.kernel.layers,
                time_s=time_s,
                share=time_s / whole if whole else 0.0,
                bound=_most(one.seconds),
                utilisation=one.utilisation,
            )
            for one, time_s in zip(self.costed, times, strict=True)
        )


def _most(seconds: Mapping[str, float]) -> str:
    """The resource that most of the time goes to."""
    return max(seconds, key=lambda bound: seconds[bound], default="launch")


def _largest(seconds: Array) -> str:
    """The resource that most of the time goes to."""
    return BOUNDS[int(seconds.argmax())] if seconds.any() else "launch"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network costs on a profile at one point.

    ``bound``: where most of the time goes: compute, memory or launch. ``extrapolating``: features outside what
    calibration saw, with how far; the interval is widened for them.
    """

    network: str
    profile: str
    sizes: Mapping[str, int]
    time_s: Estimate
    energy_j: Estimate | None
    power_w: Estimate | None
    power_scope: str | None
    memory_bytes: int
    bound: str
    extrapolating: tuple[str, ...]
    warnings: tuple[str, ...]
    breakdown: Breakdown | LawBreakdown = field(repr=False)

    def by_layer(self) -> tuple[KernelTime, ...]:
        """The kernels in running order; their times add up to ``time_s.value``."""
        return self.breakdown.kernel_times()

    def as_dict(self) -> dict[str, Any]:
        """The prediction as JSON-able values under stable keys, SI units."""

        def plain(estimate: Estimate | None) -> dict[str, float] | None:
            if estimate is None:
                return None
            return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "level": estimate.level}

        return {
            "network": self.network,
            "profile": self.profile,
            "sizes": dict(self.sizes),
            "time_s": plain(self.time_s),
            "energy_j": plain(self.energy_j),
            "power_w": plain(self.power_w),
            "power_scope": self.power_scope,
            "memory_bytes": self.memory_bytes,
            "bound": self.bound,
            "extrapolating": list(self.extrapolating),
            "warnings": list(self.warnings),
        }


def predict(
    network: Network, profile: str | Profile, /, *, level: float = LEVEL, allow_unsupported: bool = False, **sizes: int
) -> Prediction:
    """Predict time, energy and memory of one inference.

    Sizes that are left out take the network's defaults (zoo networks: batch 1 at the published resolution).

    >>> import costmodel as cm
    >>> p = predict(cm.zoo("resnet50"), "raspberry-pi-4b/ncnn/fp32/t4", N=1, H=224, W=224)
    >>> 0.1 < p.time_s.low < p.time_s.value < p.time_s.high < 3
    True

    Raises UnknownProfile (with the nearest ids), UnknownSize, and UnsupportedOp where a layer has no cost rule, unless
    ``allow_unsupported`` accepts a prediction that leaves those layers out (it is then marked in ``warnings``).
    """
    notes: list[str] = []
    chosen = profile if isinstance(profile, Profile) else find_profile(profile, notes)
    found = _predicted(network, chosen, sizes, level, allow_unsupported)
    return replace(found, warnings=(*notes, *found.warnings)) if notes else found


def _predicted(
    network: Network, profile: Profile, sizes: Mapping[str, int], level: float, allow_unsupported: bool
) -> Prediction:
    problems = refuse_unsupported(network, allow_unsupported=allow_unsupported)
    point = network.bind(sizes)
    if profile.datasheet is not None and profile.law is not None:
        costed = cost(network, point, profile.datasheet, profile.law)
        return _by_law(network, profile, point, costed, level, problems)
    costs, found = costing(profile), program(network, profile.runtime)
    work, macs = found.work(point)
    features = work.sum(axis=0)
    stretch = costs.stretch(features)
    seconds = work @ costs.seconds_by_bound
    time_s = costs.time_s(features, stretch, level)
    energy_j = costs.energy_j(time_s, macs.sum(), stretch, level)
    return Prediction(
        network=network.name,
        profile=profile.id,
        sizes=point,
        time_s=_estimate(time_s),
        energy_j=None if energy_j is None else _estimate(energy_j),
        power_w=_mean_power(costs, energy_j, time_s),
        power_scope=profile.power_scope if energy_j else None,
        memory_bytes=int(found.peak_bytes(point)[0]),
        bound=_largest(seconds.sum(axis=0)),
        extrapolating=_extrapolating(costs, features),
        warnings=(*network.warnings, *(f"not counted: {problem}" for problem in problems)),
        breakdown=Breakdown(found.kernels, seconds, macs, costs.fastest_macs_per_s),
    )


def _by_law(
    network: Network,
    profile: Profile,
    point: dict[str, int],
    costed: Sequence[Costed],
    level: float,
    problems: Sequence[str],
) -> Prediction:
    """The prediction of a profile that has a law of kernels in place of seconds for each unit of work."""
    extrapolating, stretch = unmeasured(costed)
    sums: dict[str, float] = {}
    for one in costed:
        for bound, seconds in one.seconds.items():
            sums[bound] = sums.get(bound, 0.0) + seconds
    time_s = column(np.array(sum(sums.values())), profile.held_out.margins, level, np.array(stretch))
    return Prediction(
        network=network.name,
        profile=profile.id,
        sizes=point,
        time_s=_estimate(time_s),
        energy_j=None,
        power_w=None,
        power_scope=None,
        memory_bytes=memory(network).peak_at(point),
        bound=_most(sums),
        extrapolating=extrapolating,
        warnings=(*network.warnings, *(f"not counted: {problem}" for problem in problems)),
        breakdown=LawBreakdown(tuple(costed)),
    )


def refuse_unsupported(network: Network, *, allow_unsupported: bool) -> list[str]:
    """Why layers are not counted; raises UnsupportedOp with it unless it is allowed."""
    problems = [layer.problem for layer in network.layers if layer.problem]
    if problems and not allow_unsupported:
        more = f" ({len(problems)} such layers)" if len(problems) > 1 else ""
        raise UnsupportedOp(f"{problems[0]}{more}; allow_unsupported=True (--allow-unsupported) predicts without them")
    return problems


def _estimate(column: Column) -> Estimate:
    return Estimate(float(column.value), float(column.low), float(column.high), column.level)


def _mean_power(costs: Costing, energy_j: Column | None, time_s: Column) -> Estimate | None:
    """The mean power that an energy stands for; it has no interval of its own."""
    if energy_j is None:
        return None
    at_rest = costs.profile.power.base_w if costs.profile.power else costs.profile.power_w or 0.0
    power_w = float(energy_j.value / time_s.value) if time_s.value else at_rest
    return Estimate(power_w, power_w, power_w, time_s.level)


def _extrapolating(costs: Costing, features: Array) -> tuple[str, ...]:
    """Which features lie beyond calibration, and how far."""
    return tuple(
        f"{name}: {distance:.1f} times the largest in calibration"
        if highest
        else f"{name}: no network in calibration had any"
        for name, distance, highest in zip(NAMES, costs.distances(features), costs.highest, strict=True)
        if distance > 1.0
    )


def predict_many(
    networks: Sequence[Network], profile: str | Profile, *, jobs: int = 1, level: float = LEVEL, **sizes: int
) -> dict[str, list[Any]]:
    """Predict many networks on one profile: a column for each quantity, in the order of the networks.

    A network that cannot be predicted has its reason in the column ``error`` and None elsewhere; ``extrapolating`` tells
    where the interval was widened. Times and energies are worked out in arrays; ``jobs`` > 1 spreads the counting of the
    networks over processes with joblib (or over whatever backend joblib is set to).

    >>> import costmodel as cm
    >>> columns = predict_many([cm.zoo("resnet18"), cm.zoo("resnet50")], "raspberry-pi-4b/ncnn/fp32/t4")
    >>> columns["time_s"][0] < columns["time_s"][1]
    True
    """
    chosen = profile if isinstance(profile, Profile) else find_profile(profile, [])
    if chosen.law is not None:
        return _one_by_one(networks, chosen, sizes, level)
    costs = costing(chosen)
    if jobs == 1:
        counted = [_counted(network, chosen.runtime, sizes) for network in networks]
    else:
        from joblib import Parallel, delayed

        counted = Parallel(n_jobs=jobs)(delayed(_counted)(network, chosen.runtime, sizes) for network in networks)
    names, errors = [network.name for network in networks], [one if isinstance(one, str) else None for one in counted]
    known = [one for one in counted if not isinstance(one, str)]
    found = iter(_rows(costs, known, level))
    empty = dict.fromkeys(_QUANTITIES)
    rows = [empty if error else next(found) for error in errors]
    return {"network": names, **{key: [row[key] for row in rows] for key in _QUANTITIES}, "error": errors}


_QUANTITIES = (
    "time_s", "time_low_s", "time_high_s", "energy_j", "energy_low_j", "energy_high_j", "macs", "memory_bytes",
    "extrapolating",
)  # fmt: skip


def _counted(network: Network, runtime: str, sizes: Mapping[str, int]) -> Counted | str:
    """The features of a network, its multiply-adds and its peak memory; or why it cannot be predicted."""
    try:
        refuse_unsupported(network, allow_unsupported=False)
        point = network.bind(sizes)
    except CostModelError as error:
        return str(error)
    found = program(network, runtime)
    features, macs = found.whole(point)
    return features[0], float(macs[0]), int(found.peak_bytes(point)[0])


Counted = tuple[Array, float, int]


def _one_by_one(
    networks: Sequence[Network], profile: Profile, sizes: Mapping[str, int], level: float
) -> dict[str, list[Any]]:
    """The columns of networks on a profile whose law takes kernels by their shapes."""
    rows = []
    for network in networks:
        row: dict[str, Any] = {"network": network.name, **dict.fromkeys(_QUANTITIES), "error": None}
        try:
            row |= as_row(_predicted(network, profile, sizes, level, allow_unsupported=False))
            row["macs"] = int(value_at(count(network).total.macs, network.bind(sizes)))
        except CostModelError as error:
            row["error"] = str(error)
        rows.append(row)
    return {key: [row[key] for row in rows] for key in ("network", *_QUANTITIES, "error")}


def as_row(found: Prediction) -> dict[str, Any]:
    """A prediction under the names of columns."""
    time_s = found.time_s
    return {
        "time_s": time_s.value, "time_low_s": time_s.low, "time_high_s": time_s.high, "memory_bytes": found.memory_bytes,
        "extrapolating": bool(found.extrapolating),
    }  # fmt: skip


def _rows(costs: Costing, counted: Sequence[Counted], level: float) -> list[dict[str, Any]]:
    if not counted:
        return []
    features, macs = np.array([features for features, _, _ in counted]), np.array([macs for _, macs, _ in counted])
    columns = {name: column.tolist() for name, column in costs.columns(features, macs, level).items()}
    columns |= {"macs": [int(macs) for _, macs, _ in counted], "memory_bytes": [peak for _, _, peak in counted]}
    return [{name: columns[name][i] if name in columns else None for name in _QUANTITIES} for i in range(len(counted))]
