"""The rules. Importing this package fills the registry with the families that most networks use.

The registry loads the rest, ``LATER`` there, when an op is asked for that these do not have.
"""

from costmodel.ops import (  # noqa: F401
    attention,
    control,
    conv,
    elementwise,
    generators,
    indexing,
    layout,
    matmul,
    normalization,
    pooling,
    quantized,
    recurrent,
    reduction,
    resize,
    slicing,
)
