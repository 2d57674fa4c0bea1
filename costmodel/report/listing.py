"""Lists of what there is: networks, devices with their profiles, ops, protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.ops.registry import Rule
from costmodel.report.counting import at_sizes
from costmodel.report.output import Grid, Report, many
from costmodel.schema.device import Device
from costmodel.schema.spec import Figure, Published
from costmodel.units import show

# -- networks ---------------------------------------------------------------------------------------------------


def zoo_report(networks: Mapping[str, Sequence[Published]]) -> Report:
    """The networks of the zoo with the first figures that were published about them."""
    rows = [{"network": name, **_first_figures(figures)} for name, figures in networks.items()]

    def text() -> list[str | Grid]:
        shown = {"params": _figure, "macs": _figure, "top1": _percent}
        table = [(row["network"], *(show_as(row[name]) for name, show_as in shown.items())) for row in rows]
        return [
            Grid(("<network", ">params", ">MACs", ">top-1"), table),
            f"{many(len(rows), 'network')} with published figures; costmodel zoo NAME counts them anew.",
        ]

    return Report(rows, rows, text)


def _first_figures(figures: Sequence[Published]) -> dict[str, Any]:
    plain = [figure for figure in figures if not figure.parameters and not figure.sizes]

    def first(name: str) -> Any:
        return next((getattr(figure, name) for figure in plain if getattr(figure, name) is not None), None)

    params, macs, top1 = first("params"), first("macs"), first("top1")
    return {"params": _whole(params), "macs": _whole(macs), "top1": None if top1 is None else float(top1)}


def _whole(figure: Figure | None) -> int | None:
    return None if figure is None else int(figure)


def _figure(value: int | None) -> str:
    return "" if value is None else show(value)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:g}%"


@dataclass(frozen=True, slots=True)
class Checked:
    """A published figure beside the count of the same thing, at these parameters and sizes."""

    source: str
    quantity: str
    figure: Figure
    counted: int
    parameters: Mapping[str, Any]
    sizes: Mapping[str, int]
    note: str = ""

    @property
    def difference(self) -> float:
        return self.counted / int(self.figure) - 1

    @property
    def agrees(self) -> bool:
        return self.figure.agrees(self.counted)

    def as_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "quantity": self.quantity,
            "published": int(self.figure),
            "counted": self.counted,
            "difference": self.difference,
            "agrees": self.agrees,
            "parameters": {name: _jsonable(value) for name, value in self.parameters.items()},
            "sizes": dict(self.sizes),
            "note": self.note,
        }


def _jsonable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_jsonable(element) for element in value]
    return value if isinstance(value, (str, int, bool)) else float(value)


def published_report(name: str, figures: Sequence[Checked]) -> Report:
    """A network of the zoo: every published figure beside the count."""
    found = [figure.as_dict() for figure in figures]
    rows = [{"network": name, **row, **{key: _told(row[key]) for key in ("parameters", "sizes")}} for row in found]

    def text() -> list[str | Grid]:
        if not figures:
            return [f"{name}: the zoo knows of no published figure; costmodel count {name} counts it."]
        marks = {source: f"[{i}]" for i, source in enumerate(dict.fromkeys(figure.source for figure in figures), 1)}
        header = ("<source", "<", "of", ">published", ">counted", ">difference")
        table = Grid(header, [(marks[figure.source], *_cells(figure)) for figure in figures])
        notes = dict.fromkeys(f"{marks[figure.source]} {figure.note}" for figure in figures if figure.note)
        return [name, table, *(f"{mark} {source}" for source, mark in marks.items()), *notes]

    return Report({"network": name, "published": found}, rows, text)


def _cells(checked: Checked) -> tuple[str, ...]:
    verdict = "none" if checked.agrees else f"{checked.difference:+.2%}"
    return checked.quantity, _variant(checked), as_printed(checked.figure), f"{checked.counted:,}", verdict


def _told(values: Mapping[str, Any]) -> str:
    return ";".join(f"{name}={value}" for name, value in values.items())


def _variant(checked: Checked) -> str:
    """What differs from the network itself, and for MACs the sizes that they are counted at."""
    parameters = {name: _jsonable(value) for name, value in checked.parameters.items()}
    return at_sizes({**parameters, **(checked.sizes if checked.quantity == "macs" else {})})


def as_printed(figure: Figure) -> str:
    """A figure with the digits that it was published with.

    >>> as_printed(Figure.read("4.089 G")), as_printed(Figure.read(25_557_032))
    ('4.089 G', '25,557,032')
    """
    if not figure.half_unit:
        return f"{int(figure):,}"
    return show(int(figure), digits=len(str(int(figure.value / figure.half_unit / 2))))


# -- devices ----------------------------------------------------------------------------------------------------


def devices_report(devices: Iterable[Device], profiles: Sequence[str]) -> Report:
    """Devices with the ids of their profiles; a profile of a device that nobody described is listed all the same."""
    by_device: dict[str, list[str]] = {}
    for profile in profiles:
        by_device.setdefault(profile.split("/")[0], []).append(profile)
    known = [_device(device, by_device.pop(device.id, [])) for device in devices]
    rows = known + [{"id": name, "title": "", "kind": "", "profiles": ids} for name, ids in by_device.items()]

    def text() -> list[str | Grid]:
        table = [(row["id"], row["title"], row["kind"], _endings(row["profiles"])) for row in rows]
        count = sum(len(row["profiles"]) for row in rows)
        return [
            Grid(("<device", "title", "<kind", "profiles"), table),
            f"{many(len(rows), 'device')}, {many(count, 'profile')}. A profile's id is device/runtime/precision/variant; "
            "a unique beginning is enough.",
        ]

    return Report(rows, [{**row, "profiles": " ".join(row["profiles"])} for row in rows], text)


def _device(device: Device, profiles: Sequence[str]) -> dict[str, Any]:
    return {
        "id": device.id,
        "title": device.title,
        "kind": device.kind,
        "aliases": list(device.aliases),
        "soc": device.soc,
        "memory_bytes": device.memory_bytes,
        "source": device.source,
        "profiles": list(profiles),
    }


def _endings(profiles: Sequence[str]) -> str:
    """Profiles without their device; what differs in the last part alone stands on one line."""
    variants: dict[str, list[str]] = {}
    for profile in profiles:
        _, runtime, precision, variant = profile.split("/")
        variants.setdefault(f"{runtime}/{precision}", []).append(variant)
    return "\n".join(f"{stem}/{', '.join(ends)}" for stem, ends in variants.items())


# -- ops and protocols ------------------------------------------------------------------------------------------


def ops_report(rules: Sequence[Rule]) -> Report:
    """Every op with a rule: since which opset version, and what is counted."""
    by_op: dict[tuple[str, str], list[Rule]] = {}
    for rule in rules:
        by_op.setdefault((rule.domain, rule.op), []).append(rule)
    rows = [
        {"op": op, "domain": domain, "since": sorted(rule.since for rule in versions), "convention": versions[0].convention}
        for (domain, op), versions in by_op.items()
    ]

    def text() -> list[str | Grid]:
        domains = dict.fromkeys(str(row["domain"]) for row in rows)
        tables = [_ops(domain, [row for row in rows if row["domain"] == domain]) for domain in domains]
        return [*tables, f"{many(len(rows), 'op')} with a rule."]

    return Report(rows, [{**row, "since": " ".join(map(str, row["since"]))} for row in rows], text)


def _ops(domain: str, rows: Sequence[Mapping[str, Any]]) -> Grid:
    table = [(str(row["op"]), ", ".join(map(str, row["since"])), str(row["convention"])) for row in rows]
    return Grid((f"<op of {domain or 'ai.onnx'}", "since", "what is counted"), table)


def protocols_report(protocols: Mapping[str, str]) -> Report:
    """The protocols of the accuracy verb."""
    rows = [{"protocol": name, "what": what} for name, what in protocols.items()]

    def text() -> list[str | Grid]:
        table = Grid(("<protocol", "what it reports"), [(row["protocol"], row["what"]) for row in rows])
        return [table, "costmodel accuracy --protocol NAME runs one; that takes minutes."]

    return Report(rows, rows, text)
