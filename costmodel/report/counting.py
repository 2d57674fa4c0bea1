"""Counts and memory, as numbers or with the sizes left open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Union

from costmodel.counts import QUANTITIES, Counts, Quantities
from costmodel.dims import Dim, Extent
from costmodel.planning import Memory
from costmodel.report.output import Grid, Report, many
from costmodel.units import show

Plain = Union[int, str]

# what people read for each quantity, and its unit
LABELS: Mapping[str, tuple[str, str]] = {
    "macs": ("MACs", "MAC"),
    "flops": ("FLOPs", "FLOP"),
    "params": ("params", ""),
    "weights": ("weights", ""),
    "weight_bytes": ("weight bytes", "B"),
    "activation_bytes": ("activation bytes", "B"),
    "peak_memory_bytes": ("peak memory", "B"),
}
SHORT = ("macs", "flops", "params", "activation_bytes")
SHORT_OPEN = ("macs", "params")  # formulas are long
MOST_PROBLEMS = 8


def plain(extent: Extent, point: Mapping[str, Extent]) -> Plain:
    """A count at a point: a number, or the text of what is still open.

    >>> n = Dim.size("N")
    >>> plain(6 * n, {"N": 2}), plain(6 * n, {})
    (12, '6*N')
    """
    rest = extent.subs(point) if isinstance(extent, Dim) and point else extent
    if isinstance(rest, Dim) and rest.names:
        return str(rest)
    return int(rest)


def readable(value: Plain, unit: str = "") -> str:
    """A number with its prefix; what is open stays as it is.

    >>> readable(4_089_184_256, "MAC"), readable("6*N", "B")
    ('4.09 GMAC', '6*N')
    """
    return value if isinstance(value, str) else show(value, unit)


def at_sizes(sizes: Mapping[str, Any]) -> str:
    """Sizes as a person writes them: ``N=1, H=224``."""
    return ", ".join(f"{name}={value}" for name, value in sizes.items())


def titled(name: str, sizes: Mapping[str, Any]) -> str:
    """What a result is about: a network, and the sizes where it has any."""
    return f"{name} at {at_sizes(sizes)}" if sizes else name


# -- counts -----------------------------------------------------------------------------------------------------


def counts_report(counts: Counts, memory: Memory, point: Mapping[str, int], *, by: str = "") -> Report:
    """The totals at a point, which may be empty or partial; ``by`` op or layer adds a table of parts."""
    is_complete = counts.network.sizes.keys() <= point.keys()
    peak = memory.at(point).peak_bytes if is_complete else plain(memory.peak_bytes, point)
    totals = {**_plain_quantities(counts.total, point), "peak_memory_bytes": peak}
    data: dict[str, Any] = {
        **totals,
        "layers": len(counts.layers),
        "unsupported": list(counts.unsupported),
        "sizes": {name: point.get(name, name) for name in counts.network.sizes},
    }
    parts = _parts(counts, point, by)
    if by:
        data[f"by_{by}"] = parts

    def text() -> list[str | Grid]:
        layers = many(len(counts.layers), "layer")
        lines: list[str | Grid] = [f"{titled(counts.network.name, point)}: {layers}", _totals(totals)]
        return [*lines, *([_parts_grid(parts, totals)] if by else []), *_problems(counts.unsupported)]

    flat = {"network": counts.network.name, **totals, "layers": len(counts.layers), "unsupported": len(counts.unsupported)}
    return Report(data, parts if by else [flat], text)


def _plain_quantities(quantities: Quantities, point: Mapping[str, int]) -> dict[str, Plain]:
    return {name: plain(getattr(quantities, name), point) for name in QUANTITIES}


def _parts(counts: Counts, point: Mapping[str, int], by: str) -> list[dict[str, Any]]:
    if by == "op":
        layers = Counter(layer.op for layer in counts.layers)
        grouped = counts.by_op().items()
        return _by_macs([{"op": op, "layers": layers[op], **_plain_quantities(part, point)} for op, part in grouped])
    if by == "layer":
        return [{"name": it.name, "op": it.op, **_plain_quantities(it.quantities, point)} for it in counts.by_layer()]
    return []


def _by_macs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those with the most work first, where that is a number."""
    if any(isinstance(row[name], str) for row in rows for name in ("macs", "flops")):
        return rows
    return sorted(rows, key=lambda row: (row["macs"], row["flops"]), reverse=True)


def _totals(totals: Mapping[str, Plain]) -> Grid:
    if any(isinstance(value, str) for value in totals.values()):
        return Grid(("", "count"), [(LABELS[name][0], _exact(value)) for name, value in totals.items()])
    rows = [(label, _exact(totals[name]), readable(totals[name], unit)) for name, (label, unit) in LABELS.items()]
    return Grid(("", ">exact", ">about"), rows)


def _exact(value: Plain) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def _parts_grid(parts: Sequence[Mapping[str, Any]], totals: Mapping[str, Plain]) -> Grid:
    keys = [key for key in parts[0] if key not in QUANTITIES] if parts else ["op"]
    is_open = any(isinstance(value, str) for value in totals.values())
    names, mark = (SHORT_OPEN, "") if is_open else (SHORT, ">")
    header = [f">{key}" if key == "layers" else key for key in keys] + [mark + LABELS[name][0] for name in names]
    rows = [[*(str(part[key]) for key in keys), *(_short(name, part[name]) for name in names)] for part in parts]
    if is_open or not totals["macs"]:
        return Grid(header, rows)
    shares = [f"{part['macs'] / int(totals['macs']):.1%}" for part in parts]
    return Grid([*header, ">of MACs"], [[*row, share] for row, share in zip(rows, shares, strict=True)])


def _short(name: str, value: Plain) -> str:
    return readable(value, "B" if name.endswith("_bytes") else "")


def _problems(problems: Sequence[str]) -> list[str]:
    """What could not be counted; layers of the same complaint on one line."""
    if not problems:
        return []
    shown = [f"  {problem}" for problem in problems[:MOST_PROBLEMS]]
    more = [f"  and {len(problems) - MOST_PROBLEMS} more (--json lists all)"] if len(problems) > MOST_PROBLEMS else []
    return [f"These are lower bounds, without {many(len(problems), 'layer')}:", *shown, *more]
