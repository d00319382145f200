"""The models of the pack in plain torch, written from the papers and the released layouts.

Nothing here imports transformers: this is the independent second opinion, and in float64 it is
the value that the pack calls true (`ref64.*`).  It runs in whatever float type the weights have.

`cfg` is the dict of a released `config.json`; `w` maps the checkpoint's own names to tensors.
Shapes: B batch, T new tokens, S tokens seen, H hidden_size, E n_routed_experts.

Sources: DeepSeek-V2 (arXiv 2405.04434), DeepSeek-V3 (arXiv 2412.19437), YaRN (arXiv 2309.00071),
Llama (arXiv 2302.13971), GQA (arXiv 2305.13245).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Config = dict
Weights = dict[str, Tensor]
Cache = list[dict[str, Tensor]]
RopeTables = tuple[Tensor, float, float]


def yarn_mscale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def rope_tables(cfg: Config, dtype: torch.dtype = torch.float64) -> RopeTables:
    """Inverse frequencies [qk_rope_head_dim / 2], the factor on cos and sin, the softmax scale."""
    d = cfg["qk_rope_head_dim"]
    theta, yarn = cfg.get("rope_theta", 10000.0), cfg.get("rope_scaling")
    period = theta ** (torch.arange(0, d, 2, dtype=dtype) / d)
    scale = (cfg["qk_nope_head_dim"] + d) ** -0.5
    if yarn is None:
        return 1.0 / period, 1.0, scale
    factor, trained = yarn["factor"], yarn["original_max_position_embeddings"]

    def dimension_with(rotations: float) -> float:
        return d * math.log(trained / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(dimension_with(yarn.get("beta_fast") or 32)), 0)
    high = min(math.ceil(dimension_with(yarn.get("beta_slow") or 1)), d - 1)
    if low == high:
        high += 0.001
    ramp = ((torch.arange(d // 2, dtype=dtype) - low) / (high - low)).clamp(0, 1)
    inv_freq = (1.0 / (factor * period)) * ramp + (1.0 / period) * (1 - ramp)
    mscale, mscale_all_dim = yarn.get("mscale"), yarn.get("mscale_all_dim")
    if mscale and mscale_all_dim:
        cos_sin_factor = yarn_mscale(factor, mscale) / yarn_mscale(factor, mscale_all_dim)
    else:
        cos_sin_factor = yarn_mscale(factor, 1.0)
    if mscale_all_dim:
        scale = scale * yarn_mscale(factor, mscale_all_dim) ** 2
    return inv_freq, cos_sin_factor, scale


def rotate_interleaved(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the pairs (0, 1), (2, 3), ...; x [..., T, d], cos and sin [T, d / 2]."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).flatten(-2)


def rotate_half_split(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the pairs (0, d/2), (1, d/2 + 1), ...; x [..., T, d], cos and sin [T, d / 2]."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


@dataclass(frozen=True)
class Reading:
    """The points of latent attention that readers get wrong; the defaults are what is published."""

    latent_eps: float = 1e-6  # of q_a_layernorm and kv_a_layernorm, whatever rms_norm_eps says
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor] = rotate_interleaved
    tables: Callable[[Config], RopeTables] = rope_tables


PUBLISHED = Reading()


def rms_norm(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def swiglu(x: Tensor, w: Weights, prefix: str) -> Tensor:
    gate, up, down = (w[f"{prefix}{n}_proj.weight"].T for n in ("gate", "up", "down"))
    return (F.silu(x @ gate) * (x @ up)) @ down


def causal_mask(new: int, seen: int) -> Tensor:
    """[new, seen], true where a new token may not look."""
    return torch.arange(seen)[None, :] > torch.arange(seen - new, seen)[:, None]


def is_moe(cfg: Config, layer: int) -> bool:
    return layer >= cfg.get("first_k_dense_replace", 0) and layer % cfg.get("moe_layer_freq", 1) == 0


def route(cfg: Config, w: Weights, prefix: str, x: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """x [N, H] -> experts [N, k] ascending, their weights [N, k], scores [N, E], selection margin.

    The margin is the smallest distance between a chosen and a refused expert or group.
    """
    E, k = cfg["n_routed_experts"], cfg["num_experts_per_tok"]
    method = cfg["topk_method"]
    logits = x @ w[prefix + "gate.weight"].T
    scores = logits.sigmoid() if cfg["scoring_func"] == "sigmoid" else logits.softmax(-1)
    choice = scores
    if method == "noaux_tc":
        choice = scores + w[prefix + "gate.e_score_correction_bias"].to(scores.dtype)
    group_margin = float("inf")
    if method != "greedy" and cfg["n_group"] > 1:
        groups, kept = cfg["n_group"], cfg["topk_group"]
        grouped = choice.view(-1, groups, E // groups)
        best = grouped.topk(2, dim=-1)[0].sum(-1) if method == "noaux_tc" else grouped.max(-1).values
        ranked = best.sort(-1, descending=True)[0]
        if kept < groups:
            group_margin = (ranked[:, kept - 1] - ranked[:, kept]).min().item()
        chosen = torch.zeros_like(best).scatter_(1, best.topk(kept, dim=-1)[1], 1.0).bool()
        in_chosen = chosen.unsqueeze(-1).expand(-1, groups, E // groups).reshape(-1, E)
        choice = choice.masked_fill(~in_chosen, float("-inf"))
    ranked = choice.detach().sort(-1, descending=True)[0]
    margin = min(group_margin, (ranked[:, k - 1] - ranked[:, k]).min().item())
    idx = choice.topk(k, dim=-1)[1].sort(-1)[0]
    weight = scores.gather(1, idx)
    if cfg.get("norm_topk_prob", False):
        weight = weight / (weight.sum(-1, keepdim=True) + 1e-20)
    return idx, weight * cfg.get("routed_scaling_factor", 1.0), scores, margin


def sequence_balance_loss(cfg: Config, scores: Tensor, idx: Tensor, B: int, T: int) -> Tensor:
    """DeepSeek-V2's `seq_aux` term without its alpha, averaged over sequences."""
    E, k = cfg["n_routed_experts"], cfg["num_experts_per_tok"]
    counts = torch.zeros(B, E, dtype=scores.dtype)
    counts = counts.scatter_add_(1, idx.view(B, T * k), torch.ones(B, T * k, dtype=scores.dtype))
    return (counts / (T * k / E) * scores.view(B, T, E).mean(1)).sum(1).mean()


