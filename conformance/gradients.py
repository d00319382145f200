"""The gradient cases: loss, every gradient and five AdamW steps in float64."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

import cases
import checkpoint
import reference
import transformers_values as hf
from misreadings import max_difference
from reference import Config, Weights

AFTER_STEPS = ("lm_head.weight", "model.layers.1.mlp.gate.weight", "model.layers.1.self_attn.kv_b_proj.weight")
DIFFERENCED = (
    "model.layers.0.self_attn.kv_b_proj.weight",
    "model.layers.1.mlp.gate.weight",
    "model.layers.1.self_attn.kv_a_layernorm.weight",
)


def cross_entropy(logits: Tensor, ids: Tensor) -> Tensor:
    return F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))


def losses(cfg: Config, w: Weights, ids: Tensor, alpha: float) -> tuple[Tensor, Tensor, float]:
    """Cross-entropy, balance loss, and the smallest routing margin."""
    record: dict = {}
    logits = reference.deepseek_forward(cfg, w, ids, record=record)
    return cross_entropy(logits, ids), sum(record["balance"]) * alpha, min(record["margins"])


def first_clear_cut(cfg: Config) -> tuple[int, Weights, Tensor]:
    """The first seed whose routing hangs on no near-tie."""
    for seed in range(2000, 2600):
        w = checkpoint.random_weights(cfg, seed)
        ids = torch.randint(2, cfg["vocab_size"], (2, 12), generator=torch.Generator().manual_seed(seed + 7))
        with torch.no_grad():
            margin = losses(cfg, {k: t.double() for k, t in w.items()}, ids, 0.0)[2]
        if margin > 2e-3:
            return seed, w, ids
    raise SystemExit("no seed with wide margins")


def transformers_gradient(model: nn.Module, cfg: Config, name: str) -> Tensor:
    """transformers fuses the experts: take one projection of one expert out of the stack."""
    parameters = dict(model.named_parameters())
    if ".experts." not in name:
        return parameters[name].grad
    layer, rest = name.split(".experts.")
    expert, projection = rest.split(".")[:2]
    if projection == "down_proj":
        return parameters[f"{layer}.experts.down_proj"].grad[int(expert)]
    fused, width = parameters[f"{layer}.experts.gate_up_proj"].grad[int(expert)], cfg["moe_intermediate_size"]
    return fused[:width] if projection == "gate_proj" else fused[width:]


def worst_against_transformers(model: nn.Module, cfg: Config, gradients: dict[str, Tensor]) -> float:
    """Largest difference, relative to each tensor's largest gradient."""
    worst = 0.0
    for name, want in gradients.items():
        got = transformers_gradient(model, cfg, name)
        largest = want.abs().max().item()
        worst = max(worst, max_difference(got, want) / (largest + 1e-9) if largest > 0 else got.abs().max().item())
    return worst


@torch.no_grad()
def worst_against_differences(cfg: Config, w: Weights, ids: Tensor, alpha: float, gradients: dict) -> float:
    """Central differences at the largest gradient of a few tensors."""
    worst = 0.0
    for name in DIFFERENCED:
        at, sides = int(gradients[name].view(-1).abs().argmax()), []
        for step in (1e-5, -1e-5):
            moved = {k: t.detach().clone() for k, t in w.items()}
            moved[name].view(-1)[at] += step
            ce, balance, _ = losses(cfg, moved, ids, alpha)
            sides.append((ce + balance).item())
        numeric = (sides[0] - sides[1]) / 2e-5
        worst = max(worst, abs(numeric - gradients[name].view(-1)[at].item()) / abs(numeric))
    return worst


def adamw(cfg: Config, w: Weights, trained: list[str], ids: Tensor, alpha: float) -> tuple[list[float], Weights]:
    """The loss before each of five steps and after the fifth, and the weights then."""
    q = {k: t.detach().clone().requires_grad_(k in trained) for k, t in w.items()}
    optimiser = torch.optim.AdamW([q[k] for k in trained], lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    curve = []
    for _ in range(5):
        optimiser.zero_grad()
        ce, balance, _ = losses(cfg, q, ids, alpha)
        (ce + balance).backward()
        for k in trained:
            if q[k].grad is None:
                q[k].grad = torch.zeros_like(q[k])
        curve.append((ce + balance).item())
        optimiser.step()
    with torch.no_grad():
        ce, balance, _ = losses(cfg, q, ids, alpha)
    return [*curve, (ce + balance).item()], q


def trained_names(w: Weights) -> list[str]:
    """Everything but the correction bias, which no gradient reaches."""
    return [k for k in w if not k.endswith("correction_bias")]


def values(cfg: Config, stored: Weights, ids: Tensor, alpha: float) -> dict[str, Tensor]:
    """The `grad.*`, `loss.*` and `adamw.*` values of a case."""
    trained = trained_names(stored)
    w = {k: t.double().requires_grad_(k in trained) for k, t in stored.items()}
    ce, balance, _ = losses(cfg, w, ids, alpha)
    (ce + balance).backward()
    out = {f"grad.{k}": w[k].grad if w[k].grad is not None else torch.zeros_like(w[k]) for k in trained}
    out |= {"loss.ce": ce.detach().reshape(1), "loss.aux": balance.detach().reshape(1)}
    curve, after = adamw(cfg, w, trained, ids, alpha)
    out["adamw.losses"] = torch.tensor(curve, dtype=torch.float64)
    return out | {f"adamw.after5.{k}": after[k].detach() for k in AFTER_STEPS}


def make(out: Path, name: str) -> dict:
    cfg, folder = cases.GRADIENT[name], out / name
    alpha = 0.1 if name == "v2_grad_aux" else 0.0
    seed, weights, ids = first_clear_cut(cfg)
    checkpoint.save(folder, cfg, weights)
    found = values(cfg, weights, ids, alpha)
    gradients = {k: found[f"grad.{k}"] for k in trained_names(weights)}
    w64 = {k: t.double() for k, t in weights.items()}
    model, _ = hf.load(folder)
    model.train()
    theirs = cross_entropy(model(input_ids=ids, use_cache=False).logits, ids)
    theirs.backward()
    with torch.no_grad():
        margin = losses(cfg, w64, ids, alpha)[2]
    note = {
        "case": name,
        "seed": seed,
        "loss_ce": found["loss.ce"].item(),
        "loss_aux": found["loss.aux"].item(),
        "alpha": alpha,
        "min_routing_margin": margin,
        "loss": "mean cross-entropy of logits[:, :-1] against input_ids[:, 1:], "
        "plus alpha * sum over MoE layers of the V2 seq_aux loss",
        "hf_f32_loss": theirs.item(),
    }
    if alpha == 0:
        note["hf_f32_grad_worst_relative_to_tensor_max"] = worst_against_transformers(model, cfg, gradients)
    note["finite_difference_worst_rel"] = worst_against_differences(cfg, w64, ids, alpha, gradients)
    note["adamw"] = (
        "lr 1e-3, betas .9/.95, eps 1e-8, decoupled weight decay .1 on every trained tensor, "
        "absent gradients taken as 0; losses before each step and after the fifth"
    )
    note["adamw_losses"] = found["adamw.losses"].tolist()
    found["input_ids"] = ids
    save_file({k: t.contiguous().clone() for k, t in found.items()}, folder / "goldens.safetensors")
    checkpoint.write_json(folder / "golden.json", note, indent=1)
    return note
