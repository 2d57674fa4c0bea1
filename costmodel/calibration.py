"""measurements -> Profile: what one device, runtime, precision and variant take for each unit of work.

A configuration has 5 to 30 measured networks, too few for its two dozen costs. So configurations of a kind (one runtime on
CPUs, or on GPUs) are fitted together: what they share, and how each departs from it (``model.PooledCosts``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from costmodel.dims import value_at
from costmodel.errors import CannotCalibrate, CostModelError, InvalidMeasurement, UnknownDevice
from costmodel.features import NAMES, amounts, relative_costs, spreads, works
from costmodel.intervals import margins
from costmodel.model import PooledCosts, fit_many
from costmodel.power import energies, fit_power, log_errors
from costmodel.schema.device import devices, find_device
from costmodel.schema.measurement import Measurement, load_measurements
from costmodel.schema.profile import HeldOut, Power, Profile, Provenance, Range
from costmodel.specs import benchmark_names, benchmark_network, zoo
from costmodel.stored import is_stored, stored_works
from costmodel.transfer.datasheet import DatasheetCosts, Sheet, sheet
from costmodel.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[np.float64]
Group = tuple[str, str, str, str]
FEWEST = 5
ODD_DEVIATIONS, ODD_FACTOR = 4.0, 1.5
FIRST_ROW, MOST_FAULTS = 2, 20  # of a table, below its header; that a message lists
# networks of a configuration, and kinds of them by the letters that names begin with, from which it speaks for itself
MANY_NETWORKS, MANY_KINDS = 150, 30
MANY_DEVICES = 30  # described CPUs from which costs follow facts
LETTERS = re.compile(r"[A-Za-z]+")
FOLDS = 5
ON_GPU = ("vulkan", "opencl", "gpu")  # how the variants of configurations on a graphics processor begin


@dataclass(frozen=True, eq=False)
class Table:
    """One configuration's measurements as a regression problem: a row of work, multiply-adds and a time for each network."""

    rows: tuple[Measurement, ...]
    networks: tuple[str, ...]
    work: Array
    macs: Array
    times: Array

    @property
    def id(self) -> str:
        return self.rows[0].profile

    @property
    def group(self) -> Group:
        """What is pooled: configurations of one runtime on one kind of processor, integer arithmetic and training apart."""
        first = self.rows[0]
        arithmetic = "int" if first.precision.startswith("int") else "float"
        return first.runtime, "gpu" if on_gpu(first) else "cpu", arithmetic, first.task

    def kept(self, hidden: frozenset[str]) -> NDArray[np.bool_]:
        """Which rows are of other networks than the hidden ones."""
        return np.array([name not in hidden for name in self.networks], dtype=bool)

    def without(self, hidden: frozenset[str]) -> tuple[Array, Array]:
        """Work and times of all networks but the hidden ones."""
        kept = self.kept(hidden)
        return self.work[kept], self.times[kept]

    def of(self, networks: Set[str]) -> Table:
        """The table with some networks only."""
        kept = np.array([name in networks for name in self.networks], dtype=bool)
        rows = tuple(row for row, is_kept in zip(self.rows, kept, strict=True) if is_kept)
        names = tuple(row.network for row in rows)
        return Table(rows, names, self.work[kept], self.macs[kept], self.times[kept])

    def rows_of(self, network: str) -> list[int]:
        return [i for i, name in enumerate(self.networks) if name == network]

    def log_errors(self, network: str, coefficients: Array) -> list[float]:
        """log(predicted / measured) of a network's rows."""
        rows = self.rows_of(network)
        predicted = np.maximum(self.work[rows] @ coefficients, 1e-12)
        return [float(error) for error in np.log(predicted / self.times[rows])]


