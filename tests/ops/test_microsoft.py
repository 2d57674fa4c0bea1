"""ONNX Runtime's own ops against ONNX Runtime: the dtype and shape of every output, with numbers and with open sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from one_node import Stored, faults, floats, halves, ids, layer_of, model_of, opened, stored, weights
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from costmodel.dims import value_at
from costmodel.read.onnx import load

SIZES = np.array([2, 3], np.int32)  # lengths of two sequences

# kernels that a session's run cannot feed here: SparseAttention wants its past and present caches in one buffer,
# SparseToDenseMatMul a sparse tensor, MatMulFpQ4 a blob that only its own packing routine makes
KERNELS = [kernel.op_name for kernel in runtime.get_all_opkernel_def() if kernel.domain == "com.microsoft"]
RUNNABLE = {*KERNELS} - {"SparseAttention", "SparseToDenseMatMul", "MatMulFpQ4"}


def small(*shape: int, dtype: Any = np.uint8) -> Any:
    return ids(*shape, below=100, dtype=dtype)


# op, inputs, outputs and attributes
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    # activations
    ("Gelu", (floats(2, 3, 8),), {}),
    ("BiasGelu", (floats(2, 3, 8), weights(8)), {}),
    ("FastGelu", (floats(2, 3, 8),), {}),
    ("FastGelu", (floats(2, 3, 8), weights(8)), {}),
    ("QuickGelu", (floats(2, 3, 8),), {"alpha": 1.5}),
    ("ScaledSiLU", (floats(2, 8),), {"alpha": 1.5}),
    ("GatedAdd", (floats(2, 3, 8), floats(2, 3, 8), floats(2, 3, 1)), {}),
    ("LinearAttentionGate", (floats(2, 3, 4), weights(4), weights(4)), {}),
    ("LinearAttentionGate", (floats(2, 3, 4), weights(4), weights(4), floats(2, 3, 4)), {"outputs": 2}),
    # attention
    ("Attention", (floats(2, 5, 12), weights(12, 36), weights(36)), {"num_heads": 3}),
    ("Attention", (floats(2, 5, 10), weights(10, 36), weights(36)), {"num_heads": 3, "outputs": 2}),
    ("Attention", (floats(2, 5, 12), weights(12, 36), weights(36), ids(2, 5, below=2, dtype=np.int32)), {"num_heads": 3}),
    ("Attention", (floats(2, 5, 12), weights(12, 30), weights(30)), {"num_heads": 3, "qkv_hidden_sizes": [12, 12, 6]}),
    (
        "Attention",
        (floats(2, 1, 12), weights(12, 36), weights(36), None, floats(2, 2, 3, 7, 4)),
        {"num_heads": 3, "unidirectional": 1, "outputs": 2},
    ),
    (
        "Attention",
        (floats(2, 5, 12), weights(12, 36), weights(36), None, None, floats(1, 3, 5, 5)),
        {"num_heads": 3},
    ),
    ("MultiHeadAttention", (floats(2, 5, 12), floats(2, 5, 12), floats(2, 5, 12)), {"num_heads": 3}),
    ("MultiHeadAttention", (floats(2, 5, 12), floats(2, 7, 12), floats(2, 7, 12), weights(36)), {"num_heads": 3}),
    ("MultiHeadAttention", (floats(2, 5, 12), floats(2, 7, 12), floats(2, 7, 18)), {"num_heads": 3}),
    ("MultiHeadAttention", (floats(2, 5, 12), floats(2, 3, 7, 4), floats(2, 3, 7, 4)), {"num_heads": 3}),
    (
        "MultiHeadAttention",
        (floats(2, 1, 12), floats(2, 1, 12), floats(2, 1, 12), None, None, None, floats(2, 3, 6, 4), floats(2, 3, 6, 4)),
        {"num_heads": 3, "outputs": 3},
    ),
    (
        "MultiHeadAttention",
        (
            floats(2, 1, 12), floats(2, 1, 12), floats(2, 1, 12), None, None, None, floats(2, 3, 6, 4), floats(2, 3, 6, 4),
            np.array([4], np.int32),
        ),
        {"num_heads": 3, "outputs": 3},
    ),
    (
        "MultiHeadAttention",
        (floats(2, 5, 12), floats(2, 7, 12), floats(2, 7, 12), None, ids(2, 7, below=2, dtype=np.int32)),
        {"num_heads": 3},
    ),
    (
        "DecoderMaskedMultiHeadAttention",
        (floats(2, 1, 12), floats(2, 1, 12), floats(2, 1, 12), None, None, floats(2, 3, 6, 4), floats(2, 3, 6, 4),
         stored([4], np.int32)),
        {"num_heads": 3, "past_present_share_buffer": 1, "outputs": 3},
    ),
    (
        "GroupQueryAttention",
        (floats(2, 5, 48), floats(2, 5, 16), floats(2, 5, 16), None, None, stored([4, 4], np.int32), stored([5], np.int32)),
        {"num_heads": 6, "kv_num_heads": 2, "outputs": 3},
    ),
    (
        "GroupQueryAttention",
        (floats(1, 5, 160), None, None, None, None, stored([4], np.int32), stored([5], np.int32), weights(16, 8),
         weights(16, 8)),
        {"num_heads": 6, "kv_num_heads": 2, "do_rotary": 1, "outputs": 3},
    ),
    (
        "GroupQueryAttention",
        (floats(2, 1, 48), floats(2, 1, 16), floats(2, 1, 16), floats(2, 2, 7, 8), floats(2, 2, 7, 8),
         stored([7, 7], np.int32), stored([8], np.int32)),
        {"num_heads": 6, "kv_num_heads": 2, "local_window_size": 3, "outputs": 3},
    ),
    (
        "GroupQueryAttention",
        (floats(2, 1, 48), floats(2, 1, 16), floats(2, 1, 16), floats(2, 2, 7, 8), floats(2, 2, 7, 8),
         stored([4, 4], np.int32), stored([5], np.int32)),
        {"num_heads": 6, "kv_num_heads": 2, "outputs": 3},
    ),
    (
        "QAttention",
        (small(2, 5, 12), Stored(small(12, 36)), weights(36), stored(0.1, np.float32), stored(0.1, np.float32), None,
         stored(1, np.uint8), stored(1, np.uint8)),
        {"num_heads": 3},
    ),
    (
        "LinearAttention",
        (floats(2, 5, 12), floats(2, 5, 12), floats(2, 5, 18)),
        {"q_num_heads": 3, "kv_num_heads": 3, "update_rule": "linear", "outputs": 2},
    ),
    (
        "LinearAttention",
        (floats(2, 5, 24), floats(2, 5, 12), floats(2, 5, 18), floats(2, 3, 4, 6), floats(2, 5, 12), floats(2, 5, 3)),
        {"q_num_heads": 6, "kv_num_heads": 3, "outputs": 2},
    ),
    (
        "LinearAttention",
        (floats(2, 5, 12), floats(2, 5, 24), floats(2, 5, 36)),
        {"q_num_heads": 3, "kv_num_heads": 6, "update_rule": "linear", "outputs": 2},
    ),
    # positions
    ("RotaryEmbedding", (floats(2, 5, 24), ids(2, 5), weights(9, 4), weights(9, 4)), {}),
    ("RotaryEmbedding", (floats(2, 3, 5, 8), ids(2, 5), weights(9, 4), weights(9, 4)), {}),
    (
        "RotaryEmbedding",
        (floats(2, 5, 24), ids(1), weights(9, 2), weights(9, 2)),
        {"num_heads": 3, "rotary_embedding_dim": 4},
    ),
    (
        "MRotaryEmbedding",
        (floats(2, 3, 5, 8), ids(3, 2, 5), weights(9, 4), weights(9, 4)),
        {"mrope_section": [2, 1, 1]},
    ),
    # normalisation
    ("SkipLayerNormalization", (floats(2, 3, 8), floats(2, 3, 8), weights(8)), {}),
    ("SkipLayerNormalization", (floats(2, 3, 8), floats(1, 3, 8), weights(8), weights(8), weights(8)), {"outputs": [0, 3]}),
    ("SkipSimplifiedLayerNormalization", (floats(2, 3, 8), floats(2, 3, 8), weights(8), weights(8)), {"outputs": [0, 3]}),
    (
        "EmbedLayerNormalization",
        (ids(2, 5, dtype=np.int32), ids(2, 5, below=2, dtype=np.int32), weights(9, 8), weights(6, 8), weights(2, 8),
         weights(8), weights(8), ids(2, 5, below=2, dtype=np.int32)),
        {"outputs": 3},
    ),
    (
        "EmbedLayerNormalization",
        (ids(2, 5, dtype=np.int32), None, weights(9, 8), weights(6, 8), None, weights(8), weights(8), None,
         ids(1, 5, dtype=np.int32)),
        {"outputs": 2},
    ),
    ("GatedRMSNorm", (floats(2, 3, 16), weights(8), floats(2, 3, 16)), {}),
    ("BranchwiseRMSNorm", (floats(2, 3, 4, 8), weights(8)), {}),
    ("SimplifiedLayerNormalization", (floats(2, 3, 8), weights(8)), {"domain": ""}),
    ("SimplifiedLayerNormalization", (floats(2, 3, 8), weights(3, 8)), {"domain": "", "axis": 1, "outputs": 2}),
    ("LayerNormalization", (floats(2, 3, 8), weights(8), weights(8)), {"domain": "", "outputs": 3}),
    (
        "QEmbedLayerNormalization",
        (ids(2, 5, dtype=np.int32), ids(2, 5, below=2, dtype=np.int32), Stored(small(9, 8)), Stored(small(6, 8)),
         Stored(small(2, 8)), Stored(small(8)), Stored(small(8)), ids(2, 5, below=2, dtype=np.int32),
         *(stored(0.1, np.float32) for _ in range(5)), *(stored(1, np.uint8) for _ in range(5))),
        {"outputs": 2},
    ),
    # branches
    ("HyperConnectionPreMix", (floats(2, 3, 4, 8), floats(2, 3, 4)), {"reduction_scale": 0.5}),
    ("HyperConnectionPreMix", (floats(2, 3, 32), floats(2, 3, 4)), {"num_branches": 4}),
    ("HyperConnectionPostMix", (floats(2, 3, 4, 8), floats(2, 3, 8), floats(2, 3, 4), floats(2, 3, 4, 4)), {}),
    (
        "EngramGate",
        (floats(2, 3, 4, 8), floats(2, 3, 4, 8), floats(2, 3, 8), weights(4, 8), weights(4, 8), weights(4, 8)),
        {"outputs": 2},
    ),
    # products
    ("FusedMatMul", (floats(2, 3, 4), floats(2, 5, 4)), {"transB": 1, "alpha": 0.5}),
    ("FusedMatMul", (floats(2, 6, 3, 4), floats(2, 6, 3, 5)), {"transA": 1}),
    ("FusedMatMul", (floats(3, 2, 6, 4), floats(4, 2, 6, 5)), {"transBatchA": 1, "transBatchB": 1}),
    ("FusedMatMul", (floats(3, 2, 6, 4), floats(2, 6, 5, 4)), {"transBatchA": 1, "transB": 1}),
    ("TransposeMatMul", (floats(3, 4), floats(3, 5)), {"transA": 1}),
    (
        "FusedGemm",
        (floats(3, 4), weights(4, 5), weights(5)),
        {"activation": "Relu", "alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0},
    ),
    (
        "FusedGemm",
        (floats(4, 3), weights(5, 4)),
        {"activation": "Relu", "alpha": 0.5, "beta": 1.0, "transA": 1, "transB": 1},
    ),
    (
        "MatMulBnb4",
        (floats(2, 3, 32), Stored(small(256)), weights(16)),
        {"K": 32, "N": 16, "block_size": 32, "quant_type": 1},
    ),
    ("CDist", (floats(3, 4), floats(5, 4)), {"metric": "euclidean"}),
    # convolutions and pools
    ("FusedConv", (floats(2, 3, 8, 8), weights(4, 3, 3, 3), weights(4)), {"activation": "Relu", "strides": [2, 2]}),
    (
        "FusedConv",
        (floats(2, 4, 8, 8), weights(4, 1, 3, 3), weights(4), floats(2, 4, 8, 8)),
        {"activation": "HardSigmoid", "activation_params": [0.2, 0.5], "group": 4, "pads": [1, 1, 1, 1]},
    ),
    ("NhwcMaxPool", (small(2, 8, 9, 3),), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("NhwcMaxPool", (small(2, 8, 9, 3, dtype=np.int8),), {"kernel_shape": [2, 2], "ceil_mode": 1, "strides": [2, 2]}),
    ("MaxpoolWithMask", (floats(1, 2, 8, 8), ids(1, 2, 8, 8, below=2, dtype=np.int32)), {"kernel_shape": [2, 2]}),
    (
        "ConvTransposeWithDynamicPads",
        (floats(2, 3, 5, 5), weights(3, 4, 3, 3), stored([1, 1, 1, 1]), weights(4)),
        {"strides": [2, 2], "output_padding": [1, 1]},
    ),
    ("CausalConvWithState", (floats(2, 4, 6), weights(4, 1, 3), weights(4)), {"activation": "silu", "outputs": 2}),
    ("CausalConvWithState", (floats(2, 4, 6), weights(4, 1, 3), None, floats(2, 4, 4)), {"dilation": 2, "outputs": 2}),
    ("CausalConvWithState", (floats(2, 6, 2, 2), weights(4, 1, 3)), {"channels_last": 1, "outputs": 2}),
    # experts
    (
        "MoE",
        (floats(5, 8), floats(5, 4), weights(4, 16, 8), weights(4, 16), weights(4, 8, 16), weights(4, 8)),
        {"k": 2, "activation_type": "gelu"},
    ),
    (
        "MoE",
        (floats(2, 3, 8), floats(6, 4), weights(4, 32, 8), None, weights(4, 8, 16)),
        {"k": 2, "activation_type": "swiglu", "swiglu_fusion": 1},
    ),
    (
        "QMoE",
        (floats(2, 3, 32), floats(6, 4), Stored(small(4, 32, 16)), weights(4, 32), None, Stored(small(4, 32, 16)),
         weights(4, 32)),
        {"k": 1, "activation_type": "silu", "expert_weight_bits": 4},
    ),
    # recurrent
    (
        "DynamicQuantizeLSTM",
        (floats(5, 2, 6), Stored(small(1, 6, 16)), Stored(small(1, 4, 16)), weights(1, 32), None, None, None, None,
         stored([0.1], np.float32), stored([1], np.uint8), stored([0.1], np.float32), stored([1], np.uint8)),
        {"hidden_size": 4, "outputs": 3},
    ),
    (
        "AttnLSTM",
        (floats(5, 1, 3), weights(1, 16, 9), weights(1, 16, 4), weights(1, 32), None, None, None, None, weights(1, 4, 5),
         weights(1, 6, 5), weights(1, 5), floats(1, 7, 6), stored([7], np.int32)),
        {"hidden_size": 4, "outputs": 3},
    ),
    # selection
    ("ExpandDims", (floats(2, 3), stored(1, np.int32)), {}),
    ("ExpandDims", (floats(2, 3), stored(-1, np.int32)), {}),
    ("SampleOp", (floats(2, 3),), {}),
    (
        "CropAndResize",
        (floats(2, 3, 8, 8), floats(4, 4), ids(4, below=2, dtype=np.int32), stored([5, 6], np.int32)),
        {},
    ),
    (
        "CropAndResize",
        (floats(2, 3, 8, 8), floats(4, 4), ids(4, below=2, dtype=np.int32), np.array([5, 6], np.int32)),
        {"mode": "nearest"},
    ),
    ("GridSample", (floats(2, 3, 8, 8), floats(2, 4, 5, 2)), {}),
    ("GatherND", (floats(2, 3, 4), stored([[0, 1], [1, 2]])), {}),
    ("Trilu", (floats(2, 4, 4),), {}),
    ("Unique", (floats(6),), {"outputs": 3}),
    ("UnfoldTensor", (floats(2, 9, 3),), {"dim": 1, "size": 4, "step": 2}),
    ("NGramRepeatBlock", (ids(2, 6), floats(2, 9)), {"ngram_size": 2}),
    ("MurmurHash3", (ids(2, 3, dtype=np.int32),), {}),
    ("MurmurHash3", (ids(2, 3, dtype=np.int32),), {"positive": 0}),
    ("DynamicTimeWarping", (floats(4, 6),), {}),
    (
        "BifurcationDetector",
        (ids(6), ids(3), stored(0), ids(7)),
        {"outputs": 2},
    ),
    ("GatherBlockQuantized", (Stored(small(8, 16)), ids(2, 3), weights(8, 2)), {"block_size": 16, "bits": 4}),
    ("GatherBlockQuantized", (Stored(small(8, 32)), ids(2, 3), weights(8, 2)), {"block_size": 16, "bits": 8}),
    # text
    (
        "Tokenizer",
        (np.array([["a b", "c"], ["d e f", "g"]], dtype=object),),
        {"mark": 1, "mincharnum": 1, "pad_value": "#", "separators": [" "]},
    ),
    ("WordConvEmbedding", (ids(3, 7, dtype=np.int32), weights(6, 1, 3, 4), weights(6), weights(9, 4)), {}),
    (
        "NGramHashMapping",
        (ids(2, 5), stored([3, 5, 7]), stored([11, 13, 17, 19])),
        {"max_ngram_size": 3, "n_head_per_ngram": 2, "pad_id": 0, "outputs": 2},
    ),
    # spectral
    ("Inverse", (floats(2, 4, 4),), {}),
]


# ops without a kernel in the CPU build: what their schema's documentation says of each output
DOCUMENTED: list[tuple[str, tuple[Any, ...], dict[str, Any], list[tuple[str, tuple[int, ...]]]]] = [
    ("BiasSplitGelu", (floats(2, 3, 8), weights(8)), {}, [("float32", (2, 3, 4))]),
    ("BiasAdd", (floats(2, 3, 8), weights(8), floats(2, 3, 8)), {}, [("float32", (2, 3, 8))]),
    ("BiasSoftmax", (floats(2, 3, 4), floats(2, 1, 4)), {"axis": 2, "is_inner_broadcast": 1}, [("float32", (2, 3, 4))]),
    (
        "BiasDropout",
        (floats(2, 3, 8), weights(8), floats(2, 3, 8)),
        {"outputs": 2},
        [("float32", (2, 3, 8)), ("bool", (2, 3, 8))],
    ),
    ("BitmaskDropout", (floats(2, 3, 8),), {"outputs": 2}, [("float32", (2, 3, 8)), ("uint32", (2,))]),
    ("BitmaskBiasDropout", (floats(2, 3, 8), weights(8)), {"outputs": 2}, [("float32", (2, 3, 8)), ("uint32", (2,))]),
    ("QOrderedGelu", (small(2, 8, dtype=np.int8), stored(0.1, np.float32), stored(0.1, np.float32)), {}, [("int8", (2, 8))]),
    (
        "DecoderMaskedSelfAttention",
        (halves(2, 1, 12), Stored(halves(12, 36)), Stored(halves(36)), None, halves(2, 2, 3, 6, 4), None,
         stored([4], np.int32)),
        {"num_heads": 3, "past_present_share_buffer": 1, "outputs": 2},
        [("float16", (2, 1, 12)), ("float16", (2, 2, 3, 6, 4))],
    ),
    (
        "DecoderAttention",
        (floats(5, 2, 12), floats(5, 2, 12), weights(12, 12), weights(12, 24), weights(36), None, None, None,
         *(stored([flag], bool) for flag in (False, False, False, False))),
        {"num_heads": 3, "outputs": 3},
        [("float32", (5, 2, 12)), ("float32", (2, 3, 5, 4)), ("float32", (2, 3, 5, 4))],
    ),
    (
        "DecoderAttention",
        (floats(1, 2, 12), floats(7, 2, 12), weights(12, 12), weights(12, 24), weights(36), None, floats(2, 3, 7, 4),
         floats(2, 3, 7, 4), *(stored([flag], bool) for flag in (True, True, True, False))),
        {"num_heads": 3, "outputs": 3},
        [("float32", (1, 2, 12)), ("float32", (2, 3, 7, 4)), ("float32", (2, 3, 7, 4))],
    ),
    (
        "PackedAttention",
        (floats(7, 12), weights(12, 36), weights(36), ids(2, 5, dtype=np.int32), ids(3, dtype=np.int32)),
        {"num_heads": 3},
        [("float32", (7, 12))],
    ),
    (
        "PackedMultiHeadAttention",
        (floats(7, 12), floats(7, 12), floats(7, 18), None, ids(2, 5, dtype=np.int32), ids(3, dtype=np.int32)),
        {"num_heads": 3},
        [("float32", (7, 18))],
    ),
    (
        "PackedMultiHeadAttention",
        (floats(7, 3, 3, 4), None, None, None, ids(2, 5, dtype=np.int32), ids(3, dtype=np.int32)),
        {"num_heads": 3},
        [("float32", (7, 12))],
    ),
    (
        "PagedAttention",
        (halves(7, 48), halves(7, 16), halves(7, 16), halves(9, 16, 2, 8), halves(9, 16, 2, 8), stored([0, 3, 7], np.int32),
         stored([0, 0], np.int32), ids(2, 4, dtype=np.int32)),
        {"num_heads": 6, "kv_num_heads": 2, "outputs": 3},
        [("float16", (7, 48)), ("float16", (9, 16, 2, 8)), ("float16", (9, 16, 2, 8))],
    ),
    (
        "SparseAttention",
        (floats(1, 16, 64), floats(1, 16, 32), floats(1, 16, 32), floats(1, 2, 32, 16), floats(1, 2, 32, 16),
         stored([[0, 1, 2]], np.int32), stored([[0, 1]], np.int32), stored([16], np.int32), stored([16], np.int32)),
        {"num_heads": 4, "kv_num_heads": 2, "sparse_block_size": 16, "outputs": 3},
        [("float32", (1, 16, 64)), ("float32", (1, 2, 32, 16)), ("float32", (1, 2, 32, 16))],
    ),
    (
        "LongformerAttention",
        (floats(2, 8, 12), weights(12, 36), weights(36), floats(2, 8), weights(12, 36), weights(36),
         ids(2, 8, below=2, dtype=np.int32)),
        {"num_heads": 3, "window": 2},
        [("float32", (2, 8, 12))],
    ),
    (
        "QOrderedAttention",
        (small(2, 5, 12, dtype=np.int8), *(stored(0.1, np.float32) for _ in range(4)),
         *(Stored(small(12, 12, dtype=np.int8)) for _ in range(3)), *(stored(0.1, np.float32) for _ in range(3)),
         *(weights(12) for _ in range(3)), *(stored(0.1, np.float32) for _ in range(3))),
        {"num_heads": 3, "order_input": 1, "order_weight": 0, "order_output": 1},
        [("int8", (2, 5, 12))],
    ),
    (
        "QOrderedLongformerAttention",
        (small(2, 8, 12, dtype=np.int8), stored(0.1, np.float32), Stored(small(12, 36, dtype=np.int8)),
         stored(0.1, np.float32), weights(36), stored(0.1, np.float32), stored(0.1, np.float32), halves(2, 8),
         Stored(small(12, 36, dtype=np.int8)), stored(0.1, np.float32), weights(36), stored(0.1, np.float32),
         ids(2, 8, dtype=np.int32), stored(0.1, np.float32)),
        {"num_heads": 3, "window": 2, "order_input": 1, "order_weight": 0, "order_global_weight": 0, "order_output": 1},
        [("int8", (2, 8, 12))],
    ),
    (
        "MatMulFpQ4",
        (floats(2, 3, 32), Stored(small(336)), stored([32, 16])),
        {"blk_quant_type": 1},
        [("float32", (2, 3, 16))],
    ),
    ("SparseToDenseMatMul", (floats(3, 4), floats(4, 5)), {}, [("float32", (3, 5))]),
    (
        "GemmaRotaryEmbedding",
        (floats(2, 5, 8), *(halves(2, 3, 5, 8) for _ in range(4))),
        {"outputs": 2},
        [("float16", (2, 3, 5, 8)), ("float16", (2, 3, 5, 8))],
    ),
    ("RelativePositionBias", (weights(8, 3), stored(5), stored(5)), {"max_distance": 16}, [("float32", (1, 3, 5, 5))]),
    (
        "GatedRelativePositionBias",
        (floats(2, 5, 12), weights(12), floats(1, 3, 5, 5), weights(4, 8), weights(8), weights(1, 3, 1, 1)),
        {"num_heads": 3},
        [("float32", (2, 3, 5, 5))],
    ),
    ("GroupNorm", (floats(2, 4, 4, 6), weights(6), weights(6)), {"activation": 1, "groups": 3}, [("float32", (2, 4, 4, 6))]),
    (
        "SkipGroupNorm",
        (floats(2, 4, 4, 6), weights(6), weights(6), floats(2, 4, 4, 6), weights(6)),
        {"activation": 0, "groups": 3, "outputs": 2},
        [("float32", (2, 4, 4, 6)), ("float32", (2, 4, 4, 6))],
    ),
    (
        "QOrderedLayerNormalization",
        (small(2, 5, 8, dtype=np.int8), stored(0.1, np.float32), weights(8), weights(8), stored(0.1, np.float32)),
        {},
        [("int8", (2, 5, 8))],
    ),
    ("GemmFastGelu", (floats(2, 3, 4), weights(4, 5), weights(5)), {}, [("float32", (2, 3, 5))]),
    (
        "FusedMatMulActivation",
        (floats(2, 3, 4), floats(2, 5, 4)),
        {"transB": 1, "activation": "Relu"},
        [("float32", (2, 3, 5))],
    ),
    ("GemmFloat8", (halves(3, 4), halves(5, 4)), {"transB": 1, "dtype": 10}, [("float16", (3, 5))]),
    (
        "QOrderedMatMul",
        (small(2, 3, 4, dtype=np.int8), stored(0.1, np.float32), Stored(small(4, 5, dtype=np.int8)), stored(0.1, np.float32),
         stored(0.1, np.float32)),
        {"order_A": 1, "order_B": 0, "order_Y": 1},
        [("int8", (2, 3, 5))],
    ),
    ("NhwcConv", (floats(2, 8, 8, 3), weights(4, 3, 3, 3), weights(4)), {"strides": [2, 2]}, [("float32", (2, 3, 3, 4))]),
    (
        "NhwcFusedConv",
        (halves(2, 8, 8, 3), Stored(halves(4, 3, 3, 3)), Stored(halves(4)), halves(2, 8, 8, 4)),
        {"activation": "Relu", "pads": [1, 1, 1, 1]},
        [("float16", (2, 8, 8, 4))],
    ),
    ("MulInteger", (small(2, 3), stored(1, np.uint8), small(2, 3)), {}, [("int32", (2, 3))]),
    ("TorchEmbedding", (weights(9, 8), ids(2, 5)), {}, [("float32", (2, 5, 8))]),
    ("IsAllFinite", (floats(2, 3), floats(4)), {}, [("bool", ())]),
    (
        "RestorePadding",
        (floats(7, 12), ids(2, 5, dtype=np.int32)),
        {},
        [("float32", (2, 5, 12))],
    ),
    ("Rfft", (floats(2, 8),), {"signal_ndim": 1}, [("float32", (2, 5, 2))]),
    ("Irfft", (floats(2, 5, 2),), {"signal_ndim": 1}, [("float32", (2, 8))]),
    ("ComplexMul", (floats(2, 8), floats(2, 8)), {}, [("float32", (2, 8))]),
    ("ComplexMulConj", (floats(2, 8), floats(2, 8)), {}, [("float32", (2, 8))]),
    (
        "QuantizeWithOrder",
        (floats(2, 8), stored(0.1, np.float32)),
        {"order_input": 1, "order_output": 2},
        [("int8", (2, 8))],
    ),
    (
        "DequantizeWithOrder",
        (small(2, 8, dtype=np.int8), stored(0.1, np.float32)),
        {"order_input": 2, "order_output": 1, "to": 10},
        [("float16", (2, 8))],
    ),
]
@pytest.mark.parametrize(("op", "inputs", "node"), CASES, ids=[f"{op}-{i}" for i, (op, _, _) in enumerate(CASES)])
def test_outputs_equal_those_of_onnx_runtime(op: str, inputs: tuple[Any, ...], node: dict[str, Any]) -> None:
    assert faults(op, inputs, **{"domain": "com.microsoft", **node}) == []


@pytest.mark.parametrize(
    ("op", "inputs", "node", "expected"), DOCUMENTED, ids=[f"{case[0]}-{i}" for i, case in enumerate(DOCUMENTED)]
)
def test_outputs_are_those_of_the_documentation(
    op: str, inputs: tuple[Any, ...], node: dict[str, Any], expected: list[tuple[str, tuple[int, ...]]]
) -> None:
    model = model_of(op, *inputs, domain="com.microsoft", **node)
    assert [(tensor.dtype, tensor.shape) for tensor in load(model).outputs.values()] == expected
    free, sizes = opened(model)
    outputs = load(free).outputs.values()
    assert [(y.dtype, tuple(value_at(extent, sizes) for extent in y.dims)) for y in outputs] == expected


@pytest.mark.parametrize("op", sorted({case[0] for case in DOCUMENTED}))
def test_ops_that_are_only_documented_cannot_be_run_here(op: str) -> None:
    assert op not in RUNNABLE


def test_padding_is_removed_from_a_number_of_tokens_that_the_data_decide() -> None:
    network = load(model_of("RemovePadding", floats(2, 5, 12), ids(2, dtype=np.int32), outputs=4, domain="com.microsoft"))
    assert [str(y.shape) for y in network.outputs.values()] == [
        "(Dim(\"'node.tokens'\"), 12)", "(2, 5)", "(3,)", "(1,)"
    ]  # fmt: skip
    assert network.layers[0].cost is not None
    assert network.layers[0].cost.bounds == (("node.tokens", 10),)


@pytest.mark.parametrize("op", ["BeamSearch", "GreedySearch", "Sampling", "WhisperBeamSearch"])
def test_generation_loops_say_why_they_cannot_be_counted(op: str) -> None:
    network = load(model_of(op, ids(1, 4, dtype=np.int32), stored([9], np.int32), domain="com.microsoft", eos_token_id=1))
    problem = network.layers[0].problem or ""
    assert f"{op} (node 'node')" in problem
    assert "depends on the data" in problem
    assert "count the encoder and the decoder as networks of their own" in problem


# op, inputs, attributes, multiply-adds written out by hand from the documented formula
MACS: list[tuple[str, tuple[Any, ...], dict[str, Any], int]] = [
    # projections 2*5 tokens * 12 * 36; scores and values 2 * 3 heads * 5 * 5 * 4 each
    ("Attention", (floats(2, 5, 12), weights(12, 36), weights(36)), {"num_heads": 3}, 10 * 432 + 2 * (2 * 3 * 25 * 4)),
    # 7 keys for 5 queries
    ("MultiHeadAttention", (floats(2, 5, 12), floats(2, 7, 12), floats(2, 7, 12)), {"num_heads": 3}, 2 * (2 * 3 * 35 * 4)),
    # 6 query heads share 2 key heads; 8 keys, 7 of them cached
    (
        "GroupQueryAttention",
        (floats(2, 1, 48), floats(2, 1, 16), floats(2, 1, 16), floats(2, 2, 7, 8), floats(2, 2, 7, 8),
         stored([7, 7], np.int32), stored([8], np.int32)),
        {"num_heads": 6, "kv_num_heads": 2},
        2 * (2 * 6 * 8 * 8),
    ),
    # 6 tokens go through 2 of 4 experts each: 8 -> 16 -> 8
    (
        "MoE",
        (floats(2, 3, 8), floats(6, 4), weights(4, 16, 8), None, weights(4, 8, 16)),
        {"k": 2},
        6 * 2 * (8 * 16 + 16 * 8),
    ),
    # the same with two numbers in a byte
    (
        "QMoE",
        (floats(6, 32), floats(6, 4), Stored(small(4, 32, 16)), weights(4, 32), None, Stored(small(4, 32, 16)),
         weights(4, 32)),
        {"k": 1, "expert_weight_bits": 4},
        6 * (32 * 32 + 32 * 32),
    ),
    # 3 words of 7 characters: 5 windows of 3 characters of 4 numbers, 6 filters
    (
        "WordConvEmbedding",
        (ids(3, 7, dtype=np.int32), weights(6, 1, 3, 4), weights(6), weights(9, 4)),
        {},
        3 * 5 * 6 * 3 * 4,
    ),
    ("NhwcConv", (floats(2, 8, 8, 3), weights(4, 3, 3, 3)), {"strides": [2, 2]}, 2 * 3 * 3 * 4 * 27),
    (
        "MatMulBnb4",
        (floats(2, 3, 32), Stored(small(256)), weights(16)),
        {"K": 32, "N": 16, "block_size": 32, "quant_type": 1},
        2 * 3 * 32 * 16,
    ),
]


@pytest.mark.parametrize(("op", "inputs", "attributes", "macs"), MACS, ids=[case[0] for case in MACS])
def test_multiply_adds(op: str, inputs: tuple[Any, ...], attributes: dict[str, Any], macs: int) -> None:
    assert layer_of(load(model_of(op, *inputs, domain="com.microsoft", **attributes))).cost.macs == macs
