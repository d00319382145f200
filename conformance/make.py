#!/usr/bin/env python3
"""Makes the cases of the conformance pack: tiny random checkpoints with expected values.

    python make.py OUT [CASE ...]

Needs the pins of requirements.txt; takes about two minutes.  The seeds are fixed, so the same
versions on the same kind of processor give the same bytes (compare with SHA256SUMS).
`ref64.*` are this project's own float64 values; `prefill.*`, `decode.*` and `greedy.*` are
transformers' float32 values, kept only when they agree with `ref64`.
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import cases
import checkpoint
import gradients
import misreadings
import reference
import transformers_values as hf
from misreadings import max_difference
from reference import Config, Weights

PROMPT = 24


def top_gap(logits: Tensor) -> float:
    """The smallest distance between the best and the second token."""
    ranked = logits.double().sort(-1, descending=True)[0]
    return (ranked[..., 0] - ranked[..., 1]).min().item()


def as_f64(w: Weights) -> Weights:
    return {k: t.double() for k, t in w.items()}


def forward(cfg: Config, w: Weights, ids: Tensor, record: dict | None = None) -> Tensor:
    if cfg["model_type"] == "llama":
        return reference.llama_forward(cfg, w, ids)
    return reference.deepseek_forward(cfg, w, ids, record=record)


@torch.no_grad()
def clear_cut(cfg: Config, seed: int) -> tuple[Weights, Tensor] | None:
    """Weights and a prompt of this seed, if rounding can flip neither an expert nor a greedy token."""
    w = checkpoint.random_weights(cfg, seed)
    ids = torch.randint(2, cfg["vocab_size"], (1, PROMPT), generator=torch.Generator().manual_seed(seed + 7))
    w64, record = as_f64(checkpoint.to_stored_dtype(cfg, w)), {}
    logits = forward(cfg, w64, ids, record)
    if min(record.get("margins", [1.0])) < 1e-3 or top_gap(logits) < 1e-3:
        return None
    full = ids
    for _ in range(hf.GENERATED):
        full = torch.cat([full, forward(cfg, w64, full)[:, -1].argmax(-1, keepdim=True)], 1)
    record = {}
    logits = forward(cfg, w64, full, record)[:, PROMPT - 1 :]
    if min(record.get("margins", [1.0])) > 3e-4 and top_gap(logits) > 3e-3:
        return w, ids
    return None


def first_clear_cut(cfg: Config) -> tuple[int, Weights, Tensor]:
    for seed in range(1000, 1400):
        if found := clear_cut(cfg, seed):
            return seed, *found
    raise SystemExit("no seed with wide margins")


@torch.no_grad()
def greedy(cfg: Config, w: Weights, ids: Tensor) -> Tensor:
    for _ in range(hf.GENERATED):
        ids = torch.cat([ids, forward(cfg, w, ids)[:, -1].argmax(-1, keepdim=True)], 1)
    return ids[:, PROMPT:]


@torch.no_grad()
def decode(cfg: Config, w: Weights, ids: Tensor) -> Tensor:
    """One token at a time; latent attention in its absorbed form."""
    cache = [{} for _ in range(cfg["num_hidden_layers"])]
    if cfg["model_type"] == "llama":
        rows = [reference.llama_forward(cfg, w, ids[:, t : t + 1], cache) for t in range(PROMPT)]
    else:
        rows = [reference.deepseek_forward(cfg, w, ids[:, t : t + 1], cache, absorbed=True) for t in range(PROMPT)]
    return torch.cat(rows, 1)


@torch.no_grad()
def agreement(cfg: Config, w: Weights, ids: Tensor, values: dict, note: dict) -> Tensor:
    """The true logits; notes how the other computations agree, and refuses a case where they do not."""
    record: dict = {}
    truth = forward(cfg, w, ids, record)
    note["max_abs_logit"] = truth.abs().max().item()
    note["hf_f32_vs_ref64"] = max_difference(values["prefill.logits"], truth)
    note["hf_decode_vs_prefill"] = max_difference(values["decode.logits"], values["prefill.logits"])
    if cfg["model_type"] == "llama":
        note["ref64_decode_vs_prefill"] = max_difference(decode(cfg, w, ids), truth)
    else:
        absorbed = reference.deepseek_forward(cfg, w, ids, absorbed=True)
        note["ref64_absorbed_vs_naive"] = max_difference(absorbed, truth)
        note["ref64_absorbed_decode_vs_prefill"] = max_difference(decode(cfg, w, ids), truth)
    note["greedy_agrees_with_ref64"] = torch.equal(greedy(cfg, w, ids), values["greedy.ids"])
    note["greedy_min_top1_gap"] = top_gap(values["greedy.logits"])
    assert note["hf_f32_vs_ref64"] < 5e-5 and note["greedy_agrees_with_ref64"], note
    if cfg["model_type"] == "llama":
        return truth
    note["min_routing_margin"] = min(record["margins"])
    note["moe_layers"] = [i for i in range(cfg["num_hidden_layers"]) if reference.is_moe(cfg, i)]
    for i in note["moe_layers"]:
        assert torch.equal(record[f"moe_idx.{i}"], values[f"prefill.moe_idx.{i}"])
        assert max_difference(record[f"moe_weight.{i}"], values[f"prefill.moe_weight.{i}"]) < 1e-4
    v2 = cfg["model_type"] == "deepseek_v2"
    note["krope_layout"] = "interleaved pairs" if v2 else "half-split (de-interleaved)"
    return truth


def quantised_shapes(stored: Weights) -> dict[str, list]:
    """Value and scale shapes of the first layer and the first expert."""
    return {
        k: [list(t.shape), list(stored[k + "_scale_inv"].shape)]
        for k, t in stored.items()
        if t.dtype == torch.float8_e4m3fn and ("layers.0." in k or "experts.0." in k)
    }


@torch.no_grad()
def fp8_values(cfg: Config, plain: Weights, ids: Tensor) -> dict[str, Tensor]:
    kv_a = plain["model.layers.0.self_attn.kv_a_proj_with_mqa.weight"]
    rounded = {k: t.bfloat16().float() for k, t in plain.items()}
    logits = reference.deepseek_forward(cfg, rounded, ids)
    return {"dequant.kv_a_proj_with_mqa.0": kv_a, "ref32_bf16_rounded_weights.logits": logits}


@torch.no_grad()
def fp8_notes(folder: Path, cfg: Config, unquantised: Weights, ids: Tensor, values: dict, truth: Tensor) -> dict:
    from transformers import AutoModelForCausalLM, FineGrainedFP8Config

    note = {
        "fp8_vs_unquantised_logits": max_difference(forward(cfg, as_f64(unquantised), ids), truth),
        "bf16_rounded_vs_f32_dequant": max_difference(values["ref32_bf16_rounded_weights.logits"], truth),
    }
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager",
            quantization_config=FineGrainedFP8Config(dequantize=True),
        )  # fmt: skip
        note["hf_fp8_dequantize_load_vs_ref64"] = max_difference(model(input_ids=ids).logits, truth)
    except Exception as error:  # noqa: BLE001 - what transformers raises here is the finding
        note["hf_fp8_dequantize_load_error"] = f"{type(error).__name__}: {error}"[:300]
    return note


@torch.no_grad()
def mtp_values(model, cfg: Config, w: Weights, ids: Tensor, values: dict) -> tuple[dict, dict]:
    """The multi-token-prediction layer over the prompt; its last position takes the greedy token."""
    layer = cfg["num_hidden_layers"]
    hidden = values["prefill.final_norm"]
    next_ids = torch.cat([ids, values["greedy.ids"][:, :1]], 1)[:, 1:]
    record: dict = {}
    truth = reference.mtp_forward(cfg, w, next_ids, hidden.double(), torch.arange(1, PROMPT + 1), record)
    before_norm = values[f"prefill.hidden.{layer}"].double()
    effects = misreadings.mtp(cfg, w, next_ids, before_norm, hidden.double(), truth)
    theirs = hf.mtp_logits(model, hidden, next_ids)
    new = {
        "mtp.input_hidden": hidden,
        "mtp.next_ids": next_ids,
        "mtp.ref64.logits": truth,
        "mtp.ref64.eh_proj_out": record["eh_proj_out"],
        "mtp.ref64.hidden": record["hidden"],
        "mtp.moe_idx": record[f"moe_idx.{layer}"],
        "mtp.moe_weight": record[f"moe_weight.{layer}"],
        "mtp.ref64.logits_pre_norm_input": effects.pop("logits_pre_norm_input"),
        "mtp.hf.logits": theirs,
    }
    return new, effects | {"mtp_hf_vs_ref64": max_difference(theirs, truth)}


def newer_config(model, written: Config) -> dict:
    """The same configuration as transformers 5 writes it, under the case's own model_type."""
    config = json.loads(model.config.to_json_string())
    config.pop("_name_or_path", None)
    return config | {"model_type": written["model_type"]}