def gather(measurements: Iterable[Measurement], task: str = "inference") -> list[Table]:
    """Group the measured times of whole networks by configuration and count the networks; suspect rows are left out.

    Raises InvalidMeasurement for networks whose work is not known, with all rows that name one.
    """
    groups: dict[str, list[Measurement]] = {}
    faults: list[str] = []
    for number, row in enumerate(measurements, FIRST_ROW):
        if is_usable(row, task):
            groups.setdefault(row.profile, []).append(row)
            try:
                work_of(row.runtime, row.network, tuple(sorted(row.sizes.items())))
            except InvalidMeasurement as error:
                faults.append(f"row {number}: {error}")
    if faults:
        more = f"; and {len(faults) - MOST_FAULTS} more rows" if len(faults) > MOST_FAULTS else ""
        raise InvalidMeasurement("; ".join(faults[:MOST_FAULTS]) + more)
    return [_table(rows) for rows in groups.values()]


def is_usable(row: Measurement, task: str = "inference") -> bool:
    """Whether a row is a sound time of a task with a whole network."""
    return row.time_s is not None and not row.suspect and (row.task, row.scope) == (task, "network")


def on_gpu(row: Measurement) -> bool:
    """Whether a graphics processor did the work: the variant says so, or the device is a card."""
    device = devices().get(row.device)
    return row.variant.startswith(ON_GPU) or (device is not None and device.kind == "gpu")


def _table(rows: Sequence[Measurement]) -> Table:
    counted = [work_of(row.runtime, row.network, tuple(sorted(row.sizes.items()))) for row in rows]
    return Table(
        rows=tuple(rows),
        networks=tuple(row.network for row in rows),
        work=np.array([work for work, _ in counted]),
        macs=np.array([macs for _, macs in counted], dtype=np.float64),
        times=np.array([row.time_s for row in rows], dtype=np.float64),
    )


@lru_cache(maxsize=4096)
def work_of(runtime: str, network: str, sizes: tuple[tuple[str, int], ...]) -> tuple[tuple[float, ...], float]:
    """The features of a network and its multiply-adds, by the name under which a table lists it.

    That is a name of the runtime's own benchmark, ``BENCHMARK:NAME`` of another's, a name of the zoo, or ``SOURCE:NAME`` of
    a network of which the kernels are stored.
    """
    benchmark, name = named(network, runtime)
    try:
        if name in benchmark_names(benchmark):
            found = benchmark_network(benchmark, name)
            parts, point = works(found, runtime), found.bind(dict(sizes))
        elif is_stored(network):
            parts, point = stored_works(network, runtime, dict(sizes).get("N", 1)), {}
        else:
            found = zoo(network)
            parts, point = works(found, runtime), found.bind(dict(sizes))
    except CostModelError as error:
        raise InvalidMeasurement(f"network {network!r}: {error}") from None
    macs = sum(value_at(part.macs, point) * part.times for part in parts)
    return tuple(float(value_at(extent, point)) for extent in amounts(parts).values()), float(macs)


def named(network: str, runtime: str) -> tuple[str, str]:
    """The benchmark and the name that a table's name of a network stands for.

    >>> named("mlperf:resnet50", "armnn"), named("squeezenet", "ncnn")
    (('mlperf', 'resnet50'), ('ncnn', 'squeezenet'))
    """
    source, colon, name = network.partition(":")
    return (source, name) if colon else (runtime, network)


# -- pooling ----------------------------------------------------------------------------------------------------


