#!/usr/bin/env python3
"""The comparison of check.py is held to results that must pass and results that must fail.

    python check_test.py
"""

import contextlib
import io
import shlex
import sys
import tempfile
import unittest
from pathlib import Path

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
        cases = check.CASES + check.GRADIENT_CASES
        self.goldens = {case: load_file(check.PACK / case / "goldens.safetensors") for case in cases}

    def test_faithful_results_pass_in_both_precisions(self) -> None:
        for case, goldens in self.goldens.items():
            for dtype in (np.float32, np.float64):
                results = faithful(goldens, dtype)
                tally = verdict(case, results, goldens)
                self.assertEqual((tally.failed, tally.absent, tally.compared), (0, 0, len(results)), case)

    def test_one_spoilt_element_of_any_key_fails(self) -> None:
        for case, goldens in self.goldens.items():
            for key, right in faithful(goldens).items():
                # Gradients are held to a share of their largest.
                much = 1e-3 * max(1.0, float(np.abs(right).max())) if key.startswith("grad.") else 1e-3
                spoils = [right.flat[-1] + 1] if right.dtype.kind == "i" else [right.flat[-1] + much, np.nan, np.inf]
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

    def test_float64_gradients_are_held_to_the_tighter_bound(self) -> None:
        for case in check.GRADIENT_CASES:
            goldens = self.goldens[case]
            for key, right in faithful(goldens, np.float64).items():
                by = 1e-6 * float(np.abs(right).max()) if key.startswith("grad.") else 1e-6
                wrong = right.copy()
                wrong.flat[0] += by
                double = faithful(goldens, np.float64) | {key: wrong}
                self.assertEqual(verdict(case, double, goldens).failed, 1, f"{case} {key}")
                single = faithful(goldens) | {key: wrong.astype(np.float32)}
                self.assertEqual(verdict(case, single, goldens).failed, 0, f"{case} {key}")

    def test_one_float32_gradient_takes_all_to_the_wider_bound(self) -> None:
        goldens = self.goldens["v3_grad"]
        results = faithful(goldens, np.float64)
        key = "grad.model.norm.weight"
        results[key] = results[key].astype(np.float32)
        self.assertEqual(check.precision(results), np.float32)
        self.assertEqual(verdict("v3_grad", results, goldens).failed, 0)

    def test_gradients_of_other_signs_scales_and_orders_fail(self) -> None:
        for case in check.GRADIENT_CASES:
            goldens, right = self.goldens[case], faithful(self.goldens[case])
            for key in (key for key in right if key.startswith("grad.")):
                for wrong in (-right[key], 0 * right[key], 2 * right[key], right[key][::-1]):
                    self.assertEqual(verdict(case, right | {key: wrong}, goldens).failed, 1, f"{case} {key}")

    def test_an_absent_gradient_fails(self) -> None:
        for case in check.GRADIENT_CASES:
            goldens, right = self.goldens[case], faithful(self.goldens[case])
            for key in right:
                without = {k: v for k, v in right.items() if k != key}
                tally = verdict(case, without, goldens)
                self.assertEqual((tally.failed, tally.absent), (1, 1), f"{case} {key}")

    def test_logits_are_not_taken_for_gradients(self) -> None:
        goldens = self.goldens["v3_grad"]
        tally = verdict("v3_grad", {"logits": np.zeros((12, 96))}, goldens)
        self.assertEqual((tally.compared, tally.failed), (0, len(faithful(goldens))))

    def test_a_command_is_given_the_rows_and_the_coefficient(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            program = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
            command = shlex.join([sys.executable, "-c", program]) + ' {out} "{alpha} {rows}"'
            goldens = self.goldens["v2_grad_aux"]
            self.assertEqual(check.run(command, "v2_grad_aux", goldens, out), 0)
            alpha, rows = out.read_text().split()
            self.assertEqual(float(alpha), 0.1)
            ids = [[int(t) for t in row.split(",")] for row in rows.split(";")]
            self.assertEqual(ids, goldens["input_ids"].tolist())

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
