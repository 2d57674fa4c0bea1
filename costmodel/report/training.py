"""The memory of a training step."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.report.counting import titled
from costmodel.report.output import Grid, Report
from costmodel.training import TrainingMemory, TrainingPlan
from costmodel.units import show

LABELS: Mapping[str, str] = {
    "peak_bytes": "peak",
    "weight_bytes": "weights",
    "gradient_bytes": "gradients of weights",
    "optimizer_bytes": "states of the optimizer",
    "saved_bytes": "kept for backward",
}


def training_report(training: TrainingMemory, plan: TrainingPlan, point: Mapping[str, int]) -> Report:
    """A training step at a point: its parts, and what its peak is made of."""
    sums = {name: getattr(plan, name) for name in LABELS}
    how = {"network": training.network.name, "optimizer": training.optimizer}
    warnings = list(training.warnings)
    data = {**how, "sizes": dict(point), **sums, "moment": plan.moment, "at_peak": dict(plan.at_peak), "warnings": warnings}

    def text() -> list[str | Grid]:
        parts = [(label, f"{sums[name]:,}", show(sums[name], "B")) for name, label in LABELS.items()]
        held = [(kind, f"{nbytes:,}", show(nbytes, "B")) for kind, nbytes in plan.at_peak.items()]
        return [
            f"{titled(training.network.name, point)}: a training step with {training.optimizer}",
            Grid(("", ">bytes", ">about"), parts),
            f"Held in the {plan.moment}, where memory peaks:",
            Grid(("", ">bytes", ">about"), held),
            *warnings,
        ]

    return Report(data, [{**how, **sums, "moment": plan.moment}], text)
