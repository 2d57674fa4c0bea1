"""Memory plans as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from costmodel.footprint import Footprint
from costmodel.graph import Layer
from costmodel.planning import Memory, MemoryPlan
from costmodel.report.counting import titled
from costmodel.report.output import Grid, Report
from costmodel.units import show

SUMS: Mapping[str, str] = {
    "peak_bytes": "peak",
    "lower_bound_bytes": "lower bound",
    "arena_bytes": "arena",
    "input_bytes": "inputs",
    "output_bytes": "outputs",
}
ORDERS: Mapping[str, str] = {"file": "the file's", "best": "the best", "runtime": "the runtime's", "given": "the given"}
MOST_HOLDERS = 12


def memory_report(
    memory: Memory, plan: MemoryPlan, point: Mapping[str, int], *, by: str = "", footprint: Footprint | None = None
) -> Report:
    """The plan at a point and what is alive at its peak; ``by="step"`` adds what each layer finds and leaves.

    ``footprint``: what a process takes in all, told too.
    """
    sums = {name: getattr(plan, name) for name in SUMS}
    holders = [{"tensor": tensor, "bytes": nbytes} for tensor, nbytes in plan.holders]
    how = {"network": memory.network.name, "planner": plan.planner, "order": memory.order}
    data = {**how, "sizes": dict(point), **sums, "cache_bytes": list(plan.cache_bytes), "at_layer": plan.at_layer}
    data |= {"holders": holders, "assumed": dict(plan.assumed)}
    if footprint is not None:
        data["device_memory_bytes"] = asdict(footprint)
    steps = step_rows(memory.layers, plan) if by == "step" else []
    if by == "step":
        data["steps"] = steps

    def text() -> list[str | Grid]:
        totals = [(label, f"{sums[name]:,}", show(sums[name], "B")) for name, label in SUMS.items()]
        totals += [
            (label, f"{nbytes:,}", show(nbytes, "B"))
            for label, nbytes in zip(("cache, before", "cache, after"), plan.cache_bytes, strict=True)
            if nbytes
        ]
        alive = [(tensor, f"{nbytes:,}", show(nbytes, "B")) for tensor, nbytes in plan.holders[:MOST_HOLDERS]]
        rest = plan.holders[MOST_HOLDERS:]
        if rest:
            left = sum(nbytes for _, nbytes in rest)
            alive.append((f"and {len(rest)} more", f"{left:,}", show(left, "B")))
        return [
            f"{titled(memory.network.name, point)}: planner {plan.planner}, layers in {ORDERS[memory.order]} order",
            Grid(("", ">bytes", ">about"), totals),
            f"Alive while {plan.at_layer} runs, where the live bytes peak:",
            Grid(("tensor", ">bytes", ">about"), alive),
            *(_process(footprint) if footprint else ()),
            *(_certificate(plan) if memory.order == "best" else ()),
            *(f"{name} depends on data and is taken at its bound, {bound:,}" for name, bound in plan.assumed.items()),
            *([_steps_grid(steps)] if steps else []),
        ]

    return Report(data, steps or [{**how, **sums, "at_layer": plan.at_layer}], text)


def _process(footprint: Footprint) -> list[str | Grid]:
    """What a process takes, by part."""
    parts = (("weights", footprint.weight_bytes), ("activations", footprint.activation_bytes))
    rows = [(label, f"{nbytes:,}", show(nbytes, "B")) for label, nbytes in (*parts, ("overhead", footprint.overhead_bytes))]
    low, high = show(footprint.total.low, "B"), show(footprint.total.high, "B")
    ends = f", {low} to {high} at {footprint.total.level:.0%}" if footprint.total.level else ""
    about = f"In all {show(footprint.total.value, 'B')}{ends}: {footprint.scope}."
    return [Grid(("of the process", ">bytes", ">about"), rows), about]


def _certificate(plan: MemoryPlan) -> tuple[str]:
    """What is proven of the best order."""
    if max(plan.live_bytes) <= plan.lower_bound_bytes:
        return ("No order of these layers needs less: proven.",)
    gap = max(plan.live_bytes) / plan.lower_bound_bytes - 1
    return (f"The best order found; none needs less than {show(plan.lower_bound_bytes, 'B')}, {gap:.1%} below it.",)


def step_rows(layers: Sequence[Layer], plan: MemoryPlan) -> list[dict[str, Any]]:
    """A row for each layer in the plan's order: bytes taken while it runs, and what it takes anew and gives back."""
    taken, given = [0] * len(layers), [0] * len(layers)
    for buffer in plan.buffers:
        if layers:
            taken[buffer.first] += buffer.nbytes
            given[buffer.last] += buffer.nbytes
    return [
        {
            "step": step, "layer": layer.name, "op": layer.op, "live_bytes": plan.live_bytes[step],
            "taken_bytes": taken[step], "given_back_bytes": given[step],
        }
        for step, layer in enumerate(layers)
    ]  # fmt: skip


def _steps_grid(steps: Sequence[Mapping[str, Any]]) -> Grid:
    numbers = ("live_bytes", "taken_bytes", "given_back_bytes")
    rows = [[str(row["step"]), row["layer"], row["op"], *(show(row[name], "B") for name in numbers)] for row in steps]
    return Grid((">step", "layer", "op", ">live", ">taken", ">given back"), rows)
