#!/usr/bin/env python3
"""Cases of group relative policy optimisation, by the formulas of TRL.

    python3 train/tests/grpo_cases.py > train/tests/grpo_cases.json

Plain Python in double precision. What is computed follows huggingface/trl,
trl/trainer/grpo_trainer.py: advantages as in `_generate_and_score_completions` (the standard deviation
divides by n - 1, and 1e-4 is added to it), loss and metrics as in `_compute_loss` on one process
without gradient accumulation. Derivatives by log-probabilities are central differences of the loss.
"""

import json
import math
import random

STEP = 1e-6


def mean(values):
    return math.fsum(values) / len(values)


def std(values):
    m = mean(values)
    return math.sqrt(math.fsum((v - m) ** 2 for v in values) / (len(values) - 1))


def advantages(rewards, num_generations, scale_rewards):
    groups = [rewards[i : i + num_generations] for i in range(0, len(rewards), num_generations)]
    out = []
    for group in groups:
        centred = [r - mean(group) for r in group]
        if scale_rewards == "none":
            out += centred
        else:
            deviation = std(group) if scale_rewards == "group" else std(rewards)
            out += [c / (deviation + 1e-4) for c in centred]
    zero = sum(1 for group in groups if std(group) == 0.0) / len(groups)
    return out, zero


def compute_loss(logps, old, ref, mask, adv, config):
    """Lists of one list for each completion; `mask` has 0 for each token of a masked completion."""
    low, high = 1 - config["epsilon"], 1 + (config["epsilon_high"] or config["epsilon"])
    per_token, kls, ratios, lows, highs, flat_mask = [], [], [], [], [], []
    for i, completion in enumerate(logps):
        row = []
        for t, logp in enumerate(completion):
            coef_1 = math.exp(logp - old[i][t])
            coef_2 = min(max(coef_1, low), high)
            loss = -min(coef_1 * adv[i], coef_2 * adv[i])
            kl = math.exp(ref[i][t] - logp) - (ref[i][t] - logp) - 1
            if config["beta"] != 0.0:
                loss = loss + config["beta"] * kl
            row.append(loss)
            kls.append(kl)
            ratios.append(coef_1)
            lows.append(coef_1 < low and adv[i] < 0)
            highs.append(coef_1 > high and adv[i] > 0)
            flat_mask.append(mask[i][t])
        per_token.append(row)
    sums = [math.fsum(l * m for l, m in zip(row, mask[i])) for i, row in enumerate(per_token)]
    counts = [sum(row) for row in mask]
    tokens = max(sum(counts), 1.0)
    if config["loss_type"] == "grpo":
        loss = mean([s / max(c, 1.0) for s, c in zip(sums, counts)])
    elif config["loss_type"] in ("bnpo", "dapo"):
        loss = math.fsum(sums) / tokens
    else:
        loss = math.fsum(sums) / (len(sums) * config["max_completion_length"])

    def masked_mean(values):
        return math.fsum(v * m for v, m in zip(values, flat_mask)) / tokens

    metrics = {
        "kl": masked_mean(kls),
        "clip_low": masked_mean(lows),
        "clip_high": masked_mean(highs),
        "clip_region": masked_mean([a or b for a, b in zip(lows, highs)]),
        "ratio": masked_mean(ratios),
        "max_ratio_deviation": max(abs(r - 1) * m for r, m in zip(ratios, flat_mask)),
    }
    return loss, metrics


def differences(logps, *rest):
    def moved(i, t, by):
        copy = [list(row) for row in logps]
        copy[i][t] += by
        return compute_loss(copy, *rest)[0]

    return [
        [round((moved(i, t, STEP) - moved(i, t, -STEP)) / (2 * STEP), 10) for t in range(len(row))]
        for i, row in enumerate(logps)
    ]


def case(rng, config):
    groups = 2
    total = groups * config["num_generations"]
    rewards = [rng.choice([0.0, 0.5, 1.0]) for _ in range(total)]
    rewards[: config["num_generations"]] = [1.0] * config["num_generations"]
    lengths = [rng.randint(1, 4) for _ in range(total)]
    truncated = [rng.random() < 0.25 for _ in range(total)]
    old = [[round(-rng.expovariate(1.0) - 0.05, 4) for _ in range(n)] for n in lengths]
    # Far enough from the bounds of the clip for differences.
    moves = [-0.7, -0.35, -0.1, 0.0, 0.1, 0.45, 0.8]
    logps = [[round(v + rng.choice(moves), 4) for v in row] for row in old]
    ref = [[round(v + rng.gauss(0.0, 0.3), 4) for v in row] for row in old]
    hidden = [t and config["mask_truncated_completions"] for t in truncated]
    mask = [[0.0 if h else 1.0] * n for h, n in zip(hidden, lengths)]
    adv, zero = advantages(rewards, config["num_generations"], config["scale_rewards"])
    arguments = (old, ref, mask, adv, config)
    loss, metrics = compute_loss(logps, *arguments)
    return {
        "config": config,
        "rewards": rewards,
        "truncated": truncated,
        "logps": logps,
        "old_logps": old,
        "ref_logps": ref,
        "advantages": adv,
        "frac_reward_zero_std": zero,
        "loss": loss,
        "metrics": metrics,
        "derivatives": differences(logps, *arguments),
    }


def main():
    rng = random.Random(20250123)
    cases = []
    for loss_type in ("grpo", "bnpo", "dapo", "dr_grpo"):
        for beta in (0.0, 0.04):
            for epsilon, epsilon_high in ((0.2, None), (0.2, 0.28), (10.0, None)):
                config = {
                    "num_generations": rng.choice([2, 4]),
                    "beta": beta,
                    "epsilon": epsilon,
                    "epsilon_high": epsilon_high,
                    "loss_type": loss_type,
                    "scale_rewards": ("group", "batch", "none")[len(cases) % 3],
                    "mask_truncated_completions": len(cases) % 2 == 1,
                    "max_completion_length": 12,
                }
                cases.append(case(rng, config))
    lines = ",\n".join(json.dumps(one) for one in cases)
    print(f"[\n{lines}\n]")


if __name__ == "__main__":
    main()
