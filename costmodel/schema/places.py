"""Where in its file a part of a spec stands: the record's place translated to the keys that a person wrote, and its line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from costmodel.errors import InvalidSpec
from costmodel.schema.lines import line_of
from costmodel.schema.spec import Family, Step, read_table, written_path

Place = tuple[str | int, ...]


def place_of(family: Family, step: Step) -> Place | None:
    """The place of a layer among the records of a family; None where it is not one of this family's."""
    lists: dict[Place, Sequence[Step]] = {("body", "layers"): family.body.layers}
    lists |= {("blocks", name, "layers"): block.layers for name, block in family.blocks.items()}
    lists |= {("networks", name, "body", "layers"): spec.body.layers for name, spec in family.networks.items() if spec.body}
    return next((place for at, steps in lists.items() for place, found in _steps(steps, at) if found is step), None)


def _steps(steps: Sequence[Step], at: Place) -> Iterator[tuple[Place, Step]]:
    """Each layer of a list and of the branches and groups within, with its place."""
    for i, step in enumerate(steps):
        place = (*at, i)
        yield place, step
        yield from _steps(step.steps, (*place, "steps"))
        for j, branch in enumerate(step.branches):
            yield from _steps(branch.steps, (*place, "branches", j, "steps"))


def in_file(path: Path, *places: Place) -> str:
    """The file with the line of the first of these places that it has, as ``file:line``."""
    try:
        table, text = read_table(path), path.read_text("utf-8")
    except (InvalidSpec, OSError):
        return str(path)  # it has changed since it was read
    written = [(place, written_path(table, place)) for place in places]
    found = [keys for place, keys in written if keys[-1:] == place[-1:]]
    return f"{path}:{line_of(text, found[0] if found else ())}"
