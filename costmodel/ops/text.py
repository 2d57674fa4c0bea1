"""Ops on strings. They do no arithmetic; how many characters they touch depends on data."""

from __future__ import annotations

from costmodel.errors import MalformedModel
from costmodel.graph import Cost, Tensor
from costmodel.ops.registry import rule
from costmodel.ops.shapes import broadcast
from costmodel.ops.value_layout import Unknowns


@rule("StringNormalizer", since=10)
def string_normalizer(x, *, case_change_action="NONE", is_case_sensitive=0, locale="", stopwords=(), name):
    """No arithmetic; a copy without the stop words."""
    unknown = Unknowns(name)
    *batch, words = x.dims
    if x.rank not in (1, 2) or any(extent != 1 for extent in batch):
        raise MalformedModel(f"strings to normalise have the shape [words] or [1, words], not {x.dims}")
    if stopwords and x.value is None:
        words = unknown.extent("kept", at_most=words)
    elif stopwords:
        folded = (lambda text: text) if is_case_sensitive else str.casefold
        banned = set(map(folded, stopwords))
        words = max(1, sum(folded(text) not in banned for text in x.value))
    return Cost((x.to((*batch, words)),), bounds=unknown.bounds)


@rule("StringConcat", since=20)
def string_concat(x, y):
    """No arithmetic; a copy."""
    return Cost((x.to(broadcast(x.dims, y.dims)),))


@rule("StringSplit", since=20)
def string_split(x, *, delimiter="", maxsplit=None, name):
    """No arithmetic; a copy, filled up with empty strings to the longest."""
    unknown = Unknowns(name)
    limit = -1 if maxsplit is None else maxsplit
    if x.value is None:
        parts = unknown.extent("parts", at_most=None if maxsplit is None else maxsplit + 1)
    else:
        parts = max((len(text.split(delimiter or None, limit)) for text in x.value), default=0)
    return Cost((x.to((*x.dims, parts)), Tensor("int64", x.dims)), bounds=unknown.bounds)


@rule("RegexFullMatch", since=20)
def regex_full_match(x, *, pattern=""):
    """No arithmetic; one match per string."""
    return Cost((x.to(x.dims, dtype="bool"),))


@rule("TfIdfVectorizer", since=9)
def tf_idf_vectorizer(
    x, *, max_gram_length, max_skip_count, min_gram_length, mode, ngram_counts, ngram_indexes, pool_int64s=None,
    pool_strings=None, weights=None,
):  # fmt: skip
    """One comparison per token, length of a gram and skip; one multiplication per element where weights scale the result."""
    *batch, _tokens = x.dims
    y = Tensor("float32", (*batch, max(ngram_indexes) + 1))
    grams = x.size * (max_gram_length - min_gram_length + 1) * (max_skip_count + 1)
    return Cost((y,), other_flops=grams + (0 if mode == "TF" else y.size))
