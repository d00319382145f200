#!/usr/bin/env python3
"""Holds an engine to the conformance pack.  Needs numpy and safetensors alone.

    python check.py RESULTS                     # RESULTS holds CASE.safetensors for every case
    python check.py RESULTS --run 'COMMAND'     # first runs COMMAND for every case
    python check.py RESULTS --gradients         # losses and gradients, of the cases that have them
    python check.py RESULTS --run-grad 'COMMAND'

In COMMAND, {model} is the folder of the case, {tokens} its prompt as 1,2,3 and {out} the file to
write, for instance

    --run 'latent logits --model {model} --tokens {tokens} --generate 16 --out {out}'

A result file holds, for a prompt of T tokens and L layers:

    logits           [T, vocab_size]       float32 or float64; float64 is held to 1e-9
    hidden.{i}       [T, hidden_size]      0 = embeddings, i + 1 = after layer i, before the last norm
    moe_idx.{i}      [T, experts per token] integers, ascending expert id, of layer i
    moe_weight.{i}   [T, experts per token] matching, after normalisation and scaling
    cache_latent.{i} [T, kv_lora_rank]     the latent after its norm
    greedy           [16]                  the tokens that follow, always the most likely one
    mtp_logits       [T, vocab_size]       where the case has such a layer

and may hold cache_k.{i}, cache_v.{i} [T, kv_heads * head_dim] (Llama, keys after rotation) and
greedy_logits [16, vocab_size].  For the gradient cases it holds

    loss.ce          [1]                   the mean of -ln p over the tokens of each row but its first
    loss.aux         [1]                   V2's sequence-wise balance loss, alpha times, over all gates
    grad.{name}      the weight's          the gradient of their sum; a router's bias has none

of rows of tokens: in the COMMAND of --run-grad, {rows} is 1,2,3;4,5,6 and {alpha} the coefficient,

    --run-grad 'latent grad --model {model} --tokens "{rows}" --aux-loss-alpha {alpha} --dtype f64 --out {out}'

Each gradient is held to a share of its tensor's largest element: 1e-8 where all are float64, else 1e-4.
A leading axis of 1 is allowed.  A key that a case wants and the
file lacks is a failure, unless --allow-absent; it is counted and named either way.
"""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

PACK = Path(__file__).resolve().parent
CASES = (
    "v2_lite", "v2", "v3", "moonlight", "v3_mtp", "v3_fp8", "kimi_k2", "deepseek",
    "deepseek_gqa", "llama", "llama_mha", "llama_mqa",
)  # fmt: skip
GRADIENT_CASES = ("v3_grad", "v2_grad_aux")


@dataclass(frozen=True)
class Wanted:
    """One expected array; `atol` and `rtol` of None mean that every element must be equal."""

    key: str
    value: np.ndarray
    atol: float | None
    rtol: float = 0.0
    required: bool = True

    def difference(self, got: np.ndarray) -> str | float:
        """The largest difference, or why the two cannot be compared."""
        want = self.value
        if got.shape != want.shape:
            return f"shape {list(got.shape)}, wanted {list(want.shape)}"
        if self.atol is None:
            if got.dtype.kind not in "iu":
                return f"{got.dtype} values, wanted integers"
            return float(np.count_nonzero(got != want))
        if got.dtype not in (np.float32, np.float64):
            return f"{got.dtype} values, wanted float32 or float64"
        return float(np.abs(got.astype(np.float64) - want).max())

    def holds(self, got: np.ndarray) -> bool:
        """`|got - want| <= atol + rtol * |want|` everywhere, which no NaN satisfies."""
        if isinstance(self.difference(got), str):
            return False
        if self.atol is None:
            return bool((got == self.value).all())
        error = np.abs(got.astype(np.float64) - self.value)
        return bool((error <= self.atol + self.rtol * np.abs(self.value)).all())


def flat(value: np.ndarray) -> np.ndarray:
    """[1, T, ...] -> [T, everything else]; [T, d] and [T] stay."""
    value = value[0] if value.ndim > 1 and value.shape[0] == 1 else value
    return value.reshape(value.shape[0], -1) if value.ndim > 2 else value


def wanted(goldens: dict[str, np.ndarray], dtype: np.dtype) -> Iterator[Wanted]:
    """What a case asks of a result whose logits, or gradients, have this type."""
    if "loss.ce" in goldens:
        yield from wanted_gradients(goldens, dtype)
        return
    yield Wanted("logits", flat(goldens["ref64.logits"]), 1e-9 if dtype == np.float64 else 1e-4)
    for key, value in sorted(goldens.items()):
        kind, name = key.split(".", 1)[0], key.removeprefix("prefill.")
        if kind != "prefill":
            continue
        if name.startswith("moe_idx."):
            yield Wanted(name, flat(value), None)
        elif name.startswith("moe_weight."):
            yield Wanted(name, flat(value), 1e-5, 1e-5)
        elif name.startswith("cache_latent."):
            yield Wanted(name, flat(value), 1e-5, 1e-5)
        elif name.startswith(("cache_k.", "cache_v.")):
            yield Wanted(name, flat(value), 1e-5, 1e-5, required=False)
        elif name.startswith("hidden."):
            yield Wanted(name, flat(value), 3e-4)
    yield Wanted("greedy", flat(goldens["greedy.ids"]), None)
    yield Wanted("greedy_logits", flat(goldens["greedy.logits"]), 1e-4, required=False)
    if "mtp.ref64.logits" in goldens:
        yield Wanted("mtp_logits", flat(goldens["mtp.ref64.logits"]), 1e-4)


