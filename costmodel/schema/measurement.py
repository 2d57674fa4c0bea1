"""Measurements: a CSV table, one row for each network that ran on a device. SI units; docs/add-a-device.md explains it.

An empty cell means unknown. All that is wrong with a table is told at once, by row and column.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, TextIO

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)  # fmt: skip
from pydantic_core import PydanticCustomError

from costmodel.errors import InvalidMeasurement, nearest
from costmodel.schema.data import data_folder
from costmodel.schema.profile import ID_PATTERN, write_whole

TASKS: Mapping[str, str] = {
    "inference": "the forward pass alone",
    "training": "one training step: forward, loss, backward; the source's protocol says whether the optimiser steps too",
    "backward": "the backward pass alone",
}
SCOPES: Mapping[str, str] = {
    "network": "the network from its inputs to its outputs",
    "pipeline": "the network with what surrounds it: copies to and from the device, pre- and postprocessing",
    "layer": "one layer while its network runs",
    "kernel": "one kernel on its own; `network` names it and `sizes` are its own",
}
PRECISIONS: Mapping[str, str] = {
    "fp64": "float64",
    "fp32": "float32",
    "tf32": "float32 whose products are rounded to 10 bits",
    "fp16": "float16 storage or arithmetic wherever the runtime can",
    "bf16": "bfloat16",
    "fp8": "one of the 8-bit floats",
    "int8": "8-bit integers, signed or not",
    "int4": "4-bit weights",
    "amp": "float32 with automatic casts to float16",
    "amp-bf16": "float32 with automatic casts to bfloat16",
}
# each also with "-net": the idle power is subtracted
ENERGY_SCOPES: Mapping[str, str] = {
    "wall": "the whole system, before its power supply",
    "board": "the whole board, behind its power supply",
    "chip": "the supply of the chip",
    "core": "the rail of the CPU cores",
    "gpu": "the rail of the GPU, or the card by its own sensor",
}
_ENERGY_SCOPES = {**ENERGY_SCOPES, **{f"{scope}-net": f"{told}, less idle power" for scope, told in ENERGY_SCOPES.items()}}

SHOWN_PROBLEMS = 10
_SIZE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([1-9][0-9]*)")
_KEEP, _MILLI, _MICRO, _KILO = "keep the values", "divide by 1000", "divide by 1e6", "multiply by 1000"
_TIMES = {"s": _KEEP, "sec": _KEEP, "ms": _MILLI, "us": _MICRO, "ns": "divide by 1e9"}
# columns of other tables, by quantity: our name, and for each unit what to do with the values
_OTHER_UNITS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "time": ("time{}_s", _TIMES),
    "latency": ("time{}_s", _TIMES),
    "duration": ("time{}_s", _TIMES),
    "energy": ("energy_j", {"mj": _MILLI, "uj": _MICRO, "kj": _KILO, "wh": "multiply by 3600"}),
    "power": ("power_w", {"mw": _MILLI, "kw": _KILO}),
}
# what must not exceed what, where both are known
_ORDERED = (
    ("time_min_s", "time_max_s"), ("time_min_s", "time_mean_s"), ("time_mean_s", "time_max_s"),
    ("time_min_s", "time_s"), ("time_s", "time_max_s"),
)  # fmt: skip


def parse_sizes(text: str) -> dict[str, int]:
    """The values of a network's open sizes, as a cell holds them.

    >>> parse_sizes("N=1;H=224;W=224")
    {'N': 1, 'H': 224, 'W': 224}
    """
    found = [(part, _SIZE.fullmatch(part.strip())) for part in text.split(";")] if text.strip() else []
    wrong = [part for part, match in found if match is None]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not NAME=NUMBER with a whole number above zero; write them as in N=1;H=224;W=224")
    sizes = {match[1]: int(match[2]) for _, match in found if match}
    if len(sizes) < len(found):
        raise ValueError("a size is given twice; give each once")
    return sizes


def show_sizes(sizes: Mapping[str, int]) -> str:
    """Sizes as a cell holds them.

    >>> show_sizes({"N": 1, "S": 128})
    'N=1;S=128'
    """
    return ";".join(f"{name}={value}" for name, value in sizes.items())


def _word(known: Mapping[str, str]) -> AfterValidator:
    def check(text: str) -> str:
        if text not in known:
            raise ValueError(f"unknown; write one of {', '.join(known)}")
        return text

    return AfterValidator(check)


def _part(text: str) -> str:
    if not re.fullmatch(ID_PATTERN, text):
        raise ValueError("part of a profile's id: lower-case letters, digits and . + _ - alone; write it so")
    return text


def _line(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("one line of printable text without blanks around it; write it so")
    return text


def _sizes(value: Any) -> dict[str, int]:
    return parse_sizes(show_sizes(value) if isinstance(value, Mapping) else value)


IdPart = Annotated[str, AfterValidator(_part)]
Line = Annotated[str, AfterValidator(_line)]
Name = Annotated[Line, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Sizes = Annotated[dict[str, Count], BeforeValidator(_sizes), PlainSerializer(show_sizes)]


class Measurement(BaseModel):
    """One row. ``time_s`` is the time to fit; least, mean, greatest and deviation of the runs stand beside it where known.

    Times, energy and power are those of one run with the batch that ``sizes`` gives. ``suspect`` says why a row should
    not be fitted; it is empty for sound rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: IdPart
    runtime: IdPart
    precision: Annotated[str, _word(PRECISIONS)]
    variant: IdPart
    network: Name
    sizes: Sizes = Field(default_factory=dict)
    task: Annotated[str, _word(TASKS)] = "inference"
    scope: Annotated[str, _word(SCOPES)] = "network"
    time_s: Amount | None = None
    time_min_s: Amount | None = None
    time_mean_s: Amount | None = None
    time_max_s: Amount | None = None
    time_std_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    runs: Count | None = None
    energy_j: Amount | None = None
    power_w: Amount | None = None
    energy_scope: Annotated[str, _word(_ENERGY_SCOPES)] | None = None
    source: Name
    licence: Name
    suspect: Line = ""
    note: Line = ""

    @property
    def profile(self) -> str:
        """The id of the profile that this row belongs to."""
        return f"{self.device}/{self.runtime}/{self.precision}/{self.variant}"

    @property
    def key(self) -> tuple[object, ...]:
        """What tells this row from every other one of a table."""
        sizes = tuple(sorted(self.sizes.items()))
        return self.profile, self.network, sizes, self.task, self.scope, self.energy_scope

    @model_validator(mode="after")
    def _consistent(self) -> Measurement:
        for low, high in _ORDERED:
            least, greatest = getattr(self, low), getattr(self, high)
            if least is not None and greatest is not None and least > greatest:
                raise _problem(low, least, f"above {high}, which is {greatest!r}; swap or correct them")
        if self.time_s is None and self.energy_j is None and self.power_w is None:
            raise _problem("time_s", None, "a row needs time_s, energy_j or power_w; fill one in or drop the row")
        metered = self.energy_j is not None or self.power_w is not None
        if metered and self.energy_scope is None:
            raise _problem("energy_scope", None, f"empty beside energy or power; write one of {', '.join(_ENERGY_SCOPES)}")
        if self.energy_scope is not None and not metered:
            raise _problem("energy_scope", self.energy_scope, "no energy_j or power_w beside it; fill one in or clear this")
        return self


