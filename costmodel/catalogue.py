"""Which networks the zoo has: names, other names, and the spec file of each.

Another name may say parameters: ``mobilenet_v2_{width}_{resolution}`` stands for ``mobilenet_v2_0.75_192`` and its like.

A folder of specs is listed without unfolding anything. Specs of a user's own folder (``user_folder``) join those that come
with the library.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Union

from costmodel.errors import InvalidSpec, UnknownNetwork, nearest
from costmodel.schema.data import data_folder
from costmodel.schema.places import in_file
from costmodel.schema.spec import read_table

Number = Union[int, Fraction]

_SIGNS = r"[-_./\s]"
_SEPARATORS = re.compile(rf"(?<=\d){_SIGNS}+(?=\d)|({_SIGNS}+)")  # a group where they stand between no two numbers
_PARTS = re.compile(r"\{\w+\}|\d+|[^-_./\s\d]")


@dataclass(frozen=True, slots=True)
class Entry:
    """A network of the zoo: the name that it bears, and the file that describes it."""

    name: str
    path: Path
    aliases: tuple[str, ...] = ()

    @property
    def plain_names(self) -> tuple[str, ...]:
        """The name, and the other names that say no parameters."""
        return self.name, *(alias for alias in self.aliases if "{" not in alias)


def forgiving(name: str) -> str:
    """A name without what writers differ in: case, and the signs that separate its parts. Between two numbers they stay
    one sign, as 1.3 is not 13.

    >>> forgiving("ResNet-50") == forgiving("resnet50"), forgiving("ViT-B/16") == forgiving("vit_b_16")
    (True, True)
    >>> forgiving("OPT 1.3b") == forgiving("opt_1_3b"), forgiving("opt-1.3b") == forgiving("opt-13b")
    (True, False)
    """
    return _SEPARATORS.sub(lambda found: "" if found[1] else "_", name).casefold()


def find(name: str) -> tuple[Entry, dict[str, Number]]:
    """The network of the zoo that goes by a name, or by one that differs in case and separators alone, and the parameters
    that the name says.

    >>> entry, parameters = find("MobileNet-v2-1.4")
    >>> entry.name, {parameter: str(value) for parameter, value in parameters.items()}
    ('mobilenet_v2', {'width': '7/5'})

    Raises UnknownNetwork with the nearest names.
    """
    return found_among(_listed(), name, "the zoo")


def found_among(known: Mapping[str, Entry], name: str, where: str) -> tuple[Entry, dict[str, Number]]:
    """The same among indexed networks."""
    if forgiving(name) in known:
        return known[forgiving(name)], {}
    every = list(dict.fromkeys(known.values()))
    said = [(entry, parameters) for entry in every for parameters in _said(entry, name)]
    if len(said) > 1:
        raise InvalidSpec(f"{name!r} may be {' or '.join(repr(entry.name) for entry, _ in said)}; use its own name")
    if said:
        return said[0]
    written = [written for entry in every for written in entry.plain_names]
    raise UnknownNetwork(f"{where} has no network {name!r}; {nearest(name, written)}")


def _said(entry: Entry, name: str) -> Iterator[dict[str, Number]]:
    """The parameters that a name says, where it follows another name of the network."""
    for alias in entry.aliases:
        match = _template(alias).fullmatch(name) if "{" in alias else None
        if match is not None:
            yield {parameter: _number(text) for parameter, text in match.groupdict().items()}
            return


@lru_cache(maxsize=4096)
def _template(alias: str) -> re.Pattern[str]:
    """What a name with parameters looks like: separators may stand anywhere, and must stand between two numbers."""
    parts = _PARTS.findall(alias)
    pattern = f"{_SIGNS}*"
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        pattern += rf"(?P<{part[1:-1]}>\d+(?:\.\d+)?)" if part[0] == "{" else re.escape(part)
        pattern += f"{_SIGNS}+" if _is_number(part) and _is_number(following) else f"{_SIGNS}*"
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


def _is_number(part: str) -> bool:
    return part[:1] == "{" or part.isdecimal()


def _number(text: str) -> Number:
    number = Fraction(text)
    return number.numerator if number.denominator == 1 else number


def entries() -> list[Entry]:
    """Every network of the zoo once, by name."""
    return sorted(dict.fromkeys(_listed().values()), key=lambda entry: entry.name)


def indexed(found: Iterable[Entry]) -> dict[str, Entry]:
    """Networks under all of their names, written forgivingly.

    Raises InvalidSpec where one name would stand for two networks.
    """
    known: dict[str, Entry] = {}
    for entry in found:
        for name in entry.plain_names:
            other = known.setdefault(forgiving(name), entry)
            if (other.name, other.path) != (entry.name, entry.path):
                where = in_file(entry.path, ("networks", entry.name))
                raise InvalidSpec(
                    f"{where}: network {entry.name!r}: the name {name!r} also stands for {other.name!r} of {other.path}; "
                    "a name stands for one network, and case and - _ . / do not tell names apart, save between numbers"
                )
    return known


def user_folder() -> Path:
    """Where specs of one's own lie that are to be found by name: ``zoo_specs`` in ``COSTMODEL_HOME``, or else where the
    platform keeps data of programs.
    """
    home = os.environ.get("COSTMODEL_HOME")
    return (Path(home) if home else _platform_data() / "costmodel") / "zoo_specs"


def installed_path(path: Path) -> Path:
    """Where a spec file of one's own is put."""
    return user_folder() / path.name


def install(path: Path) -> Path:
    """Copy a spec file to the user's folder, so that its networks go by their names alone; an older copy is replaced."""
    target = installed_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.resolve() != target.resolve():
        written = target.with_suffix(".part")
        written.write_bytes(path.read_bytes())
        written.replace(target)
    return target


def _platform_data() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _listed() -> Mapping[str, Entry]:
    """The zoo under all of its names; read anew when a file comes, goes or changes."""
    files = [
        (path, path.stat().st_mtime_ns)
        for folder in (data_folder("zoo_specs"), user_folder())
        for path in sorted(folder.glob("*.toml"))
    ]
    return _index(tuple(files))


@lru_cache(maxsize=2)
def _index(files: tuple[tuple[Path, int], ...]) -> Mapping[str, Entry]:
    return indexed(entry for path, _ in files for entry in _entries(path))


def _entries(path: Path) -> Iterable[Entry]:
    """The networks of a file as they are named there; whether the file is sound is found out when it is used."""
    networks = read_table(path).get("networks", {})
    for name, spec in networks.items() if isinstance(networks, Mapping) else ():
        aliases = spec.get("aliases", ()) if isinstance(spec, Mapping) else ()
        stated = isinstance(aliases, (list, tuple)) and all(isinstance(alias, str) for alias in aliases)
        yield Entry(name, path, tuple(aliases) if stated else ())
