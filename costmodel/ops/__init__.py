"""The rules. Importing this package fills the registry with every op family."""

from costmodel.ops import (  # noqa: F401
    attention,
    conv,
    elementwise,
    generators,
    indexing,
    layout,
    matmul,
    microsoft,
    normalization,
    pooling,
    quantized,
    recurrent,
    reduction,
    resize,
    signal,
    slicing,
    text,
)
