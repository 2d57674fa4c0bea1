"""Predictions: of one network on one profile, and of several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.counts import Quantities
from costmodel.prediction import Estimate, KernelTime, Prediction
from costmodel.report.counting import LABELS, at_sizes, titled
from costmodel.report.output import Grid, Report
from costmodel.units import show

QUANTITIES: Mapping[str, tuple[str, str]] = {"time_s": ("time", "s"), "energy_j": ("energy", "J"), "power_w": ("power", "W")}
MOST_COLUMNS = 4


def estimates(prediction: Prediction) -> dict[str, Estimate | None]:
    return {name: getattr(prediction, name) for name in QUANTITIES}


def interval(estimate: Estimate, unit: str) -> str:
    """The two ends of an estimate, the unit once where it is the same.

    >>> interval(Estimate(0.3, 0.25, 0.36, 0.9), "s"), interval(Estimate(1.0, 0.25, 4.0, 0.9), "s")
    ('250 to 360 ms', '250 ms to 4 s')
    """
    low, high = show(estimate.low, unit), show(estimate.high, unit)
    number, _, prefixed = low.partition(" ")
    return f"{number} to {high}" if high.endswith(f" {prefixed}") else f"{low} to {high}"


def flat_row(prediction: Prediction) -> dict[str, Any]:
    """A prediction as one row: ``time_s``, ``time_low_s``, ``time_high_s``, and so on."""
    row: dict[str, Any] = {"network": prediction.network, "profile": prediction.profile}
    for name, estimate in estimates(prediction).items():
        quantity, unit = name.rsplit("_", 1)
        ends = {name: "value", f"{quantity}_low_{unit}": "low", f"{quantity}_high_{unit}": "high"}
        row |= {key: getattr(estimate, end) if estimate else None for key, end in ends.items()}
    return {**row, "level": prediction.time_s.level, "memory_bytes": prediction.memory_bytes, "bound": prediction.bound}


# -- one --------------------------------------------------------------------------------------------------------


def prediction_report(prediction: Prediction, *, by_layer: bool = False) -> Report:
    """Time, energy and memory with their intervals; ``by_layer`` adds what each kernel takes."""
    data = prediction.as_dict()
    kernels = [_kernel_row(kernel) for kernel in prediction.by_layer()] if by_layer else []
    if by_layer:
        data["by_layer"] = kernels

    def text() -> list[str | Grid]:
        title = f"{titled(prediction.network, prediction.sizes)} on {prediction.profile}"
        parts: list[str | Grid] = [title, _estimates(prediction)]
        if by_layer:
            parts.append(_kernels(prediction.by_layer()))
        notes = [f"Note: {doubt}" for doubt in _doubts(prediction)]
        return [*parts, f"Most of the time goes to {WHERE.get(prediction.bound, prediction.bound)}.", *notes]

    return Report(data, kernels or [flat_row(prediction)], text)


WHERE: Mapping[str, str] = {"compute": "arithmetic", "memory": "moving data", "launch": "starting kernels"}


def _estimates(prediction: Prediction) -> Grid:
    rows = [
        (QUANTITIES[name][0], show(estimate.value, unit), interval(estimate, unit), f"{estimate.level:.0%}")
        for name, estimate in estimates(prediction).items()
        if estimate is not None
        for unit in [QUANTITIES[name][1]]
    ]
    memory = ("peak memory", show(prediction.memory_bytes, "B"), "", "")
    return Grid(("", ">prediction", ">interval", ">level"), [*rows, memory])


def _kernel_row(kernel: KernelTime) -> dict[str, Any]:
    own = {name: getattr(kernel, name) for name in ("name", "op", "kind", "time_s", "share", "bound")}
    return {**own, "layers": " ".join(kernel.layers)}


def _kernels(kernels: Sequence[KernelTime]) -> Grid:
    rows = [
        (kernel.name, kernel.op, str(len(kernel.layers)), show(kernel.time_s, "s"), f"{kernel.share:.1%}", kernel.bound)
        for kernel in kernels
    ]
    return Grid(("kernel", "op", ">layers", ">time", ">share", "bound"), rows)


def _doubts(prediction: Prediction) -> list[str]:
    beyond = [f"beyond calibration, so the interval is wider: {reason}" for reason in prediction.extrapolating]
    return [*beyond, *prediction.warnings]


# -- several ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """One network of a comparison: its counts at its sizes, and a prediction for each profile."""

    name: str
    sizes: Mapping[str, int]
    quantities: Quantities
    peak_memory_bytes: int
    predictions: Sequence[Prediction]

    def as_dict(self) -> dict[str, Any]:
        return {
            "network": self.name,
            "sizes": dict(self.sizes),
            **self.quantities.as_dict(),
            "peak_memory_bytes": self.peak_memory_bytes,
            "predictions": [{**prediction.as_dict(), "network": self.name} for prediction in self.predictions],
        }


COUNTED = ("macs", "params", "peak_memory_bytes")


def comparison_report(networks: Sequence[Compared]) -> Report:
    """Networks side by side: what they count, and their time on each profile."""
    data = {"networks": [compared.as_dict() for compared in networks]}
    rows = [row for compared in networks for row in _flat_rows(compared)]

    def text() -> list[str | Grid]:
        tables = [_side_by_side(networks)] if len(networks) <= MOST_COLUMNS else _below_each_other(networks)
        return [*tables, *(line for compared in networks for line in _doubts_of(compared))]

    return Report(data, rows, text)


def _doubts_of(compared: Compared) -> list[str]:
    return [f"{compared.name} on {found.profile}: {line}" for found in compared.predictions for line in _doubts(found)]


def _counted(compared: Compared) -> dict[str, Any]:
    counted = {**compared.quantities.as_dict(), "peak_memory_bytes": compared.peak_memory_bytes}
    return {name: counted[name] for name in COUNTED}


def _flat_rows(compared: Compared) -> list[dict[str, Any]]:
    own = {"network": compared.name, **_counted(compared)}
    return [{**own, **flat_row(prediction), "network": compared.name} for prediction in compared.predictions] or [own]


def _counted_cells(compared: Compared) -> dict[str, str]:
    return {LABELS[name][0]: show(value, LABELS[name][1]) for name, value in _counted(compared).items()}


def _side_by_side(networks: Sequence[Compared]) -> Grid:
    """A column for each network."""
    times = [{f"time on {found.profile}": _time(found) for found in compared.predictions} for compared in networks]
    columns = [{"at": at_sizes(it.sizes), **_counted_cells(it), **timed} for it, timed in zip(networks, times, strict=True)]
    rows = [(label, *(column[label] for column in columns)) for label in columns[0]]
    return Grid(("", *(compared.name for compared in networks)), rows)


def _time(prediction: Prediction) -> str:
    return f"{show(prediction.time_s.value, 's')}\n{interval(prediction.time_s, 's')}"


def _below_each_other(networks: Sequence[Compared]) -> list[Grid]:
    """A row for each network: one table of counts, and one for each profile."""
    cells = {compared.name: _counted_cells(compared) for compared in networks}
    header = ("network", "at", *(f">{label}" for label in cells[networks[0].name]))
    counted = Grid(header, [(it.name, at_sizes(it.sizes), *cells[it.name].values()) for it in networks])
    return [counted, *(_timed(networks, i) for i in range(len(networks[0].predictions)))]


def _timed(networks: Sequence[Compared], position: int) -> Grid:
    found = [compared.predictions[position] for compared in networks]
    rows = [(it.name, show(p.time_s.value, "s"), interval(p.time_s, "s")) for it, p in zip(networks, found, strict=True)]
    return Grid((f"on {found[0].profile}", ">time", ">interval"), rows)
