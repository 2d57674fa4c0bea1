"""Other libraries' definitions of the zoo's networks, as benchmarks/exactness.toml names them, without their weights."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import costmodel as cm
from costmodel.errors import InvalidSpec, nearest
from tests.torch_networks import imported

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    import torch

DATA = Path(__file__).with_name("exactness.toml")


def _torchvision(name: str, options: Mapping[str, Any]) -> torch.nn.Module:
    return imported("torchvision").models.get_model(name, weights=None, **options)


def _timm(name: str, options: Mapping[str, Any]) -> torch.nn.Module:
    return imported("timm").create_model(name, **options)


def _pytorchcv(name: str, options: Mapping[str, Any]) -> torch.nn.Module:
    return imported("pytorchcv.model_provider").get_model(name, **options)


def _transformers(name: str, options: Mapping[str, Any]) -> torch.nn.Module:
    """A model class by name, of a configuration with these values; its attention is written out in products."""
    kind = getattr(imported("transformers"), name)
    return kind(kind.config_class(**{"attn_implementation": "eager", "use_cache": False, **options}))


BUILDERS: Mapping[str, Callable[[str, Mapping[str, Any]], Any]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "pytorchcv": _pytorchcv,
    "transformers": _transformers,
}


@dataclass(frozen=True)
class Peer:
    """A definition of another library; ``differs`` says in what it is not the zoo's network."""

    library: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    differs: str = ""

    @property
    def label(self) -> str:
        return f"{self.library} `{self.name}`"

    def module(self) -> torch.nn.Module:
        """The network as it infers, on the meta device."""
        import torch

        imported("torchvision")
        build = BUILDERS[self.library]
        try:
            with torch.device("meta"):
                return build(self.name, self.options).eval()
        except NotImplementedError:  # it reads numbers of tensors that it makes
            return build(self.name, self.options).to("meta").eval()


@dataclass(frozen=True)
class Row:
    """A network of the zoo, perhaps with other parameters, and who else defines it."""

    network: str
    parameters: Mapping[str, Any]
    peers: tuple[Peer, ...]

    @property
    def label(self) -> str:
        given = ", ".join(f"{key}={value}" for key, value in self.parameters.items())
        return f"`{self.network}`" + (f" {given}" if given else "")

    def zoo_network(self) -> cm.Network:
        return cm.zoo(self.network, **self.parameters)


def rows() -> list[Row]:
    """The file's, in its order. Raises InvalidSpec for a library that is none of ``BUILDERS``."""
    return [_row(dict(entry)) for entry in tomllib.loads(DATA.read_text(encoding="utf-8"))["networks"]]


def _row(entry: dict[str, Any]) -> Row:
    network, parameters = entry.pop("network"), entry.pop("parameters", {})
    return Row(network, parameters, tuple(_peer(library, stated) for library, stated in entry.items()))


def _peer(library: str, stated: str | Mapping[str, Any]) -> Peer:
    if library not in BUILDERS:
        raise InvalidSpec(f"{DATA}: no library {library!r}; {nearest(library, BUILDERS)}")
    return Peer(library, stated) if isinstance(stated, str) else Peer(library, **stated)
