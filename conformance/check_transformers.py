#!/usr/bin/env python3
"""Holds transformers to the conformance pack, and the pack to itself.

    python check_transformers.py [CASE ...]

Needs the pins of requirements.txt.  Loads every case with transformers, compares every expected
value with what it computes and with the float64 reference, prints a table, and exits 1 on any
failure.
"""

import argparse
import json
import sys

import torch
from safetensors.torch import load_file
from torch import Tensor

import cases
import gradients
import make
import transformers_values as hf
from check import PACK, Tally, Wanted


def tolerance(key: str) -> tuple[float | None, float]:
    """Absolute and relative; None where every element must be equal."""
    if "moe_idx" in key or key.endswith(("ids", "greedy.ids")):
        return None, 0.0
    if "moe_weight" in key or ".cache_" in key or key.startswith(("rope.", "dequant.")):
        return 1e-5, 1e-5
    return 1e-4, 0.0


def compare(case: str, key: str, got: Tensor, want: Tensor, tally: Tally, bound: float | None = None) -> None:
    atol, rtol = (bound, 0.0) if bound is not None else tolerance(key)
    value = want.double() if atol is not None else want
    held = Wanted(key, value.numpy(), atol, rtol)
    mine = (got.double() if atol is not None else got).detach().numpy()
    tally.compared += 1
    found = held.difference(mine)
    outcome = found if isinstance(found, str) else f"{found:.2e}, allowed {atol or 0:.0e}"
    tally.report(case, key, outcome, held.holds(mine))


@torch.no_grad()
def hold_forward(case: str, tally: Tally) -> None:
    folder = PACK / case
    cfg, stored = json.loads((folder / "config.json").read_text()), hf.read_weights(folder)
    goldens = load_file(folder / "goldens.safetensors")
    plain, ids = hf.plain_weights(stored), goldens["input_ids"]
    w64 = make.as_f64(plain)
    model, _ = hf.load_case(folder, cfg, plain)
    got = hf.record(model, ids)
    if "quantization_config" in cfg:
        got |= make.fp8_values(cfg, plain, ids)
    if cfg.get("num_nextn_predict_layers"):
        got |= make.mtp_values(model, cfg, w64, ids, got)[0]
    for key, want in sorted(goldens.items()):
        if key not in ("input_ids", "ref64.logits"):
            compare(case, key, got[key], want, tally)
    compare(case, "transformers", got["prefill.logits"], goldens["ref64.logits"], tally)
    compare(case, "ref64.logits", make.forward(cfg, w64, ids), goldens["ref64.logits"], tally, 1e-11)
    compare(case, "reference decode", make.decode(cfg, w64, ids), goldens["ref64.logits"], tally, 1e-11)
    compare(case, "reference greedy.ids", make.greedy(cfg, w64, ids), goldens["greedy.ids"], tally)
    newer = json.loads((folder / "config_v5.json").read_text())
    same = {k: v for k, v in make.newer_config(model, cfg).items() if k != "transformers_version"}
    ok = same == {k: v for k, v in newer.items() if k != "transformers_version"}
    tally.compared += 1
    tally.report(case, "config_v5.json", "equal" if ok else "differs", ok)


def hold_gradients(case: str, tally: Tally) -> None:
    folder = PACK / case
    cfg = json.loads((folder / "config.json").read_text())
    goldens = load_file(folder / "goldens.safetensors")
    note, ids = json.loads((folder / "golden.json").read_text()), goldens["input_ids"]
    got = gradients.values(cfg, hf.read_weights(folder), ids, note["alpha"])
    for key, want in sorted(goldens.items()):
        if key != "input_ids":
            compare(case, key, got[key], want, tally, 1e-9)
    model, _ = hf.load(folder)
    loss = gradients.cross_entropy(model(input_ids=ids, use_cache=False).logits, ids)
    compare(case, "transformers loss", loss.reshape(1), goldens["loss.ce"], tally, 1e-5)
    if note["alpha"] == 0:
        loss.backward()
        for name in (k.removeprefix("grad.") for k in goldens if k.startswith("grad.")):
            want = goldens[f"grad.{name}"]
            bound = 1e-5 * max(want.abs().max().item(), 1e-3)
            compare(case, f"transformers {name}", gradients.transformers_gradient(model, cfg, name), want, tally, bound)


def main() -> None:
    known = [*cases.FORWARD, *cases.GRADIENT]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help=f"all of {', '.join(known)} when none is named")
    arguments = parser.parse_args()
    tally = Tally()
    for case in arguments.case or known:
        (hold_gradients if case in cases.GRADIENT else hold_forward)(case, tally)
    print(f"{tally.compared} compared, {tally.failed} failed")
    sys.exit(1 if tally.failed or not tally.compared else 0)


if __name__ == "__main__":
    main()
