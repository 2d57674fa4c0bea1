"""A network of a spec against what is known about it: published figures, and whether ONNX accepts what it is exported to.

This is what the tests do with every spec of the zoo, for a spec of one's own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel import catalogue
from costmodel.counts import count
from costmodel.dims import Dim
from costmodel.errors import CostModelError, InvalidSpec
from costmodel.export import to_onnx
from costmodel.graph import Network
from costmodel.schema.spec import Family, Figure, Published
from costmodel.unfolding import compile_network, load_spec, used_spec


@dataclass(frozen=True, slots=True)
class Checked:
    """A published figure beside the count of the same thing, at these parameters and sizes."""

    source: str
    quantity: str
    figure: Figure
    counted: int
    parameters: Mapping[str, Any]
    sizes: Mapping[str, int]
    note: str = ""

    @property
    def difference(self) -> float:
        return self.counted / int(self.figure) - 1

    @property
    def agrees(self) -> bool:
        return self.figure.agrees(self.counted)


@dataclass(frozen=True, slots=True)
class CheckedNetwork:
    """One network of a spec file: its counts and figures, or why there are none; ``onnx`` is what ONNX's checker objects
    to.
    """

    name: str
    layers: int = 0
    params: int | None = None
    macs: int | None = None
    figures: tuple[Checked, ...] = ()
    error: str = ""
    onnx: str = ""

    @property
    def problems(self) -> list[str]:
        """What is wrong, one line each; empty where all is well."""
        wrong = [
            f"{figure.quantity}: {figure.counted:,} counted, but {figure.source!r} has {int(figure.figure):,}"
            for figure in self.figures
            if not figure.agrees
        ]
        found = [self.error] if self.error else wrong
        return [*found, f"ONNX: {self.onnx}"] if self.onnx else found


def checked_figures(network: Network, family: Family, figures: Sequence[Published]) -> Iterator[Checked]:
    """Each published figure of params, weights and MACs with the count for its parameters, at its sizes.

    >>> from costmodel.specs import described, zoo
    >>> family, name, _ = described("resnet50")
    >>> [figure.agrees for figure in checked_figures(zoo(name), family, family.networks[name].published)]
    [True, True]
    """
    for figure in figures:
        variant = compile_network(family, network.name, **figure.parameters) if figure.parameters else network
        bound = variant.bind(figure.sizes)
        sizes = {name: bound[name] for name in variant.sizes}
        counted = count(variant).at(sizes)
        for quantity in ("params", "weights", "macs"):
            stated = getattr(figure, quantity)
            if stated is not None:
                number = int(getattr(counted, quantity))
                yield Checked(figure.source, quantity, stated, number, figure.parameters, sizes, figure.note)


def check_spec(path: str | os.PathLike[str]) -> list[CheckedNetwork]:
    """Check a spec file from end to end: its frame, every network layer by layer, every published figure, and what each
    network is exported to.

    Raises InvalidSpec where the file as a whole is unsound, or where a name of it stands for another network of the zoo.
    """
    family = load_spec(Path(path))
    named = [catalogue.Entry(name, family.path, spec.aliases) for name, spec in family.networks.items()]
    others = [entry for entry in catalogue.entries() if entry.path != catalogue.installed_path(family.path)]
    catalogue.indexed([*others, *named])
    return [_checked(family, name) for name in family.networks]


def add_spec(path: str | os.PathLike[str]) -> Path:
    """Put a spec file where its networks are found by their names alone.

    Raises InvalidSpec where it uses the blocks of a file that is not there.
    """
    family = load_spec(Path(path))
    for used in family.use:
        if used_spec(catalogue.user_folder(), used) is None:
            beside = family.path.with_name(f"{used}.toml")
            raise InvalidSpec(f"{family.path}: use: {used!r} is not in the zoo; add it first: costmodel zoo add {beside}")
    return catalogue.install(family.path)


def _checked(family: Family, name: str) -> CheckedNetwork:
    spec = family.networks[name]
    try:
        network = compile_network(family, name)
        for benchmark in (run for runs in spec.benchmarks.values() for run in runs):
            compile_network(family, name, **benchmark.parameters)
        counted = count(network)
        if counted.unsupported:
            return CheckedNetwork(name, layers=len(network.layers), error="; ".join(counted.unsupported))
        is_bound = len(network.bind({}, complete=False)) == len(network.sizes)
        return CheckedNetwork(
            name,
            layers=len(network.layers),
            params=Dim.of(counted.total.params).at(),
            macs=int(counted.at().macs) if is_bound else None,
            figures=tuple(checked_figures(network, family, spec.published)),
            onnx=_refused(network),
        )
    except CostModelError as error:
        return CheckedNetwork(name, error=str(error))


def _refused(network: Network) -> str:
    """Why ONNX's checker does not accept a network; empty where it does. Weights are looked at by shape alone."""
    import onnx
    from onnx import helper

    model = to_onnx(network, weights="none")
    bare = [stored for stored in model.graph.initializer if not stored.raw_data]
    for stored in bare:
        model.graph.initializer.remove(stored)
        model.graph.input.append(helper.make_tensor_value_info(stored.name, stored.data_type, stored.dims))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return str(error).strip().splitlines()[0]
    return ""
