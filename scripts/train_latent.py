#!/usr/bin/env python3
"""Trains a small DeepSeek-V3 on Shakespeare: a model whose FP8 cache can be measured on a text.

    python scripts/train_latent.py [--steps 1000] [--out data/latent-shakespeare]
    latent perplexity --model data/latent-shakespeare --text data/hamlet.txt --kv-cache-dtype fp8

No published model with latent attention is small enough to be fetched for a test.  This one has V3's
cache, a latent of 512 and a rotated key of 64, in a model of 6 million parameters: three layers, two of
them with eight experts, balanced as V3's are (arXiv 2412.19437, section 2.1.2).  It learns from the
package of fetch_hamlet.py, which says the licence: all plays and poems in modern spelling but Hamlet,
which is held out.  The loss is that of windows that do not overlap, their first token given.

Written in the published Hugging Face layout: config.json, model.safetensors and a byte-level BPE
tokenizer that is trained on the same text.  Needs the pins of conformance/requirements.txt and about twenty
minutes of one core.
"""

import argparse
import math
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import tokenizers
import torch
import transformers
from fetch_hamlet import MEMBER as HELD_OUT
from fetch_hamlet import fetch_package

DATA = Path(__file__).resolve().parent.parent / "data"
END = "<|endoftext|>"
WINDOW = 512
BATCH = 4
LEARNING_RATE = 2e-3
WARM_UP = 100
# What V3 moves an expert's bias by after each step.
BIAS_STEP = 1e-3
CONFIG = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "q_lora_rank": None,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 64,
    "v_head_dim": 64,
    "rope_interleave": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "max_position_embeddings": WINDOW,
    "first_k_dense_replace": 1,
    "intermediate_size": 768,
    "moe_intermediate_size": 192,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 1.0,
    "bos_token_id": None,
    "eos_token_id": 0,
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 0,
}


def texts() -> tuple[list[str], str]:
    """What is learnt from, and what is held out.  The folio has all of it once more, Hamlet too: left out."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fetch_package(Path(folder))) as archive:
        works = HELD_OUT.rpartition("/")[0]
        names = sorted(n for n in archive.getnames() if n.startswith(works) and n.endswith("_gut.txt"))
        read = {name: archive.extractfile(name).read().decode() for name in names}
    held_out = read.pop(HELD_OUT)
    return list(read.values()), held_out


def trained_tokenizer(corpus: list[str]) -> transformers.PreTrainedTokenizerFast:
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=[END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END)


def loss_of(model, windows: torch.Tensor) -> torch.Tensor:
    """The mean of -ln p of the tokens behind the first of each of `windows` [windows, tokens]."""
    logits = model(windows, use_cache=False).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


@torch.inference_mode()
def held_out_loss(model, ids: torch.Tensor) -> float:
    whole = ids[: len(ids) // WINDOW * WINDOW].view(-1, WINDOW)
    return sum(loss_of(model, window[None]).item() for window in whole) / len(whole)


class Balance:
    """V3's balancing without an auxiliary loss: a bias rises where fewer tokens than the mean went."""

    def __init__(self, model):
        self.gates = [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]
        self.loads = {}
        for gate in self.gates:
            gate.register_forward_hook(self.count)

    def count(self, gate, _inputs, outputs) -> None:
        _logits, _weights, chosen = outputs
        self.loads[gate] = chosen.flatten().bincount(minlength=CONFIG["n_routed_experts"]).float()

    def step(self) -> None:
        for gate, load in self.loads.items():
            gate.e_score_correction_bias += BIAS_STEP * (load.mean() - load).sign()

    def heaviest(self) -> float:
        """The largest share of a layer's tokens that an expert took, in shares of the mean."""
        return max((load.max() / load.mean()).item() for load in self.loads.values())


def share_of_rate(step: int, steps: int) -> float:
    """Up in a line, then down half a cosine to a tenth."""
    return min(1.0, (step + 1) / WARM_UP) * (0.55 + 0.45 * math.cos(math.pi * step / steps))


def train(model, ids: torch.Tensor, held_out: torch.Tensor, steps: int) -> None:
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share_of_rate(step, steps))
    balance, begun, mean = Balance(model), time.monotonic(), 0.0
    for step in range(1, steps + 1):
        starts = torch.randint(len(ids) - WINDOW, (BATCH,)).tolist()
        loss = loss_of(model, torch.stack([ids[s : s + WINDOW] for s in starts]))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        balance.step()
        mean = loss.item() if step == 1 else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0:
            rate = step * BATCH * WINDOW / (time.monotonic() - begun)
            heaviest = balance.heaviest()
            some = held_out_loss(model, held_out[: 16 * WINDOW])
            print(
                f"step {step} of {steps}: training loss {mean:.4f}, start of Hamlet {some:.4f}, "
                f"heaviest expert {heaviest:.2f} of the mean, {rate:.0f} tokens a second",
                file=sys.stderr,
                flush=True,
            )
    print(f"training loss {mean:.4f}; Hamlet {held_out_loss(model, held_out):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help=f"of {BATCH} windows of {WINDOW} tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DATA / "latent-shakespeare", help="folder to write")
    arguments = parser.parse_args()
    if (arguments.out / "model.safetensors").exists():
        print(f"{arguments.out} is there already")
        return
    # More threads would add in another order.
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    learnt, held_out = texts()
    tokenizer = trained_tokenizer(learnt)
    ids, unseen = (torch.tensor(tokenizer.encode(text)) for text in (END.join(learnt), held_out))
    print(f"{len(ids)} tokens of {len(learnt)} texts", file=sys.stderr)
    model = transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(**CONFIG))
    train(model, ids, unseen, arguments.steps)
    tokenizer.save_pretrained(arguments.out)
    model.save_pretrained(arguments.out)
    print(f"{arguments.out}: {sum(p.numel() for p in model.parameters())} parameters")


if __name__ == "__main__":
    main()
