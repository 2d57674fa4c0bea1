"""A profile for a device that nobody measured, from its datasheet.

A graphics card's follows from the law of its kernels (``costmodel.gpu``); a CPU's from the costs of measured CPUs, as
``costmodel.transfer.datasheet`` tells how they depend on core, clock, threads and precision.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costmodel.calibration import Pool, Table, data_hash, sheet_of, shipped_tables
from costmodel.errors import CannotCalibrate, InvalidDevice, nearest
from costmodel.features import NAMES
from costmodel.intervals import margins
from costmodel.schema.data import data_folder
from costmodel.schema.device import Device, find_device, read_devices
from costmodel.schema.profile import HeldOut, Profile, Provenance, Range
from costmodel.transfer.datasheet import DatasheetCosts, sheet
from costmodel.version import __version__

Array = NDArray[np.float64]

RUNTIMES = ("ncnn",)  # whose measurements cover enough CPUs to tell how facts matter
FEWEST_NETWORKS = 10
WITH_HALF = ("armv8.2", "armv8.3", "armv8.4", "armv8.5", "armv8.6", "armv8.7", "armv9")
PARTS = 12  # of the devices, hidden one part after the other
ERRORS = Path("datasheets") / "ncnn-cpu.csv"


def from_datasheet(
    device: Device | str | Path, *, runtime: str = "ncnn", precision: str | None = None, variant: str = "t4"
) -> Profile:
    """The profile of a device from its description alone.

    ``device``: a description, the name of a known device, or the path of a TOML file that holds one. A graphics card is
    described for eager PyTorch; for a CPU ``runtime`` is ``ncnn``, ``variant`` names its threads (``t4``, ``t4-big``), and
    ``precision`` is fp16 where the instruction set has its arithmetic, else fp32.

    >>> profile = from_datasheet("raspberry-pi-5", variant="t4")
    >>> profile.id, profile.held_out.median_ape < 0.4
    ('raspberry-pi-5/ncnn/fp16/t4', True)

    Raises InvalidDevice where the description lacks a fact, CannotCalibrate for a runtime without enough measured CPUs.
    """
    described = _described(device)
    if described.kind == "gpu":
        from costmodel.gpu.profiles import profile_from_datasheet

        return profile_from_datasheet(described)
    if runtime not in RUNTIMES:
        raise CannotCalibrate(
            f"too few CPUs were measured under {runtime!r} to tell how their facts matter; {nearest(runtime, RUNTIMES)}"
        )
    if not described.clusters:
        raise InvalidDevice(
            f"device {described.id!r} names no core; add it, as in "
            'clusters = [{ core = "cortex-a76", count = 4, clock_hz = 2.4e9 }]'
        )
    chosen = precision or ("fp16" if (described.isa or "").startswith(WITH_HALF) else "fp32")
    facts = sheet(described, chosen, variant, is_clock_needed=True)
    return _profile(described, runtime, chosen, variant, np.exp(_costs(runtime).predict([facts])[0]))


def _described(device: Device | str | Path) -> Device:
    if isinstance(device, Device):
        return device
    if str(device).endswith(".toml"):
        found = read_devices(device)
        if len(found) != 1:
            raise InvalidDevice(f"{device}: a profile is of one device, the file describes {len(found)}")
        return found[0]
    return find_device(str(device))


def measured_tables(runtime: str) -> list[Table]:
    """The floating-point configurations on CPUs with enough networks."""
    tables = [table for table in shipped_tables(runtime) if table.group[1:3] == ("cpu", "float")]
    return [table for table in tables if len(table.networks) >= FEWEST_NETWORKS]


def costs_of(tables: Sequence[Table]) -> DatasheetCosts:
    """How costs depend on facts, from these configurations."""
    return DatasheetCosts().fit([sheet_of(table) for table in tables], np.log(Pool(tables).fit().coef_))


@lru_cache(maxsize=4)
def _costs(runtime: str) -> DatasheetCosts:
    return costs_of(measured_tables(runtime))


def unseen_costs(tables: Sequence[Table]) -> Iterator[tuple[Table, Array, Sequence[Table]]]:
    """Each configuration with its costs by its datasheet, from devices other than its own, and these devices' tables.

    A device that is listed twice, or a second time overclocked, is hidden as one.
    """
    names = list(dict.fromkeys(_same_device(table) for table in tables))
    for part in range(min(PARTS, len(names))):
        hidden = set(names[part::PARTS])
        source = [table for table in tables if _same_device(table) not in hidden]
        asked = [table for table in tables if _same_device(table) in hidden]
        predicted = np.exp(costs_of(source).predict([sheet_of(table) for table in asked]))
        yield from ((table, costs, source) for table, costs in zip(asked, predicted, strict=True))


def _same_device(table: Table) -> str:
    return table.rows[0].device.removesuffix("-overclocked").removesuffix("-board-2")


def _profile(device: Device, runtime: str, precision: str, variant: str, costs: Array) -> Profile:
    tables = measured_tables(runtime)
    work = np.concatenate([table.work for table in tables])
    rows = [row for table in tables for row in table.rows]
    return Profile(
        device=device.id,
        runtime=runtime,
        precision=precision,
        variant=variant,
        device_kind="cpu",
        seconds_per_unit=dict(zip(NAMES, (float(f"{cost:.6g}") for cost in costs), strict=True)),
        domain={name: Range(low=column.min(), high=column.max()) for name, column in zip(NAMES, work.T, strict=True)},
        held_out=_held_out(),
        provenance=Provenance(
            networks=tuple(dict.fromkeys(row.network for row in rows)),
            sources=(*sorted({row.source for row in rows}), device.source),
            licences=tuple(sorted({row.licence for row in rows})),
            data_sha256=data_hash(rows),
            costmodel_version=__version__,
        ),
        note="from the datasheet alone; costs as those of measured CPUs depend on core, clock, threads and precision",
    )


def _held_out() -> HeldOut:
    """The errors on devices that were left out, as the protocol of accuracy writes them."""
    with (data_folder("calibration") / ERRORS).open() as file:
        residuals = np.array([float(row["log_error"]) for row in csv.DictReader(file)])
    sizes = np.abs(np.expm1(residuals))
    widths = margins({"unseen devices": residuals.tolist()})["unseen devices"]
    return HeldOut(
        mape=float(f"{sizes.mean():.4g}"),
        median_ape=float(f"{np.median(sizes):.4g}"),
        within_10=float(f"{(sizes <= 0.1).mean():.4g}"),
        residuals=tuple(float(f"{residual:.4g}") for residual in sorted(residuals)),
        margins=tuple(float(f"{width:.4g}") for width in widths),
    )
