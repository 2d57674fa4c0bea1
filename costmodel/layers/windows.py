"""Attention in windows (Swin: Liu et al., arXiv 2103.14030 and 2111.09883; MaxViT: Tu et al., arXiv 2204.01697)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from costmodel.dims import Dim, Extent
from costmodel.graph import NUMBERED_DTYPES

if TYPE_CHECKING:
    from costmodel.build import Builder

UNSEEN = -100.0  # the score of a token that is not to be seen
HIDDEN = 512  # features of the network that makes biases from offsets
STEEPEST = 16.0  # the largest of these biases


@dataclass(frozen=True, slots=True)
class WindowAttention:
    """One kind of attention in windows; ``Builder.window_attention`` tells what the fields mean."""

    heads: int
    depth: Extent
    window: int
    shifted: int
    cosine: bool

    def over(self, b: Builder, x: str) -> str:
        """The layers, from tokens (N, windows, window**2, C) to tokens, in the builder's scope."""
        width = b.shape(x)[-1]
        together = b.reshape(b.linear(x, 3 * width, name="qkv"), (0, 0, 0, 3 * self.heads, self.depth))
        query, key, value = b.split(b.transpose(together, (0, 1, 3, 2, 4)), 3, axis=2)
        scores = b.add(self._likeness(b, query, key), self._bias(b), broadcast=True)
        if self.shifted:
            scores = b.op("Where", self._neighbours(b), scores, b.constant([UNSEEN], shape=()))
        mixed = b.transpose(b.op("MatMul", b.softmax(scores), value, name="mix"), (0, 1, 3, 2, 4))
        return b.linear(b.reshape(mixed, (0, 0, 0, width)), width, name="output")

    def _likeness(self, b: Builder, query: str, key: str) -> str:
        """Products of queries and keys: over the root of their depth, or of their directions times a learnt factor."""
        if self.cosine:
            query, key = (b.op("LpNormalization", part, axis=-1, p=2) for part in (query, key))
        else:
            query = b.mul(query, b.constant([float(Dim.of(self.depth).at()) ** -0.5], shape=()))
        scores = b.op("MatMul", query, b.transpose(key, (0, 1, 2, 4, 3)), name="scores")
        return b.mul_weight(scores, (self.heads, 1, 1), name="temperature") if self.cosine else scores

    def _bias(self, b: Builder) -> str:
        """For each head and pair of tokens what is learnt for their offset."""
        reach = 2 * self.window - 1
        table = self._made_table(b) if self.cosine else b.weight(f"{b.prefix}bias", (reach**2, self.heads))
        tokens = list(product(range(self.window), repeat=2))
        middle = self.window - 1
        rows = [(top - top2 + middle) * reach + left - left2 + middle for top, left in tokens for top2, left2 in tokens]
        index = b.constant(rows, shape=(len(tokens), len(tokens)))
        bias = b.transpose(b.op("Gather", table, index, axis=0), (2, 0, 1))
        return b.mul(b.sigmoid(bias), b.constant([STEEPEST], shape=())) if self.cosine else bias

    def _made_table(self, b: Builder) -> str:
        """What a small network makes of the logarithms of offsets, which no image changes."""
        offsets = [step for pair in product(range(1 - self.window, self.window), repeat=2) for step in pair]
        numbers = ([1 + abs(step) for step in offsets], [(step > 0) - (step < 0) for step in offsets])
        distances, signs = (
            b.op("Cast", b.constant(part, shape=(len(offsets) // 2, 2)), to=NUMBERED_DTYPES.index("float32"))
            for part in numbers
        )
        hidden = b.relu(b.linear(b.mul(b.op("Log", distances), signs), HIDDEN, name="offsets"))
        return b.linear(hidden, self.heads, bias=False, name="bias")

    def _neighbours(self, b: Builder) -> str:
        """Which tokens of a window were neighbours before the map was rolled, by the region that each comes from."""
        extent, window = self.shifted, self.window
        band = [(i >= extent - window) + (i >= extent - window // 2) for i in range(extent)]
        corners = product(range(0, extent, window), repeat=2)
        inside = list(product(range(window), repeat=2))
        regions = [3 * band[top + i] + band[left + j] for top, left in corners for i, j in inside]
        windows, tokens = (extent // window) ** 2, window**2
        return b.op("Equal", *(b.constant(regions, shape=(windows, 1, *sides)) for sides in ((tokens, 1), (1, tokens))))