class Pool:
    """Configurations of a kind, whose costs are fitted together; what a caller hides has no part in a fit.

    Networks of one ``label``, such as their family, are hidden together where errors on unseen ones are asked for.
    """

    def __init__(self, tables: Sequence[Table], label: Callable[[str], str] = str) -> None:
        self.tables = tuple(tables)
        self.label = label
        self.sizes = {name: table.macs[i] for table in tables for i, name in enumerate(table.networks)}
        self.networks = tuple(self.sizes)
        self._fits: dict[frozenset[str], PooledCosts] = {}
        self._by_facts: dict[frozenset[str], DatasheetCosts] = {}

    @property
    def processor(self) -> str:
        return self.tables[0].group[1]

    def fit(self, hidden: frozenset[str] = frozenset()) -> PooledCosts:
        """The costs of all configurations without the hidden networks; those of one that has no other are what is common."""
        if hidden not in self._fits:
            work, times, device = self._rows(hidden)
            spread, own_spread = map(np.asarray, spreads())
            prior = relative_costs(self.processor)
            # never from a fit that saw the hidden networks: what they alone tell would stay
            if self.is_rich:
                self._fits[hidden] = fit_many(prior, work, times, device, spread, own_spread)
            else:
                self._fits[hidden] = PooledCosts(prior, spread=spread, own_spread=own_spread).fit(work, times, device)
        return self._fits[hidden]

    @cached_property
    def is_rich(self) -> bool:
        """Whether configurations have run so many and so different networks that each can speak for itself."""
        counts = [len(set(table.networks)) for table in self.tables]
        kinds = {(LETTERS.search(name.rpartition(":")[2]) or [name])[0] for name in self.networks}
        return float(np.median(counts)) >= MANY_NETWORKS and len(kinds) >= MANY_KINDS

    def costs(self, table: Table, hidden: frozenset[str] = frozenset()) -> Array | None:
        """The costs of a configuration, of the pool or not, without the hidden networks; None where it has no other."""
        seen = self._seen(hidden)
        if table in seen:
            costs: Array = self.fit(hidden).coef_[seen.index(table)]
            return costs
        work, times = table.without(hidden)
        return self.fit(hidden).adapt(work, times, expected=self._expected(table, hidden)) if len(times) else None

    def _expected(self, table: Table, hidden: frozenset[str]) -> Array | None:
        """Logarithms of the costs that the datasheet of a described CPU makes expect, where devices enough tell how."""
        described = devices().get(table.rows[0].device)
        if described is None or not self.tells_facts:
            return None
        if hidden not in self._by_facts:
            seen = self._seen(hidden)
            self._by_facts[hidden] = DatasheetCosts().fit(list(map(sheet_of, seen)), np.log(self.fit(hidden).coef_))
        expected: Array = self._by_facts[hidden].predict([sheet_of(table)])[0]
        return expected

    @cached_property
    def tells_facts(self) -> bool:
        """Whether so many described CPUs are in the pool that it tells how costs depend on their facts."""
        known = {table.rows[0].device for table in self.tables} & devices().keys()
        return self.processor == "cpu" and len(known) >= MANY_DEVICES and len(known) >= len(self._devices)

    @property
    def _devices(self) -> set[str]:
        return {table.rows[0].device for table in self.tables}

    def _seen(self, hidden: frozenset[str]) -> list[Table]:
        return [table for table in self.tables if len(table.without(hidden)[1])]

    def _rows(self, hidden: frozenset[str]) -> tuple[Array, Array, NDArray[np.intp]]:
        parts = [table.without(hidden) for table in self._seen(hidden)]
        device = np.repeat(np.arange(len(parts)), [len(times) for _, times in parts])
        return np.concatenate([work for work, _ in parts]), np.concatenate([times for _, times in parts]), device

    def folds(self, hidden: frozenset[str] = frozenset()) -> list[frozenset[str]]:
        """The networks but the hidden ones, in parts of about equal size that no family is divided between."""
        families: dict[str, set[str]] = {}
        for name in self.networks:
            if name not in hidden:
                families.setdefault(self.label(name), set()).add(name)
        largest = {family: max(self.sizes[name] for name in names) for family, names in families.items()}
        return [frozenset().union(*(families[family] for family in part)) for part in parts_of(list(families), largest)]

    def held_out(self, hidden: frozenset[str] = frozenset()) -> dict[str, list[float]]:
        """log(predicted / measured) of the rows of each configuration, by fits that have not seen their networks."""
        errors: dict[str, list[float]] = {table.id: [] for table in self.tables}
        for part in self.folds(hidden):
            for table in self.tables:
                errors[table.id] += self.errors(table, part, hidden)
        return errors

    def errors(self, table: Table, part: frozenset[str], hidden: frozenset[str] = frozenset()) -> list[float]:
        """log(predicted / measured) of a configuration's rows of some networks, which the fit does not see."""
        costs = self.costs(table, hidden | part)
        return [] if costs is None else [error for name in sorted(part) for error in table.log_errors(name, costs)]


