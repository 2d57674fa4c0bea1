"""Text: tokens, n-grams and words made of characters."""

from __future__ import annotations

from costmodel.graph import Cost
from costmodel.ops.microsoft.domain import microsoft
from costmodel.ops.value_layout import Unknowns

HASH_FLOPS = 2  # per id of an n-gram: multiply, exclusive or


@microsoft("Tokenizer")
def tokenizer(x, *, mark, mincharnum, pad_value, separators=None, tokenexp=None, name):
    """No arithmetic on numbers; how many tokens the longest text has is a size of its own."""
    unknown = Unknowns(name)
    return Cost((x.to((*x.dims, unknown.extent("tokens"))),), bounds=unknown.bounds)


@microsoft("WordConvEmbedding")
def word_conv_embedding(
    sequence, w, b, c, *, char_embedding_size=None, conv_window_size=None, embedding_size=None
):
    """One multiply-add per filter weight and window of a word; per window an addition, tanh and comparison per filter."""
    *words, length = sequence.dims
    filters, _, window, _ = w.dims
    places = length - window + 1
    y = w.to((*words, filters))
    return Cost(
        (y,),
        macs=y.size * places * (w.size // filters),
        other_flops=3 * y.size * places,
        reads=(sequence.size, w.size, b.size, sequence.size * c.dims[-1]),
        not_learnable=(0,),
    )


@microsoft("NGramHashMapping")
def ngram_hash_mapping(
    input_ids, multipliers, vocab_sizes, past_ids=None, head_offsets=None, eos_token_id=None, segment_ids=None, *,
    max_ngram_size, n_head_per_ngram, pad_id, reset_on_eos=0,
):  # fmt: skip
    """2 per token and id of every n-gram: multiply, exclusive or; a remainder per hash, an addition for an offset."""
    batch, length = input_ids.dims
    orders = max_ngram_size - 1
    y = input_ids.to((batch, length, orders * n_head_per_ngram))
    mixed = input_ids.size * HASH_FLOPS * sum(range(2, max_ngram_size + 1))
    return Cost(
        (y, input_ids.to((batch, orders))),
        other_flops=mixed + y.size * (1 + (head_offsets is not None)),
        not_learnable=tuple(range(7)),
    )


@microsoft("VarlenNGramHashMapping")
def packed_ngram_hash_mapping(
    input_ids, multipliers, vocab_sizes, cumulative_sequence_length, past_ids=None, head_offsets=None, eos_token_id=None,
    segment_ids=None, past_segment_ids=None, capture_count=None, *, max_ngram_size, n_head_per_ngram, pad_id,
    reset_on_eos=0, state_update_capacity=0,
):  # fmt: skip
    """As NGramHashMapping, for packed sequences."""
    tokens, = input_ids.dims
    orders = max_ngram_size - 1
    batch = cumulative_sequence_length.size - 1
    y = input_ids.to((tokens, orders * n_head_per_ngram))
    mixed = tokens * HASH_FLOPS * sum(range(2, max_ngram_size + 1))
    return Cost(
        (
            y,
            input_ids.to((batch, orders)),
            input_ids.to((batch, orders), dtype="int32"),
            input_ids.to((batch, state_update_capacity, orders)),
        ),
        other_flops=mixed + y.size * (1 + (head_offsets is not None)),
        not_learnable=tuple(range(10)),
    )
