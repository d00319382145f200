"""What transformers' own classes compute on a case: float32, eager attention, eager experts."""

import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM, DynamicCache
from transformers.cache_utils import MtpCache
from transformers.modeling_layers import MtpModel

import reference

GENERATED = 16


def config_of(folder: Path):
    """transformers has no class for `kimi_k2`: it is DeepSeek-V3 under another name."""
    written = json.loads((folder / "config.json").read_text())
    if written["model_type"] == "kimi_k2":
        return DeepseekV3Config(**{k: v for k, v in written.items() if k != "model_type"})
    return AutoConfig.from_pretrained(folder)


def load(folder: Path) -> tuple[nn.Module, list[str]]:
    """The model of a folder and the names in its files that transformers does not use."""
    config = config_of(folder)
    auto = DeepseekV3ForCausalLM if config.model_type == "deepseek_v3" else AutoModelForCausalLM
    model, info = auto.from_pretrained(
        folder, config=config, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager",
        output_loading_info=True,
    )  # fmt: skip
    assert not info["missing_keys"], info["missing_keys"]
    assert not info["mismatched_keys"], info["mismatched_keys"]
    return model.eval(), sorted(info["unexpected_keys"])


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder as stored."""
    weights = {}
    for file in sorted(folder.glob("model*.safetensors")):
        weights |= load_file(file)
    return weights


def plain_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors in float32: FP8 times its scale, bfloat16 widened."""
    plain = {}
    for name, t in stored.items():
        if t.dtype == torch.float8_e4m3fn:
            plain[name] = reference.dequantise_fp8(t, stored[name + "_scale_inv"])
        elif not name.endswith("_scale_inv"):
            plain[name] = t.float()
    return plain


def load_case(folder: Path, cfg: dict, plain: dict[str, Tensor]) -> tuple[nn.Module, list[str]]:
    """As `load`; an FP8 case is given to transformers in float32, since it cannot read such odd blocks."""
    if "quantization_config" not in cfg:
        return load(folder)
    with tempfile.TemporaryDirectory() as dequantised:
        cfg = {k: v for k, v in cfg.items() if k != "quantization_config"} | {"torch_dtype": "float32"}
        (Path(dequantised) / "config.json").write_text(json.dumps(cfg))
        save_file(plain, f"{dequantised}/model.safetensors", metadata={"format": "pt"})
        return load(Path(dequantised))


def _hooked(model: nn.Module, seen: dict) -> list:
    hooks = []

    def keep(module: nn.Module, name: str, pick=lambda out: out) -> None:
        hooks.append(module.register_forward_hook(lambda _m, _in, out: seen.__setitem__(name, pick(out))))

    for i, layer in enumerate(model.model.layers):
        keep(layer.self_attn, f"attn_out.{i}", lambda out: out[0])
        keep(layer.mlp, f"mlp_out.{i}")
        keep(layer, f"hidden.{i + 1}", lambda out: out[0] if isinstance(out, tuple) else out)
        if hasattr(layer.mlp, "gate"):
            keep(layer.mlp.gate, f"router.{i}")
            keep(layer.mlp.experts, f"moe_routed_out.{i}")
    return hooks


def _cached(cache: DynamicCache, latent: bool) -> dict[str, Tensor]:
    out = {}
    for i, layer in enumerate(cache.layers):
        if latent:
            out[f"prefill.cache_latent.{i}"] = layer.keys[:, 0]
            out[f"prefill.cache_krope.{i}"] = layer.values[:, 0]
        else:
            out[f"prefill.cache_k.{i}"] = layer.keys.transpose(1, 2)
            out[f"prefill.cache_v.{i}"] = layer.values.transpose(1, 2)
    return out


@torch.no_grad()
def record(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """The `prefill.*`, `decode.*`, `greedy.*` and `rope.*` values for one prompt [1, T]."""
    seen, values = {}, {}
    hooks = _hooked(model, seen)
    cache = DynamicCache(config=model.config)
    out = model(input_ids=ids, past_key_values=cache, use_cache=True, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    values["prefill.logits"] = out.logits
    values["prefill.hidden.0"] = out.hidden_states[0]
    values["prefill.final_norm"] = out.hidden_states[-1]
    for name, value in seen.items():
        if name.startswith("router."):
            i = name.removeprefix("router.")
            logits, weight, idx = value
            order = idx.argsort(-1)
            values[f"prefill.router_logits.{i}"] = logits.float()
            values[f"prefill.moe_idx.{i}"] = idx.gather(1, order)
            values[f"prefill.moe_weight.{i}"] = weight.gather(1, order).float()
        else:
            values[f"prefill.{name}"] = value.view(1, -1, value.shape[-1])
    values |= _cached(cache, latent=hasattr(model.config, "kv_lora_rank"))

    def step(tokens: Tensor, cache: DynamicCache) -> Tensor:
        return model(input_ids=tokens, past_key_values=cache, use_cache=True).logits

    cache = DynamicCache(config=model.config)
    values["decode.logits"] = torch.cat([step(ids[:, t : t + 1], cache) for t in range(ids.shape[1])], 1)
    cache = DynamicCache(config=model.config)
    logits, chosen, chosen_from = step(ids, cache)[:, -1], [], []
    for _ in range(GENERATED):
        chosen_from.append(logits)
        chosen.append(logits.argmax(-1, keepdim=True))
        logits = step(chosen[-1], cache)[:, -1]
    values["greedy.ids"] = torch.cat(chosen, 1)
    values["greedy.logits"] = torch.stack(chosen_from, 1)
    values["rope.inv_freq"] = model.model.rotary_emb.inv_freq.float()
    values["rope.cos_sin_factor"] = torch.tensor([model.model.rotary_emb.attention_scaling])
    values["rope.softmax_scale"] = torch.tensor([model.model.layers[0].self_attn.scaling])
    return {k: v.detach().contiguous().clone() for k, v in values.items()}


@torch.no_grad()
def mtp_logits(model: nn.Module, hidden: Tensor, next_ids: Tensor) -> Tensor:
    """transformers' multi-token-prediction layer over a prompt; it looks for layer 61, so point it at ours."""
    layer, T = model.config.num_hidden_layers, next_ids.shape[1]
    model._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{layer}.*"]
    mtp = MtpModel.from_pretrained(model)
    mtp.config._experts_implementation = "eager"
    cache = MtpCache(config=model.config.get_mtp_config())
    return mtp._project_to_logits(mtp.forward_layer(0, hidden, torch.arange(1, T + 1)[None], cache, input_ids=next_ids))
