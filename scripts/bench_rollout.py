#!/usr/bin/env python3
"""Times a rollout beside transformers' generate, on this processor: the same model, questions and numbers of answers.

    python scripts/bench_rollout.py --model models/zero
    python scripts/bench_rollout.py --model DIR --rounds 3 --questions 16 --generations 16 --out rollout.json

Runs bench/examples/rollout.rs and transformers in turn, each on 2 threads, in f32, at a temperature of 1, until the
end token or 128 tokens, and prints tokens a second, those of each round. transformers gets all answers as one batch
(questions are of one length, so that nothing is padded), and of its ways to run experts the faster one counts.
What is drawn differs, its length on average does not: tokens of answers count, up to each one's end.

Needs torch and transformers.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ("cargo", "build", "--release", "--locked", "-p", "latent-bench", "--no-default-features", "--example", "rollout")

TORCH = """
import json, sys, time
import torch
from transformers import AutoModelForCausalLM

experts, folder, prompts, generations, tokens = sys.argv[1:6]
torch.set_num_threads(2)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
for module in model.modules():
    if hasattr(module, "config"):
        module.config._experts_implementation = experts
prompts = torch.tensor(json.load(open(prompts)))
settings = dict(do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=int(tokens),
    num_return_sequences=int(generations), pad_token_id=0, use_cache=True)
mask = torch.ones_like(prompts)
with torch.inference_mode():
    model.generate(prompts[:1], attention_mask=mask[:1], **dict(settings, max_new_tokens=4))
    begin = time.perf_counter()
    drawn = model.generate(prompts, attention_mask=mask, **settings)
    seconds = time.perf_counter() - begin
eos = model.generation_config.eos_token_id
eos = set(eos if isinstance(eos, list) else [eos])
count = 0
for row in drawn[:, prompts.shape[1]:].tolist():
    end = next((i for i, token in enumerate(row) if token in eos), len(row) - 1)
    count += end + 1
print(json.dumps(dict(seconds=seconds, tokens=count, answers=len(drawn))))
"""


def torch_run(experts: str, args: argparse.Namespace, prompts: Path) -> dict:
    command = [sys.executable, "-c", TORCH, experts, args.model, prompts, args.generations, args.tokens]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def our_run(program: Path, args: argparse.Namespace, prompts: Path) -> dict:
    command = [program, args.model, prompts, args.generations, args.tokens, args.batch, 2]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a folder as latent export leaves it, of bytes as tokens")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is run, in turn")
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--generations", type=int, default=16, help="answers to each question")
    parser.add_argument("--tokens", type=int, default=128, help="of an answer at most")
    parser.add_argument("--batch", type=int, default=64, help="answers at once on each of our threads")
    parser.add_argument("--out", type=Path, help="write all figures as JSON")
    args = parser.parse_args()
    subprocess.run(BUILD, cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = target / "release" / "examples" / "rollout"
    draw = random.Random(0)
    questions = ["+".join(str(draw.randint(1, 9)) for _ in range(6)) for _ in range(args.questions)]
    found: dict[str, list[dict]] = {}
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.json"
        prompts.write_text(json.dumps([list(f"Q: {question}=?\nA: ".encode()) for question in questions]))
        for _ in range(args.rounds):
            found.setdefault("latent", []).append(our_run(program, args, prompts))
            for experts in ("eager", "grouped_mm"):
                try:
                    run = torch_run(experts, args, prompts)
                except subprocess.CalledProcessError as error:
                    print(f"transformers, {experts}: {error.stderr.splitlines()[-1]}", file=sys.stderr)
                    continue
                found.setdefault(f"transformers, {experts}", []).append(run)
    print("| | tokens a second | tokens of an answer |\n| --- | --- | --- |")
    for name, runs in found.items():
        speeds = ", ".join(f"{run['tokens'] / run['seconds']:.0f}" for run in runs)
        length = statistics.mean(run["tokens"] / run["answers"] for run in runs)
        print(f"| {name} | {speeds} | {length:.1f} |")
    speed = lambda runs: statistics.median(run["tokens"] / run["seconds"] for run in runs)  # noqa: E731
    peers = [speed(runs) for name, runs in found.items() if name != "latent"]
    if peers:
        print(f"\n{speed(found['latent']) / max(peers):.2f} x transformers")
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
