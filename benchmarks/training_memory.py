"""The memory of a training step: what PyTorch takes, and what costmodel says that it takes.

    python -m benchmarks.training_memory [--write] [--real] [NETWORK ...]

Each network of the table below is built as another library defines it, without dropout, which a graph for inference does not
have, and trained for two steps on fake tensors, which have storages and no numbers: every storage is followed from the
operation that makes it until it is freed. The second step counts, when the optimiser has its states. ``--real`` runs one
on real tensors beside it and reads PyTorch's allocator through its profiler. ``--write`` writes what was measured
to tests/data/training_memory.json. Needs torch, torchvision, timm and transformers.
"""

from __future__ import annotations

import argparse
import json
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch._subclasses import FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import costmodel as cm
from benchmarks.peers import BUILDERS, Peer
from costmodel.training import TrainingPlan, training_memory
from tests.torch_networks import imported

FACTS = Path(__file__).parent.parent / "tests" / "data" / "training_memory.json"
OPTIMIZERS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, foreach=True),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, foreach=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, foreach=True),
    "adamw": lambda p: torch.optim.AdamW(p, foreach=True),
    "adam-fused": lambda p: torch.optim.Adam(p, fused=True),
}
LOSSES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda y: y.mean(),
    "cross-entropy": lambda y: torch.nn.functional.cross_entropy(
        y.flatten(0, -2), torch.empty(y.flatten(0, -2).shape[0], dtype=torch.int64)
    ),
}


