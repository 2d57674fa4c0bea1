"""Text generation: its bookkeeping, and its loops, which are a boundary of what can be counted from a file."""

from __future__ import annotations

from costmodel.errors import UnsupportedOp
from costmodel.graph import Cost
from costmodel.ops.microsoft.domain import microsoft

REASON = (
    "the decoder subgraph runs a number of times that depends on the data (until every sequence has ended); "
    "count the encoder and the decoder as networks of their own, and multiply by the steps that you expect"
)


@microsoft("BeamSearch", "WhisperBeamSearch", "GreedySearch", "Sampling")
def generate(
    *inputs, beginning_timestamp_token_id=None, custom=0, decoder=None, decoder_output_cross_qk=0, decoder_start_token_id=-1,
    early_stopping=0, encoder=None, eos_token_id=None, filter_value=None, init_decoder=None, min_tokens_to_keep=0,
    model_type=0, no_repeat_ngram_size=0, no_speech_token_id=None, no_timestamps_token_id=None, pad_token_id=None,
    presence_penalty=0.0, start_of_lm_token_id=None, temperature=1.0, top_p=0.0, transcribe_token_id=None,
    translate_token_id=None, vocab_size=-1,
):  # fmt: skip
    """Not counted: the decoder runs until the data say stop."""
    raise UnsupportedOp(REASON)


@microsoft("SpeculativePrefixCommit")
def speculative_prefix_commit(next_tokens, input_ids, status, ctl, ctx_commit, prefixes, ptrs, *, head_rows=8):
    """1 per prediction: compare with the draft."""
    batch = next_tokens.dims[0] if next_tokens.rank == 2 else 1
    return Cost(
        (status.to((batch,)), ctl.to(ctl.dims), ctx_commit.to(ctx_commit.dims)),
        other_flops=next_tokens.size,
        not_learnable=tuple(range(7)),
    )