COLUMNS = tuple(Measurement.model_fields)
REQUIRED = tuple(name for name, field in Measurement.model_fields.items() if field.is_required())


def read_measurements(table: str | Path | TextIO) -> list[Measurement]:
    """The rows of one table, from a path or an open file.

    >>> rows = read_measurements(data_folder("calibration") / "measurements" / "ncnn.csv")
    >>> rows[0].profile, rows[0].network, rows[0].time_s
    ('jetson-agx-orin/ncnn/fp16/t1', 'squeezenet', 0.01174)

    Raises InvalidMeasurement with file, row, column, value, rule and cure of the first ten problems. Rows are numbered
    as in a spreadsheet: the header is row 1.
    """
    if isinstance(table, (str, Path)):
        try:
            text = Path(table).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidMeasurement(f"{table}: cannot be read as UTF-8 text: {error}") from error
        return _read(str(table), text)
    return _read(str(getattr(table, "name", "the table")), table.read())


def write_measurements(path: str | Path, rows: Iterable[Measurement]) -> None:
    """Write a table completely or not at all; columns that no row fills are left out."""
    cells = [row.model_dump(exclude_none=True, exclude_defaults=True) for row in rows]
    filled = {name for row in cells for name in row}
    names = [name for name in COLUMNS if name in filled or name in REQUIRED]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    defaults = {name: Measurement.model_fields[name].get_default() for name in ("task", "scope")}
    writer.writerows([_cell(row.get(name, defaults.get(name))) for name in names] for row in cells)
    write_whole(Path(path), text.getvalue())


