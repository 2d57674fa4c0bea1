"""Devices: the hardware that measurements were taken on, as the sources describe it. What is unknown stays absent.

A file is TOML and holds one ``[[device]]`` table or several; docs/add-a-device.md shows one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from costmodel.errors import InvalidDevice, UnknownDevice, nearest
from costmodel.schema.data import data_folder

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS: Mapping[str, str] = {
    "cpu-board": "a single-board computer, module or development board",
    "phone": "a phone, a tablet or the chip of one",
    "computer": "a laptop or a desktop",
    "gpu": "a graphics card, whatever computer holds it",
    "server": "a server or an instance in a cloud",
    "microcontroller": "a chip without an operating system",
    "accelerator": "a card or chip made for neural networks",
}


def slug(name: str) -> str:
    """A name as ids are written: lower case, words joined by '-', a plus sign spelt out.

    >>> slug("Raspberry Pi 3 Model B+"), slug("FT-2000+/64"), slug("RTX_3090")
    ('raspberry-pi-3-model-b-plus', 'ft-2000-plus-64', 'rtx-3090')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("+", "-plus-")).strip("-")


def _is_slug(text: str) -> str:
    if not text or text != slug(text):
        raise ValueError(f"an id has lower-case letters, digits and single dashes; write {slug(text) or 'a-name'!r}")
    return text


def _is_kind(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"no such kind; {nearest(text, KINDS)}")
    return text


def _many(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Slug = Annotated[str, AfterValidator(_is_slug)]
Kind = Annotated[str, AfterValidator(_is_kind)]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Record(BaseModel):
    """Frozen, and no key that the format does not have."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Cluster(Record):
    """CPU cores of one kind; ``threads`` only where there are more of them than cores."""

    core: Slug
    count: Count | None = None
    threads: Count | None = None
    clock_hz: Amount | None = None
    boost_hz: Amount | None = None


class Gpu(Record):
    """A graphics processor; ``compute_units`` are SMs on NVIDIA's, CUs on AMD's, cores on Arm's.

    ``clock_hz`` is the boost clock, for which ``peak_flop_per_s`` is stated, ``base_clock_hz`` the one that the vendor
    guarantees, and ``power_w`` the power limit.
    """

    id: Slug
    name: Text
    vendor: Text | None = None
    chip: Text | None = None
    architecture: Text | None = None
    compute_units: Count | None = None
    lanes: Count | None = None
    tensor_cores: Count | None = None
    clock_hz: Amount | None = None
    base_clock_hz: Amount | None = None
    power_w: Amount | None = None
    memory_bytes: Count | None = None
    bandwidth_b_per_s: Amount | None = None
    cache_bytes: Count | None = None
    peak_flop_per_s: Mapping[str, Amount] = Field(default_factory=dict)


class Device(Record):
    """A piece of hardware; ``listed_as`` holds, by source, the names under which tables of measurements know it."""

    id: Slug
    title: Text
    kind: Kind
    source: Text
    aliases: Annotated[tuple[Slug, ...], BeforeValidator(_many)] = ()
    soc: Text | None = None
    isa: Text | None = None
    clusters: Annotated[tuple[Cluster, ...], BeforeValidator(_many)] = ()
    gpus: Annotated[tuple[Gpu, ...], BeforeValidator(_many)] = ()
    memory_bytes: Count | None = None
    bandwidth_b_per_s: Amount | None = None
    listed_as: Mapping[str, Annotated[tuple[Text, ...], BeforeValidator(_many)]] = Field(default_factory=dict)
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return (self.id, *self.aliases)


def read_devices(path: str | Path) -> list[Device]:
    """The devices of one TOML file.

    >>> boards = read_devices(data_folder("calibration") / "devices" / "raspberry-pi.toml")
    >>> boards[1].id, boards[1].clusters[0].core
    ('raspberry-pi-4b', 'cortex-a72')

    Raises InvalidDevice with the file, the device, the key and the rule that it breaks.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidDevice(f"{path}: cannot be read as TOML: {error}") from error
    tables = content.pop("device", None)
    if content or not isinstance(tables, list):
        wrong = f"key {min(content)!r} stands outside of them" if content else "there is none"
        raise InvalidDevice(f"{path}: a device file is a list of [[device]] tables; {wrong}")
    return [_device(path, number, table) for number, table in enumerate(tables, start=1)]


def load_devices(folder: str | Path | None = None) -> dict[str, Device]:
    """The devices of every TOML file in a folder, by id; without a folder, those that come with the library.

    Raises InvalidDevice if two devices share an id or an alias.
    """
    folder = data_folder("calibration") / "devices" if folder is None else Path(folder)
    return _by_id(device for path in sorted(folder.glob("*.toml")) for device in read_devices(path))


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Device]:
    return load_devices()


def devices() -> dict[str, Device]:
    """The devices that come with the library, by id.

    >>> devices()["raspberry-pi-4b"].clusters
    (Cluster(core='cortex-a72', count=4, threads=None, clock_hz=1800000000.0, boost_hz=None),)
    """
    return dict(_shipped())


def find_device(name: str, among: Mapping[str, Device] | None = None) -> Device:
    """The device of this id or alias, in any case and with spaces or dashes.

    >>> find_device("rpi4").id, find_device("Snapdragon 855+").id
    ('raspberry-pi-4b', 'snapdragon-855-plus')

    Raises UnknownDevice with the nearest names.
    """
    known = {alias: device for device in (_shipped() if among is None else among).values() for alias in device.names}
    try:
        return known[slug(name)]
    except KeyError:
        cure = "or describe it in a file, see docs/add-a-device.md"
        raise UnknownDevice(f"no device {name!r}; {nearest(slug(name), known)} {cure}") from None


def _device(path: Path, number: int, table: object) -> Device:
    try:
        return Device.model_validate(table)
    except ValidationError as error:
        name = table.get("id", f"number {number}") if isinstance(table, dict) else f"number {number}"
        told = "; ".join(f"{_place(found['loc'])}: {found['msg']}, not {found['input']!r}" for found in error.errors()[:5])
        raise InvalidDevice(f"{path}: device {name}: {told}. The keys are in docs/add-a-device.md") from None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "the table"


def _by_id(found: Iterable[Device]) -> dict[str, Device]:
    by_id: dict[str, Device] = {}
    owners: dict[str, str] = {}
    for device in found:
        for name in device.names:
            if name in owners:
                raise InvalidDevice(f"{name!r} names both {owners[name]!r} and {device.id!r}; take it away from one")
            owners[name] = device.id
        by_id[device.id] = device
    return by_id
