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
from pathlib import Path
from typing import Any

from costmodel.errors import InvalidSpec, UnknownNetwork, nearest
from costmodel.export import save_onnx as save_onnx
from costmodel.export import to_onnx as to_onnx
from costmodel.graph import Network
from costmodel.schema.data import data_folder
from costmodel.schema.spec import Benchmark, Published, read_table
from costmodel.unfolding import compile_network as compile_network
from costmodel.unfolding import load_spec as load_spec


def zoo(name: str, **parameters: Any) -> Network:
    """A network of the zoo, by name, with some of its parameters changed.

    >>> zoo("resnet50").defaults
    {'N': 1, 'H': 224, 'W': 224}

    Raises UnknownNetwork for a name that the zoo does not have and InvalidSpec for a parameter that the network does not
    have; both with the nearest names.
    """
    return compile_network(load_spec(_home(name)), name, **parameters)


def zoo_names() -> list[str]:
    """The names of all networks of the zoo, in alphabetical order."""
    return sorted(_index())


def published(name: str) -> tuple[Published, ...]:
    """What others published about a network of the zoo, each figure with its source.

    >>> [int(figure.params) for figure in published("resnet50") if figure.params][0]
    25557032
    """
    return load_spec(_home(name)).networks[name].published


def benchmark_names(runtime: str) -> list[str]:
    """The names under which a runtime's own benchmark runs networks of the zoo."""
    return sorted(_benchmarks(runtime))


def benchmark_network(runtime: str, name: str) -> Network:
    """The network that a runtime's own benchmark runs under a name, with its sizes there as defaults.

    >>> benchmark_network("ncnn", "squeezenet").defaults
    {'N': 1, 'H': 227, 'W': 227}
    """
    known = _benchmarks(runtime)
    if name not in known:
        raise UnknownNetwork(f"the benchmark of {runtime} runs no {name!r} that the zoo has; {nearest(name, known)}")
    zoo_name, benchmark = known[name]
    network = zoo(zoo_name, **benchmark.parameters)
    bound = network.bind({"N": 1, **benchmark.sizes}, complete=False)
    return replace(network, defaults=bound)


def _home(name: str) -> Path:
    try:
        return _index()[name]
    except KeyError:
        raise UnknownNetwork(f"the zoo has no network {name!r}; {nearest(name, _index())}") from None


@lru_cache(maxsize=1)
def _index() -> Mapping[str, Path]:
    """The file of each network."""
    found: dict[str, Path] = {}
    for path in sorted(data_folder("zoo_specs").glob("*.toml")):
        for name in read_table(path).get("networks", {}):
            if name in found:
                raise InvalidSpec(f"{path}: network {name!r} is also in {found[name]}; a name stands for one network")
            found[name] = path
    return found


@lru_cache(maxsize=16)
def _benchmarks(runtime: str) -> Mapping[str, tuple[str, Benchmark]]:
    """The zoo's name, and how it is run, for each of a runtime's names."""
    found: dict[str, tuple[str, Benchmark]] = {}
    for zoo_name, path in _index().items():
        for benchmark in load_spec(path).networks[zoo_name].benchmarks.get(runtime, ()):  # type: ignore[call-overload]
            for name in benchmark.names:
                if name in found:
                    other = found[name][0]
                    raise InvalidSpec(f"{path}: {runtime} runs {name!r} as {other!r} and as {zoo_name!r}; give it one")
                found[name] = zoo_name, benchmark
    return found