def load_measurements() -> list[Measurement]:
    """Every measurement that comes with the library.

    >>> {"iotnets", "mlperf-inference", "ncnn-benchmark"} <= {row.source for row in load_measurements()}
    True
    """
    return list(_shipped())


@lru_cache(maxsize=1)
def _shipped() -> tuple[Measurement, ...]:
    tables = sorted((data_folder("calibration") / "measurements").glob("*.csv"))
    return tuple(row for table in tables for row in read_measurements(table))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _read(place: str, text: str) -> list[Measurement]:
    records = _records(place, text)
    _, header = next(records, (1, []))
    _refuse(place, _header_problems(header))
    rows: list[Measurement] = []
    problems: list[str] = []
    seen: dict[tuple[object, ...], int] = {}
    for number, cells in records:
        row, found = _row(header, cells)
        if row is not None:
            first = seen.setdefault(row.key, number)
            if first != number:
                found = [f"the same measurement as row {first}; drop one, or tell them apart by the variant"]
            rows.append(row)
        problems += [f"row {number}, {problem}" for problem in found]
    _refuse(place, problems)
    return rows


def _records(place: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold anything, numbered from 1."""
    try:
        for number, cells in enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), start=1):
            if any(cell.strip() for cell in cells):
                yield number, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise InvalidMeasurement(f"{place}: is not CSV: {error}; quote cells that hold commas with \"...\"") from None


def _header_problems(header: Sequence[str]) -> list[str]:
    if len(header) == 1 and re.search(r"[;\t]", header[0]):
        return ["the header is one single cell; separate the columns with commas"]
    missing = [f"column {name!r} is missing; add it" for name in REQUIRED if name not in header]
    twice = [f"column {name!r} appears twice; drop one" for name in sorted(set(header)) if header.count(name) > 1]
    return [_unknown_column(name) for name in header if name not in COLUMNS] + missing + twice


def _unknown_column(name: str) -> str:
    quantity, *which, unit = name.lower().split("_") if "_" in name else (name, "")
    ours, cures = _OTHER_UNITS.get(quantity, ("", {}))
    if unit in cures:
        ours = ours.format("".join(f"_{word}" for word in which))
        return f"column {name!r} is unknown, columns are in SI units; {cures[unit]} and rename it {ours!r}"
    return f"column {name!r} is unknown; {nearest(name, COLUMNS)} Rename or drop it"


def _row(header: Sequence[str], cells: Sequence[str]) -> tuple[Measurement | None, list[str]]:
    if len(cells) != len(header):
        return None, [f"{len(cells)} cells under {len(header)} columns; give each column one cell, empty if unknown"]
    try:
        return Measurement.model_validate({name: cell for name, cell in zip(header, cells, strict=True) if cell}), []
    except ValidationError as error:
        return None, [_told(found) for found in error.errors()]


# what to do about each kind of error that pydantic finds by itself
_CURES = {
    "missing": "empty; fill it in",
    "greater_than": "must be above zero; leave the cell empty if it is unknown",
    "greater_than_equal": "too small; leave the cell empty if it is unknown",
    "finite_number": "must be finite; leave the cell empty if it is unknown",
    "float_parsing": "no number; write it like 0.0123 or 1.23e-2, without a unit",
    "int_parsing": "no whole number; write it like 10",
    "int_from_float": "no whole number; write it like 10",
}


def _told(found: Mapping[str, Any]) -> str:
    """One problem: column, value, rule and cure."""
    context = found.get("ctx", {})
    column = str(found["loc"][0]) if found["loc"] else str(context["column"])
    value = "" if found["type"] == "missing" else context.get("value", found["input"])
    rule = _CURES.get(found["type"]) or str(found["msg"]).removeprefix("Value error, ")
    return f"column {column!r}: {value!r}: {rule}" if value not in ("", None) else f"column {column!r}: {rule}"


def _problem(column: str, value: object, rule: str) -> PydanticCustomError:
    return PydanticCustomError("measurement", "{rule}", {"column": column, "value": value, "rule": rule})


def _refuse(place: str, problems: Sequence[str]) -> None:
    if not problems:
        return
    shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN_PROBLEMS])
    more = f"\n  and {len(problems) - SHOWN_PROBLEMS} more" if len(problems) > SHOWN_PROBLEMS else ""
    raise InvalidMeasurement(f"{place}: {len(problems)} {'problem' if len(problems) == 1 else 'problems'}:{shown}{more}")
