"""The networks of the zoo: the list, one of them with its figures, the check of a spec file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from costmodel.checking import Checked, CheckedNetwork
from costmodel.graph import Network
from costmodel.report.counting import at_sizes
from costmodel.report.output import Grid, Report, many
from costmodel.schema.spec import Family, Figure, NetworkSpec, Published
from costmodel.units import show

# -- the list ---------------------------------------------------------------------------------------------------


def zoo_report(networks: Sequence[tuple[str, Family]]) -> Report:
    """Networks of the zoo with the first figures that were published about them."""
    rows = [
        {
            "network": name,
            "family": family.path.stem,
            **_first_figures(family.networks[name].published),
            "aliases": list(family.networks[name].aliases),
        }
        for name, family in networks
    ]

    def text() -> list[str | Grid]:
        shown = {"params": _figure, "macs": _figure, "top1": _percent}
        table = [(row["network"], row["family"], *(show_as(row[name]) for name, show_as in shown.items())) for row in rows]
        return [
            Grid(("<network", "family", ">params", ">MACs", ">top-1"), table),
            f"{many(len(rows), 'network')} with published figures; costmodel zoo NAME counts them anew.",
        ]

    return Report(rows, [{**row, "aliases": ";".join(row["aliases"])} for row in rows], text)


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


# -- one network ------------------------------------------------------------------------------------------------


def network_report(
    network: Network, figures: Sequence[Checked], *, family: Family, spec: NetworkSpec, parameters: Mapping[str, Any]
) -> Report:
    """A network of the zoo: what it is, what it can be given, and every published figure beside the count."""
    found = [_as_dict(figure) for figure in figures]
    data = {
        "network": network.name,
        "family": family.path.stem,
        "path": str(family.path),
        "note": spec.note or family.note.strip(),
        "aliases": list(spec.aliases),
        "parameters": {name: _jsonable(value) for name, value in parameters.items()},
        "sizes": {name: network.defaults.get(name) for name in network.sizes},
        "published": found,
    }
    rows = [{"network": network.name, **row, **{key: _told(row[key]) for key in ("parameters", "sizes")}} for row in found]

    def text() -> list[str | Grid]:
        return [network.name, *_about(data), *(_figures(figures) if figures else [_without_figures(network.name)])]

    return Report(data, rows or [{"network": network.name}], text)


def _about(data: Mapping[str, Any]) -> list[str | Grid]:
    rows = [
        ("also called", ", ".join(data["aliases"])),
        ("parameters", ", ".join(f"{name}={_value(value)}" for name, value in data["parameters"].items())),
        ("sizes", ", ".join(name if number is None else f"{name}={number}" for name, number in data["sizes"].items())),
        ("note", " ".join(data["note"].split())),
    ]
    return [Grid(("<family", f"{data['family']} ({data['path']})"), [row for row in rows if row[1]])]


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _without_figures(name: str) -> str:
    return f"{name}: no published figure to compare with; costmodel count {name} counts it."


def _as_dict(checked: Checked) -> dict[str, Any]:
    return {
        "source": checked.source,
        "quantity": checked.quantity,
        "published": int(checked.figure),
        "counted": checked.counted,
        "difference": checked.difference,
        "agrees": checked.agrees,
        "parameters": {name: _jsonable(value) for name, value in checked.parameters.items()},
        "sizes": dict(checked.sizes),
        "note": checked.note,
    }


def _jsonable(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_jsonable(element) for element in value]
    return value if isinstance(value, (str, int, bool)) else float(value)


def _figures(figures: Sequence[Checked]) -> list[str | Grid]:
    marks = {source: f"[{i}]" for i, source in enumerate(dict.fromkeys(figure.source for figure in figures), 1)}
    header = ("<source", "<", "of", ">published", ">counted", ">difference")
    table = Grid(header, [(marks[figure.source], *_cells(figure)) for figure in figures])
    notes = dict.fromkeys(f"{marks[figure.source]} {figure.note}" for figure in figures if figure.note)
    return [table, *(f"{mark} {source}" for source, mark in marks.items()), *notes]


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


# -- a spec file of one's own -----------------------------------------------------------------------------------


def spec_report(path: Path, networks: Sequence[CheckedNetwork], installed: Path | None) -> Report:
    """What the check of a spec file found, and how its networks are used."""
    rows = [
        {
            "network": network.name,
            "layers": network.layers,
            "params": network.params,
            "macs": network.macs,
            "figures": len(network.figures),
            "agree": sum(figure.agrees for figure in network.figures),
            "problems": network.problems,
        }
        for network in networks
    ]
    data = {"path": str(path), "installed": None if installed is None else str(installed), "networks": rows}

    def text() -> list[str | Grid]:
        grid = Grid(("<network", ">layers", ">params", ">MACs", "figures", "<"), [_outcome(network) for network in networks])
        problems = [f"{network.name}: {problem}" for network in networks for problem in network.problems]
        return [grid, *problems, _usage(path, networks, installed)]

    lines = [{**row, "problems": "; ".join(network.problems)} for row, network in zip(rows, networks, strict=True)]
    return Report(data, lines, text)


def _outcome(network: CheckedNetwork) -> tuple[str, ...]:
    agreeing = sum(figure.agrees for figure in network.figures)
    figures = f"{agreeing} of {len(network.figures)} agree" if network.figures else "none stated"
    verdict = "wrong" if network.problems else "sound"
    return network.name, str(network.layers), _figure(network.params), _figure(network.macs), figures, verdict


def _usage(path: Path, networks: Sequence[CheckedNetwork], installed: Path | None) -> str:
    if any(network.problems for network in networks):
        return f"Not added to the zoo: not all of {path} is sound."
    if not networks:
        return f"{path}: no networks, but blocks for others to use" + (f"; copied to {installed}." if installed else ".")
    name = networks[0].name
    if installed is None:
        return f"Not added to the zoo, as --check says; a MODEL may be {path}:{name} all the same."
    return f"Copied to {installed}: a MODEL may be {name} now, on the command line as in cm.zoo({name!r})."
