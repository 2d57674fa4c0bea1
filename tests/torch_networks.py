"""Networks of torch's libraries with random weights, for comparison."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

IMAGE = (1, 3, 224, 224)
BERT = {
    "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512,
    "attn_implementation": "eager",
}  # fmt: skip

GPT2 = {"n_embd": 128, "n_layer": 2, "n_head": 2, "use_cache": False, "attn_implementation": "eager"}


@cache
def declare_torchvision_operators() -> Any:
    """Let torchvision import where its compiled part does not load with the torch that is there.

    It registers shapes for the operators of that part when it is imported; its networks use none of them.
    """
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None or hasattr(torch.ops.torchvision, "nms"):
        return None
    text = (Path(spec.origin).parent / "_meta_registrations.py").read_text()
    operators = torch.library.Library("torchvision", "DEF")
    for name in sorted(set(re.findall(r'(?:register_fake|register_meta)\("(?:torchvision::)?(\w+)"', text))):
        operators.define(f"{name}(Tensor x) -> Tensor")
    return operators  # which live as long as this object


def imported(name: str) -> Any:
    """A library that needs torchvision to import."""
    declare_torchvision_operators()
    return importlib.import_module(name)


def _torchvision(name: str) -> Callable[[], torch.nn.Module]:
    return lambda: getattr(imported("torchvision.models"), name)()


def _timm(name: str) -> Callable[[], torch.nn.Module]:
    return lambda: imported("timm").create_model(name)


def _bert() -> torch.nn.Module:
    transformers = imported("transformers")
    module: torch.nn.Module = transformers.BertModel(transformers.BertConfig(**BERT))
    return module


def _gpt2() -> torch.nn.Module:
    transformers = imported("transformers")
    config = transformers.GPT2Config(**GPT2)
    module: torch.nn.Module = transformers.GPT2Model(config)
    return module


TORCHVISION = (
    "alexnet", "vgg11", "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_large", "densenet121", "squeezenet1_1",
    "googlenet", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "swin_t", "vit_b_16",
)  # fmt: skip
NETWORKS: Mapping[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]] = {
    **{name: (_torchvision(name), IMAGE) for name in TORCHVISION},
    "vit_tiny_patch16_224": (_timm("vit_tiny_patch16_224"), IMAGE),
    "mixer_s32_224": (_timm("mixer_s32_224"), IMAGE),
    "ghostnet_100": (_timm("ghostnet_100"), IMAGE),
    "levit_128s": (_timm("levit_128s"), IMAGE),
    "coatnet_pico_rw_224": (_timm("coatnet_pico_rw_224"), IMAGE),
    "bert": (_bert, (1, 32)),
    "gpt2": (_gpt2, (1, 32)),
}


@lru_cache(maxsize=1)
def network(name: str) -> tuple[torch.nn.Module, torch.Tensor]:
    """A module that infers, and an input for it: token ids for a network of text, else an image."""
    import torch

    build, shape = NETWORKS[name]
    return build().eval(), torch.zeros(shape, dtype=torch.int64 if len(shape) == 2 else torch.float32)
