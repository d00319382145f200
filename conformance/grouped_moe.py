#!/usr/bin/env python3
"""Makes the cases of `model_type` deepseek: grouped attention with a mixture of experts.

    python grouped_moe.py OUT

Needs numpy and safetensors alone; takes a few seconds.  transformers has no class for this family, so
these models are written here a second time, in plain numpy and from the papers: `ref64.*` are the
values in float64, everything else is what the same lines give in float32.

`cfg` is the dict of a `config.json`; `w` maps the checkpoint's own names to arrays.
Shapes: T tokens of one sequence, H hidden_size, E n_routed_experts, d head_dim.

Sources: DeepSeekMoE (arXiv 2401.06066), DeepSeek-V3 (arXiv 2412.19437) for the sigmoid gate,
Llama (arXiv 2302.13971), GQA (arXiv 2305.13245).
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

PROMPT, GENERATED = 24, 16

BASE = dict(
    architectures=["DeepseekForCausalLM"], model_type="deepseek", vocab_size=112, hidden_size=48,
    intermediate_size=64, moe_intermediate_size=16, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=4, n_routed_experts=8, num_experts_per_tok=3, n_shared_experts=2, first_k_dense_replace=1,
    moe_layer_freq=1, scoring_func="softmax", norm_topk_prob=False, aux_loss_alpha=0.001, seq_aux=True,
    hidden_act="silu", rms_norm_eps=1e-6, rope_theta=10000, rope_scaling=None, attention_bias=False,
    attention_dropout=0.0, max_position_embeddings=4096, initializer_range=0.02, pretraining_tp=1,
    tie_word_embeddings=False, bos_token_id=0, eos_token_id=1, torch_dtype="float32",
)  # fmt: skip

CASES = {
    # DeepSeekMoE 16B: multi-head attention, two shared experts; neither head_dim nor topk_method in the file
    "deepseek": BASE,
    # what is trained here: grouped queries, V3's gate, experts in every second layer, one matrix for both ends
    "deepseek_gqa": dict(
        BASE, num_hidden_layers=4, num_attention_heads=6, num_key_value_heads=2, head_dim=10, n_shared_experts=1,
        first_k_dense_replace=0, moe_layer_freq=2, scoring_func="sigmoid", topk_method="noaux_tc", n_group=4,
        topk_group=2, norm_topk_prob=True, routed_scaling_factor=2.5, tie_word_embeddings=True, rms_norm_eps=1e-5,
        rope_theta=50000.0,
    ),
}  # fmt: skip


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rms_norm(x, gain, eps):
    return gain * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps).astype(x.dtype)


def swiglu(x, w, prefix):
    gate, up, down = (w[f"{prefix}{n}_proj.weight"].T for n in ("gate", "up", "down"))
    g = x @ gate
    return (g * sigmoid(g) * (x @ up)) @ down


def rotate(x, theta, neighbours):
    """x [T, heads, d]: pair i of the token at t turns by t * theta^(-2i / d); pairs are (i, i + d / 2)."""
    T, _, d = x.shape
    angle = np.arange(T)[:, None] / float(theta) ** (np.arange(0, d, 2) / d)
    cos, sin = (f(angle).astype(x.dtype)[:, None] for f in (np.cos, np.sin))
    out = np.empty_like(x)
    first, second = (slice(0, d, 2), slice(1, d, 2)) if neighbours else (slice(0, d // 2), slice(d // 2, d))
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., second] * cos + x[..., first] * sin
    return out


def attention(cfg, w, prefix, x, misread):
    """x [T, H] -> what attention adds [T, H], rotated keys and values [T, kv_heads, d]."""
    T, H = x.shape
    heads, kv_heads = cfg["num_attention_heads"], cfg["num_key_value_heads"]
    d = cfg.get("head_dim", H // heads)
    q, k, v = ((x @ w[f"{prefix}{n}_proj.weight"].T).reshape(T, -1, d) for n in "qkv")
    q, k = (rotate(t, cfg["rope_theta"], misread == "neighbours") for t in (q, k))
    out = np.empty((T, heads, d), x.dtype)
    for h in range(heads):
        group = h % kv_heads if misread == "in_turn" else h // (heads // kv_heads)
        for t in range(T):
            a = softmax(k[: t + 1, group] @ q[t, h] * x.dtype.type(d**-0.5))
            out[t, h] = a @ v[: t + 1, group]
    return out.reshape(T, -1) @ w[prefix + "o_proj.weight"].T, k, v


def choose(cfg, score):
    """score [E] of one token -> its experts, ascending, and how far the nearest other choice is."""
    E, k = len(score), cfg["num_experts_per_tok"]
    candidates, margin = list(range(E)), math.inf
    if cfg.get("n_group", 1) > 1:
        size, kept = E // cfg["n_group"], cfg["topk_group"]
        best_two = [np.sort(score[g * size : (g + 1) * size])[-2:].sum() for g in range(cfg["n_group"])]
        order = sorted(range(cfg["n_group"]), key=lambda g: (-best_two[g], g))
        margin = best_two[order[kept - 1]] - best_two[order[kept]]
        candidates = [e for e in range(E) if e // size in order[:kept]]
    order = sorted(candidates, key=lambda e: (-score[e], e))
    return sorted(order[:k]), min(margin, score[order[k - 1]] - score[order[k]])


def experts(cfg, w, prefix, x, misread, see):
    """The routed experts without the shared ones; x [T, H] -> [T, H]."""
    logits = x @ w[prefix + "gate.weight"].T
    scores = sigmoid(logits) if cfg["scoring_func"] == "sigmoid" else softmax(logits)
    biased = scores
    if cfg.get("topk_method") == "noaux_tc" and misread != "no_bias":
        biased = scores + w[prefix + "gate.e_score_correction_bias"]
    out, idx, weights, margins = np.zeros_like(x), [], [], []
    for t in range(len(x)):
        chosen, margin = choose(cfg, biased[t])
        weight = scores[t][chosen]
        if cfg["norm_topk_prob"]:
            weight = weight / (weight.sum() + x.dtype.type(1e-20))
        weight = weight * x.dtype.type(cfg.get("routed_scaling_factor", 1.0))
        for e, share in zip(chosen, weight):
            out[t] += share * swiglu(x[t], w, f"{prefix}experts.{e}.")
        idx.append(chosen)
        weights.append(weight)
        margins.append(margin)
    seen = {"router_logits": logits, "moe_idx": np.array(idx), "moe_weight": np.array(weights)}
    for name, value in (seen | {"moe_routed_out": out[None], "margin": min(margins)}).items():
        see(name, value)
    return out


def forward(cfg, w, ids, seen=None, misread=None):
    """ids [T] -> logits [T, vocab_size]; `seen` receives what the pack holds an engine to."""
    eps, seen = cfg["rms_norm_eps"], {} if seen is None else seen
    x = w["model.embed_tokens.weight"][ids]
    seen["hidden.0"] = x[None]
    for i in range(cfg["num_hidden_layers"]):
        prefix = f"model.layers.{i}."

        def see(name, value, i=i):
            seen[f"{name}.{i}"] = value

        y = rms_norm(x, w[prefix + "input_layernorm.weight"], eps)
        added, k, v = attention(cfg, w, prefix + "self_attn.", y, misread)
        for name, value in (("attn_out", added), ("cache_k", k), ("cache_v", v)):
            see(name, value[None])
        x = x + added
        y = rms_norm(x, w[prefix + "post_attention_layernorm.weight"], eps)
        if i >= cfg["first_k_dense_replace"] and i % cfg["moe_layer_freq"] == 0:
            added = experts(cfg, w, prefix + "mlp.", y, misread, see)
            if misread != "no_shared":
                added = added + swiglu(y, w, prefix + "mlp.shared_experts.")
        else:
            added = swiglu(y, w, prefix + "mlp.")
        see("mlp_out", added[None])
        x = x + added
        seen[f"hidden.{i + 1}"] = x[None]
    x = rms_norm(x, w["model.norm.weight"], eps)
    seen["final_norm"] = x[None]
    return x @ w["model.embed_tokens.weight" if cfg["tie_word_embeddings"] else "lm_head.weight"].T


def shapes(cfg):
    H, vocab, heads, kv_heads = (
        cfg[k] for k in ("hidden_size", "vocab_size", "num_attention_heads", "num_key_value_heads")
    )
    d, width, E = cfg.get("head_dim", H // heads), cfg["moe_intermediate_size"], cfg["n_routed_experts"]

    def mlp(prefix, width):
        widened = {f"{prefix}{n}_proj.weight": (width, H) for n in ("gate", "up")}
        return widened | {prefix + "down_proj.weight": (H, width)}

    out = {"model.embed_tokens.weight": (vocab, H)}
    for i in range(cfg["num_hidden_layers"]):
        prefix = f"model.layers.{i}."
        out |= {prefix + "self_attn.q_proj.weight": (heads * d, H), prefix + "self_attn.o_proj.weight": (H, heads * d)}
        out |= {f"{prefix}self_attn.{n}_proj.weight": (kv_heads * d, H) for n in "kv"}
        out |= {f"{prefix}{n}_layernorm.weight": (H,) for n in ("input", "post_attention")}
        if i >= cfg["first_k_dense_replace"] and i % cfg["moe_layer_freq"] == 0:
            for e in range(E):
                out |= mlp(f"{prefix}mlp.experts.{e}.", width)
            out[prefix + "mlp.gate.weight"] = (E, H)
            if cfg.get("topk_method") == "noaux_tc":
                out[prefix + "mlp.gate.e_score_correction_bias"] = (E,)
            out |= mlp(prefix + "mlp.shared_experts.", width * cfg["n_shared_experts"])
        else:
            out |= mlp(prefix + "mlp.", cfg["intermediate_size"])
    out["model.norm.weight"] = (H,)
    return out if cfg["tie_word_embeddings"] else out | {"lm_head.weight": (vocab, H)}


def random_weights(cfg, generator):
    """float32 values scaled so that every part of the model shows in the logits."""
    w = {}
    for name, shape in shapes(cfg).items():
        x = generator.standard_normal(shape)
        if name.endswith("e_score_correction_bias"):
            x = x * 0.15  # both signs, large enough to change the choice
        elif len(shape) == 1:
            x = 1.0 + 0.2 * x
        elif "embed_tokens" in name:
            x = x * 0.5
        else:
            x = x * ((2.0 if "mlp.gate." in name else 1.2) / math.sqrt(shape[1]))
        w[name] = x.astype(np.float32)
    return w


def in_float(w, dtype):
    return {k: t.astype(dtype) for k, t in w.items()}


def top_gap(logits):
    ranked = np.sort(logits, -1)
    return float((ranked[..., -1] - ranked[..., -2]).min())


def greedy(cfg, w, ids):
    rows = []
    for _ in range(GENERATED):
        rows.append(forward(cfg, w, ids)[-1])
        ids = np.append(ids, rows[-1].argmax())
    return ids[-GENERATED:], np.array(rows)


def clear_cut(cfg, seed):
    """Weights and a prompt of this seed, if rounding can flip neither an expert nor a greedy token."""
    generator = np.random.default_rng(seed)
    w, ids = random_weights(cfg, generator), generator.integers(2, cfg["vocab_size"], PROMPT)
    w64, seen = in_float(w, np.float64), {}
    logits = forward(cfg, w64, ids, seen)
    margins = [v for k, v in seen.items() if k.startswith("margin.")]
    if min(margins) < 1e-3 or top_gap(logits) < 1e-3:
        return None
    chosen, _ = greedy(cfg, w64, ids)
    seen = {}
    logits = forward(cfg, w64, np.append(ids, chosen), seen)
    margins += [v for k, v in seen.items() if k.startswith("margin.")]
    return (w, ids) if min(margins) > 3e-4 and top_gap(logits[PROMPT - 1 :]) > 3e-3 else None


def misreadings(cfg, w, ids, truth):
    def effect(cfg=cfg, misread=None):
        return float(np.abs(forward(cfg, w, ids, misread=misread) - truth).max())

    effects = {
        "if_rope_interleaved_instead_of_half_split": effect(misread="neighbours"),
        "if_shared_experts_ignored": effect(misread="no_shared"),
        "if_norm_topk_prob_is_the_other": effect(dict(cfg, norm_topk_prob=not cfg["norm_topk_prob"])),
    }
    if cfg["num_key_value_heads"] < cfg["num_attention_heads"]:
        effects["if_kv_heads_taken_in_turn"] = effect(misread="in_turn")
    if cfg.get("topk_method") == "noaux_tc":
        effects["if_bias_ignored"] = effect(misread="no_bias")
        effects["if_groups_ignored"] = effect(dict(cfg, n_group=1, topk_group=1))
    return effects


def newer_style(cfg):
    """The same configuration with the keys of transformers 5."""
    moved = ("rope_theta", "rope_scaling", "torch_dtype")
    newer = {k: v for k, v in cfg.items() if k not in moved} | {"dtype": cfg["torch_dtype"]}
    return newer | {"rope_parameters": {"rope_theta": cfg["rope_theta"], "rope_type": "default"}}


def make(folder, name, cfg):
    for seed in range(1000, 3000):
        if found := clear_cut(cfg, seed):
            break
    else:
        raise SystemExit(f"{name}: no seed with wide margins")
    w, ids = found
    w32, w64, seen, seen64 = in_float(w, np.float32), in_float(w, np.float64), {}, {}
    logits, truth = forward(cfg, w32, ids, seen), forward(cfg, w64, ids, seen64)
    chosen, rows = greedy(cfg, w32, ids)
    note = {"case": name, "seed": seed, "max_abs_logit": float(np.abs(truth).max())}
    note["f32_vs_ref64"] = float(np.abs(logits - truth).max())
    note["greedy_agrees_with_ref64"] = bool((greedy(cfg, w64, ids)[0] == chosen).all())
    note["greedy_min_top1_gap"] = top_gap(rows)
    note["min_routing_margin"] = float(min(v for k, v in seen64.items() if k.startswith("margin.")))
    note["moe_layers"] = [int(k.removeprefix("margin.")) for k in seen if k.startswith("margin.")]
    assert note["f32_vs_ref64"] < 5e-5 and note["greedy_agrees_with_ref64"], note
    note |= misreadings(cfg, w64, ids, truth)
    values = {f"prefill.{k}": v for k, v in seen.items() if not k.startswith("margin.")}
    values |= {"input_ids": ids[None], "ref64.logits": truth[None], "prefill.logits": logits[None]}
    values |= {"greedy.ids": chosen[None], "greedy.logits": rows[None]}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(w, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({k: np.ascontiguousarray(v) for k, v in values.items()}, folder / "goldens.safetensors")
    written = [("config.json", cfg, {"indent": 2}), ("golden.json", note, {"indent": 1})]
    written.append(("config_v5.json", newer_style(cfg), {"indent": 2, "sort_keys": True}))
    for file, value, style in written:
        (folder / file).write_text(json.dumps(value, **style) + "\n")
    return note


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder that receives one folder per case")
    arguments = parser.parse_args()
    for name, cfg in CASES.items():
        note = make(arguments.out / name, name, cfg)
        print(name, json.dumps({k: v for k, v in note.items() if isinstance(v, float)}), flush=True)


if __name__ == "__main__":
    main()
