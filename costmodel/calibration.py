"""measurements -> Profile: what one device, runtime, precision and variant take for each unit of work.

A configuration has 10 to 30 measured networks, too few for its dozen coefficients. So configurations of a kind are
pooled first: each network's typical time over all of them, with the devices' speeds divided out, gives one *prior* cost
vector; each configuration's own fit is then drawn towards that prior, up to its speed. How strongly is chosen by leaving
networks out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import CannotCalibrate, CostModelError, InvalidMeasurement, UnknownDevice
from costmodel.features import NAMES, RELATIVE_COSTS, feature_extents
from costmodel.model import fit_relative
from costmodel.schema.device import find_device
from costmodel.schema.measurement import Measurement, load_measurements
from costmodel.schema.profile import HeldOut, Profile, Provenance, Range
from costmodel.specs import benchmark_names, benchmark_network, zoo
from costmodel.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[np.float64]
STRENGTHS = (0.03, 0.1, 0.3, 1.0)
FEWEST = 5
WEAK = 0.002  # the pull towards the relative costs: enough to settle what no network in calibration tells


@dataclass(frozen=True, eq=False)
class Table:
    """One configuration's measurements as a regression problem: a row of work and a time for each network."""

    rows: tuple[Measurement, ...]
    networks: tuple[str, ...]
    work: Array
    times: Array

    @property
    def id(self) -> str:
        return self.rows[0].profile

    @property
    def cases(self) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
        """What was timed in each row: a network at its sizes."""
        return tuple((row.network, tuple(sorted(row.sizes.items()))) for row in self.rows)

    @property
    def group(self) -> tuple[str, str, str]:
        """What is pooled: configurations of one runtime on one kind of processor, integer arithmetic apart."""
        first = self.rows[0]
        processor = "gpu" if first.variant.startswith("vulkan") else "cpu"
        return first.runtime, processor, "int" if first.precision.startswith("int") else "float"

    def without(self, hidden: frozenset[str]) -> tuple[Array, Array]:
        """The rows of all networks but the hidden ones."""
        kept = np.array([name not in hidden for name in self.networks], dtype=bool)
        return self.work[kept], self.times[kept]

    def rows_of(self, network: str) -> list[int]:
        return [i for i, name in enumerate(self.networks) if name == network]

    def log_errors(self, network: str, coefficients: Array) -> list[float]:
        """log(predicted / measured) of a network's rows."""
        rows = self.rows_of(network)
        predicted = np.maximum(self.work[rows] @ coefficients, 1e-12)
        return [float(error) for error in np.log(predicted / self.times[rows])]


def gather(measurements: Iterable[Measurement]) -> list[Table]:
    """Group the measured times of whole networks by configuration and count the networks; suspect rows are left out."""
    groups: dict[str, list[Measurement]] = {}
    for row in measurements:
        if is_usable(row):
            groups.setdefault(row.profile, []).append(row)
    return [_table(rows) for rows in groups.values()]


def is_usable(row: Measurement) -> bool:
    """Whether a row is a sound time of the inference of a whole network."""
    return row.time_s is not None and not row.suspect and (row.task, row.scope) == ("inference", "network")


def _table(rows: Sequence[Measurement]) -> Table:
    return Table(
        rows=tuple(rows),
        networks=tuple(row.network for row in rows),
        work=np.array([work_of(row.runtime, row.network, tuple(sorted(row.sizes.items()))) for row in rows]),
        times=np.array([row.time_s for row in rows], dtype=np.float64),
    )


@lru_cache(maxsize=4096)
def work_of(runtime: str, network: str, sizes: tuple[tuple[str, int], ...]) -> tuple[float, ...]:
    """The features of a network by the name under which a table lists it: a benchmark's own name, or the zoo's."""
    try:
        found = benchmark_network(runtime, network) if network in benchmark_names(runtime) else zoo(network)
        point = found.bind(dict(sizes))
    except CostModelError as error:
        raise InvalidMeasurement(f"network {network!r}: {error}") from None
    return tuple(float(extent.at(point)) for extent in feature_extents(found, runtime).values())


# -- pooling ----------------------------------------------------------------------------------------------------