def sheet_of(table: Table) -> Sheet:
    """What the datasheet tells of a configuration of a described device."""
    first = table.rows[0]
    return sheet(devices()[first.device], first.precision, first.variant)


def parts_of(networks: Sequence[str], size: Mapping[str, float], count: int = FOLDS) -> list[frozenset[str]]:
    """The networks in so many parts; neighbours in size fall into different parts."""
    ordered = sorted(networks, key=lambda name: (size[name], name))
    return [frozenset(ordered[i::count]) for i in range(count) if ordered[i::count]]


def pools(tables: Sequence[Table], label: Callable[[str], str] = str) -> dict[Group, Pool]:
    """The pools of some tables, by group."""
    groups: dict[Group, list[Table]] = {}
    for table in tables:
        groups.setdefault(table.group, []).append(table)
    return {group: Pool(members, label) for group, members in groups.items()}


def is_fittable(row: Measurement) -> bool:
    """Whether a shipped row is of a network whose kernels are known, on the configuration that it names.

    ncnn runs int8 networks on the CPU also when it is asked for Vulkan, so those rows time a host processor that most
    of them do not name.
    """
    on_host = row.precision.startswith("int") and row.variant.startswith("vulkan")
    benchmark, name = named(row.network, row.runtime)
    return is_usable(row) and not on_host and (name in benchmark_names(benchmark) or is_stored(row.network))


@lru_cache(maxsize=16)
def shipped_tables(runtime: str) -> tuple[Table, ...]:
    """The configurations of a runtime that come with the library: the support of a user's own."""
    return tuple(gather(row for row in load_measurements() if row.runtime == runtime and is_fittable(row)))


def shipped_support(rows: Iterable[Measurement]) -> tuple[Table, ...]:
    """The configurations that come with the library of the runtimes that these rows are of."""
    return tuple(table for runtime in dict.fromkeys(row.runtime for row in rows) for table in shipped_tables(runtime))


@lru_cache(maxsize=8)
def _pool_of(tables: tuple[Table, ...]) -> Pool:
    """The pool of these very tables, with the fits that it has made."""
    return Pool(tables)


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
    return calibrate_all(chosen, support=shipped_support(chosen))[0]


