"""What attention makes of the positions of tokens: causal masks, rotations, and T5's biases by distance.

Each is computed once in a network and read by all of its layers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from costmodel.dims import Dim, Extent
from costmodel.graph import NUMBERED_DTYPES

if TYPE_CHECKING:
    from costmodel.build import Builder

# A tensor and the axis of it along which positions lie.
Axis = tuple[str, int]

# Takes a score out of a softmax: the least number of half precision, so that it fits every float.
HIDDEN = -65504.0
# From this distance on all tokens share the last bucket (T5: Raffel et al., arXiv 1910.10683, section 2.1).
FARTHEST = 128


def following(b: Builder, tokens: str, past: Axis | None) -> str:
    """The positions (1, S) of tokens (N, S, C): 0, 1, 2 ..., or those that come next after what is kept along ``past``."""
    before = None if past is None else _extent(b, past)
    return b.once("positions", (before, b.shape(tokens)[1]), lambda: _unsqueezed(b, _count_up(b, (tokens, 1), past), 0))


def causal_mask(b: Builder, positions: str, keys: Axis) -> str:
    """What hides from each token those after it, of all that there are keys of: (1, S, T)."""

    def made() -> str:
        later = b.op("Greater", _count_up(b, keys), _unsqueezed(b, positions, -1))
        return b.op("Where", later, _number(b, HIDDEN), _number(b, 0.0))

    return b.once("causal_mask", (positions, _extent(b, keys)), made)


def rotated(b: Builder, x: str, positions: str, base: float) -> str:
    """Pairs of features turned by angles that grow with the position (RoFormer: Su et al., arXiv 2104.09864)."""
    depth = Dim.of(b.shape(x)[-1]).at()
    cosine, sine = (_angles(b, positions, depth, base, function) for function in ("Cos", "Sin"))
    low, high = b.split(x, 2, axis=-1)
    turned = b.concat(b.op("Neg", high), low, axis=-1)
    return b.add(b.mul(x, cosine), b.mul(turned, sine))


def _angles(b: Builder, positions: str, depth: int, base: float, function: str) -> str:
    """The sine or cosine (1, S, depth) of every position's angles; the frequencies are prepared at load."""

    def angles() -> str:
        steps = b.op("Range", b.constant([0], shape=()), b.constant([depth], shape=()), b.constant([2], shape=()))
        shares = b.mul(_as_float(b, steps), _number(b, -1 / depth))
        frequencies = b.op("Pow", _number(b, float(base)), shares)
        half = b.mul(_as_float(b, _unsqueezed(b, positions, -1)), frequencies)
        return b.concat(half, half, axis=-1)

    key = (positions, depth, base)
    return b.once(function.lower(), key, lambda: b.op(function, b.once("angles", key, angles)))


def relative_bias(b: Builder, table: str, positions: str, keys: Axis, heads: int, *, buckets: int, causal: bool) -> str:
    """What a learnt table has for each head, token and key (1, heads, S, T), by their distance, as in T5."""

    def made() -> str:
        weight = b.weight(f"{table}.weight", (buckets, heads))
        distance = b.op("Sub", _count_up(b, keys), _unsqueezed(b, positions, -1))
        found = b.op("Gather", weight, _bucket(b, distance, buckets, causal))
        bias = b.transpose(found, (0, 3, 1, 2))
        return b.add(bias, causal_mask(b, positions, keys), broadcast=True) if causal else bias

    return b.once("relative_bias", (table, positions, _extent(b, keys)), made)


def _bucket(b: Builder, distance: str, buckets: int, causal: bool) -> str:
    """Near distances have a bucket each, farther ones share buckets that widen with the logarithm.

    A causal decoder needs none for later tokens; otherwise these have the upper half of the buckets.
    """
    each = buckets if causal else buckets // 2
    near = each // 2
    back = b.op("Max", b.op("Neg", distance), _number(b, 0)) if causal else b.op("Abs", distance)
    ratio = b.op("Log", b.op("Div", _as_float(b, back), _number(b, float(near))))
    widened = b.mul(ratio, _number(b, (each - near) / math.log(FARTHEST / near)))
    far = b.op("Min", b.op("Add", _as_integer(b, widened), _number(b, near)), _number(b, each - 1))
    bucket = b.op("Where", b.op("Less", back, _number(b, near)), back, far)
    if causal:
        return bucket
    ahead = b.op("Mul", _as_integer(b, b.op("Greater", distance, _number(b, 0))), _number(b, each))
    return b.op("Add", bucket, ahead)


# -- small things -------------------------------------------------------------------------------------------------


def _extent(b: Builder, along: Axis) -> Extent:
    x, axis = along
    return b.shape(x)[axis]


def _count_up(b: Builder, along: Axis, past: Axis | None = None) -> str:
    """As many numbers as there are along an axis, counted from 0 or from the extent of another."""
    first, length = _number(b, 0) if past is None else _length(b, past), _length(b, along)
    return b.op("Range", first, length if past is None else b.op("Add", first, length), _number(b, 1))


def _length(b: Builder, along: Axis) -> str:
    x, axis = along
    return b.op("Squeeze", b.op("Shape", x, start=axis, end=axis + 1), b.constant([0]))


def _unsqueezed(b: Builder, x: str, axis: int) -> str:
    return b.op("Unsqueeze", x, b.constant([axis]))


def _number(b: Builder, value: int | float) -> str:
    return b.constant([value], shape=())


def _as_float(b: Builder, x: str) -> str:
    return b.op("Cast", x, to=NUMBERED_DTYPES.index(b.dtype))


def _as_integer(b: Builder, x: str) -> str:
    return b.op("Cast", x, to=NUMBERED_DTYPES.index("int64"))
