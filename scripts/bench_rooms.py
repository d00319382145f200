#!/usr/bin/env python3
"""Times two rooms alone beside torch, on this processor: latent attention of one new token, and routed experts.

    python scripts/bench_rooms.py --out rooms.json
    python scripts/bench_rooms.py --rooms attention --dtype f32 --rounds 5

Makes inputs and, in float64, what they give; holds torch and bench/examples/rooms.rs to it; then runs
both in turn, each on --threads threads, and prints a table. Of the ways to write a room in torch, the
fastest in a trial of all is the one that is timed. As on the other side, no case finds its operands in a
cache: attention takes copies of the rows and of kv_b in turn, experts take batches that choose other
experts. Both sides keep freed memory, as the command latent does.

The floor is the larger of the least bytes over the reading speed and the multiply-adds over what the
processor does at best, both measured in the same run: in f32, where attention and the rows marked f32
compute; bf16 and int8 do twice and four times as many (AVX-512 BF16 and VNNI, see docs/src/cpu.md).

Needs torch, numpy and safetensors, and 8 GB of memory.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent
BUILD = ("cargo", "build", "--release", "--locked", "-p", "latent-bench", "--example", "rooms")

# Four times a last cache of 32 MiB.
ROTATED = 128 << 20
REPETITIONS = 7

RANK, NOPE, ROPE, VALUE = 512, 128, 64, 128
SCALE = (NOPE + ROPE) ** -0.5
HEADS = (16, 128)
CONTEXTS = (1024, 8192, 32768)

EXPERTS, TOP_K, HIDDEN, INNER = 64, 6, 2048, 1408
# Tokens, and the number of their batches.
TOKENS = {1: 10, 16: 4, 512: 2}

# Multiply-adds for one in f32.
PER_F32 = {"f32": 1, "bf16": 2, "int8": 4}
# Of the largest magnitude, in torch, which rounds every intermediate result.
ALLOWED_ERROR = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
# The parameters of mallopt that the command latent sets, and their values.
GLIBC_MALLOC = {"MMAP_THRESHOLD": (-3, 64 << 20), "TRIM_THRESHOLD": (-1, 256 << 20)}

Run = Callable[[int], torch.Tensor]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def milliseconds(run: Run, variants: int, repetitions: int) -> list[float]:
    times = []
    for i in [*range(variants)] * repetitions:
        start = time.perf_counter()
        run(i)
        times.append(1e3 * (time.perf_counter() - start))
    return times


class Case:
    """One case in torch: ways to write it, each a function of which copy or batch it takes."""

    def __init__(self, ways: dict[str, Run], want: list[torch.Tensor], dtype: torch.dtype):
        self.variants = len(want)
        trials = {}
        for name, run in ways.items():
            for i, exact in enumerate(want):
                error = ((run(i).double() - exact).abs().max() / exact.abs().max()).item()
                # Not the other way round: a NaN is no agreement.
                if not error <= ALLOWED_ERROR[dtype]:
                    sys.exit(f"torch, {name}: error {error:.1e} of the largest, want {ALLOWED_ERROR[dtype]:.0e}")
            trials[name] = min(milliseconds(run, self.variants, 2))
        say("  ".join(f"{name} {ms:.3f} ms" for name, ms in trials.items()))
        self.way = min(trials, key=trials.get)
        self.run = ways[self.way]

    def time(self) -> dict[str, float]:
        times = milliseconds(self.run, self.variants, REPETITIONS)
        return {"median_ms": statistics.median(times), "min_ms": min(times)}


def attention_inputs(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    inputs = {"rows": torch.randn(max(CONTEXTS), RANK + ROPE).to(dtype)}
    for heads in HEADS:
        inputs[f"kv_b.{heads}"] = (torch.randn(heads * (NOPE + VALUE), RANK) / RANK**0.5).to(dtype)
        inputs[f"q.{heads}"] = torch.randn(1, heads, NOPE + ROPE).to(dtype)
        q = inputs[f"q.{heads}"][0].double()
        w_uk, w_uv = inputs[f"kv_b.{heads}"].double().view(heads, -1, RANK).split([NOPE, VALUE], 1)
        q = torch.cat([torch.einsum("hd,hdc->hc", q[:, :NOPE], w_uk), q[:, NOPE:]], -1)
        for context in CONTEXTS:
            rows = inputs["rows"][:context].double()
            o_latent = (q @ rows.T * SCALE).softmax(-1) @ rows[:, :RANK]
            inputs[f"want.{heads}.{context}"] = torch.einsum("hc,hdc->hd", o_latent, w_uv)[None]
    return inputs


def scores_scaled(q: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return ((q @ rows.T).float() * SCALE).softmax(-1).to(q.dtype) @ rows[:, :RANK]


def query_scaled(q: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return (q * SCALE @ rows.T).softmax(-1) @ rows[:, :RANK]


def keys_first(q: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    return (rows @ (q * SCALE).T).T.softmax(-1) @ rows[:, :RANK]


def fused(q: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """All heads as queries of one, whose values are whole rows: what torch's fused attention takes."""
    q, rows = q[None, None], rows[None, None]
    return F.scaled_dot_product_attention(q, rows, rows, scale=SCALE)[0, 0, :, :RANK]


