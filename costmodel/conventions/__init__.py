"""Counting as other tools count, so that figures that were published with them can be matched.

A convention is a table from op to formula: what the tool, in the version named, prints for such a layer, in multiply-adds.
``macs`` is then the tool's headline and ``flops`` twice that; parameters and bytes stay what they are. The tools run the
network or walk through all of its file, so what follows from stored weights alone counts too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from costmodel.conventions.call import Call, Table
from costmodel.conventions.fvcore import FVCORE
from costmodel.conventions.onnx_tool import ONNX_TOOL
from costmodel.conventions.ptflops import PTFLOPS, PTFLOPS_ATEN
from costmodel.conventions.thop import THOP
from costmodel.conventions.torch import TORCH, TORCHVISION
from costmodel.counts import Counts, LayerCount, Quantities
from costmodel.dims import Extent, total
from costmodel.errors import InvalidChoice, nearest
from costmodel.graph import Body, Layer, Network


@dataclass(frozen=True, slots=True)
class Convention:
    """How one tool counts: the version that was checked, and what the tool calls the number that is ``macs`` here."""

    name: str
    version: str
    headline: str
    formulas: Table


OWN = "costmodel"
CONVENTIONS: Mapping[str, Convention] = {
    convention.name: convention
    for convention in (
        Convention("fvcore", "0.1.5.post20221221", "flops", FVCORE),
        Convention("onnx-tool", "1.0.1", "Forward_MACs", ONNX_TOOL),
        Convention("ptflops", "0.7.5", "MACs", PTFLOPS),
        Convention("ptflops-aten", "0.7.5, backend='aten'", "MACs", PTFLOPS_ATEN),
        Convention("thop", "0.1.1.post2209072238", "MACs", THOP),
        Convention("torch", "2.13.0, torch.utils.flop_counter", "half of the FLOPs", TORCH),
        Convention("torchvision", "0.28.0, the weights' metadata", "GFLOPS", TORCHVISION),
    )
}
NAMES = (OWN, *CONVENTIONS)


def recounted(counts: Counts, name: str) -> Counts:
    """The counts with every layer's macs and flops as the named convention has them.

    A layer with multiply-adds of which the tool counts nothing is told under ``unsupported``. Raises InvalidChoice for a
    name that there is not.
    """
    if name == OWN:
        return counts
    if name not in CONVENTIONS:
        raise InvalidChoice(f"there is no convention {name!r}; {nearest(name, NAMES)}")
    network = counts.network
    layers = _Recount(CONVENTIONS[name], network.learnable).layers(counts.layers, network)
    return replace(counts, layers=layers, convention=name)


@dataclass(frozen=True, slots=True)
class _Recount:
    convention: Convention
    learnable: frozenset[str] | None

    def layers(self, counted: Sequence[LayerCount], graph: Network | Body) -> tuple[LayerCount, ...]:
        producers = {name: layer for layer in graph.layers for name in layer.outputs}
        waiting = iter(counted)
        found = []
        for layer in graph.layers:
            is_counted = _is_counted(graph, layer)
            count = next(waiting) if is_counted else LayerCount(layer.name, layer.op, Quantities(), place=layer.place)
            if layer.cost is not None:
                count = self._layer(count, Call(layer, graph.tensors, producers, self.learnable))
            if is_counted or count.quantities.macs != 0:
                found.append(count)
        return tuple(found)

    def _layer(self, count: LayerCount, call: Call) -> LayerCount:
        formula = self.convention.formulas.get(call.layer.op)
        macs, inside = self._bodies(count, call.layer)
        if formula is not None:
            macs = macs + formula(call)
        quantities = replace(count.quantities, macs=macs, flops=2 * macs)
        problem = count.problem
        if macs == 0 != call.macs:
            problem = f"{call.layer.label}: {self.convention.name} counts nothing for it"
        return count._replace(quantities=quantities, inside=inside, problem=problem)

    def _bodies(self, count: LayerCount, layer: Layer) -> tuple[Extent, tuple[LayerCount, ...]]:
        """What the bodies of a control op count for in all their runs, and the layers in them."""
        waiting = iter(count.inside)
        runs: list[Extent] = []
        inside: list[LayerCount] = []
        for body in layer.cost.bodies if layer.cost else ():
            parts = self.layers([next(waiting) for layer in body.layers if _is_counted(body, layer)], body)
            runs.append(body.over_runs(total(part.quantities.macs for part in parts)))
            inside += parts
        return total(runs), tuple(inside)


def _is_counted(graph: Network | Body, layer: Layer) -> bool:
    return layer.cost is None or not graph.is_constant(layer)
