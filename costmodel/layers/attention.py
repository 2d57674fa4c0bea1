"""Attention written out in products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from costmodel.dims import Dim, Extent
from costmodel.layers.positions import Axis, causal_mask, following, relative_bias, rotated

if TYPE_CHECKING:
    from costmodel.build import Builder

PROJECTIONS = ("query", "key", "value", "output")

Length = Union[int, str, Dim]


@dataclass(frozen=True, slots=True)
class Attention:
    """One kind of attention; ``Builder.attention`` tells what the fields mean."""

    heads: int
    kv_heads: int
    depth: Extent
    biased: tuple[str, ...]
    scaled: bool
    causal: bool
    rotary: float
    relative: str | None
    buckets: int
    mask: str | None
    memory: str | None
    values: str | None
    memory_length: Length
    past: Length

    def over(self, b: Builder, x: str) -> str:
        """The layers, from tokens (N, S, C) to tokens, in the builder's scope."""
        kept = {part: self._kept(b, x, f"past_{part}", self.past) for part in ("key", "value") if self.past != 0}
        positions = self._positions(b, x, (kept["key"], 2) if kept else None)
        query = self._rotated(b, self._query(b, x), positions)
        key, value, keys = self._keys_and_values(b, x, kept, positions)
        scores = b.op("MatMul", query, key, name="scores")
        if self.scaled:
            scores = b.mul(scores, b.constant([float(Dim.of(self.depth).at()) ** -0.5], shape=()))
        for addend in self._addends(b, keys, positions):
            scores = b.add(scores, addend, broadcast=True)
        mixed = b.op("MatMul", b.softmax(scores), value, name="mix")
        together = b.transpose(mixed, (0, 3, 1, 2, 4) if self._is_grouped else (0, 2, 1, 3))
        whole = b.reshape(together, (0, 0, self.heads * self.depth))
        return b.linear(whole, b.shape(x)[-1], bias="output" in self.biased, name="output")

    @property
    def _is_grouped(self) -> bool:
        return self.kv_heads != self.heads

    def _query(self, b: Builder, x: str) -> str:
        """For each head; the heads that share a key and a value are an axis of their own."""
        heads = (self.kv_heads, self.heads // self.kv_heads) if self._is_grouped else (self.heads,)
        order = (0, 2, 3, 1, 4) if self._is_grouped else (0, 2, 1, 3)
        return self._projected(b, x, "query", heads, order)

    def _projected(self, b: Builder, x: str, part: str, heads: tuple[int, ...], order: tuple[int, ...]) -> str:
        features = self.depth
        for each in heads:
            features = features * each
        flat = b.linear(x, features, bias=part in self.biased, name=part)
        return b.transpose(b.reshape(flat, (0, 0, *heads, self.depth)), order)

    def _keys_and_values(self, b: Builder, x: str, kept: Mapping[str, str], positions: str | None) -> tuple[str, str, Axis]:
        """The keys as the product with the query reads them, the values, and along which axis the positions of keys lie.

        Keys that nothing else is done with are turned at once. Where heads share them, an axis of 1 stands for these, so
        that the products stretch it and nothing is copied.
        """
        if self.memory_length != 0:
            key, value = (self._kept(b, x, f"memory_{part}", self.memory_length) for part in ("key", "value"))
            return self._shared(b, b.transpose(key, (0, 1, 3, 2))), self._shared(b, value), (key, 2)
        source = x if self.memory is None else self.memory
        at_once = not self.rotary and not kept
        key = self._projected(b, source, "key", (self.kv_heads,), (0, 2, 3, 1) if at_once else (0, 2, 1, 3))
        value = self._projected(b, self.values or source, "value", (self.kv_heads,), (0, 2, 1, 3))
        if at_once:
            return self._shared(b, key), self._shared(b, value), (key, 3)
        key = self._rotated(b, key, positions)
        if kept:
            key, value = (
                b.output(b.op("Concat", kept[part], new, axis=2, name=f"present_{part}"))
                for part, new in (("key", key), ("value", value))
            )
        return self._shared(b, b.transpose(key, (0, 1, 3, 2))), self._shared(b, value), (key, 2)

    def _kept(self, b: Builder, x: str, name: str, length: Length) -> str:
        """An input that holds keys or values."""
        return b.input(b.prefix + name, (b.shape(x)[0], self.kv_heads, length, self.depth))

    def _shared(self, b: Builder, x: str) -> str:
        return b.op("Unsqueeze", x, b.constant([2])) if self._is_grouped else x

    def _positions(self, b: Builder, x: str, past: Axis | None) -> str | None:
        return following(b, x, past) if self.rotary or self.causal or self.relative else None

    def _rotated(self, b: Builder, x: str, positions: str | None) -> str:
        return rotated(b, x, positions, self.rotary) if self.rotary and positions else x

    def _addends(self, b: Builder, keys: Axis, positions: str | None) -> list[str]:
        """What is added to the scores."""
        found = [] if self.mask is None else [self.mask]
        if positions and self.relative:
            table, heads = self.relative, self.heads
            found.append(relative_bias(b, table, positions, keys, heads, buckets=self.buckets, causal=self.causal))
        elif positions and self.causal:
            found.append(causal_mask(b, positions, keys))
        return found
