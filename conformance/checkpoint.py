"""Random checkpoints in the released layouts: names, shapes, values, FP8 blocks, shards."""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

import reference
from reference import Config, Weights

Shapes = dict[str, tuple[int, ...]]


def _mlp(prefix: str, hidden: int, width: int) -> Shapes:
    return {
        prefix + "gate_proj.weight": (width, hidden),
        prefix + "up_proj.weight": (width, hidden),
        prefix + "down_proj.weight": (hidden, width),
    }


def _latent_attention(prefix: str, cfg: Config) -> Shapes:
    H, heads, rank, q_rank = (
        cfg[k] for k in ("hidden_size", "num_attention_heads", "kv_lora_rank", "q_lora_rank")
    )
    d_nope, d_rope, d_v = (cfg[k] for k in ("qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"))
    out = {}
    if q_rank:
        out[prefix + "q_a_proj.weight"] = (q_rank, H)
        out[prefix + "q_a_layernorm.weight"] = (q_rank,)
        out[prefix + "q_b_proj.weight"] = (heads * (d_nope + d_rope), q_rank)
    else:
        out[prefix + "q_proj.weight"] = (heads * (d_nope + d_rope), H)
    return out | {
        prefix + "kv_a_proj_with_mqa.weight": (rank + d_rope, H),
        prefix + "kv_a_layernorm.weight": (rank,),
        prefix + "kv_b_proj.weight": (heads * (d_nope + d_v), rank),
        prefix + "o_proj.weight": (H, heads * d_v),
    }


def _experts(prefix: str, cfg: Config) -> Shapes:
    H, width, E = (cfg[k] for k in ("hidden_size", "moe_intermediate_size", "n_routed_experts"))
    out = {}
    for e in range(E):
        out |= _mlp(f"{prefix}experts.{e}.", H, width)
    out[prefix + "gate.weight"] = (E, H)
    if cfg["topk_method"] == "noaux_tc":
        out[prefix + "gate.e_score_correction_bias"] = (E,)
    if cfg.get("n_shared_experts"):
        out |= _mlp(prefix + "shared_experts.", H, width * cfg["n_shared_experts"])
    return out


def deepseek_shapes(cfg: Config) -> Shapes:
    H, vocab, layers = cfg["hidden_size"], cfg["vocab_size"], cfg["num_hidden_layers"]
    out = {"model.embed_tokens.weight": (vocab, H)}
    for i in range(layers + cfg.get("num_nextn_predict_layers", 0)):
        prefix, is_mtp = f"model.layers.{i}.", i >= layers
        if is_mtp:
            out |= {
                prefix + "embed_tokens.weight": (vocab, H),
                prefix + "enorm.weight": (H,),
                prefix + "hnorm.weight": (H,),
                prefix + "eh_proj.weight": (H, 2 * H),
            }
        out |= _latent_attention(prefix + "self_attn.", cfg)
        if reference.is_moe(cfg, i):
            out |= _experts(prefix + "mlp.", cfg)
        else:
            out |= _mlp(prefix + "mlp.", H, cfg["intermediate_size"])
        out |= {prefix + "input_layernorm.weight": (H,), prefix + "post_attention_layernorm.weight": (H,)}
        if is_mtp:
            out |= {prefix + "shared_head.norm.weight": (H,), prefix + "shared_head.head.weight": (vocab, H)}
    return out | {"model.norm.weight": (H,), "lm_head.weight": (vocab, H)}