class Pool:
    """Configurations that share a prior. Priors are fitted without the networks that a caller hides.

    ``support``: further configurations of the kind, which shape the prior and are not themselves fitted.
    """

    def __init__(self, tables: Sequence[Table], support: Sequence[Table] = ()) -> None:
        self.tables = tuple(tables)
        self.support = tuple(support)
        everything = (*self.tables, *self.support)
        self.networks = tuple(dict.fromkeys(name for table in everything for name in table.networks))
        self._priors: dict[frozenset[str], Array] = {}
        self._work = {case: row for table in everything for case, row in zip(table.cases, table.work, strict=True)}
        measured = [dict(zip(table.cases, np.log(table.times), strict=True)) for table in everything]
        self._log_times = np.array([[times.get(case, np.nan) for case in self._work] for times in measured])

    def prior(self, hidden: frozenset[str] = frozenset()) -> Array:
        """Seconds per unit of a configuration of speed 1."""
        if hidden not in self._priors:
            kept = [i for i, (name, _) in enumerate(self._work) if name not in hidden]
            work, times = np.array(list(self._work.values()))[kept], _typical_times(self._log_times[:, kept])
            self._priors[hidden] = fit_relative(work, times, np.array(RELATIVE_COSTS), strength=WEAK)
        return self._priors[hidden]

    def fit(self, table: Table, strength: float, hidden: frozenset[str] = frozenset()) -> Array:
        """A configuration's seconds per unit, from its networks less the hidden ones."""
        work, times = table.without(hidden)
        return fit_relative(work, times, self.prior(hidden), strength=strength)

    def held_out(self, table: Table, strength: float, hidden: frozenset[str] = frozenset()) -> list[float]:
        """log(predicted / measured) of every row, predicted by a fit that saw neither its network nor the hidden ones."""
        return [
            error
            for name in dict.fromkeys(table.networks)
            if name not in hidden
            for error in table.log_errors(name, self.fit(table, strength, hidden | {name}))
        ]

    def strength(self, hidden: frozenset[str] = frozenset()) -> float:
        """The pull towards the prior with the least median error on networks left out."""

        def error(strength: float) -> float:
            errors = [abs(error) for table in self.tables for error in self.held_out(table, strength, hidden)]
            return float(np.median(errors))

        return min(STRENGTHS, key=error)


def _typical_times(log_times: Array) -> Array:
    """The time of each column on a row of speed 1: medians over rows and columns in turn; NaN where nothing was measured."""
    log_times = log_times[~np.isnan(log_times).all(axis=1)]
    speed = np.nanmedian(log_times, axis=1)
    typical = np.zeros(log_times.shape[1])
    for _ in range(10):
        typical = np.nanmedian(log_times - speed[:, None], axis=0)
        speed = np.nanmedian(log_times - typical, axis=1)
    result: Array = np.exp(typical)
    return result


def pools(tables: Sequence[Table], support: Sequence[Table] = ()) -> dict[tuple[str, str, str], Pool]:
    """The pools of some tables, by group, each with the support of its group."""
    groups: dict[tuple[str, str, str], list[Table]] = {}
    for table in tables:
        groups.setdefault(table.group, []).append(table)
    return {
        group: Pool(members, [table for table in support if table.group == group]) for group, members in groups.items()
    }


def is_fittable(row: Measurement) -> bool:
    """Whether a shipped row is of a network that the zoo has, on the configuration that it names.

    ncnn runs int8 networks on the CPU also when it is asked for Vulkan, so those rows time a host processor that most
    of them do not name.
    """
    on_host = row.precision.startswith("int") and row.variant.startswith("vulkan")
    return is_usable(row) and row.network in benchmark_names(row.runtime) and not on_host


@lru_cache(maxsize=1)
def shipped_tables() -> tuple[Table, ...]:
    """The configurations that come with the library: the support of a user's own."""
    return tuple(gather(filter(is_fittable, load_measurements())))


# -- profiles ---------------------------------------------------------------------------------------------------


