"""Ways to hide some measurements from a fit: networks (or families of them) from all devices, or a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.accuracy.figures import Accuracy, Case, metrics
from costmodel.calibration import FEWEST, Pool, Table, parts_of, pools
from costmodel.costing import LEVEL
from costmodel.errors import CannotCalibrate
from costmodel.intervals import conformal_radius, margins
from costmodel.model import fit_relative

Array = NDArray[np.float64]
Label = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Method:
    """How to get the costs of a configuration from what is not hidden; ``columns`` picks or makes its columns of work."""

    costs: Callable[[Pool, Table, frozenset[str]], Array | None]
    columns: Callable[[Table], Array]

    def errors(self, pool: Pool, table: Table, part: Iterable[str], hidden: frozenset[str]) -> dict[int, float]:
        """log(predicted / measured) by row, of the rows of some networks, all of which are hidden."""
        costs = self.costs(pool, table, hidden)
        rows = [i for name in sorted(part) for i in table.rows_of(name)]
        if costs is None or not rows:
            return {}
        predicted = np.log(np.maximum(self.columns(table)[rows] @ costs, 1e-12)) - np.log(table.times[rows])
        return dict(zip(rows, map(float, predicted), strict=True))


def macs_and_constant(table: Table) -> Array:
    """The studies' law: a time per MAC and a constant."""
    return np.column_stack([table.macs, np.ones(len(table.macs))])


def _alone(columns: Callable[[Table], Array]) -> Method:
    """A configuration's own fit."""

    def costs(_: Pool, table: Table, hidden: frozenset[str]) -> Array | None:
        kept = table.kept(hidden)
        return fit_relative(columns(table)[kept], table.times[kept]) if kept.sum() > 1 else None

    return Method(costs, columns)


METHODS: Mapping[str, Method] = {
    "pooled": Method(lambda pool, table, hidden: pool.costs(table, hidden), lambda table: table.work),
    "macs_linear": _alone(macs_and_constant),
    "class_wise": _alone(lambda table: table.work),
}


# -- networks ---------------------------------------------------------------------------------------------------


def leave_networks_out(
    tables: Sequence[Table],
    protocol: str,
    *,
    group_of: Callable[[Table], str],
    label: Label = str,
    parts: int | None = None,
    methods: Mapping[str, Method] = METHODS,
) -> Accuracy:
    """Hide networks from every configuration, fit, and predict them on each; the intervals come from hiding further ones.

    Networks of one ``label`` (a family) are hidden together; ``parts`` hides several labels at once, in so many parts,
    instead of one after the other. The first of the ``methods`` is reported, the others are its baselines. Raises
    CannotCalibrate for a configuration with fewer than 5 networks.
    """
    for table in tables:
        if len(set(table.networks)) < FEWEST:
            count = len(set(table.networks))
            raise CannotCalibrate(f"{table.id} has {count} networks; leaving some out takes at least {FEWEST}")
    results: dict[str, list[Case]] = {name: [] for name in methods}
    for pool in pools(tables, label).values():
        for part in _parts(pool, parts):
            for name, method in methods.items():
                results[name] += _hidden_cases(pool, method, part, group_of)
    return summary(protocol, results)


def _parts(pool: Pool, count: int | None) -> list[frozenset[str]]:
    """The networks that are hidden together."""
    families: dict[str, set[str]] = {}
    for name in pool.networks:
        families.setdefault(pool.label(name), set()).add(name)
    if count is None:
        return [frozenset(names) for names in families.values()]
    largest = {family: max(pool.sizes[name] for name in names) for family, names in families.items()}
    return [frozenset().union(*(families[family] for family in part)) for part in parts_of(list(families), largest, count)]


def _hidden_cases(pool: Pool, method: Method, part: frozenset[str], group_of: Callable[[Table], str]) -> Iterator[Case]:
    inner: dict[str, list[float]] = {table.id: [] for table in pool.tables}
    for fold in pool.folds(part):
        for table in pool.tables:
            inner[table.id] += method.errors(pool, table, fold, part | fold).values()
    widths = margins(inner)
    for table in pool.tables:
        if table.id in widths:
            radius, _ = conformal_radius(widths[table.id], LEVEL)
            for row, error in method.errors(pool, table, part, part).items():
                yield Case(table.id, table.networks[row], group_of(table), error, radius, float(table.times[row]))


# -- devices ----------------------------------------------------------------------------------------------------


def leave_devices_out(
    tables: Sequence[Table],
    protocol: str,
    *,
    measured: int,
    draws: int,
    label: Label = str,
    random_state: int = 0,
    methods: Mapping[str, Method] = METHODS,
) -> Accuracy:
    """Hide a device, measure a few networks on it, and predict networks that are hidden from every device.

    In each of the ``draws`` a third of the networks (by label) is hidden from all, and ``measured`` of the others are known
    of the device. The intervals on a device come from the errors on the other devices.
    """
    results: dict[str, list[Case]] = {name: [] for name in methods}
    rng = np.random.default_rng(random_state)
    for group in pools(tables, label).values():
        for device in dict.fromkeys(table.rows[0].device for table in group.tables):
            source = Pool([table for table in group.tables if table.rows[0].device != device], label)
            new = [table for table in group.tables if table.rows[0].device == device]
            for _ in range(draws):
                asked = rng.choice(len(parts := _parts(source, 3)), 1)[0]
                few_of_each = (_with_few(table, parts[asked], measured, rng) for table in new)
                for few in (table for table in few_of_each if table is not None):
                    for name, method in methods.items():
                        errors = method.errors(source, few, parts[asked], parts[asked])
                        results[name] += [
                            Case(few.id, few.networks[row], "/".join(few.group), error, 0.0, float(few.times[row]))
                            for row, error in errors.items()
                        ]
    return summary(protocol, {name: with_radii(cases) for name, cases in results.items()})


def _with_few(table: Table, asked: frozenset[str], measured: int, rng: np.random.Generator) -> Table | None:
    """The table with so many networks beside those that are asked for; None where it has no more than that."""
    others = sorted(set(table.networks) - asked)
    if len(others) < measured or not asked & set(table.networks):
        return None
    return table.of({*rng.choice(others, measured, replace=False), *asked})


def with_radii(cases: Sequence[Case]) -> list[Case]:
    """Each case with the half-width that covers the errors on all devices of its group but its own."""
    found = []
    for key in dict.fromkeys((case.group, _device(case)) for case in cases):
        others = [abs(case.log_error) for case in cases if case.group == key[0] and _device(case) != key[1]]
        radius, _ = conformal_radius(others, LEVEL)
        found += [case.within(radius) for case in cases if (case.group, _device(case)) == key]
    return found


def _device(case: Case) -> str:
    return case.table.partition("/")[0]


# -- both -------------------------------------------------------------------------------------------------------


def summary(protocol: str, results: Mapping[str, Sequence[Case]]) -> Accuracy:
    """The figures of the first method, beside those of the others."""
    method, *baselines = results
    cases = results[method]
    by_group: dict[str, list[Case]] = {}
    by_network: dict[str, list[float]] = {}
    for case in cases:
        by_group.setdefault(case.group, []).append(case)
        by_network.setdefault(case.network, []).append(case.log_error)
    return Accuracy(
        protocol=protocol,
        metrics=metrics(cases),
        baselines={name: metrics(results[name]) for name in baselines},
        groups={group: metrics(members) for group, members in sorted(by_group.items())},
        networks={name: float(np.median(errors)) for name, errors in sorted(by_network.items())},
    )
