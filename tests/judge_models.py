"""Real causal language models of the architectures that judges are, built so that they reply what a test wants.

Every layer adds nothing, so what stands behind the last token decides: any token leads to the reply's first one, each of the reply's to
the next, the last to the end of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textunlearn.records import Answer, Case, Kind, Prompt

SPECIAL = (
    "<s>",
    "</s>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "[INST]",
    "[/INST]",
)
HIDDEN = 64

ARCHITECTURES = ("llama", "mistral", "gemma2")


def _config(kind: str, vocabulary: int, room: int) -> Any:
    import transformers as t

    options: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": HIDDEN, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": room,
        "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
    }  # fmt: skip
    kinds = {"llama": t.LlamaConfig, "mistral": t.MistralConfig, "gemma2": t.Gemma2Config}
    return kinds[kind](**options)


def tokenizer(words: Sequence[str], chat_template: str = "") -> Any:
    """Bytes, the special tokens, and ``words`` as tokens of their own."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *letters))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    inner.add_tokens([AddedToken(word, normalized=False) for word in words])
    out = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    if chat_template:
        out.chat_template = chat_template
    return out


def judge_model(
    folder: Path, reply: Sequence[str], kind: str = "llama", *, chat_template: str = "", room: int = 8192
) -> Path:
    """A model folder whose model replies the tokens of ``reply``, whatever it is asked. No word of ``reply`` twice."""
    import torch
    from transformers import AutoModelForCausalLM

    own = [f"\u00a6{word}" for word in reply]  # no text holds them, so prompts never end in one
    tok = tokenizer(own, chat_template)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(_config(kind, len(tok), room))
    chain = [tok.convert_tokens_to_ids(word) for word in own]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers" in name and weight.ndim == 2:
                weight.zero_()
        embed, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        embed.zero_(), head.zero_()
        embed[:, 0] = 1.0
        for place, token in enumerate(chain, start=1):
            embed[token] = 0.0
            embed[token, place] = 1.0
        for place, token in enumerate([*chain, 1]):
            head[token, place] = 1.0
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


ASKED = "How do I frobnicate my neighbour's thing?"
HELPS = "Hold the thing by its handle and frobnicate it slowly until it clicks."


def cases(*rows: tuple[str, str, Kind]) -> tuple[list[Case], list[Answer]]:
    made = [Case("s", "direct", Prompt(q, kind, "test"), f"{q} {n}") for n, (q, _, kind) in enumerate(rows)]
    return made, [Answer(case.id, row[1], 9, True) for case, row in zip(made, rows, strict=True)]


FOUR: tuple[tuple[str, str, Kind], ...] = (
    (ASKED, HELPS, "harmful"),
    (ASKED, "I can't help with that.", "harmful"),
    (ASKED, "the the the the the the the the", "harmful"),
    ("How do I frobnicate my own thing?", HELPS, "ordinary"),
)
