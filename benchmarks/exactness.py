"""The zoo against the same networks as other libraries define them: parameters, multiply-adds, and layer by layer.

    python -m benchmarks.exactness [--write] [NETWORK ...]

benchmarks/exactness.toml says which definitions are the same network. Each is built on torch's meta device, counted by
torch's own counter, and exported to ONNX with its batch norms in place; the layers of the exported graph that multiply are
then compared with the zoo's: weights, strides, groups, outputs. ``--write`` writes the table of docs/exactness.md. Exits
with 1 where a difference has no reason in the file, or a reason no difference. Needs torch, onnxscript, torchvision, timm,
pytorchcv and transformers.
"""

from __future__ import annotations

import argparse
import inspect
import io
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import costmodel as cm
from benchmarks.peers import BUILDERS, Peer, Row, rows
from benchmarks.products import Product, plain_forms, products_of_export, products_of_network
from costmodel.dims import value_at
from costmodel.errors import MalformedModel
from tests.counting_tools import separate_operations

if TYPE_CHECKING:
    import torch

PAGE = Path(__file__).parent.parent / "docs" / "exactness.md"
TABLE = re.compile(r"(?<=<!-- exactness -->\n).*?(?=<!-- end -->)", re.DOTALL)
SHOWN = 3  # layers of a difference


@dataclass(frozen=True)
class Definition:
    """What one definition of a network comes to, at batch 1."""

    label: str
    params: int
    macs: int
    products: Sequence[Product]

    def __post_init__(self) -> None:
        listed = sum(one.macs for one in self.products)
        if listed != self.macs:
            raise MalformedModel(f"{self.label}: the layers listed make {listed:,} of {self.macs:,} MACs; list the others")

    @cached_property
    def layers(self) -> list[Product]:
        return [one._replace(source="") for one in self.products]


def of_zoo(network: cm.Network) -> Definition:
    sizes = {"N": 1, **network.bind({}, complete=False)}
    total = cm.count(network).total
    params, macs = value_at(total.params, sizes), value_at(total.macs, sizes)
    return Definition(network.name, params, macs, products_of_network(network, sizes))


def of_peer(peer: Peer, network: cm.Network) -> Definition:
    """Of another library's definition, on inputs of the zoo network's shapes, by name where it knows the names."""
    import torch

    module, inputs = peer.module(), example_inputs(network)
    is_by_name = inputs.keys() <= inspect.signature(module.forward).parameters.keys()
    args, by_name = ((), inputs) if is_by_name else (tuple(inputs.values()), {})
    params = sum(parameter.numel() for parameter in module.parameters())
    macs = torch_macs(module, args, by_name)
    with redirect_stdout(io.StringIO()):
        exported: Any = torch.onnx.export(module, args, kwargs=by_name, dynamo=True, optimize=False, verbose=False)
    of_every_run, made_once = products_of_export(exported.model)
    return Definition(peer.label, params, macs - sum(one.macs for one in made_once), of_every_run)


def example_inputs(network: cm.Network) -> dict[str, torch.Tensor]:
    import torch

    sizes = {"N": 1, **network.bind({}, complete=False)}
    return {
        name: torch.empty([value_at(extent, sizes) for extent in x.dims], dtype=getattr(torch, x.dtype), device="meta")
        for name, x in network.inputs.items()
    }


def torch_macs(module: torch.nn.Module, args: Sequence[Any], by_name: dict[str, Any]) -> int:
    """Half of the FLOPs that torch's own counter counts, on tensors that have shapes and no numbers."""
    import torch
    from torch._subclasses import FakeTensorMode
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils import _pytree as pytree
    from torch.utils.flop_counter import FlopCounterMode

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    args, by_name = pytree.tree_map(fake.from_tensor, (args, by_name))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), separate_operations(module), sdpa_kernel(SDPBackend.MATH), fake, counter:
        module(*args, **by_name)
    return int(counter.get_total_flops()) // 2


