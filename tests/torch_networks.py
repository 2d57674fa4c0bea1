"""Networks of torch's libraries, for comparison."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path
from typing import Any


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
