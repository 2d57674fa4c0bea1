"""The memory of one training step in PyTorch: weights, gradients, optimiser, and activations kept for the backward pass.

A step is a row of moments: each operation forward, the loss, each operation backward in reverse, the optimiser. Every
tensor is held from one moment to another; the peak is the most that is held at one of them, as a formula in the open sizes.

The order of events is that of eager PyTorch: gradients of parameters are made in the backward pass and freed before the
next forward pass (``zero_grad``), what was saved for an operation is freed after its backward, the gradient of an
activation that several read is added up in the memory of the first, that of a weight in memory of its own. A checkpoint
keeps what goes into a segment and runs its forward again when its backward begins (Chen et al. 2016, arXiv:1604.06174); the
last segment is not run again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from costmodel.autograd import Operation, operations
from costmodel.compiled import Compiled
from costmodel.counts import count
from costmodel.dims import Dim, Extent, maximum, total, value_at
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Network
from costmodel.optimizers import Optimizer, optimizer_named
from costmodel.segments import Segment, segments

LOSSES = ("mean", "cross-entropy")
KINDS = (
    "weights", "optimizer", "inputs", "outputs", "activations", "gradients of activations", "gradients of weights", "step",
)  # fmt: skip


class Held(NamedTuple):
    """Memory that is held from a moment to another, both included; ``kind`` is one of ``KINDS``."""

    kind: str
    name: str
    nbytes: Extent
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The memory of a training step at one point.

    ``peak_bytes``: the most that is held at one moment, which ``moment`` names; ``at_peak``: what it is made of, by kind;
    ``saved_bytes``: activations kept when the forward pass is over; ``gradient_bytes``: of all weights.
    """

    peak_bytes: int
    moment: str
    at_peak: Mapping[str, int]
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    saved_bytes: int


@dataclass(frozen=True, eq=False)
class TrainingMemory:
    """The memory of a training step with the sizes left open.

    ``optimizer``: its name. ``moments`` names what happens in order, ``held`` tells what is held when, ``warnings`` what the
    graph does not say.
    """

    network: Network
    optimizer: str
    moments: tuple[str, ...]
    held: tuple[Held, ...]
    forward_end: int
    warnings: tuple[str, ...] = ()

    @cached_property
    def held_bytes(self) -> tuple[Extent, ...]:
        """Bytes held at each moment."""
        changes: list[list[Extent]] = [[] for _ in range(len(self.moments) + 1)]
        for one in self.held:
            changes[one.first].append(one.nbytes)
            changes[one.last + 1].append(-one.nbytes)
        alive: Extent = 0
        found = []
        for change in changes[:-1]:
            alive = alive + total(change)
            found.append(alive)
        return tuple(found)

    @cached_property
    def peak_bytes(self) -> Dim:
        """The most that is held at one moment, as an expression."""
        ends = {one.last for one in self.held}  # before the next moment frees something, nothing was freed
        return Dim.of(maximum(*dict.fromkeys(self.held_bytes[i] for i in sorted(ends))))

    @cached_property
    def weight_bytes(self) -> Dim:
        """Everything that is stored of the network."""
        return self._sum("weights")

    @cached_property
    def gradient_bytes(self) -> Dim:
        """The gradients of all learnt weights, as the optimiser finds them."""
        end = len(self.moments) - 1
        return Dim.of(total(one.nbytes for one in self.held if one.kind == "gradients of weights" and one.last == end))

    @cached_property
    def optimizer_bytes(self) -> Dim:
        """What the optimiser stores between steps."""
        return self._sum("optimizer")

    @cached_property
    def saved_bytes(self) -> Dim:
        """Activations that are kept when the forward pass is over; inputs and outputs are kept by who trains."""
        kept = (x for x in self.held if x.kind == "activations" and x.first <= self.forward_end < x.last)
        return Dim.of(total(one.nbytes for one in kept))

    def at(self, values: Mapping[str, int] | None = None, /, **sizes: int) -> TrainingPlan:
        """The step at one point. Raises UnknownSize for a size that is missing or does not exist."""
        point = self.network.bind({**(values or {}), **sizes})
        alive = [value_at(extent, point) for extent in self.held_bytes]
        peak = max(alive)
        moment = alive.index(peak)
        at_peak = dict.fromkeys(KINDS, 0)
        for one in self.held:
            if one.first <= moment <= one.last:
                at_peak[one.kind] += value_at(one.nbytes, point)
        return TrainingPlan(
            peak_bytes=peak,
            moment=self.moments[moment],
            at_peak={kind: nbytes for kind, nbytes in at_peak.items() if nbytes},
            weight_bytes=self.weight_bytes.at(point),
            gradient_bytes=self.gradient_bytes.at(point),
            optimizer_bytes=self.optimizer_bytes.at(point),
            saved_bytes=self.saved_bytes.at(point),
        )

    def compile(self) -> Compiled:
        """Peak and parts as one function over columns of sizes."""
        names = ("peak_bytes", "weight_bytes", "gradient_bytes", "optimizer_bytes", "saved_bytes")
        return Compiled({name: getattr(self, name) for name in names})

    def _sum(self, kind: str) -> Dim:
        return Dim.of(total(one.nbytes for one in self.held if one.kind == kind))


