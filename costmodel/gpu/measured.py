"""Measured kernels of several GPUs, from the tables that come with the library, and the law that they give."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costmodel.gpu.fitting import UtilisationLaw
from costmodel.gpu.launches import COLUMNS, Launches, launches
from costmodel.schema.data import data_folder
from costmodel.schema.datasheet import Datasheet, datasheet_of
from costmodel.schema.device import find_device

Array = NDArray[np.float64]

SOURCE = "NeuSight (sitar-lab/NeuSight, commit 6945927d9afc)"
LICENCE = "MIT"
WORD = 4.0  # bytes of a number in single precision
READS = {"add": 2, "mul": 2, "div": 2, "pow": 2}  # tensors that an elementwise kernel reads; the others read one
# products of random sizes get other kernels of the libraries than the round ones of networks, on some cards at a third of
# their speed: they are not fitted
FITTED_SIZES = {"linear": ("real",), "bmm": ("real",)}


@dataclass(frozen=True, eq=False)
class Measured:
    """Kernels of one op on one device, of sizes that networks have (``real``) or that were drawn (``random``)."""

    device: str
    op: str
    sizes: str
    kernels: Launches
    time_s: Array

    @property
    def is_fitted(self) -> bool:
        return self.sizes in FITTED_SIZES.get(self.kernels.family, ("real", "random"))


def kernel_table() -> Path:
    """The file of measured kernels that comes with the library."""
    return data_folder("calibration") / "kernels" / "gpu_kernels.csv.gz"


def table_hash() -> str:
    """The SHA-256 of the table's contents."""
    return hashlib.sha256(gzip.decompress(kernel_table().read_bytes())).hexdigest()


@lru_cache(maxsize=1)
def measured_kernels() -> tuple[Measured, ...]:
    """The table that comes with the library.

    >>> {part.sizes for part in measured_kernels()} == {"real", "random"}
    True
    """
    with gzip.open(kernel_table(), "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def key(row: Mapping[str, str]) -> tuple[str, str, str]:
        return row["device"], row["op"], row["sizes"]

    return tuple(_measured(*group, list(members)) for group, members in groupby(sorted(rows, key=key), key))


def _measured(device: str, op: str, sizes: str, rows: Sequence[Mapping[str, str]]) -> Measured:
    numbers = {
        name: np.array([float(row[name] or 0) for row in rows]) for name in rows[0] if name not in ("device", "op", "sizes")
    }
    return Measured(device, op, sizes, _kernels(op, numbers), numbers["time_s"])


def _kernels(op: str, of: Mapping[str, Array]) -> Launches:
    if op in ("linear", "bmm"):
        batch, m, n, k = (of[name] for name in ("batch", "m", "n", "k"))
        moved = {"read_bytes": WORD * batch * (m * k + k * n), "write_bytes": WORD * batch * m * n}
        return launches(op, **moved, batch=batch, m=m, n=n, k=k)
    if op == "conv":
        positions, depth, filters = of["batch"] * of["h"] ** 2, of["c_in"], of["c_out"]  # 3x3, padding 1, stride 1
        return launches(
            op,
            read_bytes=WORD * positions * depth,
            write_bytes=WORD * positions * filters,
            weight_bytes=WORD * 9 * depth * filters,
            batch=np.ones_like(positions),
            m=positions,
            n=filters,
            k=9 * depth,
            winograd=np.ones_like(positions),
        )
    moved_once = WORD * of["rows"] * of["cols"]
    if op in ("softmax", "layernorm"):
        return launches(op, read_bytes=moved_once, write_bytes=moved_once, cols=of["cols"])
    return launches("elementwise", read_bytes=READS.get(op, 1) * moved_once, write_bytes=moved_once)


@lru_cache(maxsize=64)
def sheet_of(device: str) -> Datasheet:
    """The datasheet of a card by its id."""
    return datasheet_of(find_device(device))


def chip_of(device: str) -> str:
    """The chip of a card; cards of one chip are hidden together where one is asked about as unseen.

    >>> chip_of("a100-pcie-40gb") == chip_of("a100-pcie-80gb")
    True
    """
    return find_device(device).gpus[0].chip or device


@lru_cache(maxsize=64)
def fitted(vendor: str, family: str, without: frozenset[str] = frozenset()) -> UtilisationLaw | None:
    """The law of a family of kernels from the cards of a vendor, but for some chips; None where no card has run any.

    >>> fitted("nvidia", "softmax").numbers_["bandwidth"] < 1
    True
    """
    parts = [
        part
        for part in measured_kernels()
        if part.kernels.family == family
        and part.is_fitted
        and sheet_of(part.device).vendor == vendor
        and chip_of(part.device) not in without
    ]
    return law_of(parts) if parts else None


def law_of(parts: Collection[Measured]) -> UtilisationLaw:
    """The law of kernels of one family. What one device has of one kind of sizes errs alike, and counts once."""
    groups = {
        key: [part for part in parts if (part.device, part.sizes) == key]
        for key in sorted({(p.device, p.sizes) for p in parts})
    }
    kernels = joined([part.kernels for members in groups.values() for part in members])
    lengths = [sum(len(part.time_s) for part in members) for members in groups.values()]
    times = np.concatenate([part.time_s for members in groups.values() for part in members])
    return UtilisationLaw().fit(
        kernels, times, np.repeat(np.arange(len(groups)), lengths), [sheet_of(device) for device, _ in groups]
    )


def joined(parts: Sequence[Launches]) -> Launches:
    """Kernels of one family, one after the other."""
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    return launches(parts[0].family, **columns)