def wanted_gradients(goldens: dict[str, np.ndarray], dtype: np.dtype) -> Iterator[Wanted]:
    """The losses, and each gradient to a share of its largest element."""
    of_loss, of_gradients = (1e-10, 1e-8) if dtype == np.float64 else (1e-5, 1e-4)
    for key, value in sorted(goldens.items()):
        if key.startswith("loss."):
            yield Wanted(key, flat(value), of_loss)
        elif key.startswith("grad."):
            yield Wanted(key, flat(value), of_gradients * float(np.abs(value).max()))


def precision(results: dict[str, np.ndarray]) -> np.dtype:
    """float64 where the logits, or all gradients, are: what is computed in less is held to less."""
    deciding = [value.dtype for key, value in results.items() if key == "logits" or key.startswith("grad.")]
    is_double = bool(deciding) and all(dtype == np.float64 for dtype in deciding)
    return np.dtype(np.float64 if is_double else np.float32)


@dataclass
class Tally:
    compared: int = 0
    failed: int = 0
    absent: int = 0

    def report(self, case: str, key: str, outcome: str, ok: bool) -> None:
        self.failed += not ok
        width = 60 if key.startswith("grad.") else 18
        print(f"{case:<11} {key:<{width}} {outcome:<44} {'ok' if ok else 'FAILED'}")


def hold(case: str, results: dict[str, np.ndarray], goldens: dict[str, np.ndarray], tally: Tally, strict: bool) -> None:
    """Compares one case and prints a line for every key."""
    for want in wanted(goldens, precision(results)):
        if want.key not in results:
            if want.required:
                tally.absent += 1
                tally.report(case, want.key, "absent", ok=not strict)
            continue
        got = flat(results[want.key])
        tally.compared += 1
        found = want.difference(got)
        if isinstance(found, str):
            outcome = found
        elif want.atol is None:
            outcome = f"{found:.0f} of {want.value.size} differ"
        else:
            outcome = f"{found:.2e}, allowed {want.atol:.0e}" + (f" + {want.rtol:.0e} |x|" if want.rtol else "")
        tally.report(case, want.key, outcome, want.holds(got))


def run(command: str, case: str, goldens: dict[str, np.ndarray], out: Path) -> int:
    ids = np.atleast_2d(goldens["input_ids"])
    fields = {
        "model": PACK / case,
        "tokens": ",".join(str(t) for t in ids.ravel()),
        "rows": ";".join(",".join(str(t) for t in row) for row in ids),
        "alpha": json.loads((PACK / case / "golden.json").read_text()).get("alpha", 0.0),
        "out": out,
    }
    filled = [part.format(**fields) for part in shlex.split(command)]
    try:
        return subprocess.run(filled, check=False).returncode
    except OSError as error:
        raise SystemExit(f"{filled[0]}: {error}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of CASE.safetensors files")
    parser.add_argument("--run", metavar="COMMAND", help="command that writes the result of one case")
    parser.add_argument("--gradients", action="store_true", help="hold to the gradient cases")
    parser.add_argument("--run-grad", metavar="COMMAND", help="command that writes the result of one gradient case")
    parser.add_argument("--case", action="append", choices=CASES + GRADIENT_CASES, help="hold to these cases only")
    parser.add_argument("--allow-absent", action="store_true", help="keys that a result lacks are no failure")
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    tally = Tally()
    gradients = arguments.gradients or arguments.run_grad
    cases = (() if gradients and not arguments.run else CASES) + (GRADIENT_CASES if gradients else ())
    for case in arguments.case or cases:
        command = arguments.run_grad if case in GRADIENT_CASES else arguments.run
        goldens, file = load_file(PACK / case / "goldens.safetensors"), arguments.results / f"{case}.safetensors"
        if command:
            file.unlink(missing_ok=True)
            if status := run(command, case, goldens, file):
                tally.report(case, "-", f"the command ended with status {status}", ok=False)
                continue
        if file.is_file():
            hold(case, load_file(file), goldens, tally, strict=not arguments.allow_absent)
        else:
            tally.report(case, "-", f"{file} does not exist", ok=False)
    print(f"{tally.compared} compared, {tally.absent} absent, {tally.failed} failed")
    sys.exit(1 if tally.failed or not tally.compared else 0)


if __name__ == "__main__":
    main()
