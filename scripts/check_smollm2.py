#!/usr/bin/env python3
"""Holds an engine to transformers' greedy answers of SmolLM2-135M-Instruct.

    python scripts/check_smollm2.py                  # transformers against the committed answers
    python scripts/check_smollm2.py --write          # remakes them
    python scripts/check_smollm2.py --run 'COMMAND'  # another engine against them

The model is the folder that fetch_smollm2.py writes; the answers are in
conformance/smollm2_greedy.json.  In COMMAND, {model}, {tokens}, {count} and {out} are filled in and
the file {out} must hold the generated ids as `greedy` [count], for instance

    --run 'latent logits --model {model} --tokens {tokens} --generate {count} --out {out}'

--run needs numpy and safetensors; the rest needs the pins of conformance/requirements.txt.  Exits 1
when an answer differs.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "data" / "smollm2-135m-instruct"
ANSWERS = ROOT / "conformance" / "smollm2_greedy.json"
NEW_TOKENS = 32
QUESTIONS = (
    "What is the capital of France?",
    "What is photosynthesis?",
    "Write down the numbers from 1 to 12.",
)


def answer_with_transformers(model_folder: Path) -> dict:
    """Prompt ids, greedy ids and text per question; generation ends at the end token, which is kept."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        model_folder, dtype=torch.float32, attn_implementation="eager"
    )
    answers = []
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        out = model.generate(
            **prompt, max_new_tokens=NEW_TOKENS, do_sample=False, return_dict_in_generate=True, output_logits=True
        )
        ids = out.sequences[0, prompt.input_ids.shape[1] :]
        best = torch.stack(out.logits)[:, 0].topk(2, dim=-1).values
        answers.append({
            "messages": messages,
            "prompt": text,
            "prompt_ids": prompt.input_ids[0].tolist(),
            "greedy_ids": ids.tolist(),
            "greedy_text": tokenizer.decode(ids, skip_special_tokens=True),
            "min_top1_gap": round((best[:, 0] - best[:, 1]).min().item(), 4),
        })  # fmt: skip
    return {
        "model": "SmolLM2-135M-Instruct, dequantised from Q4_1 to float32 by scripts/fetch_smollm2.py, Apache-2.0",
        "versions": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "answers": answers,
    }


def greedy_of_engine(command: str, model: Path, prompt_ids: list[int], count: int) -> list[int]:
    from safetensors.numpy import load_file

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.safetensors"
        fill = {"model": model, "tokens": ",".join(map(str, prompt_ids)), "count": count, "out": out}
        subprocess.run([part.format(**fill) for part in shlex.split(command)], check=True)
        return load_file(out)["greedy"].ravel().tolist()


def compare(want: dict, got: dict) -> list[str]:
    """What differs, by key; nothing of `want` may be missing."""
    return [f"{key}: {got.get(key)!r}, wanted {want[key]!r}" for key in want if got.get(key) != want[key]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the model")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--write", action="store_true", help="write the answers of transformers")
    doing.add_argument("--run", metavar="COMMAND", help="an engine's command")
    arguments = parser.parse_args()
    if not (arguments.model / "model.safetensors").exists():
        parser.error(f"{arguments.model} holds no model: run scripts/fetch_smollm2.py")
    if arguments.write:
        answers = answer_with_transformers(arguments.model)
        text = json.dumps(answers, indent=1, ensure_ascii=False)
        text = re.sub(r"(?<=\d,)\s+(?=\d)|(?<=\[)\s+(?=\d)|(?<=\d)\s+(?=\])", " ", text)  # ids on one line
        ANSWERS.write_text(text + "\n", encoding="utf-8")
        print(text)
        return
    expected = json.loads(ANSWERS.read_text(encoding="utf-8"))["answers"]
    keys = ("greedy_ids",) if arguments.run else ("prompt", "prompt_ids", "greedy_ids", "greedy_text")
    theirs = None if arguments.run else answer_with_transformers(arguments.model)["answers"]
    failed = 0
    for i, answer in enumerate(expected):
        if arguments.run:
            count = len(answer["greedy_ids"])
            got = {"greedy_ids": greedy_of_engine(arguments.run, arguments.model, answer["prompt_ids"], count)}
        else:
            got = theirs[i]
        differing = compare({key: answer[key] for key in keys}, got)
        failed += bool(differing)
        print(f"{answer['messages'][-1]['content']!r}: " + ("; ".join(differing) or "equal"))
    print(f"{len(expected)} compared, {failed} differ")
    sys.exit(1 if failed or not expected else 0)


if __name__ == "__main__":
    main()
