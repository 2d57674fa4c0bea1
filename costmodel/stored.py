"""Networks that tables of measurements name and the zoo does not have, by the kernels that they run.

A file ``calibration/features/SOURCE.RUNTIME.csv.gz`` holds the kernels of a source's networks as one runtime launches them,
a row for each distinct kernel of a network: counts of one image in float32. Measurements name such a network
``SOURCE:NAME``, as in ``timm:resnet50.224``.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from costmodel.dims import value_at
from costmodel.errors import InvalidMeasurement, nearest
from costmodel.features import Work
from costmodel.schema.data import data_folder

COLUMNS = tuple(field.name for field in fields(Work) if field.name not in ("name", "layers"))
TEXTS = ("kind", "op")


def of_one_image(parts: Iterable[Work], sizes: Mapping[str, int]) -> list[Work]:
    """The distinct kernels at one point, each with how often it occurs; without names.

    >>> conv = Work("pointwise", "Conv", macs=8, name="first")
    >>> of_one_image([conv, replace(conv, name="second")], {})[0].times
    2
    """
    numbers = [column for column in COLUMNS if column not in (*TEXTS, "times")]
    distinct: Counter[Work] = Counter()
    for part in parts:
        plain: dict[str, Any] = {column: value_at(getattr(part, column), sizes) for column in numbers}
        distinct[Work(part.kind, part.op, **plain)] += part.times
    return [replace(work, times=times) for work, times in distinct.items()]


def batched(work: Work, batch: int) -> Work:
    """The kernel for a batch of images: all of it grows with the batch but the weights."""
    return replace(
        work,
        macs=work.macs * batch,
        other_flops=work.other_flops * batch,
        read_bytes=work.read_bytes * batch,
        write_bytes=work.write_bytes * batch,
        rows=work.rows * batch,
    )


def is_stored(network: str) -> bool:
    """Whether a name is of the form ``SOURCE:NAME``."""
    return ":" in network


def stored_works(network: str, runtime: str, batch: int = 1) -> tuple[Work, ...]:
    """The kernels of a network of a table under a runtime. Raises InvalidMeasurement with the nearest names."""
    source, _, name = network.partition(":")
    path = data_folder("calibration") / "features" / f"{source}.{runtime}.csv.gz"
    if not path.is_file():
        known = sorted(found.name.removesuffix(".csv.gz") for found in path.parent.glob("*.csv.gz"))
        near = nearest(f"{source}.{runtime}", known)
        raise InvalidMeasurement(f"there are no kernels of {source!r} under {runtime!r}; {near}")
    networks = read_works(path)
    if name not in networks:
        raise InvalidMeasurement(f"{path.name} has no network {name!r}; {nearest(name, networks)}")
    return networks[name] if batch == 1 else tuple(batched(work, batch) for work in networks[name])


@lru_cache(maxsize=16)
def read_works(path: Path) -> Mapping[str, tuple[Work, ...]]:
    """The networks of one file."""
    found: dict[str, list[Work]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            plain: dict[str, Any] = {column: row[column] if column in TEXTS else int(row[column]) for column in COLUMNS}
            found.setdefault(row["network"], []).append(Work(**plain))
    return {name: tuple(parts) for name, parts in found.items()}


def write_works(path: Path, networks: Mapping[str, Iterable[Work]]) -> None:
    """Write such a file; equal networks give equal bytes."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("network", *COLUMNS))
    for name in sorted(networks):
        writer.writerows((name, *(getattr(work, column) for column in COLUMNS)) for work in networks[name])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
