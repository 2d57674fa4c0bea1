"""The tools whose counting the conventions reproduce, each as a function of a module and its input."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

Tool = Callable[["torch.nn.Module", "torch.Tensor"], int]


@contextmanager
def separate_operations(module: torch.nn.Module) -> Iterator[None]:
    """Torch without the kernels that stand for several operations, which hide from every tool what they do."""
    import torch

    was_on = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    is_recurrent = any(isinstance(part, torch.nn.RNNBase) for part in module.modules())
    try:
        with torch.backends.mkldnn.flags(enabled=not is_recurrent):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_on)


def _fvcore(module: torch.nn.Module, x: torch.Tensor) -> int:
    from fvcore.nn import FlopCountAnalysis

    analysis = FlopCountAnalysis(module, (x,))
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    return int(analysis.total())


def _thop(module: torch.nn.Module, x: torch.Tensor) -> int:
    import thop
    import torch

    held = torch.nn.Sequential(module).eval()  # it leaves every part as it finds the whole, training or not
    return int(thop.profile(held, inputs=(x,), verbose=False)[0])


def _ptflops(backend: str) -> Tool:
    def count(module: torch.nn.Module, x: torch.Tensor) -> int:
        import torch
        from ptflops import get_model_complexity_info

        held = torch.nn.Sequential(module).eval()
        held.register_parameter("place", torch.nn.Parameter(torch.zeros(1)))  # it asks the first one for a device
        options: dict[str, Any] = {"as_strings": False, "print_per_layer_stat": False, "backend": backend}
        macs, _ = get_model_complexity_info(held, tuple(x.shape[1:]), input_constructor=lambda _: {"input": x}, **options)
        return int(macs)

    return count


def _torch(module: torch.nn.Module, x: torch.Tensor) -> int:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        module(x)
    return int(counter.get_total_flops()) // 2


TOOLS: Mapping[str, Tool] = {
    "fvcore": _fvcore,
    "ptflops": _ptflops("pytorch"),
    "ptflops-aten": _ptflops("aten"),
    "thop": _thop,
    "torch": _torch,
}
PACKAGES: Mapping[str, str] = {"ptflops-aten": "ptflops", "onnx-tool": "onnx_tool"}  # where it is not the tool's name


def counted(name: str, module: torch.nn.Module, x: torch.Tensor) -> int:
    """What a tool counts, without what it prints."""
    with separate_operations(module), redirect_stdout(io.StringIO()), _quiet():
        return TOOLS[name](module, x)


def onnx_tool_macs(model: Any) -> int:
    """What onnx-tool counts for an ONNX file or model."""
    import onnx_tool

    with redirect_stdout(io.StringIO()), _quiet():
        graph = onnx_tool.Model(model).graph
        graph.graph_reorder_nodes()
        graph.shape_infer(None)
        graph.profile()
    return int(graph.macs[0])


def published_macs(name: str) -> int | None:
    """What torchvision's documentation states for a network of its own and 224 pixels, to thousandths of a billion."""
    from torchvision.models import get_model_weights

    for entry in get_model_weights(name):
        if entry.transforms().crop_size == [224]:
            return round(entry.meta["_ops"] * 1e9)
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