def llama_shapes(cfg: Config) -> Shapes:
    H, vocab, heads = cfg["hidden_size"], cfg["vocab_size"], cfg["num_attention_heads"]
    kv_heads, d = cfg.get("num_key_value_heads", heads), cfg.get("head_dim", H // heads)
    out = {"model.embed_tokens.weight": (vocab, H)}
    for i in range(cfg["num_hidden_layers"]):
        prefix = f"model.layers.{i}."
        out |= {
            prefix + "self_attn.q_proj.weight": (heads * d, H),
            prefix + "self_attn.k_proj.weight": (kv_heads * d, H),
            prefix + "self_attn.v_proj.weight": (kv_heads * d, H),
            prefix + "self_attn.o_proj.weight": (H, heads * d),
        }
        out |= _mlp(prefix + "mlp.", H, cfg["intermediate_size"])
        out |= {prefix + "input_layernorm.weight": (H,), prefix + "post_attention_layernorm.weight": (H,)}
    out["model.norm.weight"] = (H,)
    return out if cfg["tie_word_embeddings"] else out | {"lm_head.weight": (vocab, H)}


def random_weights(cfg: Config, seed: int) -> Weights:
    """float32 values scaled so that every part of the model shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    shapes = llama_shapes(cfg) if cfg["model_type"] == "llama" else deepseek_shapes(cfg)
    w = {}
    for name, shape in shapes.items():
        x = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("e_score_correction_bias"):
            x = x * 0.15  # both signs, large enough to change the choice
        elif len(shape) == 1:
            x = 1.0 + 0.2 * x
        elif "embed_tokens" in name:
            x = x * 0.5
        elif "mlp.gate." in name:
            x = x * (2.0 / math.sqrt(shape[1]))
        elif "kv_a_proj" in name:
            x = x * (0.1 / math.sqrt(shape[1]))  # a small latent makes its norm's eps visible
        else:
            x = x * (1.2 / math.sqrt(shape[1]))
        w[name] = x.float()
    if cfg.get("num_nextn_predict_layers"):  # released files repeat the tensors that are shared
        prefix = f"model.layers.{cfg['num_hidden_layers']}."
        w[prefix + "embed_tokens.weight"] = w["model.embed_tokens.weight"].clone()
        w[prefix + "shared_head.head.weight"] = w["lm_head.weight"].clone()
    return w


def quantise_fp8(x: Tensor, block: int = 128) -> tuple[Tensor, Tensor]:
    """[O, I] -> e4m3 values and scale_inv = amax / 448 of every block, as V3 is released."""
    rows, columns = x.shape
    down, across = -(-rows // block), -(-columns // block)
    padded = torch.zeros(down * block, across * block)
    padded[:rows, :columns] = x
    blocks = padded.view(down, block, across, block)
    scale = blocks.abs().amax((1, 3)).clamp(min=1e-12) / 448.0
    q = (blocks / scale[:, None, :, None]).view(down * block, across * block)[:rows, :columns]
    return q.to(torch.float8_e4m3fn).contiguous(), scale.float().contiguous()


def quantise_projections(w: Weights) -> Weights:
    """Attention and MLP projections in FP8; embedding, head, norms and gate stay."""
    out = {}
    for name, t in w.items():
        if t.dim() == 2 and "_proj" in name:
            out[name], out[name + "_scale_inv"] = quantise_fp8(t)
        else:
            out[name] = t
    return out


def to_stored_dtype(cfg: Config, w: Weights) -> Weights:
    if cfg["torch_dtype"] != "bfloat16":
        return w
    kept = ("e_score_correction_bias", "_scale_inv")
    return {k: t if k.endswith(kept) or t.dtype == torch.float8_e4m3fn else t.bfloat16() for k, t in w.items()}


def _shards(w: Weights, count: int) -> list[Weights]:
    """Cut by bytes, so that the tensors of one layer fall in two files."""
    total, filled, shards = sum(t.nbytes for t in w.values()), 0, [{}]
    for name, t in w.items():
        shards[-1][name] = t
        filled += t.nbytes
        if filled >= total / count * len(shards) and len(shards) < count:
            shards.append({})
    return shards


def write_json(path: Path, value: dict, **options) -> None:
    path.write_text(json.dumps(value, **options) + "\n")


def save(folder: Path, cfg: Config, w: Weights, shards: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", cfg, indent=2)
    w = {k: t.contiguous() for k, t in w.items()}
    if shards == 1:
        save_file(w, folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map = {}
    for i, part in enumerate(_shards(w, shards)):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in w.values())}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", index, indent=1, sort_keys=True)
