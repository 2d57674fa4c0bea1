"""The zoo: network specs, compiled to networks.

>>> zoo("mobilenet_v2", width=0.75).outputs["linear1"].shape
(Dim('N'), 1000)

A spec is a TOML file for a family of networks (docs/add-a-network). A parameter of a network may be left open: give it a
Dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from costmodel import catalogue
from costmodel.errors import InvalidSpec, UnknownNetwork, nearest
from costmodel.export import save_onnx as save_onnx
from costmodel.export import to_onnx as to_onnx
from costmodel.graph import Network
from costmodel.schema.spec import Benchmark, Family, Published
from costmodel.unfolding import compile_network as compile_network
from costmodel.unfolding import load_spec as load_spec
from costmodel.unfolding import named_in

SUFFIX = ".toml"


def zoo(name: str, **parameters: Any) -> Network:
    """A network of the zoo, by name, with some of its parameters changed.

    A name is forgiving of case and separators, and other names of a network do as well. A spec file of your own goes by
    its path, ``"folder/mine.toml"``, or ``"folder/mine.toml:network"`` where it has several.

    >>> zoo("ResNet-50").defaults
    {'N': 1, 'H': 224, 'W': 224}

    Raises UnknownNetwork for a name that the zoo does not have and InvalidSpec for a parameter that the network does not
    have; both with the nearest names.
    """
    family, network, said = described(name)
    return compile_network(family, network, **{**said, **parameters})


def zoo_names() -> list[str]:
    """The names of all networks of the zoo, in alphabetical order, each network once."""
    return [entry.name for entry in catalogue.entries()]


def published(name: str) -> tuple[Published, ...]:
    """What others published about a network of the zoo, each figure with its source.

    >>> [int(figure.params) for figure in published("resnet50") if figure.params][0]
    25557032
    """
    family, network, _ = described(name)
    return family.networks[network].published


def described(name: str) -> tuple[Family, str, Mapping[str, catalogue.Number]]:
    """The family that a network belongs to, the network's own name, and the parameters that the name given says.

    >>> family, network, said = described("MobileNet-v2_1.0_224")
    >>> family.path.name, network, said
    ('mobilenet_v2.toml', 'mobilenet_v2', {'width': 1, 'resolution': 224})
    """
    path, _, inside = name.partition(f"{SUFFIX}:")
    if inside:
        family = load_spec(path + SUFFIX)
        return family, *named_in(family, inside)
    if name.endswith(SUFFIX):
        family = load_spec(name)
        return family, _only_network(family), {}
    entry, said = catalogue.find(name)
    return load_spec(entry.path), entry.name, said


def mentions(family: Family, network: str, text: str) -> bool:
    """Whether the names or the family of a network have a text, forgiving of case and separators, or its notes have it.

    >>> family, network, _ = described("resnet50")
    >>> mentions(family, network, "Res-Net"), mentions(family, network, "bottleneck"), mentions(family, network, "vgg")
    (True, True, False)
    """
    spec = family.networks[network]
    names = (network, *spec.aliases, family.path.stem)
    is_named = any(catalogue.forgiving(text) in catalogue.forgiving(name) for name in names)
    return is_named or any(text.casefold() in note.casefold() for note in (family.note, spec.note))


def _only_network(family: Family) -> str:
    if len(family.networks) == 1:
        return next(iter(family.networks))
    found = ", ".join(family.networks) or "none"
    raise UnknownNetwork(f"{family.path}: say which network is meant, as in {family.path.name}:NAME; it has {found}")


def benchmark_names(runtime: str) -> list[str]:
    """The names under which a runtime's own benchmark runs networks of the zoo."""
    return sorted(_benchmarks(runtime, tuple(catalogue.entries())))


def benchmark_network(runtime: str, name: str) -> Network:
    """The network that a runtime's own benchmark runs under a name, with its sizes there as defaults.

    >>> benchmark_network("ncnn", "squeezenet").defaults
    {'N': 1, 'H': 227, 'W': 227}
    """
    known = _benchmarks(runtime, tuple(catalogue.entries()))
    if name not in known:
        raise UnknownNetwork(f"the benchmark of {runtime} runs no {name!r} that the zoo has; {nearest(name, known)}")
    entry, benchmark = known[name]
    network = compile_network(load_spec(entry.path), entry.name, **benchmark.parameters)
    bound = network.bind({"N": 1, **benchmark.sizes}, complete=False)
    return replace(network, defaults=bound)


@lru_cache(maxsize=16)
def _benchmarks(runtime: str, entries: tuple[catalogue.Entry, ...]) -> Mapping[str, tuple[catalogue.Entry, Benchmark]]:
    """The network of the zoo, and how it is run, for each of a runtime's names."""
    found: dict[str, tuple[catalogue.Entry, Benchmark]] = {}
    for entry in entries:
        spec = load_spec(entry.path).networks[entry.name]
        for benchmark in spec.benchmarks.get(runtime, ()):  # type: ignore[call-overload]
            for name in benchmark.names:
                if name in found:
                    both = f"as {found[name][0].name!r} and as {entry.name!r}"
                    raise InvalidSpec(f"{entry.path}: {runtime} runs {name!r} {both}; give it one")
                found[name] = entry, benchmark
    return found
