"""Hide a device, measure a few networks on it, and predict others that the other devices have run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from costmodel.accuracy.figures import Accuracy, Case
from costmodel.accuracy.splits import summary
from costmodel.calibration import Table
from costmodel.costing import LEVEL
from costmodel.errors import CannotCalibrate
from costmodel.intervals import conformal_radius
from costmodel.schema.device import devices
from costmodel.transfer.kinship import Facts, facts, kinship
from costmodel.transfer.known import Forecast, KnownNetworks

Array = NDArray[np.float64]

FEWEST_ASKED = 3  # networks to predict beside the measured ones


@dataclass(frozen=True, eq=False)
class Grid:
    """Log times of networks on configurations (NaN where not measured), and what each configuration is."""

    tables: tuple[Table, ...]

    @cached_property
    def networks(self) -> tuple[str, ...]:
        return tuple(sorted({name for table in self.tables for name in table.networks}))

    @cached_property
    def log_times(self) -> Array:
        found = np.full((len(self.tables), len(self.networks)), np.nan)
        place = {name: i for i, name in enumerate(self.networks)}
        for row, table in zip(found, self.tables, strict=True):
            row[[place[name] for name in table.networks]] = np.log(table.times)
        return found

    @cached_property
    def device(self) -> tuple[str, ...]:
        return tuple(table.rows[0].device for table in self.tables)

    @cached_property
    def facts(self) -> tuple[Facts, ...]:
        known = devices()
        first = [table.rows[0] for table in self.tables]
        return tuple(facts(known[row.device], row.precision, row.variant) for row in first)

    @cached_property
    def kinship(self) -> Array:
        return np.array([[kinship(one, other) for other in self.facts] for one in self.facts])


# -- ways to predict --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Hidden:
    """A configuration of a hidden device, and what is left of the others."""

    model: KnownNetworks
    kinship: Array
    log_times: Array

    @property
    def run(self) -> list[int]:
        """The networks that were measured at all."""
        return np.flatnonzero(~np.isnan(self.log_times)).tolist()

    def knowing(self, few: Sequence[int]) -> Array:
        left = np.full_like(self.log_times, np.nan)
        left[list(few)] = self.log_times[list(few)]
        return left


def by_kin(hidden: Hidden, few: Sequence[int]) -> Forecast:
    return hidden.model.condition(hidden.knowing(few), hidden.kinship)


def by_profile(hidden: Hidden, few: Sequence[int]) -> Forecast:
    """Without the facts: other devices weigh by their times alone."""
    return hidden.model.condition(hidden.knowing(few))


def by_speed(hidden: Hidden, few: Sequence[int]) -> Forecast:
    """The other devices' mean profile at the device's speed."""
    mean, profiles = hidden.model.mean_, hidden.model.profiles_
    speed = np.median(hidden.log_times[list(few)] - mean[list(few)])
    return Forecast(mean + speed, (profiles - profiles.mean(axis=1, keepdims=True)).std(axis=0))


METHODS: Mapping[str, Callable[[Hidden, Sequence[int]], Forecast]] = {
    "known": by_kin,
    "without_facts": by_profile,
    "mean_profile": by_speed,
}


# -- the split --------------------------------------------------------------------------------------------------


def devices_with_few(
    tables: Sequence[Table], protocol: str, *, measured: int, draws: int = 5, random_state: int = 0
) -> Accuracy:
    """Hide each device with all its configurations; on each, ``measured`` random networks are known.

    Beside the plain baselines, ``chosen_networks`` is the same method with networks that it chose, by the other devices'
    times and the facts of the device. Groups tell whether another device with the same chip, or core, is among the others.
    How many deviations an interval takes comes from the other devices. The constants of the method were set on every second
    device of ncnn's CPU table.
    """
    grid = Grid(tuple(tables))
    scored: dict[str, list[_Scored]] = {name: [] for name in [*METHODS, "chosen_networks"]}
    for device in dict.fromkeys(grid.device):
        new = np.array([owner == device for owner in grid.device])
        model = _fitted(grid, new)
        for i in np.flatnonzero(new):
            hidden = Hidden(model, grid.kinship[i, ~new], grid.log_times[i])
            if len(hidden.run) >= measured + FEWEST_ASKED:
                ask = _Asked(grid, int(i), _relation(grid, int(i)))
                for few in _random(hidden.run, measured, draws, [random_state, int(i)]):
                    for name, method in METHODS.items():
                        scored[name] += ask.scored(method(hidden, few), few)
                few = model.choose(measured, hidden.kinship, hidden.run)
                scored["chosen_networks"] += ask.scored(by_kin(hidden, few), few)
    return summary(protocol, {name: _with_radii(found) for name, found in scored.items()})


def _fitted(grid: Grid, new: NDArray[np.bool_]) -> KnownNetworks:
    """The other devices' model; a network that only the hidden device ran cannot be told from others."""
    left = grid.log_times[~new]
    unknown = np.flatnonzero(np.isnan(left).all(axis=0))
    if len(unknown):
        only = ", ".join(grid.networks[i] for i in unknown)
        raise CannotCalibrate(f"one device alone has run {only}; networks that are asked for must be known from another one")
    return KnownNetworks().fit(left)


def _random(networks: Sequence[int], count: int, draws: int, seed: Sequence[int]) -> list[list[int]]:
    return [np.random.default_rng([*seed, draw]).permutation(networks)[:count].tolist() for draw in range(draws)]


def _relation(grid: Grid, i: int) -> str:
    """The nearest that another device comes to this one."""
    known = devices()
    others = {name for name in grid.device if name != grid.device[i]}
    chip = known[grid.device[i]].soc
    if chip is not None and any(known[name].soc == chip for name in others):
        return "another device has its chip"
    cores = {found.core for found, name in zip(grid.facts, grid.device, strict=True) if name in others}
    return "another device has its core" if grid.facts[i].core in cores - {""} else "no other device has its core"


@dataclass(frozen=True, slots=True)
class _Scored:
    """A case whose radius is one standard deviation so far."""

    case: Case
    device: str

    @property
    def score(self) -> float:
        return abs(self.case.log_error) / self.case.radius


@dataclass(frozen=True, eq=False)
class _Asked:
    """What is asked about one configuration."""

    grid: Grid
    row: int
    group: str

    def scored(self, forecast: Forecast, few: Sequence[int]) -> list[_Scored]:
        """The predictions of the networks that ran but for the few that are known."""
        truth, table = self.grid.log_times[self.row], self.grid.tables[self.row]
        asked = [i for i in np.flatnonzero(~np.isnan(truth)).tolist() if i not in set(few)]
        return [
            _Scored(
                Case(
                    table=table.id,
                    network=self.grid.networks[i],
                    group=self.group,
                    log_error=float(forecast.log_time[i] - truth[i]),
                    radius=float(forecast.deviation[i]),
                    measured_s=float(np.exp(truth[i])),
                ),
                self.grid.device[self.row],
            )
            for i in asked
        ]


def _with_radii(scored: Sequence[_Scored]) -> list[Case]:
    """Each case with so many deviations as cover the errors on all devices but its own."""
    scores = np.array([found.score for found in scored])
    owners = np.array([found.device for found in scored])
    factor = {name: conformal_radius(scores[owners != name].tolist(), LEVEL)[0] for name in dict.fromkeys(owners.tolist())}
    return [found.case.within(factor[found.device] * found.case.radius) for found in scored]
