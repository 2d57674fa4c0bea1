"""The language models of the zoo against the modules of transformers: parameters as published, and multiply-adds of small
ones that torch counts while they run, at once and in steps.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, ClassVar
from unittest.mock import MagicMock

import pytest

from costmodel import specs
from costmodel.counts import count
from costmodel.errors import ParseError
from costmodel.schema.arithmetic import evaluate
from costmodel.schema.data import data_folder

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")

Config = dict[str, Any]
FAMILIES = ("bert", "mobilebert", "gpt", "llama", "t5", "whisper")
SHAPE = {"layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads", "ffn": "intermediate_size"}
TEXT = {**SHAPE, "vocab": "vocab_size", "positions": "max_position_embeddings", "types": "type_vocab_size"}
DISTIL = {"layers": "n_layers", "hidden": "dim", "heads": "n_heads", "ffn": "hidden_dim", "vocab": "vocab_size"}
GPT = {
    "layers": "n_layer",
    "hidden": "n_embd",
    "heads": "n_head",
    "ffn": "n_inner",
    "vocab": "vocab_size",
    "positions": "n_positions",
}
LLAMA = {
    **SHAPE,
    "vocab": "vocab_size",
    "kv_heads": "num_key_value_heads",
    "depth": "head_dim",
    "tied": "tie_word_embeddings",
}
T5 = {
    "layers": "num_layers", "decoder_layers": "num_decoder_layers", "hidden": "d_model", "heads": "num_heads",
    "depth": "d_kv", "ffn": "d_ff", "vocab": "vocab_size", "tied": "tie_word_embeddings",
}  # fmt: skip
WHISPER = {
    "layers": "encoder_layers", "decoder_layers": "decoder_layers", "hidden": "d_model", "vocab": "vocab_size",
    "bands": "num_mel_bins", "positions": "max_target_positions",
}  # fmt: skip
HEADS = {
    "none": "Model", "pooler": "Model", "classifier": "ForSequenceClassification", "masked": "ForMaskedLM",
    "pretraining": "ForPreTraining", "span": "ForQuestionAnswering",
}  # fmt: skip


def renamed(names: Mapping[str, str], values: Mapping[str, Any]) -> Config:
    return {theirs: values[ours] for ours, theirs in names.items()}


def bert(name: str, p: Mapping[str, Any]) -> tuple[str, str, Config]:
    kinds = ("Roberta", "DistilBert", "Electra", "Albert")
    kind = next((kind for kind in kinds if name.startswith(kind.lower())), "Bert")
    names = {**TEXT, "embedding": "embedding_size"} if kind in ("Electra", "Albert") else TEXT
    names = DISTIL if kind == "DistilBert" else names
    return kind + HEADS[p["head"]], kind, renamed(names, p)


def mobilebert(name: str, p: Mapping[str, Any]) -> tuple[str, str, Config]:
    """Without the pooler, which the module that marks answers has not."""
    shape = renamed({**{key: TEXT[key] for key in TEXT if key != "types"}, "embedding": "embedding_size"}, p)
    more = {"intra_bottleneck_size": p["narrow"], "num_feedforward_networks": p["thoughts"]}
    return "MobileBertForQuestionAnswering", "MobileBert", {**shape, **more}


def gpt(name: str, p: Mapping[str, Any]) -> tuple[str, str, Config]:
    if not name.startswith("opt"):
        return "GPT2LMHeadModel", "GPT2", renamed(GPT, p)
    shape = renamed({**SHAPE, "ffn": "ffn_dim", "vocab": "vocab_size"}, p)
    more = {"word_embed_proj_dim": p["hidden"], "max_position_embeddings": p["positions"] - 2}
    return "OPTForCausalLM", "OPT", {**shape, **more}


def llama(name: str, p: Mapping[str, Any]) -> tuple[str, str, Config]:
    kind = next((kind for kind in ("Mistral", "Mixtral", "Qwen2", "Gemma") if name.startswith(kind.lower())), "Llama")
    experts = {"num_local_experts": p["experts"], "num_experts_per_tok": p["top"], "experts_implementation": "eager"}
    return f"{kind}ForCausalLM", kind, {**renamed(LLAMA, p), **(experts if kind == "Mixtral" else {})}


def t5(name: str, p: Mapping[str, Any]) -> tuple[str, str, Config]:
    kind = "SwitchTransformers" if name.startswith("switch") else "T5"
    sparse = {
        f"num_sparse_{part}_layers": p[key] // 2 for part, key in (("encoder", "layers"), ("decoder", "decoder_layers"))
    }
    more = {"num_experts": p["experts"], **sparse} if kind != "T5" else {}
    return f"{kind}ForConditionalGeneration", kind, {
        **renamed(T5, p), **more, "feed_forward_proj": "gated-gelu" if p["gated"] else "relu",
    }  # fmt: skip


def whisper(name: str, p: Mapping[str, Any]) -> tuple[str, str, Config]:
    heads = {f"{part}_attention_heads": p["heads"] for part in ("encoder", "decoder")}
    ffn = {f"{part}_ffn_dim": p["ffn"] for part in ("encoder", "decoder")}
    special = {"pad_token_id": 0, "decoder_start_token_id": 1, "max_source_positions": p["frames"] // 2}
    return "WhisperForConditionalGeneration", "Whisper", {**renamed(WHISPER, p), **heads, **ffn, **special}


CONFIGURED: dict[str, Callable[[str, Mapping[str, Any]], tuple[str, str, Config]]] = {
    "bert": bert, "mobilebert": mobilebert, "gpt": gpt, "llama": llama, "t5": t5, "whisper": whisper,
}  # fmt: skip


def parameters_of(family: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a network of the zoo, as numbers where they are expressions of others."""
    spec = specs.load_spec(data_folder("zoo_specs") / f"{family}.toml")
    bound: dict[str, Any] = {}
    for key, value in {**spec.parameters, **spec.networks[name].parameters, **given}.items():
        try:
            bound[key] = evaluate(value, bound) if isinstance(value, str) else value
        except ParseError:  # a word, such as that of an activation
            bound[key] = value
    return bound


