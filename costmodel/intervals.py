"""Intervals from held-out errors: split conformal prediction in log time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from costmodel.errors import InvalidChoice

NOISE = 0.02  # log time; two runs of one network differ by as much (ncnn's table: time_min against time_mean)
USUAL_WEIGHT = 5  # errors that the usual size of the kind counts for beside a configuration's own
KEPT = 99  # margins that a profile keeps


def conformal_radius(scores: Sequence[float], level: float) -> tuple[float, float]:
    """The radius that covers a new score with probability ``level``, and the level that so few scores support.

    Split conformal prediction (Vovk et al. 2005; Lei et al. 2018): the ceil((n + 1) * level)-th smallest of n scores;
    where that is beyond n, the largest, at level n / (n + 1).

    >>> conformal_radius([0.3, 0.1, 0.2], 0.5), conformal_radius([0.3, 0.1, 0.2], 0.9)
    ((0.2, 0.5), (0.3, 0.75))

    Raises InvalidChoice for a level that is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InvalidChoice(f"the level {level:g} of an interval must lie between 0 and 1, as 0.9 does")
    ordered = sorted(scores)
    if not ordered:
        return math.inf, 0.0
    rank = math.ceil((len(ordered) + 1) * level - 1e-9)
    if rank > len(ordered):
        return ordered[-1], len(ordered) / (len(ordered) + 1)
    return ordered[rank - 1], level


def alike_quantile(groups: Sequence[Sequence[float]], level: float) -> float:
    """The size that a part ``level`` of errors does not exceed, each group weighing the same however many it has.

    >>> alike_quantile([[0.1] * 80 + [0.2] * 20, [0.3]], 0.5), alike_quantile([[0.1] * 80 + [0.2] * 20, [0.3]], 0.9)
    (0.2, 0.3)
    """
    weighed = sorted((size, 1.0 / (len(group) * len(groups))) for group in groups for size in group)
    reached = 0.0
    for size, weight in weighed:
        reached += weight
        if reached >= level - 1e-9:
            return size
    return weighed[-1][0]


def margins(errors: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    """For each configuration the half-widths, in log time, that cover ever more of what is held out: at most 99 of them.

    Errors are taken in units of the configuration's typical error, so that those of all configurations of a kind tell how
    often large ones occur and its own tell how large (locally weighted conformal prediction, Lei et al. 2018).

    >>> found = margins({"a": [0.1, -0.2, 0.3], "b": [0.1, 0.2, -0.3]})
    >>> [round(margin, 3) for margin in found["b"]]
    [0.1, 0.1, 0.2, 0.2, 0.3, 0.3]
    """
    scales = _scales({name: found for name, found in errors.items() if found})
    scores = sorted(abs(error) / scale for name, scale in scales.items() for error in errors[name])
    kept = [conformal_radius(scores, i / (KEPT + 1))[0] for i in range(1, KEPT + 1)] if len(scores) > KEPT else scores
    return {name: tuple(score * scale for score in kept) for name, scale in scales.items()}


def _scales(errors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The typical size of each configuration's errors: their median, drawn towards that of all where they are few."""
    medians = {name: max(median(map(abs, found)), NOISE) for name, found in errors.items()}
    usual = median(medians.values()) if medians else NOISE
    weights = {name: len(errors[name]) / (len(errors[name]) + USUAL_WEIGHT) for name in medians}
    return {name: own ** weights[name] * usual ** (1 - weights[name]) for name, own in medians.items()}