def calibrate_all(
    measurements: Iterable[Measurement],
    *,
    fewest: int = FEWEST,
    support: Sequence[Table] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> list[Profile]:
    """Fit a profile for each configuration with at least ``fewest`` networks.

    Where ``support`` holds other configurations of the kind, what they share is taken over and each configuration adapts
    to it; else the configurations of a kind are fitted together.
    """
    tables = gather(measurements)
    enough = [table for table in tables if len(set(table.networks)) >= fewest]
    if tables and not enough:
        most = max(len(set(table.networks)) for table in tables)
        raise CannotCalibrate(f"a profile needs at least {fewest} measured networks, there are {most}; measure more")
    own = {table.id for table in tables}
    others: dict[Group, list[Table]] = {}
    for table in support:
        if table.id not in own:
            others.setdefault(table.group, []).append(table)
    fitted: list[Profile] = []
    for group, pool in pools(enough).items():
        basis = _pool_of(tuple(others[group])) if group in others else pool
        fitted += _profiles(basis, pool.tables, is_support=group in others, progress=progress)
    return fitted


def odd_rows(
    measurements: Iterable[Measurement], *, support: Sequence[Table] = ()
) -> list[tuple[int, Measurement, float]]:
    """Rows whose time is far off what the other networks of their configuration make expect, by their numbers in the table.

    Each comes with how many times that expectation it is. Far is ``ODD_DEVIATIONS`` robust standard
    deviations (1.48 times the median absolute deviation) and ``ODD_FACTOR``. They are told, never left out: only who
    measured knows whether a row is wrong.
    """
    rows = list(measurements)
    number = {id(row): i for i, row in enumerate(rows, FIRST_ROW)}
    found = []
    for group, pool in pools([table for table in gather(rows) if len(set(table.networks)) >= FEWEST]).items():
        own = {table.id for table in pool.tables}
        others = tuple(table for table in support if table.group == group and table.id not in own)
        basis = _pool_of(others) if others else pool
        for table in pool.tables:
            expected = _left_out(basis, table)
            middle = float(np.median(expected))
            spread = max(1.48 * float(np.median(np.abs(expected - middle))), 0.01)
            for row, error in zip(table.rows, expected - middle, strict=True):
                if abs(error) > max(ODD_DEVIATIONS * spread, np.log(ODD_FACTOR)):
                    found.append((number[id(row)], row, float(np.exp(-error))))
    return sorted(found, key=lambda entry: entry[0])


def _left_out(pool: Pool, table: Table) -> Array:
    """log(predicted / measured) of each row, by fits without its network."""
    errors = np.zeros(len(table.times))
    for part in parts_of(list(dict.fromkeys(table.networks)), dict(zip(table.networks, table.macs, strict=True))):
        costs = pool.costs(table, part)
        if costs is not None:
            hidden = ~table.kept(part)
            errors[hidden] = np.log(np.maximum(table.work[hidden] @ costs, 1e-12) / table.times[hidden])
    return errors


def _profiles(
    pool: Pool, tables: Sequence[Table], *, is_support: bool, progress: Callable[[str], None]
) -> Iterator[Profile]:
    errors = pool.held_out()
    for table in tables:
        if is_support:
            parts = parts_of(list(dict.fromkeys(table.networks)), dict(zip(table.networks, table.macs, strict=True)))
            errors[table.id] = [error for part in parts for error in pool.errors(table, part)]
    widths = margins(errors)
    note = f"adapted from {len(pool.tables)} configurations of its kind" if is_support else ""
    for table in tables:
        progress(table.id)
        costs = pool.costs(table)
        assert costs is not None
        yield _profile(table, costs, errors[table.id], widths[table.id], note, _power(pool, table))


def _power(pool: Pool, table: Table) -> Power | None:
    """How energy follows from time and multiply-adds, where enough networks have one; its margins are those of the whole."""
    metered = table.of({row.network for row in table.rows if row.energy_j is not None})
    if len(set(metered.networks)) < FEWEST:
        return None
    measured = np.array([row.energy_j for row in metered.rows], dtype=np.float64)
    errors: list[float] = []
    for part in parts_of(metered.networks, dict(zip(metered.networks, metered.macs, strict=True))):
        kept, costs = metered.kept(part), pool.costs(table, part)
        if costs is not None and kept.sum() > 1:
            power = fit_power(metered.times[kept], metered.macs[kept], measured[kept])
            errors += log_errors(energies(power, metered.work[~kept] @ costs, metered.macs[~kept]), measured[~kept])
    base_w, per_mac_j = fit_power(metered.times, metered.macs, measured)
    return Power(
        base_w=float(f"{base_w:.6g}"),
        per_mac_j=float(f"{per_mac_j:.6g}"),
        margins=tuple(float(f"{width:.4g}") for width in margins({table.id: errors})[table.id]),
    )


def _profile(
    table: Table, costs: Array, held_out: Sequence[float], widths: Sequence[float], note: str, power: Power | None
) -> Profile:
    first = table.rows[0]
    residuals = np.array(held_out)
    errors = np.abs(np.expm1(residuals))
    powers = [row.power_w for row in table.rows if row.power_w is not None]
    return Profile(
        device=first.device,
        runtime=first.runtime,
        precision=first.precision,
        variant=first.variant,
        device_kind=table.group[1],
        seconds_per_unit=dict(zip(NAMES, (float(f"{value:.6g}") for value in costs), strict=True)),
        domain={name: Range(low=column.min(), high=column.max()) for name, column in zip(NAMES, table.work.T, strict=True)},
        held_out=HeldOut(
            mape=float(f"{errors.mean():.4g}"),
            median_ape=float(f"{np.median(errors):.4g}"),
            within_10=float(f"{(errors <= 0.1).mean():.4g}"),
            residuals=tuple(float(f"{residual:.4g}") for residual in sorted(residuals)),
            margins=tuple(float(f"{width:.4g}") for width in widths),
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
        power=power,
        note=note,
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
