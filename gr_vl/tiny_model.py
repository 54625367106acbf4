"""A Qwen2.5-VL small enough for a laptop's CPU, from random weights, as an ordinary Hugging Face folder.

It has the architecture, chat template, special tokens and processor of the 3B and 7B models, so that every stage treats
it like them: only its size differs (about 0.9 M parameters). Its tokenizer is trained in process on the texts that the
model is going to read and write; the four tags of the output grammar are single, ordinary tokens that decoding keeps.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
GRAMMAR_TOKENS = ("<think>", "</think>", "<result>", "</result>")
VOCABULARY = 1024
"""At most; texts with few different words fill less of it."""
INITIAL_SPREAD = 0.06
"""Wider than the usual 0.02, which suits matrices that are ten times larger; this one learns in fewer steps."""
PATCH, MERGE, IMAGE_SIDE = 14, 2, 84

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string -%}
{{ message['content'] }}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' or 'image' in part or 'image_url' in part -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part['type'] == 'video' or 'video' in part -%}
<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part -%}
{{ part['text'] }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
"""Qwen2.5-VL's, without its default system message: our dialects always bring one."""


def build(texts: Iterable[str], out: Path, seed: int, *, matching: bool = False) -> None:
    """Write model, tokenizer and processor to `out`. Same texts and seed, same files.

    `matching` lets attention start where equal tokens attend to each other (`_match`): for guards that look things up.
    """
    tokenizer = _tokenizer(texts)
    out.mkdir(parents=True, exist_ok=True)
    _processor(tokenizer).save_pretrained(out)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(_config(tokenizer))
    if matching:
        _match(model)
    end, pad = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, bos_token_id=pad, do_sample=False)
    model.to(torch.float32).save_pretrained(out, safe_serialization=True)


def _match(model: Qwen2_5_VLForConditionalGeneration) -> None:
    """Queries project as the keys of their group do, in all layers but the first, so that like attends to like.

    After mimetic initialization (arXiv 2305.09828), which starts with the product of query and key weights near the
    identity. A tiny model from random weights takes long to find such heads, if at all; pretrained ones have them.
    """
    for layer in model.model.language_model.layers[1:]:
        attention = layer.self_attn
        keys = attention.k_proj.weight.detach().unflatten(0, (-1, attention.head_dim))
        attention.q_proj.weight.data = keys.repeat_interleave(attention.num_key_value_groups, 0).flatten(0, 1)


def _tokenizer(texts: Iterable[str]) -> Qwen2Tokenizer:
    learner = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    learner.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    size = VOCABULARY - len(SPECIAL_TOKENS) - len(GRAMMAR_TOKENS)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(map(_without_grammar, (*texts, "system\nuser\nassistant\n")), trainer)
    learned = json.loads(learner.to_str())["model"]
    tokenizer = Qwen2Tokenizer(learned["vocab"], [tuple(pair) for pair in learned["merges"]], model_max_length=4096)
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in GRAMMAR_TOKENS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _without_grammar(text: str) -> str:
    for token in GRAMMAR_TOKENS:
        text = text.replace(token, "\n")
    return text


def _processor(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLProcessor:
    cell = PATCH * MERGE
    limits = {"min_pixels": cell * cell, "max_pixels": IMAGE_SIDE * IMAGE_SIDE}
    images = Qwen2VLImageProcessor(patch_size=PATCH, merge_size=MERGE, **limits)
    videos = Qwen2VLVideoProcessor(patch_size=PATCH, merge_size=MERGE, **limits)
    return Qwen2_5_VLProcessor(images, tokenizer, videos, chat_template=CHAT_TEMPLATE)


def _config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 4,
        "initializer_range": INITIAL_SPREAD,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 2,
        "initializer_range": INITIAL_SPREAD,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "window_size": IMAGE_SIDE,
        "fullatt_block_indexes": [1],
        "out_hidden_size": text["hidden_size"],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
