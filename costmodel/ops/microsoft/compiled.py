"""Parts of a network that were compiled for one device: a boundary of what can be counted from a file."""

from __future__ import annotations

from costmodel.errors import UnsupportedOp
from costmodel.ops.microsoft.domain import microsoft

REASON = "it holds a part of the network compiled for one device, in its maker's format; count the model that was compiled"


@microsoft("EPContext")
def compiled_context(
    *inputs, embed_mode=1, ep_cache_context=None, ep_sdk_version=None, hardware_architecture=None, main_context=1,
    max_size=0, notes=None, onnx_model_filename=None, partition_name=None, source=None,
):  # fmt: skip
    """Not counted: a part of the network that was compiled for one device, in its maker's format."""
    raise UnsupportedOp(REASON)


@microsoft("Snpe")
def compiled_container(*inputs, DLC, notes="", snpe_version="", target_device=""):  # noqa: N803 - ONNX Runtime's name
    """Not counted: a part of the network that was compiled for one device, in its maker's format."""
    raise UnsupportedOp(REASON)