def training_memory(
    network: Network,
    *,
    optimizer: str | Optimizer = "adam",
    loss: str = "mean",
    checkpoint: int | Sequence[str] | None = None,
    in_place: bool = True,
    fused_attention: bool = True,
) -> TrainingMemory:
    """Plan the memory of one training step: forward, backward, optimiser.

    ``optimizer``: a name of ``costmodel.optimizers.OPTIMIZERS``, or an Optimizer. ``loss``: ``mean`` of every output, which
    keeps nothing, or ``cross-entropy`` over the last axis. ``checkpoint``: run segments of the network again instead of
    keeping their activations; a number makes a segment of so many links of the network's chain (a link ends where a single
    tensor goes on), names of tensors say where segments end. ``in_place``: rectifiers overwrite what they read.
    ``fused_attention``: attention is one operation that keeps no scores.

    >>> from costmodel.build import Builder
    >>> b = Builder("two")
    >>> x = b.input("x", ("N", 16))
    >>> y = b.linear(b.relu(b.linear(x, 64)), 4)
    >>> training = training_memory(b.finish(y), optimizer="sgd")
    >>> print(training.saved_bytes)  # the rectifier's result, for its own backward and as what the second layer read
    256*N
    >>> training.at(N=1).gradient_bytes  # 16 * 64 + 64 + 64 * 4 + 4 numbers
    5392

    Raises InvalidChoice for an optimiser, a loss or a checkpoint that there is not.
    """
    if loss not in LOSSES:
        raise InvalidChoice(f"there is no loss {loss!r}; {nearest(loss, LOSSES)}")
    found = operations(network, in_place=in_place, fused_attention=fused_attention)
    step = _Step(network, found, segments(network, found, checkpoint))
    step.hold_activations()
    step.hold_gradients(uses_classes=loss == "cross-entropy")
    by = optimizer_named(optimizer)
    step.hold_weights(by)
    return TrainingMemory(network, by.name, step.moments, tuple(step.held), step.loss, _warnings(network, found))


@dataclass(slots=True)
class _Gradient:
    """Memory of a gradient while the backward pass is laid out; ``holders`` are the tensors whose gradient lies in it."""

    name: str
    nbytes: Extent
    first: int
    last: int
    holders: int = 1


