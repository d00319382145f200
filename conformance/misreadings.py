"""What each common misreading of the formulas would change in a case's logits.

The effect is the largest absolute difference from the true logits: an engine that makes the
mistake fails the case by that much.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

import reference
from reference import PUBLISHED, Config, Reading, Weights


def max_difference(a: Tensor, b: Tensor) -> float:
    return (a.double() - b.double()).abs().max().item()


@torch.no_grad()
def deepseek(cfg: Config, w: Weights, ids: Tensor, truth: Tensor) -> dict[str, float]:
    """Effects on one DeepSeek case; `w` in float64."""

    def effect(cfg: Config = cfg, w: Weights = w, reading: Reading = PUBLISHED) -> float:
        return max_difference(reference.deepseek_forward(cfg, w, ids, reading=reading), truth)

    effects = {}
    if cfg["topk_method"] == "noaux_tc":
        unbiased = {k: torch.zeros_like(v) if k.endswith("correction_bias") else v for k, v in w.items()}
        effects["if_bias_ignored"] = effect(w=unbiased)
        if cfg["n_group"] > 1:
            effects["if_groups_ignored"] = effect(dict(cfg, n_group=1, topk_group=1))
    else:
        if cfg["topk_method"] == "group_limited_greedy":
            effects["if_groups_ignored"] = effect(dict(cfg, topk_method="greedy"))
        effects["if_norm_topk_prob"] = effect(dict(cfg, norm_topk_prob=True))
    effects["if_latent_eps_1e-5"] = effect(reading=replace(PUBLISHED, latent_eps=1e-5))
    yarn = cfg["rope_scaling"]
    if yarn:
        plain = dict(cfg, rope_scaling=None)
        inv_freq, cos_sin_factor, scale = reference.rope_tables(cfg)
        plain_inv_freq, _, plain_scale = reference.rope_tables(plain)

        def with_tables(*tables) -> Reading:
            return replace(PUBLISHED, tables=lambda _cfg: tables)

        effects["if_yarn_ignored"] = effect(plain)
        effects["if_yarn_frequencies_ignored_scale_kept"] = effect(
            reading=with_tables(plain_inv_freq, cos_sin_factor, scale)
        )
        effects["if_mscale_left_out_of_softmax_scale"] = effect(
            reading=with_tables(inv_freq, cos_sin_factor, plain_scale)
        )
        if yarn["beta_fast"] != 32:
            effects["if_yarn_betas_taken_as_32_and_1"] = effect(
                dict(cfg, rope_scaling=dict(yarn, beta_fast=32, beta_slow=1))
            )
    effects["if_rope_half_split_instead_of_interleaved"] = effect(
        reading=replace(PUBLISHED, rotate=reference.rotate_half_split)
    )
    return effects


@torch.no_grad()
def mtp(cfg: Config, w: Weights, next_ids: Tensor, before_norm: Tensor, hidden: Tensor, truth: Tensor) -> dict:
    """Effects on the multi-token-prediction layer, and the logits of the one that changes its input."""
    T, width, layer = next_ids.shape[1], cfg["hidden_size"], cfg["num_hidden_layers"]

    def logits(w: Weights = w, hidden: Tensor = hidden, pos: Tensor = torch.arange(1, T + 1)) -> Tensor:
        return reference.mtp_forward(cfg, w, next_ids, hidden, pos, {})

    eh_proj = f"model.layers.{layer}.eh_proj.weight"
    swapped = dict(w) | {eh_proj: torch.cat([w[eh_proj][:, width:], w[eh_proj][:, :width]], 1)}
    pre_norm = logits(hidden=before_norm)
    return {
        "logits_pre_norm_input": pre_norm,
        "mtp_if_fed_pre_norm_hidden": max_difference(pre_norm, truth),
        "mtp_if_eh_order_swapped": max_difference(logits(w=swapped), truth),
        "mtp_if_positions_not_shifted": max_difference(logits(pos=torch.arange(T)), truth),
    }


@torch.no_grad()
def llama(cfg: Config, w: Weights, ids: Tensor, truth: Tensor) -> dict[str, float]:
    """Effects on one Llama case; `w` in float64."""

    def effect(cfg: Config = cfg, **reading: Callable) -> float:
        return max_difference(reference.llama_forward(cfg, w, ids, **reading), truth)

    heads = cfg["num_attention_heads"]
    effects = {"if_rope_interleaved_instead_of_half_split": effect(rotate=reference.rotate_interleaved)}
    if 1 < cfg.get("num_key_value_heads", heads) < heads:
        effects["if_kv_heads_taken_in_turn"] = effect(share=lambda kv, n: kv.repeat(1, 1, n, 1))
    if cfg["rope_theta"] != 10000.0:
        effects["if_rope_theta_taken_as_10000"] = effect(dict(cfg, rope_theta=10000.0))
    effects["if_rms_norm_eps_taken_as_1e-6"] = effect(dict(cfg, rms_norm_eps=1e-6))
    return effects
