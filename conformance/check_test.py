#!/usr/bin/env python3
"""The comparison of check.py is held to results that must pass and results that must fail.

    python check_test.py
"""

import contextlib
import io
import unittest

import numpy as np
from safetensors.numpy import load_file

import check


def faithful(goldens: dict[str, np.ndarray], dtype: type = np.float32) -> dict[str, np.ndarray]:
    """The results of an engine that gets everything right."""
    return {
        want.key: want.value if want.atol is None else want.value.astype(dtype)
        for want in check.wanted(goldens, np.dtype(dtype))
    }


def verdict(case: str, results: dict[str, np.ndarray], goldens: dict, strict: bool = True) -> check.Tally:
    tally = check.Tally()
    with contextlib.redirect_stdout(io.StringIO()):
        check.hold(case, results, goldens, tally, strict)
    return tally


class Comparison(unittest.TestCase):
    def setUp(self) -> None:
        self.goldens = {case: load_file(check.PACK / case / "goldens.safetensors") for case in check.CASES}

    def test_faithful_results_pass_in_both_precisions(self) -> None:
        for case, goldens in self.goldens.items():
            for dtype in (np.float32, np.float64):
                results = faithful(goldens, dtype)
                tally = verdict(case, results, goldens)
                self.assertEqual((tally.failed, tally.absent, tally.compared), (0, 0, len(results)), case)

    def test_one_spoilt_element_of_any_key_fails(self) -> None:
        for case, goldens in self.goldens.items():
            for key, right in faithful(goldens).items():
                spoils = [right.flat[-1] + 1] if right.dtype.kind == "i" else [right.flat[-1] + 1e-3, np.nan, np.inf]
                for spoil in spoils:
                    wrong = right.copy()
                    wrong.flat[-1] = spoil
                    tally = verdict(case, faithful(goldens) | {key: wrong}, goldens)
                    self.assertEqual(tally.failed, 1, f"{case} {key} {spoil}")

    def test_float64_logits_are_held_to_the_tighter_bound(self) -> None:
        goldens = self.goldens["v3"]
        results = faithful(goldens, np.float64)
        results["logits"] = results["logits"] + 1e-8
        self.assertEqual(verdict("v3", results, goldens).failed, 1)

    def test_wrong_shapes_and_types_fail(self) -> None:
        goldens = self.goldens["v3"]
        right = faithful(goldens)
        for key, wrong in {
            "logits": right["logits"][:-1],
            "hidden.0": right["hidden.0"].astype(np.float16),
            "moe_idx.2": right["moe_idx.2"].astype(np.float32),
            "greedy": right["greedy"][:0],
        }.items():
            self.assertEqual(verdict("v3", right | {key: wrong}, goldens).failed, 1, key)

    def test_an_absent_key_fails_unless_allowed(self) -> None:
        goldens = self.goldens["v3_mtp"]
        results = {k: v for k, v in faithful(goldens).items() if k != "mtp_logits"}
        self.assertEqual(verdict("v3_mtp", results, goldens).failed, 1)
        allowed = verdict("v3_mtp", results, goldens, strict=False)
        self.assertEqual((allowed.failed, allowed.absent), (0, 1))

    def test_a_leading_axis_of_one_is_accepted(self) -> None:
        goldens = self.goldens["llama"]
        results = {k: v[None] for k, v in faithful(goldens).items()}
        self.assertEqual(verdict("llama", results, goldens).failed, 0)


if __name__ == "__main__":
    unittest.main()