@dataclass(frozen=True)
class Case:
    """A network of the zoo, who else defines it, and how it is trained."""

    network: str
    library: str
    name: str
    sizes: Mapping[str, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str = "adam"
    loss: str = "mean"
    fused_attention: bool = True
    checkpoint: tuple[str, ...] | None = None  # the zoo's tensors at which the segments of Chain end

    @property
    def label(self) -> str:
        sizes = ", ".join(f"{name}={value}" for name, value in self.sizes.items())
        attention = "" if self.fused_attention else ", attention written out"
        checkpoint = ", checkpoints" if self.checkpoint else ""
        return f"{self.network} ({sizes}, {self.optimizer}, {self.loss}{attention}{checkpoint})"


def vision(
    network: str, name: str = "", library: str = "torchvision", *, batches: tuple[int, ...] = (2, 16), **more: Any
) -> list[Case]:
    return [Case(network, library, name or network, {"N": n}, **more) for n in batches]


def text(network: str, name: str, options: Mapping[str, Any], **more: Any) -> list[Case]:
    shapes: list[dict[str, int]] = [{"N": 4, "S": 128}, {"N": 16, "S": 64}, {"N": 2, "S": 512}]
    return [Case(network, "transformers", name, sizes, options, **more) for sizes in shapes]


BERT_SMALL = {"num_hidden_layers": 4, "hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
SDPA = {"attn_implementation": "sdpa"}
GPT2 = {
    "activation_function": "gelu_pytorch_tanh", "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "n_layer": 12,
    "n_embd": 768, "n_head": 12,
}  # fmt: skip
RESNET50_SEGMENTS = (
    "max_pool1",
    *(f"stage{stage}.{i}.relu3" for stage, depth in ((1, 3), (2, 4), (3, 6), (4, 3)) for i in range(depth)),
)
CASES = [
    *vision("resnet18"), *vision("resnet50"), *vision("mobilenet_v2"), *vision("mobilenet_v3_large"), *vision("alexnet"),
    *vision("vgg11"), *vision("densenet121"), *vision("efficientnet_b0"), *vision("convnext_tiny"), *vision("vit_b_16"),
    *vision("swin_t"), *vision("squeezenet1_1"), *vision("shufflenet_v2", "shufflenet_v2_x1_0"),
    *vision("googlenet", options={"aux_logits": False, "init_weights": False}),
    *vision("inception_v3", options={"aux_logits": False, "init_weights": False}), *vision("mnasnet", "mnasnet1_0"),
    *vision("resnet50", "resnet50", "timm"), *vision("vit_b_16", "vit_base_patch16_224", "timm"),
    *vision("resnet18", batches=(8,), optimizer="sgd"), *vision("vgg11", batches=(2,), optimizer="momentum"),
    *vision("alexnet", batches=(2,), optimizer="rmsprop"), *vision("alexnet", batches=(2,), optimizer="adagrad"),
    *vision("alexnet", batches=(2,), optimizer="adam-fused"), *vision("mobilenet_v2", batches=(32,), loss="cross-entropy"),
    *vision("resnet50", batches=(8, 32), checkpoint=RESNET50_SEGMENTS),
    *text("bert_small", "BertModel", {**BERT_SMALL, **NO_DROPOUT, **SDPA}),
    *text("bert_small", "BertModel", {**BERT_SMALL, **NO_DROPOUT}, fused_attention=False),
    *text("gpt2", "GPT2LMHeadModel", {**GPT2, **SDPA}, loss="cross-entropy"),
]  # fmt: skip


class Chain(torch.nn.Module):
    """torchvision's ResNet: its stem and each block a segment that is run again, and its head, which is not."""

    def __init__(self, resnet: Any) -> None:
        super().__init__()
        stem = torch.nn.Sequential(resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        stages = (resnet.layer1, resnet.layer2, resnet.layer3, resnet.layer4)
        head = torch.nn.Sequential(resnet.avgpool, torch.nn.Flatten(), resnet.fc)
        self.parts = torch.nn.ModuleList([stem, *(block for stage in stages for block in stage), head])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *again, head = self.parts
        for part in again:
            x = checkpoint(part, x, use_reentrant=False)
        return head(x)


class Tracker(TorchDispatchMode):
    """Follows every storage that an operation makes until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        pytree.tree_map_only(torch.Tensor, self._see, result)
        return result

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += self.alive[key]
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._free, key)

    def _free(self, key: int) -> None:
        self.now -= self.alive.pop(key)


def without_dropout(module: torch.nn.Module) -> torch.nn.Module:
    for part in module.train().modules():
        if isinstance(part, torch.nn.Dropout) or type(part).__name__ in ("StochasticDepth", "DropPath"):
            part.p = part.drop_prob = 0.0
        elif isinstance(part, torch.nn.MultiheadAttention):
            part.dropout = 0.0
    return module


def inputs_of(network: cm.Network, sizes: Mapping[str, int]) -> dict[str, torch.Tensor]:
    bound = network.bind(sizes)
    return {
        name: torch.ones([cm.Dim.of(extent).at(bound) for extent in tensor.dims], dtype=getattr(torch, tensor.dtype))
        for name, tensor in network.inputs.items()
    }


@dataclass(frozen=True)
class Measured:
    saved_bytes: int
    peak_bytes: int


def run(module: torch.nn.Module, case: Case, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    result = module(**inputs) if case.library == "transformers" else module(*inputs.values())
    for name in ("logits", "pooler_output", "last_hidden_state"):
        if getattr(result, name, None) is not None:
            return getattr(result, name)
    return result


def measure(case: Case, network: cm.Network) -> Measured:
    """A second training step on fake tensors."""
    tracker = Tracker()
    with ExitStack() as stack:
        module = without_dropout(Peer(case.library, case.name, case.options).module())
        module = Chain(module) if case.checkpoint else module
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(tracker)
        module.to_empty(device="cpu")
        if hasattr(module, "tie_weights"):
            module.tie_weights()
        inputs = inputs_of(network, case.sizes)
        optimizer = OPTIMIZERS[case.optimizer](module.parameters())
        saved = 0
        for _ in range(2):
            optimizer.zero_grad()
            tracker.peak = tracker.now
            with saved_storages() as storages:
                output = run(module, case, inputs)
                loss = LOSSES[case.loss](output)
            held = [*module.parameters(), *module.buffers(), *inputs.values()]
            saved = sum(size for key, size in storages.items() if key not in {x.untyped_storage()._cdata for x in held})
            loss.backward()
            optimizer.step()
        return Measured(saved, tracker.peak)


@contextmanager
def saved_storages() -> Iterator[dict[int, int]]:
    """The storages that are kept for the backward pass, each with its bytes."""
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def measure_allocator(case: Case, network: cm.Network) -> int:
    """The peak of a second step on real tensors, as PyTorch's allocator tells it."""
    module = without_dropout(BUILDERS[case.library](case.name, case.options))
    module = Chain(module) if case.checkpoint else module
    inputs = inputs_of(network, case.sizes)
    optimizer = OPTIMIZERS[case.optimizer](module.parameters())

    def step() -> None:
        output = run(module, case, inputs)
        LOSSES[case.loss](output).backward()
        optimizer.step()

    step()
    optimizer.zero_grad()
    states = [x for state in optimizer.state.values() for x in state.values() if isinstance(x, torch.Tensor)]
    held = [*module.parameters(), *module.buffers(), *inputs.values(), *states]
    now = peak = sum({x.untyped_storage()._cdata: x.untyped_storage().nbytes() for x in held}.values())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def told(case: Case, network: cm.Network) -> TrainingPlan:
    options = {"optimizer": case.optimizer, "loss": case.loss, "checkpoint": case.checkpoint}
    return training_memory(network, fused_attention=case.fused_attention, **options).at(case.sizes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="Networks of the zoo; all of the table by default.")
    parser.add_argument("--real", action="store_true", help="Run a step on real tensors too.")
    parser.add_argument("--write", action="store_true", help=f"Write {FACTS.name}.")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    imported("torchvision")
    print("| network | measured, MB | told, MB | error | kept for backward, error | allocator, MB |")
    print("|---|--:|--:|--:|--:|--:|")
    facts = []
    for case in CASES:
        if arguments.networks and case.network not in arguments.networks:
            continue
        network = cm.zoo(case.network)
        measured, plan = measure(case, network), told(case, network)
        facts.append({**asdict(case), **asdict(measured)})
        allocated = f"{measure_allocator(case, network) / 1e6:.1f}" if arguments.real else ""
        peak, saved = plan.peak_bytes / measured.peak_bytes - 1, plan.saved_bytes / measured.saved_bytes - 1
        numbers = f"{measured.peak_bytes / 1e6:.1f} | {plan.peak_bytes / 1e6:.1f} | {peak:+.2%} | {saved:+.2%}"
        print(f"| {case.library} {case.label} | {numbers} | {allocated} |", flush=True)
    if arguments.write:
        found = {"torch": torch.__version__, "command": "python -m benchmarks.training_memory --write", "cases": facts}
        FACTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