def attention_ways(q: torch.Tensor, rows: list[torch.Tensor], kv_b: list[torch.Tensor]) -> dict[str, Run]:
    parts = [w.view(len(q), NOPE + VALUE, RANK).split([NOPE, VALUE], 1) for w in kv_b]
    repacked = [(w_uk.mT.contiguous(), w_uv.contiguous()) for w_uk, w_uv in parts]

    def as_rows(attend, q, i):
        w_uk, w_uv = parts[i]
        q = torch.cat([torch.bmm(q[:, None, :NOPE], w_uk)[:, 0], q[:, NOPE:]], -1)
        return torch.bmm(attend(q, rows[i])[:, None], w_uv.mT)[None, :, 0]

    def as_columns(attend, q, i):
        w_uk, w_uv = repacked[i]
        q = torch.cat([torch.bmm(w_uk, q[:, :NOPE, None])[..., 0], q[:, NOPE:]], -1)
        return torch.bmm(w_uv, attend(q, rows[i])[..., None])[None, ..., 0]

    return {
        f"{attend.__name__}, {project.__name__}": partial(project, attend, q)
        for attend in (scores_scaled, query_scaled, keys_first, fused)
        for project in (as_rows, as_columns)
    }


def attention(inputs: dict[str, torch.Tensor], dtype: str) -> dict[str, Case]:
    cases = {}
    for heads in HEADS:
        for context in CONTEXTS:
            rows, kv_b = inputs["rows"][:context], inputs[f"kv_b.{heads}"]
            copies = -(-ROTATED // (rows.nbytes + kv_b.nbytes)) + 1
            rows, kv_b = ([x.clone() for _ in range(copies)] for x in (rows, kv_b))
            ways = attention_ways(inputs[f"q.{heads}"][0], rows, kv_b)
            name = f"{heads} heads, {context} keys, {dtype.upper()}"
            say(f"torch, {name}:")
            want = [inputs[f"want.{heads}.{context}"]] * copies
            cases[name] = Case(ways, want, rows[0].dtype)
    return cases


def experts_inputs() -> dict[str, torch.Tensor]:
    inputs = {
        "gate_up": (torch.randn(2 * EXPERTS, INNER, HIDDEN) / HIDDEN**0.5).bfloat16(),
        "down": (torch.randn(EXPERTS, HIDDEN, INNER) / INNER**0.5).bfloat16(),
    }
    for tokens, batches in TOKENS.items():
        inputs[f"x.{tokens}"] = torch.randn(batches, tokens, HIDDEN).bfloat16()
        inputs[f"routing.{tokens}"] = routing = torch.zeros(batches, tokens, EXPERTS, dtype=torch.float64)
        if batches * tokens * TOP_K <= EXPERTS:
            # No expert twice.
            experts = torch.randperm(EXPERTS)[: batches * tokens * TOP_K].view(batches, tokens, TOP_K)
        else:
            experts = torch.rand(batches, tokens, EXPERTS).topk(TOP_K).indices
        routing.scatter_(-1, experts, torch.rand(experts.shape).softmax(-1).double())
        inputs[f"want.{tokens}"] = torch.zeros(batches, tokens, HIDDEN, dtype=torch.float64)
    for expert in range(EXPERTS):
        gate, up = inputs["gate_up"].view(EXPERTS, 2, INNER, HIDDEN)[expert].double()
        down = inputs["down"][expert].double()
        for tokens in TOKENS:
            chosen = inputs[f"routing.{tokens}"][..., expert]
            x = inputs[f"x.{tokens}"][chosen != 0].double()
            y = F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)
            inputs[f"want.{tokens}"][chosen != 0] += chosen[chosen != 0][:, None] * y
    return inputs


