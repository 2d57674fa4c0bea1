"""What-ifs by the million: one network on one profile, at every combination of some sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import NDArray

from costmodel.compiled import CHUNK, Compiled
from costmodel.costing import LEVEL, Costing, costing
from costmodel.counts import count
from costmodel.errors import InvalidChoice, MissingExtra, UnknownSize, nearest
from costmodel.finding import find_profile
from costmodel.graph import Network
from costmodel.intervals import conformal_radius
from costmodel.prediction import as_row, predict, refuse_unsupported
from costmodel.programs import Program, program
from costmodel.schema.profile import Profile

if TYPE_CHECKING:
    import pandas

Column = NDArray[Any]
Values = Union[int, Iterable[int]]
Sizes = dict[str, NDArray[np.int64]]
MOST_POINTS = 50_000_000  # a dozen columns of so many rows are 5 GB


@dataclass(frozen=True, eq=False)
class Sweep:
    """What a network costs at many points: a row for each.

    ``columns``: the open sizes; ``time_s``, ``time_low_s``, ``time_high_s``; ``energy_j``, ``energy_low_j`` and
    ``energy_high_j`` where the profile knows energy; ``macs``; ``memory_bytes``, the peak of the activations; and whether
    the point is ``extrapolating``, so that its intervals are wider. ``level``: how often the interval of the time holds.
    """

    network: str
    profile: str
    level: float
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.columns["time_s"])

    def to_pandas(self) -> pandas.DataFrame:
        """The columns as a DataFrame. Raises MissingExtra where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise MissingExtra("a DataFrame needs pandas, which is not installed; pip install 'costmodel[pandas]'") from None
        return pandas.DataFrame(dict(self.columns))

    def pareto(self, *minimise: str, maximise: Sequence[str] | str = ()) -> Sweep:
        """The points that no other point beats: none is as good in all of these columns and better in one.

        >>> import costmodel as cm
        >>> found = sweep(cm.zoo("resnet18"), "raspberry-pi-4b/ncnn/fp32/t4", H=[224, 160, 128], tie="W=H")
        >>> found.pareto("time_s", maximise="H").columns["H"].tolist()
        [224, 160, 128]

        Raises InvalidChoice for no column, or one that there is not.
        """
        upwards = [maximise] if isinstance(maximise, str) else list(maximise)
        for name in (*minimise, *upwards):
            if name not in self.columns:
                raise InvalidChoice(f"the sweep has no column {name!r}; {nearest(name, self.columns)}")
        if not (minimise or upwards):
            raise InvalidChoice("name a column to minimise or maximise, as in pareto('time_s', maximise='H')")
        goals = [self.columns[name] for name in minimise] + [-self.columns[name] for name in upwards]
        kept = _unbeaten(np.column_stack(goals).astype(np.float64))
        return Sweep(self.network, self.profile, self.level, {name: column[kept] for name, column in self.columns.items()})


def sweep(
    network: Network,
    profile: str | Profile,
    /,
    *,
    tie: str | Sequence[str] = (),
    level: float = LEVEL,
    allow_unsupported: bool = False,
    **sizes: Values,
) -> Sweep:
    """Predict a network at every combination of some sizes.

    A size is a number or several; ``tie="W=H"`` lets one follow another; sizes that are left out take the network's
    defaults. Each row equals ``predict`` at its point. A million points of ResNet-50 take a second on one core
    (benchmarks/predicting.py).

    >>> import costmodel as cm
    >>> found = sweep(cm.zoo("resnet50"), "raspberry-pi-4b/ncnn/fp32/t4", N=[1, 2, 4], H=range(128, 513, 32), tie="W=H")
    >>> len(found), found.columns["W"][:3].tolist(), bool((np.diff(found.columns["time_s"][:13]) > 0).all())
    (39, [128, 160, 192], True)

    Raises what ``predict`` raises, and InvalidChoice for a tie to a size that is not given.
    """
    refuse_unsupported(network, allow_unsupported=allow_unsupported)
    chosen = profile if isinstance(profile, Profile) else find_profile(profile)
    points = _points(network, sizes, _ties(tie))
    if chosen.law is not None:
        return _one_by_one(network, chosen, points, level)
    costs, found = costing(chosen), program(network, chosen.runtime)
    rows = len(next(iter(points.values()))) if points else 1
    parts = [
        _costs(costs, found, {name: column[start : start + CHUNK] for name, column in points.items()}, level)
        for start in range(0, rows, CHUNK)
    ]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    level_of_time = costs.time_s(np.zeros(len(costs.unit_s)), np.ones(()), level).level
    return Sweep(network.name, chosen.id, level_of_time, {**points, **joined})


def _one_by_one(network: Network, profile: Profile, points: Sizes, level: float) -> Sweep:
    """The rows of a profile whose law takes kernels by their shapes, one after the other."""
    rows = []
    for values in zip(*points.values(), strict=True):
        point = {name: int(value) for name, value in zip(points, values, strict=True)}
        rows.append(as_row(predict(network, profile, level=level, allow_unsupported=True, **point)))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    columns["macs"] = _whole_numbers(count(network).compile()(points)["macs"])
    return Sweep(network.name, profile.id, conformal_radius(profile.held_out.margins, level)[1], {**points, **columns})


