"""A network's layers as a problem of order, and orders that a caller gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from costmodel.dims import Extent, total
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Layer, Network
from costmodel.liveness import Sharing, scratch_pieces
from costmodel.orders.problem import Block, Problem, Step
from costmodel.qdq import find_quantized


def problem_of(network: Network, layers: Sequence[Layer], sharing: Sharing, at_point: Callable[[Extent], int]) -> Problem:
    """The layers as steps, and the memory that they share at a point as blocks; a view is part of what it shows."""
    return _Builder(network, sharing, at_point).built(layers)


class _Builder:
    def __init__(self, network: Network, sharing: Sharing, at_point: Callable[[Extent], int]) -> None:
        self.network, self.sharing, self.at_point = network, sharing, at_point
        self.instead = find_quantized(network).written if sharing.as_integers else {}
        self.blocks: list[Block] = []
        self.block_of: dict[str, int] = {}
        for name in network.inputs:
            self._add(name, is_input=True)

    def _add(self, name: str, *, is_input: bool = False) -> int:
        held = self.instead.get(name) or self.network.tensors[name]
        counts = held.is_known and (self.sharing.inputs_count or not is_input)
        nbytes = self.at_point(held.nbytes) if counts else 0
        self.block_of[name] = len(self.blocks)
        self.blocks.append(Block(nbytes, is_input=is_input, is_kept=name in self.network.outputs))
        return self.block_of[name]

    def built(self, layers: Sequence[Layer]) -> Problem:
        steps = [self._step(layer) for layer in layers]
        for name in self.network.outputs:
            if name in self.block_of:
                block = self.blocks[self.block_of[name]]
                self.blocks[self.block_of[name]] = Block(block.nbytes, block.is_input, is_kept=True)
        return Problem(tuple(self.blocks), tuple(steps))

    def _step(self, layer: Layer) -> Step:
        reads = dict.fromkeys(self.block_of[name] for name in layer.reads if name in self.block_of)
        positions = self.sharing.overwritten(layer, self.network.tensors)
        given = (layer.inputs[position] for position in positions if position < len(layer.inputs))
        creates = []
        for position, name in enumerate(layer.outputs):
            if not name or not self.network.tensors[name].is_known:
                continue
            shown = self._shown(layer, name) if position == 0 else None
            if shown is None:
                creates.append(self._add(name))
            elif shown in self.block_of:
                self.block_of[name] = self.block_of[shown]
        is_first_new = bool(creates) and bool(layer.outputs[0]) and self.block_of.get(layer.outputs[0]) == creates[0]
        scratch = scratch_pieces(layer, self.network.tensors, self.sharing)
        return Step(
            reads=tuple(reads),
            creates=tuple(creates),
            scratch_bytes=self.at_point(total(scratch)),
            overwrites=tuple(self.block_of[name] for name in given if name in self.block_of) if is_first_new else (),
        )

    def _shown(self, layer: Layer, name: str) -> str | None:
        """What the first output is a view of, or stands for where it never exists."""
        if self.instead.get(name, layer) is None:
            return layer.inputs[0]
        return None if layer.cost is None or layer.cost.view_of is None else layer.inputs[layer.cost.view_of]


def ordered(network: Network, names: Sequence[str]) -> tuple[Layer, ...]:
    """The running layers in an order given by their names.

    Raises InvalidChoice for a name that is missing, unknown or there twice, and for a layer before what it reads.
    """
    layers = {layer.name: layer for layer in network.running_layers}
    for name in names:
        if name not in layers:
            raise InvalidChoice(f"order: network {network.name!r} runs no layer {name!r}; {nearest(name, layers)}")
    if twice := next((name for name in names if list(names).count(name) > 1), None):
        raise InvalidChoice(f"order: layer {twice!r} is there twice; name each layer once")
    if missing := [name for name in layers if name not in set(names)]:
        raise InvalidChoice(f"order: layer {missing[0]!r} is missing; name each of the {len(layers)} layers that run")
    made = {name: layer.name for layer in layers.values() for name in layer.outputs if name}
    there: set[str] = set()
    for name in names:
        if early := next((read for read in layers[name].reads if read in made and read not in there), None):
            raise InvalidChoice(
                f"order: layer {name!r} comes before layer {made[early]!r}, whose tensor {early!r} it reads; put it later"
            )
        there.update(layers[name].outputs)
    return tuple(layers[name] for name in names)
