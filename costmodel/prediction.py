"""(network, profile, sizes) -> Prediction: time and energy with honest intervals, memory, and where the time goes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from costmodel.dims import value_at
from costmodel.errors import CostModelError, InvalidProfile, UnknownProfile, UnsupportedOp, nearest
from costmodel.features import FEATURES, NAMES, Work, amounts, feature_extents, works
from costmodel.gpu.costing import Costed, cost, unmeasured
from costmodel.graph import Network
from costmodel.intervals import conformal_radius
from costmodel.planning import memory
from costmodel.schema.data import data_folder
from costmodel.schema.device import load_devices
from costmodel.schema.profile import Profile, read_profile

LEVEL = 0.9
FAR = 1.5  # a feature this many times the largest in calibration is outside the domain
BOUNDS = {feature.name: feature.bound for feature in FEATURES}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the interval that holds the truth with probability ``level`` (split conformal)."""

    value: float
    low: float
    high: float
    level: float

    def scaled(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.level)


@dataclass(frozen=True, slots=True)
class KernelTime:
    """What one kernel takes: its layers, its time and the resource that most of it goes to.

    ``utilisation``: the least time that a datasheet's peaks allow, as a part of the kernel's; None where the profile was
    fitted on whole networks and has no datasheet.
    """

    name: str
    op: str
    kind: str
    layers: tuple[str, ...]
    time_s: float
    share: float
    bound: str
    utilisation: float | None = None


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
    memory_bytes: int
    bound: str
    extrapolating: tuple[str, ...]
    warnings: tuple[str, ...]
    kernels: tuple[KernelTime, ...] = field(repr=False)

    def by_layer(self) -> tuple[KernelTime, ...]:
        """The kernels in running order; their times add up to ``time_s.value``."""
        return self.kernels

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
    problems = [layer.problem for layer in network.layers if layer.problem]
    if problems and not allow_unsupported:
        more = f" ({len(problems)} such layers)" if len(problems) > 1 else ""
        raise UnsupportedOp(f"{problems[0]}{more}; allow_unsupported=True (--allow-unsupported) predicts without them")
    point = network.bind(sizes)
    costed = _costed(network, profile, point)
    timed = _timed(network, profile, point) if costed is None else [(_work_of(one, point), one.seconds) for one in costed]
    kernels = _kernel_times(timed, None if costed is None else [one.utilisation for one in costed])
    extrapolating, stretch = _extrapolation(network, profile, point) if costed is None else unmeasured(costed)
    time_s = _estimate(sum(kernel.time_s for kernel in kernels), profile.held_out.margins, level, stretch)
    energy_j, power_w = _energy(timed, time_s, profile, level, stretch, point)
    return Prediction(
        network=network.name,
        profile=profile.id,
        sizes=point,
        time_s=time_s,
        energy_j=energy_j,
        power_w=power_w,
        memory_bytes=memory(network).peak_at(point),
        bound=_largest(seconds for _, seconds in timed),
        extrapolating=extrapolating,
        warnings=(*network.warnings, *(f"not counted: {problem}" for problem in problems)),
        kernels=kernels,
    )


def predict_many(
    networks: Sequence[Network], profile: str | Profile, *, jobs: int = 1, level: float = LEVEL, **sizes: int
) -> dict[str, list[Any]]:
    """Predict many networks on one profile: a column for each quantity, in the order of the networks.

    A network that cannot be predicted has its reason in the column ``error`` and None elsewhere. ``jobs`` > 1 spreads
    the work over processes with joblib (or over whatever backend joblib is set to).

    >>> import costmodel as cm
    >>> columns = predict_many([cm.zoo("resnet18"), cm.zoo("resnet50")], "raspberry-pi-4b/ncnn/fp32/t4")
    >>> columns["time_s"][0] < columns["time_s"][1]
    True
    """
    chosen = profile if isinstance(profile, Profile) else find_profile(profile, [])
    if jobs == 1:
        rows = [_row(network, chosen, level, sizes) for network in networks]
    else:
        from joblib import Parallel, delayed

        rows = Parallel(n_jobs=jobs)(delayed(_row)(network, chosen, level, sizes) for network in networks)
    return {key: [row[key] for row in rows] for key in _COLUMNS}


_COLUMNS = ("network", "time_s", "time_low_s", "time_high_s", "energy_j", "memory_bytes", "error")