def _costs(costs: Costing, found: Program, points: Sizes, level: float) -> dict[str, Column]:
    features, macs = found.whole(points)
    counted = {"macs": _whole_numbers(macs), "memory_bytes": _whole_numbers(found.peak_bytes(points))}
    columns = costs.columns(features, macs, level)
    widened = columns.pop("extrapolating")
    return {**columns, **counted, "extrapolating": widened}


def _whole_numbers(column: NDArray[np.float64]) -> Column:
    """Counts as integers where 64 bits hold them."""
    return column.astype(np.int64) if column.max() < 2.0**63 else column


# -- points -----------------------------------------------------------------------------------------------------


def _ties(texts: str | Sequence[str]) -> dict[str, str]:
    """Which size follows which. Raises InvalidChoice for what is not ``W=H``."""
    found = {}
    for text in [texts] if isinstance(texts, str) else texts:
        follower, equals, leader = (part.strip() for part in text.partition("="))
        if not (follower and equals and leader) or follower == leader:
            raise InvalidChoice(f"tie {text!r} is not of the form 'W=H', in which W follows H")
        found[follower] = leader
    return found


def _points(network: Network, sizes: Mapping[str, Values], ties: Mapping[str, str]) -> Sizes:
    """Every combination of the sizes, the first of them slowest, under the network's own names for them."""
    varied = {name: [values] if isinstance(values, (int, np.integer)) else list(values) for name, values in sizes.items()}
    followers = _followers(ties, varied)
    for name, values in (*varied.items(), *((one, varied[leader]) for one, leader in followers.items())):
        _check(network, name, values)
    count = math.prod(map(len, varied.values()))
    if count > MOST_POINTS:
        raise InvalidChoice(f"{count:,} points are more than a sweep takes, {MOST_POINTS:,}; vary less, or part by part")
    grids = np.meshgrid(*(np.array(values, dtype=np.int64) for values in varied.values()), indexing="ij")
    given = {name: grid.ravel() for name, grid in zip(varied, grids, strict=True)}
    given |= {follower: given[leader] for follower, leader in followers.items()}
    return _complete(network, given, count)


def _followers(ties: Mapping[str, str], varied: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Each tied size with the one that is given: ``H=W`` and ``W=H`` say the same."""
    found: dict[str, str] = {}
    for one, other in ties.items():
        if (one in varied) == (other in varied):
            wrong = f"both {one} and {other} are given values" if one in varied else f"neither {one} nor {other} is given"
            raise InvalidChoice(f"tie '{one}={other}': {wrong}; give values for one of them")
        found |= {one: other} if other in varied else {other: one}
    return found


def _check(network: Network, name: str, values: Sequence[int]) -> None:
    if not values:
        raise UnknownSize(f"size {name!r} is given no value; give one number or several")
    for value in values:
        network.bind({name: value}, complete=False)


def _complete(network: Network, given: Mapping[str, NDArray[np.int64]], count: int) -> Sizes:
    """The columns under the network's own names, with its defaults for the sizes that are not given."""
    own: Sizes = {}
    for name, column in given.items():
        target = network.size_named(name, int(column[0]))
        if target is not None and not np.array_equal(own.setdefault(target, column), column):
            raise UnknownSize(f"size {name}: network {network.name!r} calls that axis {target}, which is given too")
    first = network.bind({name: int(column[0]) for name, column in own.items()})
    every = {name: own.get(name, np.full(count, value)) for name, value in first.items()}
    _check_distinct(network, every)
    return every


def _check_distinct(network: Network, columns: Sizes) -> None:
    """As ``bind`` does at one point: where counts that were taken to be different are equal, the layers are others."""
    pairs = {str(i): left - right for i, (left, right) in enumerate(network.distinct)}
    if pairs:
        equal = (Compiled(pairs).matrix(columns) == 0).any(axis=1)
        if equal.any():
            row = int(equal.argmax())
            network.bind({name: int(column[row]) for name, column in columns.items()})


# -- the best of them -------------------------------------------------------------------------------------------


def _unbeaten(goals: NDArray[np.float64]) -> NDArray[np.intp]:
    """The rows, in their order, that no row beats, where less is better; of equal rows all are kept."""
    distinct, row_of = np.unique(goals, axis=0, return_inverse=True)  # rising: no row beats one before it
    if goals.shape[1] == 2:
        kept = np.r_[True, distinct[1:, 1] < np.minimum.accumulate(distinct[:, 1])[:-1]]
        return np.flatnonzero(kept[row_of.ravel()])
    kept = np.zeros(len(distinct), dtype=bool)
    left = _least_of_equals(distinct)
    while len(left):
        best, left = left[0], left[1:]
        kept[best] = True
        left = left[(distinct[left] < distinct[best]).any(axis=1)]
    return np.flatnonzero(kept[row_of.ravel()])


def _least_of_equals(goals: NDArray[np.float64]) -> NDArray[np.intp]:
    """The rows, in their order, that are least in the first goal among those with the same others: the rest is beaten."""
    order = np.lexsort((goals[:, 0], *goals.T[1:]))
    others = goals[order, 1:]
    is_first = np.r_[True, (others[1:] != others[:-1]).any(axis=1)]
    return np.sort(order[is_first])