def make(out: Path, name: str) -> dict:
    cfg, folder = copy.deepcopy(cases.FORWARD[name]), out / name
    seed, weights, ids = first_clear_cut(cfg)
    note: dict = {"case": name, "seed": seed}
    stored, fp8 = weights, name == "v3_fp8"
    if fp8:
        stored = checkpoint.quantise_projections(weights)
        cfg["quantization_config"] = dict(
            activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[128, 128]
        )
    stored = checkpoint.to_stored_dtype(cfg, stored)
    checkpoint.save(folder, cfg, stored, cases.SHARDS.get(name, 1))
    plain = hf.plain_weights(stored)
    if fp8:
        note["fp8_shapes"] = quantised_shapes(stored)
    model, note["hf_unexpected_keys"] = hf.load_case(folder, cfg, plain)
    checkpoint.write_json(folder / "config_v5.json", newer_config(model, cfg), indent=2, sort_keys=True)

    values, w64 = hf.record(model, ids), as_f64(plain)
    truth = agreement(cfg, w64, ids, values, note)
    values |= {"ref64.logits": truth, "input_ids": ids}
    family = misreadings.llama if cfg["model_type"] == "llama" else misreadings.deepseek
    note |= family(cfg, w64, ids, truth)
    if fp8:
        values |= fp8_values(cfg, plain, ids)
        note |= fp8_notes(folder, cfg, weights, ids, values, truth)
    if cfg.get("num_nextn_predict_layers"):
        new, effects = mtp_values(model, cfg, w64, ids, values)
        values |= new
        note |= effects
    save_file({k: t.contiguous().clone() for k, t in values.items()}, folder / "goldens.safetensors")
    checkpoint.write_json(folder / "golden.json", note, indent=1)
    return note


def main() -> None:
    known = [*cases.FORWARD, *cases.GRADIENT]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder that receives one folder per case")
    parser.add_argument("case", nargs="*", help=f"cases to make; all of {', '.join(known)} when none is named")
    arguments = parser.parse_args()
    for name in arguments.case:
        if name not in known:
            parser.error(f"unknown case {name}; known are {', '.join(known)}")
    torch.set_num_threads(1)
    for name in arguments.case or known:
        note = gradients.make(arguments.out, name) if name in cases.GRADIENT else make(arguments.out, name)
        print(name, json.dumps({k: v for k, v in note.items() if isinstance(v, float)}), flush=True)


if __name__ == "__main__":
    main()