def _row(network: Network, profile: Profile, level: float, sizes: Mapping[str, int]) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(_COLUMNS)
    row["network"] = network.name
    try:
        found = _predicted(network, profile, sizes, level, allow_unsupported=False)
    except CostModelError as error:
        return {**row, "error": str(error)}
    estimate = found.time_s
    return {
        **row,
        "time_s": estimate.value,
        "time_low_s": estimate.low,
        "time_high_s": estimate.high,
        "energy_j": found.energy_j.value if found.energy_j else None,
        "memory_bytes": found.memory_bytes,
    }


# -- the model --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=128)
def _works(network: Network, runtime: str) -> tuple[Work, ...]:
    return works(network, runtime)


def seconds_per_unit(profile: Profile) -> dict[str, float]:
    """What a profile gives each feature. Raises InvalidProfile for one that was fitted on other features, or on none."""
    if profile.law is not None:
        raise InvalidProfile(f"profile {profile.id} comes from a datasheet: it times kernels by their shapes, not features")
    different = set(NAMES) ^ profile.seconds_per_unit.keys()
    if different:
        raise InvalidProfile(
            f"profile {profile.id} was fitted by costmodel {profile.provenance.costmodel_version}, whose features differ "
            f"from those of this version in {', '.join(sorted(different))}; calibrate again"
        )
    return {name: profile.seconds_per_unit[name] for name in NAMES}


def _timed(network: Network, profile: Profile, point: Mapping[str, int]) -> list[tuple[Work, Mapping[str, float]]]:
    """Each kernel with its time by resource."""
    unit_s = seconds_per_unit(profile)
    timed: list[tuple[Work, Mapping[str, float]]] = []
    for work in _works(network, profile.runtime):
        seconds: dict[str, float] = {}
        for name, amount in amounts((work,)).items():
            if not isinstance(amount, int) or amount:
                seconds[BOUNDS[name]] = seconds.get(BOUNDS[name], 0.0) + value_at(amount, point) * unit_s[name]
        timed.append((work, seconds))
    return timed


def _costed(network: Network, profile: Profile, point: Mapping[str, int]) -> list[Costed] | None:
    """The kernels by the law of a profile that comes from a datasheet; None for every other one."""
    if profile.datasheet is None or profile.law is None:
        return None
    return cost(network, point, profile.datasheet, profile.law)


def _work_of(costed: Costed, point: Mapping[str, int]) -> Work:
    kernel = costed.kernel
    macs = value_at(kernel.macs, point)
    return Work(kernel.family, kernel.op, macs=macs, times=kernel.times, name=kernel.name, layers=kernel.layers)


def _kernel_times(
    timed: Sequence[tuple[Work, Mapping[str, float]]], utilisations: Sequence[float] | None
) -> tuple[KernelTime, ...]:
    whole = sum(sum(seconds.values()) for _, seconds in timed)
    return tuple(
        KernelTime(
            name=work.name,
            op=work.op,
            kind=work.kind,
            layers=work.layers,
            time_s=sum(seconds.values()),
            share=sum(seconds.values()) / whole if whole else 0.0,
            bound=_largest([seconds]),
            utilisation=None if utilisations is None else utilisations[i],
        )
        for i, (work, seconds) in enumerate(timed)
    )


def _largest(parts: Iterable[Mapping[str, float]]) -> str:
    """The resource that most of the time goes to."""
    sums: dict[str, float] = {}
    for seconds in parts:
        for bound, time_s in seconds.items():
            sums[bound] = sums.get(bound, 0.0) + time_s
    return max(sums, key=lambda bound: sums[bound], default="launch")


def _energy(
    timed: Sequence[tuple[Work, object]],
    time_s: Estimate,
    profile: Profile,
    level: float,
    stretch: float,
    point: Mapping[str, int],
) -> tuple[Estimate | None, Estimate | None]:
    """Energy, with its own interval where energies were measured, and the mean power that it stands for."""
    if profile.power is None:
        constant = profile.power_w
        return (time_s.scaled(constant), _certain(constant, time_s.level)) if constant is not None else (None, None)
    macs = sum(value_at(work.macs, point) * work.times for work, _ in timed)
    energy_j = profile.power.base_w * time_s.value + profile.power.per_mac_j * macs
    power_w = energy_j / time_s.value if time_s.value else profile.power.base_w
    return _estimate(energy_j, profile.power.margins, level, stretch), _certain(power_w, time_s.level)


def _estimate(value: float, margins: Sequence[float], level: float, stretch: float) -> Estimate:
    radius, supported = conformal_radius(margins, level)
    spread = math.exp(min(radius * stretch, 50.0))
    return Estimate(value, value / spread, value * spread, supported)


