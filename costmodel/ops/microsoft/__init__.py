"""Rules of ONNX Runtime's own domain, com.microsoft."""

from costmodel.ops.microsoft import (  # noqa: F401
    activations,
    attention,
    branches,
    convolution,
    experts,
    generation,
    normalization,
    packed,
    positions,
    products,
    quantized,
    recurrent,
    selection,
    spectral,
    text,
)
