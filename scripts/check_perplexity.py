#!/usr/bin/env python3
"""Holds an engine to transformers' perplexity of a text by SmolLM2-135M-Instruct.

    python scripts/check_perplexity.py                  # what transformers makes of it
    python scripts/check_perplexity.py --run 'COMMAND'  # and how far an engine is from that

The model is the folder that fetch_smollm2.py writes, the text the file of fetch_hamlet.py.  The text
is cut into windows that do not overlap; the first token of each is given, -ln p of every other one is
taken from float64 log-softmax.  In COMMAND, {model}, {text}, {window} and {max_tokens} are filled in,
and it must print JSON with `tokens_scored`, `mean_nll` and `bytes_scored`, for instance

    --run 'latent perplexity --model {model} --text {text} --window {window} --max-tokens {max_tokens} --json'

Needs the pins of conformance/requirements.txt.  Exits 1 when the engine scores other tokens, or when
its mean is further from transformers' than --within, as a share of it.
"""

import argparse
import json
import math
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "data" / "smollm2-135m-instruct"
TEXT = ROOT / "data" / "hamlet.txt"


def scored_with_transformers(model_folder: Path, text: str, window: int, max_tokens: int, dtype: str) -> dict:
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        model_folder, dtype=getattr(torch, dtype), attn_implementation="eager"
    )
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids[0, :max_tokens]
    nll, scored = [], []
    with torch.inference_mode():
        for part in ids.split(window):
            # [token, vocab]; nothing is predicted behind the last token
            logits = model(part[None]).logits[0, :-1].double()
            nll.append(-logits.log_softmax(-1).gather(-1, part[1:, None])[:, 0])
            scored.append(part[1:])
    nll, scored = torch.cat(nll), torch.cat(scored)
    return {
        "tokens_scored": len(nll),
        # Byte-level BPE writes a character for each byte.
        "bytes_scored": sum(map(len, tokenizer.convert_ids_to_tokens(scored.tolist()))),
        "mean_nll": nll.mean().item(),
        "standard_error": (nll.std() / math.sqrt(len(nll))).item(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="folder of the model")
    parser.add_argument("--text", type=Path, default=TEXT, help="file of the text")
    parser.add_argument("--window", type=int, default=1024, help="tokens that see one another")
    parser.add_argument("--max-tokens", type=int, default=4096, help="score the first tokens alone")
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="of transformers")
    parser.add_argument("--run", metavar="COMMAND", help="an engine's command")
    parser.add_argument("--within", type=float, default=1e-5, help="the share of the mean that may differ")
    arguments = parser.parse_args()
    for path, script in ((arguments.model / "model.safetensors", "smollm2"), (arguments.text, "hamlet")):
        if not path.exists():
            parser.error(f"{path} is not there: run scripts/fetch_{script}.py")
    text = arguments.text.read_bytes().decode()
    window, max_tokens = arguments.window, arguments.max_tokens
    want = scored_with_transformers(arguments.model, text, window, max_tokens, arguments.dtype)
    perplexity, bits = math.exp(want["mean_nll"]), want["mean_nll"] / math.log(2)
    want["bits_per_byte"] = bits * want["tokens_scored"] / want["bytes_scored"]
    print(f"transformers, {arguments.dtype}: perplexity {perplexity:.6f}; {json.dumps(want)}")
    if not arguments.run:
        return
    fill = {"model": arguments.model, "text": arguments.text, "window": window, "max_tokens": max_tokens}
    command = [part.format(**fill) for part in shlex.split(arguments.run)]
    got = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    difference = abs(got["mean_nll"] / want["mean_nll"] - 1)
    print(f"the engine: perplexity {math.exp(got['mean_nll']):.6f}; the mean differs by {difference:.1e} of itself")
    same = all(got[key] == want[key] for key in ("tokens_scored", "bytes_scored"))
    if not same:
        print(f"the engine scored {got['tokens_scored']} tokens of {got['bytes_scored']} bytes")
    # Not the other way round: a NaN is no agreement.
    sys.exit(0 if same and difference <= arguments.within else 1)


if __name__ == "__main__":
    main()