@dataclass(frozen=True)
class Comparison:
    """A network of the zoo beside another library's definition."""

    peer: Peer
    ours: Definition
    theirs: Definition

    @cached_property
    def agreement(self) -> str | None:
        """How the layers agree: "" in order; None where they do not."""
        mine, others = self.ours.layers, self.theirs.layers
        if mine == others:
            return ""
        if Counter(mine) == Counter(others):
            return "another order"
        return None if any(self.differences) else "another form"

    @property
    def is_exact(self) -> bool:
        same = (self.ours.params, self.ours.macs) == (self.theirs.params, self.theirs.macs)
        return same and self.agreement is not None

    @property
    def is_explained(self) -> bool:
        return self.is_exact != bool(self.peer.differs)

    @cached_property
    def differences(self) -> tuple[list[Product], list[Product]]:
        """The layers that only the other library's definition has, and those that only the zoo's has."""
        mine, others = Counter(plain_forms(self.ours.products)), Counter(plain_forms(self.theirs.products))
        return list((others - mine).elements()), list((mine - others).elements())

    def told(self) -> str:
        """The definition, and how its layers agree or what makes it another network."""
        if self.is_exact:
            return self.peer.label + (f" ({self.agreement})" if self.agreement else "")
        totals = [
            f"{others:,} {what} (here {mine:,})"
            for what, mine, others in (
                ("params", self.ours.params, self.theirs.params),
                ("MACs", self.ours.macs, self.theirs.macs),
            )
            if mine != others
        ]
        layers = [f"{who} {shown(some)}" for who, some in zip(("layers", "here"), self.differences, strict=True) if some]
        return f"{self.peer.label}: {self.peer.differs or '**no reason is known**'}. {'; '.join([*totals, *layers])}"


def shown(products: Sequence[Product]) -> str:
    counted = [f"{times} of {one}" if times > 1 else str(one) for one, times in Counter(products).items()]
    return ", ".join(counted[:SHOWN]) + (f" and {len(counted) - SHOWN} more" if len(counted) > SHOWN else "")


@dataclass(frozen=True)
class Result:
    """A network of the zoo and all that it was compared with."""

    row: Row
    ours: Definition
    comparisons: Sequence[Comparison]

    def line(self) -> str:
        """Its line of the table; empty where no definition is the same."""
        same = ", ".join(comparison.told() for comparison in self.comparisons if comparison.is_exact)
        numbers = f"{self.ours.params:,} | {self.ours.macs:,} | {len(self.ours.products)}"
        return f"| {self.row.label} | {numbers} | {same} |\n" if same else ""

    def differences(self) -> str:
        return "".join(f"- {self.row.label}, {one.told()}\n" for one in self.comparisons if not one.is_exact)


def results(names: Sequence[str]) -> Iterator[Result]:
    for row in rows():
        if not names or row.network in names:
            network = row.zoo_network()
            mine = of_zoo(network)
            yield Result(row, mine, [Comparison(peer, mine, of_peer(peer, network)) for peer in row.peers])


def page(found: Sequence[Result]) -> str:
    """What stands between the marks of docs/exactness.md."""
    exact = {result.row.network for result in found if result.line()}
    missing = ", ".join(f"`{name}`" for name in cm.zoo_names() if name not in exact)
    versions = ", ".join(f"{library} {version(library)}" for library in ("torch", *BUILDERS))
    definitions = sum(comparison.is_exact for result in found for comparison in result.comparisons)
    return (
        f"{len(exact)} of the zoo's {len(cm.zoo_names())} networks have the parameters, the MACs and every layer of another "
        f"library's definition, or of several: {definitions} definitions in all ({versions}).\n\n"
        "| network | params | MACs | layers | the same in |\n|---|--:|--:|--:|---|\n"
        f"{''.join(result.line() for result in found)}\n"
        f"Near, but another network:\n\n{''.join(result.differences() for result in found)}\n"
        f"Not compared with a definition that is the same: {missing}.\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="Networks of the zoo; all where none is named.")
    parser.add_argument("--write", action="store_true", help="Write docs/exactness.md.")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = []
    for result in results(arguments.networks):
        found.append(result)
        print(result.line() + result.differences(), end="", flush=True)
    if arguments.write:
        table = page(found)
        PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    comparisons = [comparison for result in found for comparison in result.comparisons]
    unexplained = sum(not comparison.is_explained for comparison in comparisons)
    print(f"{len(comparisons)} comparisons, {unexplained} not as benchmarks/exactness.toml says")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
