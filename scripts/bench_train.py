#!/usr/bin/env python3
"""Times a training step beside torch, on this processor: forward, backward and AdamW of a small V3-style model.

    python scripts/bench_train.py
    python scripts/bench_train.py --rounds 3 --steps 8 --out train.json
    python scripts/bench_train.py --one-core     # where others use the machine

Runs bench/examples/train_step.rs and the same model in transformers in turn, each on 2 threads, in f32 and with
bf16 products (in torch: autocast), and prints tokens a second, medians of each round, and the memory at the peak.
Of transformers' ways to run experts the faster one counts. Losses are printed as a sign of life: the two draw
other weights.

With --one-core each runs on one thread, and what counts is the time that the processor spent on it, not what others
made it wait for.

Needs torch and transformers, and 3 GB of memory.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ("cargo", "build", "--release", "--locked", "-p", "latent-bench", "--no-default-features")
BATCH, LENGTH = 8, 256
# Freed memory is kept, as the command latent does.
KEEP = "glibc.malloc.mmap_threshold=67108864:glibc.malloc.trim_threshold=268435456"

TORCH = """
import json, resource, statistics, sys, time
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

experts, bf16, steps = sys.argv[1], sys.argv[2] == "bf16", int(sys.argv[3])
torch.set_num_threads(int(sys.argv[4]))
clock = time.process_time if sys.argv[4] == "1" else time.perf_counter
torch.manual_seed(0)
config = DeepseekV3Config(
    vocab_size=4096, hidden_size=256, intermediate_size=1024, moe_intermediate_size=256, num_hidden_layers=4,
    num_attention_heads=4, num_key_value_heads=4, n_shared_experts=1, n_routed_experts=8, num_experts_per_tok=2,
    n_group=1, topk_group=1, first_k_dense_replace=1, kv_lora_rank=64, q_lora_rank=96, qk_nope_head_dim=64,
    qk_rope_head_dim=32, v_head_dim=64, max_position_embeddings=2048)
config._attn_implementation = "sdpa"
model = DeepseekV3ForCausalLM(config)
for module in model.modules():
    if hasattr(module, "config"):
        module.config._experts_implementation = experts
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
x = (torch.arange(8 * 256) * 7919 % 4093).view(8, 256)
times, losses = [], []
for step in range(steps + 1):
    begin = clock()
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(input_ids=x, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, 4096).float(), x[:, 1:].reshape(-1))
    loss.backward()
    optimizer.step()
    times.append(clock() - begin)
    losses.append(loss.item())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps(dict(seconds=statistics.median(times[1:]), losses=[losses[0], losses[-1]], peak=peak)))
"""


def torch_step(experts: str, dtype: str, steps: int, one_core: bool) -> dict:
    command = [*core(one_core), sys.executable, "-c", TORCH, experts, dtype, str(steps), "1" if one_core else "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def core(one_core: bool) -> list[str]:
    """What a program is run by to stay on one core."""
    return ["taskset", "-c", str(max(os.sched_getaffinity(0)))] if one_core else []


def our_step(program: Path, dtype: str, steps: int, one_core: bool) -> dict:
    step, used = our_run(program, dtype, steps, one_core)
    if one_core:
        # What comes before the first step is in both.
        _, before = our_run(program, dtype, 1, one_core)
        step["seconds"] = (spent(used) - spent(before)) / (steps - 1)
    return step


def spent(used) -> float:
    return used.ru_utime + used.ru_stime


def our_run(program: Path, dtype: str, steps: int, one_core: bool) -> tuple:
    command = [*core(one_core), "/usr/bin/env", f"GLIBC_TUNABLES={KEEP}", program, dtype, str(steps)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{program} failed")
    milliseconds = float(re.search(r"([0-9.]+) ms a step", output)[1])
    first, last = re.search(r"loss ([0-9.]+) to ([0-9.]+)", output).groups()
    step = dict(seconds=milliseconds / 1e3, losses=[float(first), float(last)], peak=used.ru_maxrss * 1024)
    return step, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="how often each is run, in turn")
    parser.add_argument("--steps", type=int, default=8, help="steps of a run, behind a first one that does not count")
    parser.add_argument("--one-core", action="store_true", help="one thread each, by processor time")
    parser.add_argument("--out", type=Path, help="write all figures as JSON")
    args = parser.parse_args()
    subprocess.run([*BUILD, "--example", "train_step"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = target / "release" / "examples" / "train_step"
    found: dict[str, list[dict]] = {}
    for _ in range(args.rounds):
        for dtype in ("f32", "bf16"):
            found.setdefault(f"latent, {dtype}", []).append(our_step(program, dtype, args.steps, args.one_core))
            for experts in ("eager", "grouped_mm"):
                try:
                    step = torch_step(experts, dtype, args.steps, args.one_core)
                except subprocess.CalledProcessError as error:
                    print(f"torch, {dtype}, {experts}: {error.stderr.splitlines()[-1]}", file=sys.stderr)
                    continue
                found.setdefault(f"torch, {dtype}, {experts}", []).append(step)
    tokens = BATCH * LENGTH
    print("| | tokens a second | loss | memory at the peak |\n| --- | --- | --- | --- |")
    for name, steps in found.items():
        speeds = ", ".join(f"{tokens / step['seconds']:.0f}" for step in steps)
        first, last = steps[-1]["losses"]
        peak = max(step["peak"] for step in steps) / 1e6
        print(f"| {name} | {speeds} | {first:.2f} to {last:.2f} | {peak:.0f} MB |")
    for dtype in ("f32", "bf16"):
        peers = [steps for name, steps in found.items() if name.startswith(f"torch, {dtype}")]
        if not peers:
            continue
        seconds = lambda steps: statistics.median(step["seconds"] for step in steps)  # noqa: E731
        ratio = min(map(seconds, peers)) / seconds(found[f"latent, {dtype}"])
        print(f"\n{dtype}: {ratio:.2f} x torch")
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
