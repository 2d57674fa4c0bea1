"""Network -> the operations that eager PyTorch runs in training, each with what it keeps for its backward.

Only what is computed from something learnt gets a gradient, and only for a gradient is anything kept: the table of
``costmodel.derivatives`` says what.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from costmodel.counts import learnable
from costmodel.derivatives import (
    BESIDES,
    FLOAT32,
    IN_PLACE,
    KEEP_BOTH,
    KEEP_NOTHING,
    KEEP_OUTPUT,
    KEEP_PLACES,
    PASS_ON,
    PASS_ON_PARTS,
    PRODUCTS,
    Around,
    channels,
)
from costmodel.dims import Extent, product, total
from costmodel.graph import FLOAT_DTYPES, Layer, Network
from costmodel.torch_kernels import STRIDED, is_norm_folded, torch_operations

VIEWS = STRIDED | {"Transpose"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of PyTorch with what its backward needs.

    ``reads`` and ``writes``: the computed tensors that it takes and gives; ``needing``: those of ``reads`` that get a
    gradient; ``parameters``: the stored tensors that it learns; ``saved``: the tensors that are kept for its backward,
    and ``besides_bytes`` what is kept besides them. ``shows``: the tensor whose memory the result lies in, if any.
    ``passed``: the tensors whose gradient is the result's own. ``problem``: that its rule is a guess.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    needing: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    saved: tuple[str, ...] = ()
    besides_bytes: Extent = 0
    shows: str | None = None
    passed: frozenset[str] = frozenset()
    problem: str = ""

    @property
    def has_backward(self) -> bool:
        return bool(self.needing or self.parameters)


def operations(network: Network, *, in_place: bool = True, fused_attention: bool = True) -> tuple[Operation, ...]:
    """The operations that PyTorch runs for a network in training, in order.

    ``in_place``: activations overwrite what nothing else needs. ``fused_attention``: attention is one operation.

    >>> from costmodel.build import Builder
    >>> b = Builder("tiny")
    >>> x = b.bn(b.conv(b.input("image", (1, 3, 8, 8)), 8, kernel=3, padding=1))
    >>> [operation.saved for operation in operations(b.finish(b.relu(x)))]
    [('image',), ('conv1',), ('relu1',)]
    """
    return _Autograd(network, in_place=in_place).operations(torch_operations(network, fused_attention=fused_attention))


class _Autograd:
    """A network with the tensors that get a gradient."""

    def __init__(self, network: Network, *, in_place: bool) -> None:
        self.network = network
        self.tensors = network.tensors
        self.in_place = in_place
        self.mixed: set[str] = set()  # results of attention, which lie as a later transpose reads them
        learnt = learnable(network) if network.learnable is None else network.learnable
        self.learnt = frozenset(name for name in learnt if self.tensors[name].dtype in FLOAT_DTYPES)
        self.with_gradient = set(self.learnt)

    def operations(self, groups: Iterable[Sequence[Layer]]) -> tuple[Operation, ...]:
        found: list[Operation] = []
        kept: set[str] = set()  # by the operation that wrote them
        for layers in groups:
            self._spread(layers)
            operation = self._operation(layers, kept)
            kept.update(set(operation.saved).intersection(operation.writes))
            found.append(operation)
        return tuple(found)

    def needs(self, name: str) -> bool:
        return name in self.with_gradient

    def _spread(self, layers: Iterable[Layer]) -> None:
        """What is computed from a tensor with a gradient has one, if it is a number to differentiate."""
        for layer in layers:
            if any(self.needs(name) or self._parameters((name,)) for name in layer.reads):
                floats = (name for name in layer.outputs if name and self.tensors[name].dtype in FLOAT_DTYPES)
                self.with_gradient.update(floats)

    def _operation(self, layers: Sequence[Layer], kept: Container[str]) -> Operation:
        inside = {name for layer in layers for name in layer.outputs if name}
        outside = dict.fromkeys(name for layer in layers for name in layer.reads if name not in inside)
        reads = tuple(name for name in outside if self._is_activation(name))
        writes = tuple(name for name in inside if self._is_read_outside(name, inside))
        parameters = self._parameters(outside)
        needing = tuple(name for name in reads if self.needs(name))
        plain = Operation(layers[0].name, reads, writes, shows=self._shown(layers, kept))
        if not needing and not parameters:
            return plain
        saved, besides = self._saved(layers, reads, writes)
        return Operation(
            plain.name, reads, writes, needing, parameters, saved, besides, plain.shows,
            passed=frozenset(self._passed(layers, needing)), problem=_problem(layers),
        )  # fmt: skip

    # -- what is kept -----------------------------------------------------------------------------------------------

    def _saved(self, layers: Sequence[Layer], reads: Sequence[str], writes: Sequence[str]) -> tuple[tuple[str, ...], Extent]:
        besides = total(self._besides(layer) for layer in layers)
        if len(layers) == 1:
            names, copied = self._saved_by(layers[0])
            return tuple(name for name in names if self._is_activation(name)), besides + copied
        scores = _scores(layers)
        if scores is not None:
            self.mixed.update(writes)
            rows = product(self.tensors[scores].dims[:-1])  # of which each keeps the logarithm of its sum
            return (*reads, *writes), FLOAT32 * rows
        is_kept = any(self._saved_by(layer)[0] for layer in layers)
        return tuple(reads) if is_kept else (), besides

    def _saved_by(self, layer: Layer) -> tuple[tuple[str, ...], Extent]:
        """The tensors that one layer keeps, and the bytes of copies that it makes of some and keeps instead."""
        op, inputs = layer.op, layer.inputs
        is_padded_with_numbers = op == "Pad" and layer.attributes.get("mode", "constant") == "constant"
        if op in KEEP_NOTHING or is_padded_with_numbers or (layer.cost and layer.cost.view_of is not None):
            return (), 0
        if op in KEEP_OUTPUT or (self.in_place and op in IN_PLACE):
            return layer.outputs[:1], 0
        if op in KEEP_PLACES:
            return tuple(inputs[i] for i in KEEP_PLACES[op] if i < len(inputs)), 0
        if op in KEEP_BOTH:
            return (*inputs, layer.outputs[0]), 0
        if op == "Div" and not self.needs(inputs[1]):
            return inputs[1:], 0
        if op in PRODUCTS:
            factors = [name for i, name in enumerate(inputs) if self._any_needs(inputs[:i] + inputs[i + 1 :])]
            copied = [name for name in factors if op == "MatMul" and self._is_copied(name, layer)]
            return tuple(name for name in factors if name not in copied), total(self.tensors[n].nbytes for n in copied)
        return layer.reads, 0

    def _any_needs(self, names: Iterable[str]) -> bool:
        return any(self.needs(name) or self._parameters((name,)) for name in names if name)

    def _is_copied(self, name: str, layer: Layer) -> bool:
        """Whether a matrix product copies a transposed operand: it reads the last two axes either way, but no others."""
        producer = self._producer(name)
        if producer is None or producer.op != "Transpose" or not self._is_activation(name):
            return False
        perm = producer.attributes.get("perm")
        rank = self.tensors[name].rank
        is_matrix = perm == (*range(rank - 2), rank - 1, rank - 2)
        return not is_matrix or any(self.tensors[other].constant for other in layer.inputs if other)

    def _besides(self, layer: Layer) -> Extent:
        if layer.cost is None:
            return 0
        y = layer.cost.outputs[0]
        if is_norm_folded(layer):
            return y.nbytes + 2 * FLOAT32 * channels(y)  # what the batch norm read
        if layer.cost.bodies:
            written = [(body, name) for body in layer.cost.bodies for inner in body.running_layers for name in inner.outputs]
            return total(body.over_runs(body.tensors[name].nbytes) for body, name in written if body.tensors[name].is_known)
        return BESIDES[layer.op](Around(self.tensors[layer.inputs[0]], y, layer)) if layer.op in BESIDES else 0

    # -- memory that is shared ----------------------------------------------------------------------------------------

    def _shown(self, layers: Sequence[Layer], kept: Container[str]) -> str | None:
        """The tensor in whose memory the result lies: what a view shows, or what an activation may overwrite."""
        layer = layers[0]
        if len(layers) > 1 or not layer.inputs or layer.op == "Dropout":
            return None
        first = layer.inputs[0]
        producer = self._producer(first)
        if producer is not None and producer.op == "Transpose" and layer.op in ("Reshape", "Flatten"):
            return first if producer.inputs[0] in self.mixed else None  # no strides show any other: it is copied
        if layer.cost is not None and layer.cost.view_of is not None:
            return layer.inputs[layer.cost.view_of]
        if layer.op in VIEWS or self._is_selection(layer):
            return first
        is_free = first not in kept and len(self.network.consumers.get(first, ())) == 1 and first in self.network.producers
        return first if self.in_place and layer.op in IN_PLACE and is_free and first not in self.network.outputs else None

    def _is_selection(self, layer: Layer) -> bool:
        if layer.op != "Gather":
            return False
        index = self.tensors[layer.inputs[1]]
        return index.constant and index.shape == ()

    def _passed(self, layers: Sequence[Layer], needing: Iterable[str]) -> Iterable[str]:
        layer = layers[0]
        if len(layers) > 1:
            return
        y = self.tensors[layer.outputs[0]]
        for i, name in enumerate(layer.inputs):
            is_whole = layer.op in PASS_ON and self.tensors[name].size == y.size and not (layer.op == "Sub" and i)
            if name in needing and (is_whole or layer.op in PASS_ON_PARTS):
                yield name

    # -- small things ---------------------------------------------------------------------------------------------------

    def _producer(self, name: str) -> Layer | None:
        position = self.network.producers.get(name)
        return None if position is None else self.network.layers[position]

    def _is_activation(self, name: str) -> bool:
        tensor = self.tensors.get(name)
        return tensor is not None and tensor.is_known and not tensor.constant and tensor.value is None

    def _is_read_outside(self, name: str, inside: Container[str]) -> bool:
        readers = self.network.consumers.get(name, ())
        is_inner = readers and all(self.network.layers[i].outputs[0] in inside for i in readers)
        return self._is_activation(name) and (not is_inner or name in self.network.outputs)

    def _parameters(self, names: Iterable[str]) -> tuple[str, ...]:
        """The stored tensors that are learnt behind these, through layers that only prepare constants."""
        found: dict[str, None] = {}
        waiting = [name for name in names if name and name in self.tensors and self.tensors[name].constant]
        while waiting:
            name = waiting.pop()
            producer = self._producer(name)
            if producer is not None and not (producer.cost and producer.cost.stores):
                waiting += [source for source in producer.inputs if source]
            elif name in self.learnt:
                found[name] = None
        return tuple(found)


def _scores(layers: Sequence[Layer]) -> str | None:
    """The softmax between two products, if that is what the operation is."""
    is_attention = sum(layer.op == "MatMul" for layer in layers) > 1
    return next((layer.outputs[0] for layer in layers if layer.op == "Softmax"), None) if is_attention else None


def _problem(layers: Sequence[Layer]) -> str:
    layer = layers[0]
    if layer.cost is None:
        return layer.problem or f"{layer.label}: no rule"
    if layer.cost.bodies:
        return f"{layer.label}: all that its body writes is taken to be kept, in every run"
    return ""