def latent_attention(
    cfg: Config, w: Weights, prefix: str, x: Tensor, pos: Tensor, cache: dict | None, reading: Reading, absorbed: bool
) -> Tensor:
    """Multi-head latent attention; x [B, T, H] -> [B, T, H].

    The cache holds the latent after its norm, [B, S, kv_lora_rank], and the rotated key that all
    heads share, [B, S, qk_rope_head_dim].
    """
    B, T, _ = x.shape
    heads, d_nope, d_rope, d_v, rank = (
        cfg[key]
        for key in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "kv_lora_rank")
    )
    inv_freq, cos_sin_factor, scale = reading.tables(cfg)
    angle = pos.to(inv_freq.dtype)[:, None] * inv_freq
    cos, sin = (angle.cos() * cos_sin_factor).to(x.dtype), (angle.sin() * cos_sin_factor).to(x.dtype)
    if cfg.get("q_lora_rank"):
        c_q = rms_norm(x @ w[prefix + "q_a_proj.weight"].T, w[prefix + "q_a_layernorm.weight"], reading.latent_eps)
        q = c_q @ w[prefix + "q_b_proj.weight"].T
    else:
        q = x @ w[prefix + "q_proj.weight"].T
    q_nope, q_rope = q.view(B, T, heads, d_nope + d_rope).transpose(1, 2).split([d_nope, d_rope], -1)
    q_rope = reading.rotate(q_rope, cos, sin)
    c_kv, k_rope = (x @ w[prefix + "kv_a_proj_with_mqa.weight"].T).split([rank, d_rope], -1)
    c_kv = rms_norm(c_kv, w[prefix + "kv_a_layernorm.weight"], reading.latent_eps)
    k_rope = reading.rotate(k_rope, cos, sin)
    if cache is not None:
        if cache:
            c_kv, k_rope = torch.cat([cache["c_kv"], c_kv], 1), torch.cat([cache["k_rope"], k_rope], 1)
        cache["c_kv"], cache["k_rope"] = c_kv, k_rope
    kv_b = w[prefix + "kv_b_proj.weight"].view(heads, d_nope + d_v, rank)
    w_uk, w_uv = kv_b[:, :d_nope], kv_b[:, d_nope:]
    if absorbed:
        scores = torch.einsum("bhtd,hdc,bsc->bhts", q_nope, w_uk, c_kv)
    else:
        scores = torch.einsum("bhtd,bshd->bhts", q_nope, torch.einsum("bsc,hdc->bshd", c_kv, w_uk))
    scores = (scores + torch.einsum("bhtd,bsd->bhts", q_rope, k_rope)) * scale
    a = scores.masked_fill(causal_mask(T, c_kv.shape[1]), float("-inf")).softmax(-1)
    if absorbed:
        out = torch.einsum("bhts,bsc,hdc->bthd", a, c_kv, w_uv)
    else:
        out = torch.einsum("bhts,bshd->bthd", a, torch.einsum("bsc,hdc->bshd", c_kv, w_uv))
    return out.reshape(B, T, heads * d_v) @ w[prefix + "o_proj.weight"].T