def expert_ways(inputs: dict[str, torch.Tensor], tokens: int) -> dict[str, Run]:
    gate_up = inputs["gate_up"].view(EXPERTS, 2 * INNER, HIDDEN)
    down = inputs["down"]
    xs = inputs[f"x.{tokens}"]
    chosen = inputs[f"routing.{tokens}"].topk(TOP_K)
    weights, ids = chosen.values.bfloat16(), chosen.indices

    def loop(i):
        """Each expert that is hit gathers its tokens and adds to their sums."""
        y = torch.zeros_like(xs[i])
        for expert in ids[i].unique().tolist():
            token, place = (ids[i] == expert).nonzero(as_tuple=True)
            gate, up = F.linear(xs[i][token], gate_up[expert]).chunk(2, -1)
            out = F.linear(F.silu(gate) * up, down[expert])
            y.index_add_(0, token, out * weights[i][token, place, None])
        return y

    def by_expert(i):
        """The rows of all choices in the order of their experts, and what brings them back."""
        order = ids[i].flatten().argsort(stable=True)
        return xs[i][order // TOP_K], ids[i].flatten().bincount(minlength=EXPERTS), order

    def combined(i, out, order):
        back = torch.empty_like(out)
        back[order] = out
        return (back.view(tokens, TOP_K, HIDDEN) * weights[i][..., None]).sum(1)

    def sorted_loop(i):
        rows, counts, order = by_expert(i)
        out = []
        for expert, x in enumerate(rows.split(counts.tolist())):
            if len(x):
                gate, up = F.linear(x, gate_up[expert]).chunk(2, -1)
                out.append(F.linear(F.silu(gate) * up, down[expert]))
        return combined(i, torch.cat(out), order)

    def grouped_mm(i):
        rows, counts, order = by_expert(i)
        ends = counts.cumsum(0, dtype=torch.int32)
        gate, up = F.grouped_mm(rows, gate_up.mT, offs=ends).chunk(2, -1)
        return combined(i, F.grouped_mm(F.silu(gate) * up, down.mT, offs=ends), order)

    ways = [loop, sorted_loop]
    if hasattr(F, "grouped_mm"):
        ways.append(grouped_mm)
    return {way.__name__: way for way in ways}


def experts(inputs: dict[str, torch.Tensor]) -> dict[str, Case]:
    cases = {}
    for tokens in TOKENS:
        say(f"torch, {tokens} tokens:")
        want = [*inputs[f"want.{tokens}"]]
        cases[f"{tokens} tokens"] = Case(expert_ways(inputs, tokens), want, torch.bfloat16)
    return cases


def build_ours() -> str:
    """The path of the example's program: cargo waits for others that build, so it stays out of the rounds."""
    command = [*BUILD, "--message-format", "json-render-diagnostics"]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    built = (json.loads(line) for line in lines.splitlines())
    return next(part["executable"] for part in built if part.get("target", {}).get("name") == "rooms")


def run_ours(program: str, room: str, file: Path, threads: int) -> list[dict]:
    """The lines of bench/examples/rooms.rs, the machine's peaks first."""
    environment = os.environ | {f"MALLOC_{name}_": str(value) for name, (_, value) in GLIBC_MALLOC.items()}
    command = [program, room, str(file), str(threads)]
    lines = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def compare(
    room: str, inputs: dict[str, torch.Tensor], cases: dict[str, Case], program: str, threads: int, rounds: int
) -> tuple[list[dict], list[dict]]:
    """Peaks and rows of one room, the median of rounds in which both sides take turns."""
    peaks, ours, theirs = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{room}.safetensors"
        save_file(inputs, file)
        for i in range(rounds):
            say(f"{room}, round {i + 1} of {rounds}")
            of_machine, *lines = run_ours(program, room, file, threads)
            peaks.append(of_machine)
            ours.append(lines)
            theirs.append({name: case.time() for name, case in cases.items()})
    rows = []
    for lines in zip(*ours, strict=True):
        row = {key: lines[0][key] for key in ("room", "case", "dtype", "bytes", "multiply_adds", "max_error")}
        for side, of_side in (("ours", lines), ("torch", [times[row["case"]] for times in theirs])):
            medians = [times["median_ms"] for times in of_side]
            row[side] = {
                "median_ms": statistics.median(medians),
                "min_ms": min(times["min_ms"] for times in of_side),
                "median_ms_of_rounds": medians,
            }
        row["torch"]["way"] = cases[row["case"]].way
        rows.append(row)
    return peaks, rows


def floor(row: dict, read_bytes: float, multiply_adds: float) -> dict:
    floors = {
        "bytes": 1e3 * row["bytes"] / read_bytes,
        "operations": 1e3 * row["multiply_adds"] / (multiply_adds * PER_F32[row["dtype"]]),
    }
    bound = max(floors, key=floors.get)
    return {"ms": floors[bound], "bound": bound}


def table(rows: list[dict]) -> str:
    lines = [
        "| room | case | ours in | torch, ms | ours, ms | torch / ours | ours, GB/s | floor, ms | torch's way |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        torch_ms, ours_ms = row["torch"]["median_ms"], row["ours"]["median_ms"]
        lines.append(
            f"| {row['room']} | {row['case']} | {row['dtype']} | {torch_ms:.3g} | {ours_ms:.3g} "
            f"| {torch_ms / ours_ms:.2f} | {row['bytes'] / ours_ms / 1e6:.1f} "
            f"| {row['floor']['ms']:.3g}, {row['floor']['bound']} | {row['torch']['way']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", nargs="+", default=["attention", "experts"], choices=("attention", "experts"))
    parser.add_argument("--dtype", default="bf16", choices=("bf16", "f32"), help="of attention's rows and kv_b")
    parser.add_argument("--rounds", type=int, default=3, help="how often both sides take turns")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the numbers there, too")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: want at least 1")

    for parameter, value in GLIBC_MALLOC.values():
        ctypes.CDLL(None).mallopt(parameter, value)
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    program = build_ours()
    peaks, rows = [], []
    with torch.inference_mode():
        for room in arguments.rooms:
            if room == "attention":
                inputs = attention_inputs({"bf16": torch.bfloat16, "f32": torch.float32}[arguments.dtype])
                cases = attention(inputs, arguments.dtype)
            else:
                inputs = experts_inputs()
                cases = experts(inputs)
            of_room = compare(room, inputs, cases, program, arguments.threads, arguments.rounds)
            peaks, rows = peaks + of_room[0], rows + of_room[1]
    best = {key: max(peak[key] for peak in peaks) for key in ("read_bytes", "multiply_adds")}
    for row in rows:
        row["floor"] = floor(row, **best)
    read, adds = best["read_bytes"] / 1e9, best["multiply_adds"] / 1e9
    print(f"torch {torch.__version__}, {arguments.threads} threads each, {arguments.rounds} rounds")
    print(f"the machine reads {read:.1f} GB/s and does {adds:.0f} G multiply-adds a second in f32\n")
    print(table(rows))
    if arguments.out:
        arguments.out.write_text(json.dumps(best | {"torch": torch.__version__, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