def _certain(value: float | None, level: float) -> Estimate | None:
    return None if value is None else Estimate(value, value, value, level)


def _extrapolation(network: Network, profile: Profile, point: Mapping[str, int]) -> tuple[tuple[str, ...], float]:
    """Which features lie beyond calibration, and the factor by which the interval widens: 1 + log of the farthest."""
    messages = []
    farthest = 1.0
    for name, extent in feature_extents(network, profile.runtime).items():
        amount, known = extent.at(point), profile.domain.get(name)
        if known is None or amount <= FAR * known.high:
            continue
        if known.high == 0:
            messages.append(f"{name}: no network in calibration had any")
            farthest = max(farthest, math.e)
        else:
            messages.append(f"{name}: {amount / known.high:.1f} times the largest in calibration")
            farthest = max(farthest, amount / known.high)
    return tuple(messages), 1.0 + math.log(farthest)


# -- finding a profile ------------------------------------------------------------------------------------------


def profile_folders() -> tuple[Path, ...]:
    """Where profiles are looked for: the user's own first, then those that come with the library."""
    shared = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "costmodel"
    home = Path(os.environ.get("COSTMODEL_HOME", shared))
    return home / "profiles", data_folder("calibration") / "profiles"


def profiles() -> list[str]:
    """The ids of all profiles: ``device/runtime/precision/variant``.

    >>> "raspberry-pi-4b/ncnn/fp32/t4" in profiles()
    True
    """
    return sorted(_profile_files())


def _profile_files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in profile_folders():
        for path in folder.glob("*/*/*/*.json"):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def find_profile(text: str, notes: list[str] | None = None) -> Profile:
    """The profile with this id, or the one that a prefix stands for.

    A device's alias is understood. A prefix that ends at a slash boundary and fits several profiles of one device
    stands for the fastest common choice: floating point before int8, then the most threads; ``notes`` says so.
    Raises UnknownProfile with the nearest ids.
    """
    files = _profile_files()
    wanted = _without_alias(text.strip().strip("/"))
    if wanted in files:
        return _read(wanted, files)
    matches = [known for known in files if known.startswith(f"{wanted}/")]
    matches = matches or [known for known in files if known.startswith(wanted)]
    if not wanted or not matches:
        raise UnknownProfile(f"no profile {text!r}; {_nearest_profiles(wanted, files)}; costmodel devices lists all")
    if len(matches) > 1 and len({known.split("/")[0] for known in matches}) > 1:
        devices = sorted({known.split("/")[0] for known in matches})
        raise UnknownProfile(f"{text!r} fits several devices: {', '.join(devices[:6])}; write more of the id")
    best = min(matches, key=_preference)
    if len(matches) > 1 and notes is not None:
        others = ", ".join(known.split("/", 1)[1] for known in sorted(matches) if known != best)
        notes.append(f"{text!r} stands for {best}; the device also has {others}")
    return _read(best, files)


def _read(profile_id: str, files: Mapping[str, Path]) -> Profile:
    profile = read_profile(files[profile_id])
    if profile.id != profile_id:
        raise InvalidProfile(f"{files[profile_id]}: holds the profile {profile.id}; move it to {profile.id}.json")
    return profile


def _preference(profile_id: str) -> tuple[Any, ...]:
    _, runtime, precision, variant = profile_id.split("/")
    on_gpu = variant.startswith(("vulkan", "opencl", "gpu"))
    return precision.startswith("int"), on_gpu, -_cores(variant), len(variant), runtime, variant


def _cores(variant: str) -> int:
    """How many threads or cores a variant names: ``t4``, ``1large2med``; 0 where it names none.

    >>> _cores("t4-big"), _cores("1large2med"), _cores("1.15.0-rc2")
    (4, 3, 0)
    """
    named = re.match(r"t(\d+)\b", variant)
    return int(named[1]) if named else sum(map(int, re.findall(r"(\d+)(?:large|med|small)", variant)))


def _without_alias(text: str) -> str:
    device, slash, rest = text.partition("/")
    for known in load_devices().values():
        if device in known.aliases:
            return f"{known.id}{slash}{rest}"
    return text


def _nearest_profiles(wanted: str, files: Mapping[str, Path]) -> str:
    devices = sorted({known.split("/")[0] for known in files})
    return nearest(wanted.split("/")[0], devices) if wanted.split("/")[0] not in devices else nearest(wanted, files)
