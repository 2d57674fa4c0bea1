"""Which profiles there are, and which one a text means: an id, a part of one, or a device as people call it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from costmodel.errors import InvalidProfile, UnknownProfile, nearest
from costmodel.schema.data import data_folder
from costmodel.schema.device import devices, slug
from costmodel.schema.profile import Profile, read_profile

SHOWN = 6  # names that a message or a note lists
LISTED = "costmodel devices lists all"


def profile_folders() -> tuple[Path, ...]:
    """Where profiles are looked for: the user's own first, then those that come with the library."""
    shared = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "costmodel"
    home = Path(os.environ.get("COSTMODEL_HOME", shared))
    return home / "profiles", data_folder("calibration") / "profiles"


def profiles() -> list[str]:
    """The ids of all profiles: ``device/runtime/precision/variant``.

    >>> "raspberry-pi-4b/ncnn/fp32/t4" in profiles()
    True
    """
    return sorted(_profile_files())


def find_profile(text: str, notes: list[str] | None = None) -> Profile:
    """The profile with this id, or the one that a part of an id stands for.

    A device goes by its id, an alias, the beginning of either, or words of it, in any case and with any signs between them;
    parts after it may be left out or cut short. Where several profiles of one device fit, the fastest common choice is
    taken: floating point before int8, the CPU before the GPU, then the most threads; ``notes`` says so.

    >>> find_profile("Raspberry Pi 4B/ncnn").id, find_profile("rpi4/t1").id
    ('raspberry-pi-4b/ncnn/fp32/t4', 'raspberry-pi-4b/ncnn/fp32/t1')

    Raises UnknownProfile with the nearest ids.
    """
    path = _exact(text)
    if path is not None:
        return _read(text, path)
    files = _profile_files()
    name, *parts = text.strip().strip("/").split("/")
    device, is_guess = _device(text, slug(name), {known.partition("/")[0] for known in files})
    of_device = [known for known in files if known.startswith(f"{device}/")]
    matches = [known for known in of_device if _fits(known.split("/")[1:], [part.strip().lower() for part in parts])]
    if not matches:
        raise UnknownProfile(f"no profile {text!r}; {nearest('/'.join((device, *parts)), of_device)}; {LISTED}")
    best = min(matches, key=_preference)
    others = [known.split("/", 1)[1] for known in sorted(matches) if known != best]
    if notes is not None and (others or is_guess):
        more = f" and {len(others) - SHOWN} more (costmodel devices {device})" if len(others) > SHOWN else ""
        also = f"; the device also has {', '.join(others[:SHOWN])}{more}" if others else ""
        notes.append(f"{text!r} stands for {best}{also}")
    return _read(best, files[best])


def _exact(text: str) -> Path | None:
    """The file of a whole id, without a look at all the others."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+_-]*(/[a-z0-9][a-z0-9.+_-]*){3}", text):
        return None
    return next((path for folder in profile_folders() if (path := folder / f"{text}.json").is_file()), None)


def _profile_files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in profile_folders():
        for path in folder.glob("*/*/*/*.json"):
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def _read(profile_id: str, path: Path) -> Profile:
    profile = _stored(path, path.stat().st_mtime_ns)
    if profile.id != profile_id:
        raise InvalidProfile(f"{path}: holds the profile {profile.id}; move it to {profile.id}.json")
    return profile


@lru_cache(maxsize=256)
def _stored(path: Path, _changed: int) -> Profile:
    return read_profile(path)


# -- devices ----------------------------------------------------------------------------------------------------


def _device(text: str, wanted: str, with_profiles: set[str]) -> tuple[str, bool]:
    """The device that a text names, of those that have a profile, and whether less than a name of it was written."""
    names = {device: (device,) for device in with_profiles} | {known.id: known.names for known in devices().values()}
    for way in (_same, _same_letters, _beginning, _words):
        found = [device for device, own in sorted(names.items()) if wanted and any(way(wanted, one) for one in own)]
        usable = [device for device in found if device in with_profiles]
        if len(usable) == 1:
            return usable[0], way in (_beginning, _words)
        if usable:
            more = f" and {len(usable) - SHOWN} more" if len(usable) > SHOWN else ""
            raise UnknownProfile(f"{text!r} fits several devices: {', '.join(usable[:SHOWN])}{more}; write more of the id")
        if found and way in (_same, _same_letters):
            cure = "measure some networks on it and run costmodel calibrate (docs/add-a-device.md)"
            raise UnknownProfile(f"no profile {text!r}: {found[0]} is described, but has no profile; {cure}")
    measured = [one for device, own in names.items() if device in with_profiles for one in own]
    raise UnknownProfile(f"no profile {text!r}; {nearest(wanted, measured)}; {LISTED}")


def _same(wanted: str, name: str) -> bool:
    return wanted == name


def _same_letters(wanted: str, name: str) -> bool:
    return wanted.replace("-", "") == name.replace("-", "")


def _beginning(wanted: str, name: str) -> bool:
    return name.startswith(wanted)


def _words(wanted: str, name: str) -> bool:
    return set(wanted.split("-")) <= set(name.split("-"))


# -- what follows the device ------------------------------------------------------------------------------------


def _fits(known: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether the parts are runtime, precision and variant in this order, of which some may be left out or cut short.

    >>> known = ["ncnn", "fp32", "t4"]
    >>> _fits(known, ["nc"]), _fits(known, ["t4"]), _fits(known, ["t4", "fp32"])
    (True, True, False)
    """
    left = iter(known)
    return all(any(part.startswith(wanted) for part in left) for wanted in parts)


def _preference(profile_id: str) -> tuple[Any, ...]:
    _, runtime, precision, variant = profile_id.split("/")
    on_gpu = variant.startswith(("vulkan", "opencl", "gpu"))
    return precision.startswith("int"), on_gpu, -_cores(variant), len(variant), runtime, variant


def _cores(variant: str) -> int:
    """How many threads or cores a variant names: ``t4``, ``1large2med``; 0 where it names none.

    >>> _cores("t4-big"), _cores("1large2med"), _cores("1.15.0-rc2")
    (4, 3, 0)
    """
    named = re.match(r"t(\d+)\b", variant)
    return int(named[1]) if named else sum(map(int, re.findall(r"(\d+)(?:large|med|small)", variant)))
