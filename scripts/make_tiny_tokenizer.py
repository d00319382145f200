#!/usr/bin/env python3
"""Writes model/tests/fixtures/tiny_tokenizer: a byte-level BPE tokenizer of the published form.

Python's standard library alone. The pre-tokenizer and the kinds of control tokens are those of
DeepSeek-V3: the first three are `special` and in the vocabulary, the others are neither.
"""

import json
import pathlib
from collections import Counter

TEXT = """the quick brown fox jumps over the lazy dog and then the other dog jumps over the fox
what is the answer to the question that you asked me to think about the other day hello world"""
MERGES = 80
IN_VOCABULARY = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
BEHIND = ["<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"]
PATTERNS = [
    "\\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]
TEMPLATE = """\
{%- if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {{- message['content'] }}
    {%- elif message['role'] == 'user' %}
        {{- '<｜User｜>' + message['content'] }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<｜Assistant｜>' + message['content'].split('</think>')[-1] + eos_token }}
    {%- else %}
        {{- raise_exception('unknown role ' + message['role']) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}
"""


def alphabet():
    """GPT-2's printable character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def join(word, pair):
    out = []
    for token in word:
        if out and (out[-1], token) == pair:
            out[-1] += token
        else:
            out.append(token)
    return out


def learn(words):
    merges = []
    while len(merges) < MERGES:
        pairs = Counter(pair for word in words for pair in zip(word, word[1:]))
        pair = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(pair)
        words = [join(word, pair) for word in words]
    return merges


def main():
    chars = alphabet()
    words = [[chars[b] for b in (" " + word).encode()] for word in TEXT.split()]
    merges = learn(words)
    tokens = IN_VOCABULARY + [chars[b] for b in range(256)]
    tokens += dict.fromkeys(left + right for left, right in merges)
    added = [
        {
            "id": (tokens + BEHIND).index(content),
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": content not in IN_VOCABULARY,
            "special": content in IN_VOCABULARY,
        }
        for content in IN_VOCABULARY + BEHIND
    ]
    steps = [
        {"type": "Split", "pattern": {"Regex": p}, "behavior": "Isolated", "invert": False}
        for p in PATTERNS
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    steps.append({**byte_level, "use_regex": False})
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
        "post_processor": {**byte_level, "use_regex": True},
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: id for id, token in enumerate(tokens)},
            "merges": [f"{left} {right}" for left, right in merges],
        },
    }
    config = {
        "add_bos_token": True,
        "bos_token": {"__type": "AddedToken", "content": IN_VOCABULARY[0], "special": True},
        "eos_token": IN_VOCABULARY[1],
        "pad_token": IN_VOCABULARY[2],
        "chat_template": TEMPLATE,
    }
    folder = pathlib.Path(__file__).parent.parent / "model/tests/fixtures/tiny_tokenizer"
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in [("tokenizer.json", tokenizer), ("tokenizer_config.json", config)]:
        text = json.dumps(value, ensure_ascii=False, indent=1)
        (folder / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