class StandIn(ModuleType):
    """A module of which anything may be imported and nothing used."""

    __path__: ClassVar[list[str]] = []
    __version__ = "0"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


@pytest.fixture(autouse=True, scope="module")
def without_images() -> Iterator[None]:
    """Text needs nothing of torchvision, so one that does not fit the torch beside it is in nobody's way."""
    made = []
    try:
        importlib.import_module("torchvision")
    except Exception:  # torch raises RuntimeError for operators that are missing
        for part in ("", ".io", ".transforms", ".transforms.functional", ".transforms.v2", ".transforms.v2.functional"):
            stand_in = sys.modules[f"torchvision{part}"] = StandIn(f"torchvision{part}")
            stand_in.__spec__ = ModuleSpec(stand_in.__name__, None)
            made.append(stand_in.__name__)
    yield
    for name in made:
        del sys.modules[name]


def module(family: str, name: str, given: Mapping[str, Any]) -> Any:
    class_name, kind, config = CONFIGURED[family](name, parameters_of(family, name, given))
    stated = getattr(transformers, f"{kind}Config")(**config)
    stated._attn_implementation = "eager"
    made = getattr(transformers, class_name)(stated).eval()
    if family == "t5" and not config["tie_word_embeddings"]:  # transformers 5 ties them whatever the configuration says
        made.lm_head = torch.nn.Linear(stated.d_model, stated.vocab_size, bias=False)
    return made


EVERY = [
    (family, name) for family in FAMILIES for name in specs.load_spec(data_folder("zoo_specs") / f"{family}.toml").networks
]


@pytest.mark.parametrize(("family", "name"), EVERY)
def test_params_are_those_of_the_module(family: str, name: str) -> None:
    with torch.device("meta"):
        made = module(family, name, {})
    given = {"head": "span"} if family == "mobilebert" else {}
    assert count(specs.zoo(name, **given)).total.params == sum(weight.numel() for weight in made.parameters())


# -- multiply-adds of small ones --------------------------------------------------------------------------------------


def drawn(family: str, seed: int) -> dict[str, Any]:
    """Parameters of a small network of the family."""
    pick = random.Random(seed).randint
    shape = {"layers": pick(1, 3), "heads": 4, "hidden": 16 * pick(1, 4), "vocab": pick(20, 90), "ffn": 8 * pick(2, 9)}
    more: dict[str, dict[str, Any]] = {
        "bert": {"positions": 40},
        "gpt": {"positions": 40},
        "llama": {"kv_heads": pick(1, 2) * 2, "depth": 2 * pick(2, 9)},
        "t5": {"depth": pick(3, 9), "decoder_layers": pick(1, 3)},
        "whisper": {"decoder_layers": pick(1, 3), "frames": 2 * pick(5, 9), "bands": pick(3, 9), "positions": 40},
    }
    return {**shape, **more[family]}


