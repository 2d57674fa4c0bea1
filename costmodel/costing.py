"""Work -> time and energy with their intervals, in arrays: what predictions of one network, of many and in sweeps share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidProfile
from costmodel.features import FEATURES, NAMES, WHOLE_MACS
from costmodel.intervals import conformal_radius
from costmodel.schema.profile import Profile

Array = NDArray[np.float64]

LEVEL = 0.9
FAR = 1.5  # a feature this many times the largest in calibration is outside the domain
UNKNOWN = math.e  # as how many times too large something counts that no network in calibration had
BOUNDS: tuple[str, ...] = tuple(dict.fromkeys(feature.bound for feature in FEATURES))
_BOUND_OF = np.array([[feature.bound == bound for bound in BOUNDS] for feature in FEATURES], dtype=np.float64)
_WHOLE_MACS = [NAMES.index(name) for name in WHOLE_MACS]
_WIDEST = 50.0  # in log time: an interval says nothing long before, and its ends stay finite


@dataclass(frozen=True, eq=False)
class Column:
    """A quantity at each point: value, low and high end of the interval that holds the truth with probability ``level``."""

    value: Array
    low: Array
    high: Array
    level: float


@dataclass(frozen=True, eq=False)
class Costing:
    """A profile as arrays over the features: seconds for each unit of work, and the largest amount in calibration."""

    profile: Profile
    unit_s: Array
    highest: Array

    @property
    def seconds_by_bound(self) -> Array:
        """The seconds of a unit of each feature under the resource that it takes, of shape (features, bounds)."""
        return self.unit_s[:, None] * _BOUND_OF

    @property
    def fastest_macs_per_s(self) -> float | None:
        """The highest rate of multiply-adds that any kind of kernel reaches; None where none of them takes time."""
        seconds = self.unit_s[_WHOLE_MACS]
        return float(1.0 / seconds[seconds > 0].min()) if (seconds > 0).any() else None

    def distances(self, features: Array) -> Array:
        """How many times each feature exceeds the largest in calibration; 1 for what is not far beyond it."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(self.highest > 0, features / self.highest, np.where(features > 0, UNKNOWN, 0.0))
        found: Array = np.where(ratios > FAR, ratios, 1.0)
        return found

    def stretch(self, features: Array) -> Array:
        """The factor by which the interval of each point widens: 1 + log of the farthest distance."""
        stretched: Array = 1.0 + np.log(self.distances(features).max(axis=-1))
        return stretched

    def time_s(self, features: Array, stretch: Array, level: float) -> Column:
        return column(features @ self.unit_s, self.profile.held_out.margins, level, stretch)

    def energy_j(self, time_s: Column, macs: Array, stretch: Array, level: float) -> Column | None:
        """Energy, with an interval of its own where energies were measured; None where nothing was metered."""
        power = self.profile.power
        if power is not None:
            return column(power.base_w * time_s.value + power.per_mac_j * macs, power.margins, level, stretch)
        if self.profile.power_w is None:
            return None
        power_w = self.profile.power_w
        return Column(power_w * time_s.value, power_w * time_s.low, power_w * time_s.high, time_s.level)

    def columns(self, features: Array, macs: Array, level: float) -> dict[str, NDArray[Any]]:
        """The columns of many points: time and, where it is known, energy, each with its interval; whether it is widened."""
        distances = self.distances(features).max(axis=1)
        stretch = 1.0 + np.log(distances)
        time_s = self.time_s(features, stretch, level)
        found: dict[str, NDArray[Any]] = {"time_s": time_s.value, "time_low_s": time_s.low, "time_high_s": time_s.high}
        energy_j = self.energy_j(time_s, macs, stretch, level)
        if energy_j is not None:
            found |= {"energy_j": energy_j.value, "energy_low_j": energy_j.low, "energy_high_j": energy_j.high}
        return {**found, "extrapolating": distances > 1.0}


def costing(profile: Profile) -> Costing:
    """A profile as arrays. Raises InvalidProfile for one that was fitted on other features, or on none."""
    if profile.law is not None:
        raise InvalidProfile(f"profile {profile.id} comes from a datasheet: it times kernels by their shapes, not features")
    different = set(NAMES) ^ profile.seconds_per_unit.keys()
    if different:
        raise InvalidProfile(
            f"profile {profile.id} was fitted by costmodel {profile.provenance.costmodel_version}, whose features differ "
            f"from those of this version in {', '.join(sorted(different))}; calibrate again"
        )
    return Costing(
        profile,
        np.array([profile.seconds_per_unit[name] for name in NAMES], dtype=np.float64),
        np.array([profile.domain[name].high for name in NAMES], dtype=np.float64),
    )


def column(value: Array, margins: Sequence[float], level: float, stretch: Array) -> Column:
    """Values with the intervals that these margins give, as much wider as ``stretch`` says."""
    radius, supported = conformal_radius(margins, level)
    spread = np.exp(np.minimum(radius * stretch, _WIDEST))
    return Column(value, value / spread, value * spread, supported)
