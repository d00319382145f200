#!/usr/bin/env python3
"""Prints the ids and the rendered chat that model/tests expects, by the Python implementations.

    python3 -m venv venv && venv/bin/pip install tokenizers==0.22.0 jinja2==3.1.6
    scripts/fetch_tokenizer.sh && venv/bin/python scripts/known_tokenizer_ids.py

The environment of the template is that of transformers' `apply_chat_template`.
"""

import json
import pathlib

import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).parent.parent
FOLDERS = [
    "data/deepseek-v3-tokenizer",
    "data/deepseek-v4-tokenizer",
    "model/tests/fixtures/tiny_tokenizer",
]
TEXTS = [
    "Hello! 毕老师！1 + 1 = 2",
    "The quick brown fox\n\n  jumps 12345 times.",
    'fn main() {\n\tprintln!("hi");\n}\n',
    "👩\u200d👩\u200d👧 naïve café Straße",
    "こんにちは世界 한국어",
]
MESSAGES = [
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "What is 1+1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "And 2+2?\n"},
]


def content(token):
    return token if isinstance(token, str) else token["content"]


def main():
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    for folder in FOLDERS:
        tokenizer = Tokenizer.from_file(str(ROOT / folder / "tokenizer.json"))
        print(folder)
        for text in TEXTS:
            print(f"  {text!r}: {tokenizer.encode(text, add_special_tokens=False).ids}")
        config = json.loads((ROOT / folder / "tokenizer_config.json").read_text())
        if "chat_template" not in config:
            continue
        roles = {key: content(config[key]) for key in ("bos_token", "eos_token", "pad_token")}
        template = environment.from_string(config["chat_template"])
        text = template.render(messages=MESSAGES, add_generation_prompt=True, **roles)
        print(f"  chat {text!r}: {tokenizer.encode(text, add_special_tokens=False).ids}")


if __name__ == "__main__":
    main()