def macs_of(run: Callable[[], Any]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def tokens(*shape: int) -> Any:
    return torch.ones(*shape, dtype=torch.long)


SEEDS = range(3)


# Where transformers puts the same layers behind the encoder.
ENCODERS = [
    *(("bert_base", head) for head in HEADS if head != "none"),
    *(("roberta_base", head) for head in ("pooler", "masked", "span")),
    ("electra_base", "none"),
    ("distilbert_base", "none"),
    ("albert_base", "pooler"),
    ("mobilebert", "span"),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "head"), ENCODERS)
def test_encoders_count_what_torch_counts(name: str, head: str, seed: int) -> None:
    given = {**drawn("bert", seed), "head": head}
    made, batch, length = module("mobilebert" if name == "mobilebert" else "bert", name, given), 1 + seed, 5 + seed
    ours = count(specs.zoo(name, **given)).total.macs.at(N=batch, S=length)
    assert ours == macs_of(lambda: made(tokens(batch, length)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("family", "name"),
    [("gpt", "gpt2"), ("gpt", "opt_125m"), *(("llama", n) for n in ("llama3_8b", "mistral_7b", "qwen2_7b", "gemma_2b"))],
)
def test_decoders_count_what_torch_counts(family: str, name: str, seed: int) -> None:
    given = drawn(family, seed)
    made, batch, length, past = module(family, name, given), 1 + seed, 4 + seed, 3 + 2 * seed
    at_once, step = (count(specs.zoo(name, **given, cache=cache)).total.macs for cache in (False, True))
    assert at_once.at(N=batch, S=length) == macs_of(lambda: made(tokens(batch, length), use_cache=False))
    kept = made(tokens(batch, past), use_cache=True).past_key_values
    assert step.at(N=batch, S=length, P=past) == macs_of(lambda: made(tokens(batch, length), past_key_values=kept))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("family", "name"), [("t5", "t5_small"), ("t5", "flan_t5_small"), ("whisper", "whisper_tiny")])
def test_encoders_with_decoders_count_what_torch_counts(family: str, name: str, seed: int) -> None:
    from transformers.modeling_outputs import BaseModelOutput

    given = drawn(family, seed)
    made, batch, length, past = module(family, name, given), 1 + seed, 4 + seed, 3 + 2 * seed
    read = (
        {"input_features": torch.zeros(batch, given["bands"], given["frames"])}
        if family == "whisper"
        else {"input_ids": tokens(batch, 6)}
    )
    decoded = {"decoder_input_ids": tokens(batch, length), "use_cache": False}
    found = {"encoder_outputs": BaseModelOutput(made.get_encoder()(**read)[0])}
    kept = made(**found, decoder_input_ids=tokens(batch, past), use_cache=True).past_key_values
    theirs = {
        "both": lambda: made(**read, **decoded),
        "encoder": lambda: made.get_encoder()(**read),
        "decoder": lambda: made(**found, **decoded),
        "step": lambda: made(**found, **{**decoded, "use_cache": True}, past_key_values=kept),
    }
    for part, run in theirs.items():
        network = specs.zoo(name, **given, part=part)
        sizes = {size: n for size, n in {"N": batch, "S": 6, "T": length, "P": past}.items() if size in network.sizes}
        assert count(network).total.macs.at(sizes) == macs_of(run), part


@pytest.mark.parametrize("by_steps", [False, True])
def test_experts_count_what_torch_counts(by_steps: bool) -> None:
    """Where the tokens make equal shares, or are few and fetch their own; torch runs whatever the router says."""
    given = {**drawn("llama", 1), "experts": 4}
    made = module("llama", "mixtral_8x7b", given)
    ours = count(specs.zoo("mixtral_8x7b", **given, cache=by_steps)).total.macs
    if by_steps:
        kept = made(tokens(1, 5), use_cache=True).past_key_values
        assert ours.at(N=1, S=1, P=5) == macs_of(lambda: made(tokens(1, 1), past_key_values=kept))
    else:
        assert ours.at(N=2, S=6) == macs_of(lambda: made(tokens(2, 6), use_cache=False))
