"""How torch's own counter counts, and the script behind torchvision's tables: products alone."""

from __future__ import annotations

from costmodel.conventions.call import Table, macs

PRODUCTS = (
    "Attention", "Conv", "ConvTranspose", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "MultiHeadAttention", "RNN",
)  # fmt: skip
TORCH: Table = dict.fromkeys(PRODUCTS, macs)
TORCHVISION: Table = {**TORCH, "QLinearConv": macs, "ConvInteger": macs}
