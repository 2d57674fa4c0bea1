"""Loops of text generation: a boundary of what can be counted from a file."""

from __future__ import annotations

from costmodel.errors import UnsupportedOp
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
