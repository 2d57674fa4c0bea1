"""Rules of ONNX Runtime's own domains, com.microsoft and com.microsoft.nchwc."""

from costmodel.ops.microsoft import (  # noqa: F401
    activations,
    attention,
    blocked,
    branches,
    compiled,
    convolution,
    experts,
    generation,
    normalization,
    packed,
    positions,
    products,
    quantized,
    recurrence,
    recurrent,
    selection,
    sparse,
    spectral,
    text,
)
