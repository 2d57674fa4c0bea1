"""Profiles: what calibration learnt about one device, runtime, precision and variant. JSON, never pickles.

A profile's id is its path: ``device/runtime/precision/variant.json``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from costmodel.errors import InvalidProfile
from costmodel.schema.datasheet import Datasheet

FORMAT = 1
ID_PATTERN = r"^[a-z0-9][a-z0-9.+_-]*$"
STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Range(BaseModel):
    """Least and greatest value in calibration."""

    model_config = STRICT

    low: float
    high: float


class HeldOut(BaseModel):
    """Error on networks that the fit had not seen, as fractions; ``residuals`` are log(predicted / measured).

    ``margins`` are half-widths of intervals in log time: n of them, the i-th covers i / (n + 1) of what is predicted.
    """

    model_config = STRICT

    mape: float = Field(ge=0)
    median_ape: float = Field(ge=0)
    within_10: float = Field(ge=0, le=1)
    residuals: tuple[float, ...]
    margins: tuple[float, ...]


class Power(BaseModel):
    """Energy of a run = ``base_w`` times its time + ``per_mac_j`` for each multiply-add.

    ``margins`` are those of the energy of networks that the fit had not seen, as in HeldOut.
    """

    model_config = STRICT

    base_w: float = Field(ge=0)
    per_mac_j: float = Field(ge=0)
    margins: tuple[float, ...]


class Law(BaseModel):
    """The law of utilisation of a vendor's GPUs: its numbers by family of kernels, as costmodel/gpu/law.py explains them.

    ``typical_clock`` stands for a guaranteed clock, as a part of the boost clock, that a datasheet does not tell.
    """

    model_config = STRICT

    numbers: Mapping[str, Mapping[str, Annotated[float, Field(gt=0)]]]
    typical_clock: float = Field(gt=0, le=1)


class Provenance(BaseModel):
    """What the profile was fitted on, and with what."""

    model_config = STRICT

    networks: tuple[str, ...]
    sources: tuple[str, ...]
    licences: tuple[str, ...]
    data_sha256: str
    costmodel_version: str


class Profile(BaseModel):
    """A fitted cost model: seconds for each unit of each feature, and how far to trust it.

    A profile from a datasheet alone has the ``datasheet`` and a ``law`` instead of seconds.
    """

    model_config = STRICT

    format: Literal[1] = 1
    device: str = Field(pattern=ID_PATTERN)
    runtime: str = Field(pattern=ID_PATTERN)
    precision: str = Field(pattern=ID_PATTERN)
    variant: str = Field(pattern=ID_PATTERN)
    device_kind: str
    seconds_per_unit: Mapping[str, float] = Field(default_factory=dict)
    domain: Mapping[str, Range] = Field(default_factory=dict)
    datasheet: Datasheet | None = None
    law: Law | None = None
    held_out: HeldOut
    provenance: Provenance
    power_w: float | None = Field(default=None, gt=0)
    power_scope: str | None = None
    power: Power | None = None
    note: str = ""

    @property
    def id(self) -> str:
        return f"{self.device}/{self.runtime}/{self.precision}/{self.variant}"

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        negative = [name for name, seconds in self.seconds_per_unit.items() if seconds < 0]
        if negative:
            raise ValueError(f"seconds_per_unit of {negative[0]!r} is {self.seconds_per_unit[negative[0]]}; it must be >= 0")
        if self.seconds_per_unit.keys() != self.domain.keys():
            raise ValueError("seconds_per_unit and domain must name the same features")
        if (self.datasheet is None) != (self.law is None) or (self.law is None) != bool(self.seconds_per_unit):
            raise ValueError("a profile has either seconds_per_unit and a domain, or a datasheet and a law")
        return self

    def save(self, folder: Path) -> Path:
        """Write the profile under its id; the file is complete or not there."""
        path = folder / f"{self.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        absent = {"datasheet", "law"} if self.law is None else {"seconds_per_unit", "domain"}
        write_whole(path, self.model_dump_json(indent=1, exclude=absent) + "\n")
        return path


def read_profile(path: Path) -> Profile:
    """Read one profile. Raises InvalidProfile with the file, the key and the rule that it breaks."""
    try:
        return Profile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidProfile(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidProfile(f"{path}: {where}: {first['msg']}; calibrate again to write it anew") from None


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file completely or not at all: to a temporary file beside it, then renamed."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
