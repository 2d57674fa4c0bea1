"""Segments of a network that a checkpoint runs again, and where one may end: where a single tensor goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from costmodel.autograd import Operation
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Network


@dataclass(frozen=True, slots=True)
class Segment:
    """Operations from ``start`` up to ``end``, by position; ``is_run_again`` in the backward pass."""

    start: int
    end: int
    is_run_again: bool


def segments(network: Network, found: Sequence[Operation], checkpoint: int | Sequence[str] | None) -> tuple[Segment, ...]:
    """The segments that a checkpoint makes of the operations: a number of links each, or up to the tensors named.

    Raises InvalidChoice for a number below 1, for a tensor that no operation writes, and where there is no link to cut at.
    """
    if checkpoint is None:
        return (Segment(0, len(found), is_run_again=False),)
    if isinstance(checkpoint, int):
        if checkpoint < 1:
            raise InvalidChoice(f"checkpoint={checkpoint}: a segment has at least one link; give a number from 1 up")
        cuts = link_ends(found)[checkpoint - 1 :: checkpoint]
        if not cuts:
            links = len(link_ends(found)) + 1
            raise InvalidChoice(
                f"checkpoint={checkpoint}: network {network.name!r} has {links} links; give a smaller number, or name the "
                "tensors at which segments end"
            )
    else:
        cuts = sorted({_position(network, found, name) for name in checkpoint} - {len(found)})
    starts = [0, *cuts]
    ends = [*cuts, len(found)]
    return tuple(Segment(a, b, is_run_again=b != len(found)) for a, b in zip(starts, ends, strict=True))


def link_ends(found: Sequence[Operation]) -> list[int]:
    """The positions before which a single tensor with a gradient goes on, after all views of it and what overwrites it."""
    root: dict[str, str] = {}
    for one in found:
        root.update((name, root.get(one.shows or "", one.shows or name)) for name in one.writes)
    last_read = {root.get(name, name): i for i, one in enumerate(found) for name in one.needing}
    alive: set[str] = set()
    ends: dict[str, int] = {}
    for i, one in enumerate(found[:-1]):
        alive.update(root[name] for name in one.writes if one.has_backward)
        alive = {name for name in alive if last_read.get(name, i) > i}
        if len(alive) == 1:
            (name,) = alive
            is_new = any(root[written] == name for written in one.writes)
            ends[name] = i + 1 if is_new else ends.get(name, i + 1)
    return sorted(ends.values())


def _position(network: Network, found: Iterable[Operation], name: str) -> int:
    written = {tensor: i + 1 for i, one in enumerate(found) for tensor in one.writes}
    if name not in written:
        hint = nearest(name, written)
        raise InvalidChoice(f"network {network.name!r} computes no tensor {name!r} to end a segment at; {hint}")
    return written[name]