class _Step:
    """The moments of a step, and what is held from one to another as it is laid out."""

    def __init__(self, network: Network, found: Sequence[Operation], parts: Sequence[Segment]) -> None:
        self.network = network
        self.operations = found
        self.segment_of = {i: part for part in parts for i in range(part.start, part.end)}
        self.held: list[Held] = []
        self.again: dict[int, int] = {}  # the moment at which an operation runs again
        self.backward: dict[int, int] = {}
        self.loss = len(found)
        moments = [*(f"forward of {one.name}" for one in found), "loss", "backward of the loss"]
        for part in reversed(parts):
            positions = range(part.start, part.end)
            if part.is_run_again:
                self.again.update((i, len(moments) + i - part.start) for i in positions)
                moments += [f"forward of {found[i].name}, again" for i in positions]
            for i in reversed(positions):
                self.backward[i] = len(moments)
                moments.append(f"backward of {found[i].name}")
        self.moments = (*moments, "step of the optimizer")
        self.end = len(moments)

    def _hold(self, kind: str, name: str, nbytes: Extent, first: int, last: int) -> None:
        if nbytes != 0:
            self.held.append(Held(kind, name, nbytes, first, max(first, last)))

    def _nbytes(self, name: str) -> Extent:
        return self.network.tensors[name].nbytes

    # -- weights ------------------------------------------------------------------------------------------------------

    def hold_weights(self, optimizer: Optimizer) -> None:
        """What is stored, what the optimiser stores, and what its step takes besides."""
        learnt = dict.fromkeys(name for one in self.operations for name in one.parameters)
        tensors = [self.network.tensors[name] for name in learnt]
        self._hold("weights", "", count(self.network).total.weight_bytes, 0, self.end)
        self._hold("optimizer", optimizer.name, total(map(optimizer.state_bytes, tensors)), 0, self.end)
        copies = optimizer.copies * total(tensor.nbytes for tensor in tensors)
        self._hold("step", optimizer.name, copies, self.end, self.end)

    # -- activations --------------------------------------------------------------------------------------------------

    def hold_activations(self) -> None:
        """Inputs and outputs until the end, whose they are; the rest until nobody needs it."""
        for name, tensor in self.network.inputs.items():
            if tensor.is_known:
                self._hold("inputs", name, tensor.nbytes, 0, self.end)
        root = self._roots()
        writer = {root[name]: i for i, one in reversed([*enumerate(self.operations)]) for name in one.writes if name in root}
        readers: dict[str, list[int]] = {}
        savers: dict[str, list[int]] = {}
        for i, one in enumerate(self.operations):
            for table, names in ((readers, one.reads), (savers, one.saved)):
                for name in dict.fromkeys(root[name] for name in names if name in root):
                    table.setdefault(name, []).append(i)
        outputs = {root[name] for name in self.network.outputs if name in root}
        for name, start in writer.items():
            self._hold_activation(name, start, readers.get(name, []), savers.get(name, []), is_output=name in outputs)
        for i, one in enumerate(self.operations):
            self._hold_besides(i, one)

    def _roots(self) -> dict[str, str]:
        """The tensor in whose memory each lies; a view of an input holds nothing of its own."""
        root: dict[str, str] = {}
        for one in self.operations:
            for name in one.writes:
                shown = one.shows
                if shown is None or (shown not in root and shown not in self.network.inputs):
                    root[name] = name
                elif shown in root:
                    root[name] = root[shown]
        return root

    def _hold_activation(self, name: str, start: int, readers: list[int], savers: list[int], *, is_output: bool) -> None:
        own = self.segment_of[start]
        last = self.end if is_output else start
        for i in readers:
            part = self.segment_of[i]
            is_kept = part.is_run_again and part is not own  # as what goes into a segment
            last = max(last, i, self.backward[part.start] if is_kept else 0)
        last = max([last, *(self.backward[i] for i in savers if not self.segment_of[i].is_run_again)])
        self._hold("outputs" if is_output and not savers else "activations", name, self._nbytes(name), start, last)
        if own.is_run_again:
            inside = [self.again[i] for i in readers if self.segment_of[i] is own]
            kept = [self.backward[i] for i in savers if self.segment_of[i] is own]
            again = self.again[start]
            if inside or kept:
                self._hold("activations", name, self._nbytes(name), again, max([again, *inside, *kept]))

    def _hold_besides(self, i: int, one: Operation) -> None:
        if self.segment_of[i].is_run_again:
            self._hold("activations", one.name, one.besides_bytes, i, i)
        self._hold("activations", one.name, one.besides_bytes, self.again.get(i, i), self.backward[i])

    # -- gradients ------------------------------------------------------------------------------------------------------

    def hold_gradients(self, *, uses_classes: bool) -> None:
        gradients: dict[str, _Gradient] = {}
        made: list[_Gradient] = []
        learnt: set[str] = set()
        with_gradient = {name for one in self.operations if one.has_backward for name in one.writes}
        for name in with_gradient.intersection(self.network.outputs):
            gradients[name] = self._new(made, name, self.loss + 1)
            if uses_classes:
                self._hold("activations", f"log-softmax of {name}", self._nbytes(name), self.loss, self.loss + 1)
                self._hold("gradients of activations", name, self._nbytes(name), self.loss + 1, self.loss + 1)
        for i in sorted(self.backward, key=self.backward.__getitem__):
            one, moment = self.operations[i], self.backward[i]
            if not one.has_backward:
                continue
            arrived = [gradients.pop(name) for name in one.writes if name in gradients]
            for gradient in arrived:
                gradient.last = max(gradient.last, moment)
                gradient.holders -= 1
            for name in one.needing:
                self._arrive(gradients, made, name, moment, arrived[0] if arrived and name in one.passed else None)
            for name in one.parameters:
                is_share = name in learnt  # of a weight that several use: it and the sum are there beside the first
                nbytes, last = (self._nbytes(name) * 2, moment) if is_share else (self._nbytes(name), self.end)
                self._hold("gradients of weights", name, nbytes, moment, last)
                learnt.add(name)
        for gradient in made:
            self._hold("gradients of activations", gradient.name, gradient.nbytes, gradient.first, gradient.last)

    def _new(self, made: list[_Gradient], name: str, moment: int) -> _Gradient:
        gradient = _Gradient(name, self._nbytes(name), moment, moment)
        made.append(gradient)
        return gradient

    def _arrive(
        self, gradients: dict[str, _Gradient], made: list[_Gradient], name: str, moment: int, passed: _Gradient | None
    ) -> None:
        """A reader's share of a gradient: the first is the gradient, others are added to it where it is nobody else's."""
        before = gradients.get(name)
        share = passed or self._new(made, name, moment)
        if before is None:
            share.holders += passed is not None
            gradients[name] = share
            return
        before.last = max(before.last, moment)
        if before.holders > 1:
            before.holders -= 1
            gradients[name] = self._new(made, name, moment)


def _warnings(network: Network, found: Iterable[Operation]) -> tuple[str, ...]:
    told = [one.problem for one in found if one.problem]
    learnt = dict.fromkeys(name for one in found for name in one.parameters)
    missing = count(network).total.params - total(network.tensors[name].size for name in learnt)
    if missing != 0:
        told.append(f"{missing} learnt numbers, in bodies of control flow or stored as integers, have no gradients here")
    ops = {layer.op for layer in network.layers}
    if "Conv" in ops and not any("Normalization" in op for op in ops):
        told.append("no layer normalises: if the exporter folded batch norms into convolutions, training keeps more")
    if ops & {"QuantizeLinear", "QLinearConv", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"}:
        told.append("a quantised network: its layers are taken as they are, as training runs it only in floats")
    return tuple(told)
