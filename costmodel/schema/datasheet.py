"""What a GPU's datasheet says that the time of its kernels depends on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from costmodel.errors import InvalidDevice
from costmodel.schema.device import Device, Gpu

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
KEYS = "vendor, compute_units, bandwidth_b_per_s, cache_bytes and peak_flop_per_s.fp32"


class Datasheet(BaseModel):
    """A graphics processor as its vendor describes it.

    ``compute_units``: streaming multiprocessors of NVIDIA's, compute units of AMD's. ``product_flop_per_s``: peak of single
    precision in matrix products, which on some of AMD's is twice that of other arithmetic. ``base_clock_ratio``: clock that
    the vendor guarantees over the one that the peak is stated for, where it is known.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    vendor: Literal["nvidia", "amd"]
    architecture: str | None = None
    compute_units: int = Field(ge=1)
    product_flop_per_s: Amount
    bandwidth_b_per_s: Amount
    cache_bytes: Amount
    base_clock_ratio: float | None = Field(default=None, gt=0, le=1)
    power_w: float | None = Field(default=None, gt=0)
    memory_bytes: int | None = Field(default=None, ge=1)


def datasheet_of(device: Device) -> Datasheet:
    """The datasheet of the graphics processor of a described device.

    >>> from costmodel.schema.device import find_device
    >>> datasheet_of(find_device("nvidia-t4")).compute_units
    40

    Raises InvalidDevice where the device has no graphics processor, or where its description lacks a fact.
    """
    for gpu in device.gpus:
        if not (missing := _missing(gpu)):
            return _datasheet(gpu)
    lacks = f"its description lacks {', '.join(missing)}" if device.gpus else "its description has no [[device.gpus]]"
    raise InvalidDevice(f"device {device.id!r}: {lacks}; a profile from a datasheet needs {KEYS}, see docs/add-a-device.md")


def _missing(gpu: Gpu) -> list[str]:
    found = {
        "vendor": gpu.vendor,
        "compute_units": gpu.compute_units,
        "bandwidth_b_per_s": gpu.bandwidth_b_per_s,
        "cache_bytes": gpu.cache_bytes,
        "peak_flop_per_s.fp32": gpu.peak_flop_per_s.get("fp32"),
    }
    return [name for name, value in found.items() if value is None]


def _datasheet(gpu: Gpu) -> Datasheet:
    peak = gpu.peak_flop_per_s
    has_clocks = gpu.base_clock_hz is not None and gpu.clock_hz is not None
    return Datasheet.model_validate(
        {
            "vendor": gpu.vendor,
            "architecture": gpu.architecture,
            "compute_units": gpu.compute_units,
            "product_flop_per_s": peak.get("fp32-matrix", peak["fp32"]),
            "bandwidth_b_per_s": gpu.bandwidth_b_per_s,
            "cache_bytes": gpu.cache_bytes,
            "base_clock_ratio": gpu.base_clock_hz / gpu.clock_hz if has_clocks else None,  # type: ignore[operator]
            "power_w": gpu.power_w,
            "memory_bytes": gpu.memory_bytes,
        }
    )