def calibrate(measurements: Sequence[Measurement], *, device: str | None = None) -> Profile:
    """Fit the profile of one configuration (or of one device, where the table holds a single configuration of it).

    Where the library's own measurements hold configurations of the kind (the same runtime on a CPU, or on a GPU), they
    shape the prior, so that five to ten networks suffice.

    >>> import costmodel as cm
    >>> from costmodel.schema.data import data_folder
    >>> rows = cm.read_measurements(data_folder("calibration") / "measurements" / "ncnn.csv")
    >>> profile = calibrate([row for row in rows if row.profile == "raspberry-pi-5/ncnn/fp16/t4"])
    >>> profile.held_out.median_ape < 0.5
    True

    Raises CannotCalibrate for no rows, rows of several configurations, or fewer than 5 networks.
    """
    wanted = None if device is None else known_device(device)
    chosen = [row for row in measurements if wanted in (None, row.device)]
    ids = list(dict.fromkeys(row.profile for row in chosen if is_usable(row)))
    if len(ids) != 1:
        named = f": {', '.join(ids[:6])}" if ids else " with a time of a whole network that is not suspect"
        raise CannotCalibrate(f"one configuration is needed, the rows hold {len(ids)}{named}")
    return calibrate_all(chosen, support=shipped_tables())[0]


def calibrate_all(
    measurements: Iterable[Measurement],
    *,
    fewest: int = FEWEST,
    support: Sequence[Table] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> list[Profile]:
    """Fit a profile for each configuration with at least ``fewest`` networks, pooling those of a kind.

    Tables of ``support`` shape the priors too, unless the measurements hold the same configuration.
    """
    tables = gather(measurements)
    enough = [table for table in tables if len(set(table.networks)) >= fewest]
    if tables and not enough:
        most = max(len(set(table.networks)) for table in tables)
        raise CannotCalibrate(f"a profile needs at least {fewest} measured networks, there are {most}; measure more")
    fitted = []
    own = {table.id for table in tables}
    for group, pool in pools(enough, [table for table in support if table.id not in own]).items():
        strength = pool.strength()
        for table in pool.tables:
            progress(table.id)
            fitted.append(_profile(pool, table, strength, group[1]))
    return fitted


def _profile(pool: Pool, table: Table, strength: float, processor: str) -> Profile:
    first = table.rows[0]
    coefficients = pool.fit(table, strength)
    residuals = np.array(pool.held_out(table, strength))
    errors = np.abs(np.expm1(residuals))
    powers = [row.power_w for row in table.rows if row.power_w is not None]
    return Profile(
        device=first.device,
        runtime=first.runtime,
        precision=first.precision,
        variant=first.variant,
        device_kind=processor,
        seconds_per_unit=dict(zip(NAMES, (float(f"{value:.6g}") for value in coefficients), strict=True)),
        domain={name: Range(low=column.min(), high=column.max()) for name, column in zip(NAMES, table.work.T, strict=True)},
        held_out=HeldOut(
            mape=float(f"{errors.mean():.4g}"),
            median_ape=float(f"{np.median(errors):.4g}"),
            within_10=float(f"{(errors <= 0.1).mean():.4g}"),
            residuals=tuple(float(f"{residual:.5g}") for residual in sorted(residuals)),
        ),
        provenance=Provenance(
            networks=tuple(dict.fromkeys(table.networks)),
            sources=tuple(sorted({row.source for row in table.rows})),
            licences=tuple(sorted({row.licence for row in table.rows})),
            data_sha256=data_hash(table.rows),
            costmodel_version=__version__,
        ),
        power_w=float(np.median(powers)) if powers else None,
        power_scope=next((row.energy_scope for row in table.rows if row.power_w is not None), None),
        note=f"drawn towards the costs of {len(pool.support)} configurations of its kind" if pool.support else "",
    )


def data_hash(rows: Iterable[Measurement]) -> str:
    """The SHA-256 of the rows, whatever their order."""
    facts = ([row.profile, row.network, sorted(row.sizes.items()), row.time_s, row.power_w] for row in rows)
    lines = sorted(map(json.dumps, facts))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def known_device(name: str) -> str:
    """The id of a described device by any of its names; the name itself for a board that nobody described yet.

    >>> known_device("rpi4"), known_device("my-board")
    ('raspberry-pi-4b', 'my-board')
    """
    try:
        return find_device(name).id
    except UnknownDevice:
        return name