def experts(cfg: Config, w: Weights, layer: int, y: Tensor, record: dict | None) -> Tensor:
    """The routed experts of one layer without the shared ones; y [B, T, H] -> [B, T, H]."""
    B, T, H = y.shape
    flat = y.reshape(-1, H)
    prefix = f"model.layers.{layer}.mlp."
    idx, weight, scores, margin = route(cfg, w, prefix, flat)
    out = torch.zeros_like(flat)
    for e in range(cfg["n_routed_experts"]):
        token, slot = (idx == e).nonzero(as_tuple=True)
        if token.numel():
            expert = swiglu(flat[token], w, f"{prefix}experts.{e}.")
            out = out.index_add(0, token, expert * weight[token, slot, None])
    if record is not None:
        record[f"moe_idx.{layer}"], record[f"moe_weight.{layer}"] = idx, weight
        record.setdefault("margins", []).append(margin)
        record.setdefault("balance", []).append(sequence_balance_loss(cfg, scores, idx, B, T))
    return out.view(B, T, H)


def deepseek_block(
    cfg: Config, w: Weights, layer: int, x: Tensor, pos: Tensor, cache: dict | None, record: dict | None,
    reading: Reading = PUBLISHED, absorbed: bool = False,
) -> Tensor:  # fmt: skip
    prefix, eps = f"model.layers.{layer}.", cfg["rms_norm_eps"]
    normed = rms_norm(x, w[prefix + "input_layernorm.weight"], eps)
    x = x + latent_attention(cfg, w, prefix + "self_attn.", normed, pos, cache, reading, absorbed)
    y = rms_norm(x, w[prefix + "post_attention_layernorm.weight"], eps)
    if not is_moe(cfg, layer):
        return x + swiglu(y, w, prefix + "mlp.")
    h = experts(cfg, w, layer, y, record)
    if cfg.get("n_shared_experts"):
        h = h + swiglu(y, w, prefix + "mlp.shared_experts.")
    return x + h


def deepseek_forward(
    cfg: Config, w: Weights, ids: Tensor, cache: Cache | None = None, record: dict | None = None,
    reading: Reading = PUBLISHED, absorbed: bool = False,
) -> Tensor:  # fmt: skip
    """ids [B, T] -> logits [B, T, vocab_size]; `cache` has one dict per layer and is extended."""
    start = cache[0]["c_kv"].shape[1] if cache and cache[0] else 0
    pos = torch.arange(start, start + ids.shape[1])
    x = w["model.embed_tokens.weight"][ids]
    for i in range(cfg["num_hidden_layers"]):
        x = deepseek_block(cfg, w, i, x, pos, cache[i] if cache is not None else None, record, reading, absorbed)
    return head(cfg, w, x)


def mtp_forward(cfg: Config, w: Weights, next_ids: Tensor, hidden: Tensor, pos: Tensor, record: dict) -> Tensor:
    """The multi-token-prediction layer (index num_hidden_layers); predicts token i + 2.

    next_ids [B, T]: token i + 1 of every position i; hidden [B, T, H]: the main model's output at
    position i after `model.norm`.  In released weights eh_proj takes the embedding first, then
    the hidden state; the paper writes them the other way round.
    """
    layer, eps = cfg["num_hidden_layers"], cfg["rms_norm_eps"]
    prefix = f"model.layers.{layer}."
    embedded = rms_norm(w["model.embed_tokens.weight"][next_ids], w[prefix + "enorm.weight"], eps)
    x = torch.cat([embedded, rms_norm(hidden, w[prefix + "hnorm.weight"], eps)], -1) @ w[prefix + "eh_proj.weight"].T
    record["eh_proj_out"] = x
    x = deepseek_block(cfg, w, layer, x, pos, None, record)
    x = rms_norm(x, w[prefix + "shared_head.norm.weight"], eps)
    record["hidden"] = x
    return x @ w["lm_head.weight"].T


def head(cfg: Config, w: Weights, x: Tensor) -> Tensor:
    out = w["model.embed_tokens.weight"] if cfg.get("tie_word_embeddings") else w["lm_head.weight"]
    return rms_norm(x, w["model.norm.weight"], cfg["rms_norm_eps"]) @ out.T


def neighbours_share(kv: Tensor, queries: int) -> Tensor:
    """[B, S, kv_heads, d] -> [B, S, heads, d]: query head h reads key and value head h // queries."""
    return kv.repeat_interleave(queries, 2)


def llama_forward(
    cfg: Config, w: Weights, ids: Tensor, cache: Cache | None = None,
    rotate: Callable[[Tensor, Tensor, Tensor], Tensor] = rotate_half_split,
    share: Callable[[Tensor, int], Tensor] = neighbours_share,
) -> Tensor:  # fmt: skip
    """Grouped-query attention and dense SwiGLU layers; ids [B, T] -> logits [B, T, vocab_size].

    The cache holds rotated keys and values, [B, S, kv_heads, head_dim].
    """
    B, T = ids.shape
    heads, eps = cfg["num_attention_heads"], cfg["rms_norm_eps"]
    kv_heads = cfg.get("num_key_value_heads", heads)
    d = cfg.get("head_dim", cfg["hidden_size"] // heads)
    start = cache[0]["k"].shape[1] if cache and cache[0] else 0
    pos = torch.arange(start, start + T, dtype=torch.float64)
    angle = pos[:, None] / cfg["rope_theta"] ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    x = w["model.embed_tokens.weight"][ids]
    cos, sin = angle.cos().to(x.dtype)[:, None], angle.sin().to(x.dtype)[:, None]  # [T, 1, d / 2]
    for i in range(cfg["num_hidden_layers"]):
        prefix = f"model.layers.{i}."
        y = rms_norm(x, w[prefix + "input_layernorm.weight"], eps)
        q, k, v = (
            (y @ w[f"{prefix}self_attn.{name}_proj.weight"].T).view(B, T, n, d)
            for name, n in (("q", heads), ("k", kv_heads), ("v", kv_heads))
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if cache is not None:
            if cache[i]:
                k, v = torch.cat([cache[i]["k"], k], 1), torch.cat([cache[i]["v"], v], 1)
            cache[i]["k"], cache[i]["v"] = k, v
        k, v = (share(t, heads // kv_heads) for t in (k, v))
        scores = torch.einsum("bthd,bshd->bhts", q, k) * d**-0.5
        a = scores.masked_fill(causal_mask(T, k.shape[1]), float("-inf")).softmax(-1)
        out = torch.einsum("bhts,bshd->bthd", a, v).reshape(B, T, heads * d)
        x = x + out @ w[prefix + "self_attn.o_proj.weight"].T
        x = x + swiglu(rms_norm(x, w[prefix + "post_attention_layernorm.weight"], eps), w, prefix + "mlp.")
    return head(cfg, w, x)


def dequantise_fp8(q: Tensor, scale_inv: Tensor, block: int = 128) -> Tensor:
    """e4m3 [O, I] and its scales [ceil(O / block), ceil(I / block)] -> float32 [O, I]."""
    rows, columns = q.shape
    scale = scale_inv.repeat_interleave(block, 0)[:rows].repeat_interleave(block, 1)[:, :columns]
    return q.float() * scale
