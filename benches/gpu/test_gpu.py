"""What of the run needs neither a GPU nor PyTorch: `python3 benches/gpu/test_gpu.py`."""

import json
import math
import pathlib
import sys
import tempfile
import unittest

import checkpoints
import ours
import summary
from clock import Clock, call, last_line
from rows import OURS, Rows
from sizes import GPU, REHEARSAL, decode_case
from targets import Table, bound_by_host, bytes_a_step, markdown, times, weights_a_step
from workers import Worker

PRODUCT = {"op": "linear", "plain": True, "layer": {"rows": 128}}
CASES = [PRODUCT | {"case": "a, 128 rows"}, PRODUCT | {"case": "b, 128 rows"}]


def row(op: str, case: str, side: str, seconds: float, **more) -> dict:
    return {"op": op, "case": case, "side": side, "seconds": seconds} | more


def fill(rows: list[dict], cases: list[dict] = CASES, rehearsal: bool = False) -> dict[str, dict]:
    return {line["target"]: line for line in Table(rows, cases, GPU, rehearsal).fill()}


class Targets(unittest.TestCase):
    def test_weights_are_those_of_the_models(self) -> None:
        # What a checkpoint holds, but for the table of tokens and norms.
        for name, looked_up in (("tinyllama-1.1b", "embed_tokens"), ("t5-base", None)):
            named = checkpoints.tensors(GPU.models[name])
            decoder = [
                math.prod(shape) for part, shape, _ in named
                if len(shape) == 2 and "encoder." not in part and "relative" not in part
                and ".EncDecAttention.k" not in part and ".EncDecAttention.v" not in part
                and not (looked_up and looked_up in part)
            ]  # fmt: skip
            self.assertEqual(weights_a_step(GPU.models[name]), sum(decoder), name)
        self.assertAlmostEqual(bytes_a_step(GPU.models["tinyllama-1.1b"], "bf16") / 1e9, 2.069, 3)
        self.assertEqual(bytes_a_step(GPU.models["tinyllama-1.1b"], "int4") / bytes_a_step(GPU.models["tinyllama-1.1b"], "int8"), 0.5625)

    def test_the_least_of_several_cases_counts(self) -> None:
        rows = [
            row("linear", "a, 128 rows", OURS, 1.0), row("linear", "a, 128 rows", "cuBLAS", 0.8),
            row("linear", "b, 128 rows", OURS, 1.0), row("linear", "b, 128 rows", "cuBLAS", 1.25),
        ]  # fmt: skip
        line = fill(rows)["product in bf16, 128 rows, of cuBLAS"]
        self.assertEqual((line["ratio"], line["verdict"], line["mean"]), (0.8, "missed", 1.0))
        self.assertIn("a, 128 rows", line["of"])
        self.assertEqual(fill(rows, rehearsal=True)["product in bf16, 128 rows, of cuBLAS"]["verdict"], "rehearsed")

    def test_a_case_without_a_time_leaves_its_target_open(self) -> None:
        rows = [row("linear", "a, 128 rows", OURS, 1.0), row("linear", "a, 128 rows", "cuBLAS", 2.0)]
        rows.append({"op": "linear", "case": "b, 128 rows", "side": OURS, "error": "out of memory"})
        line = fill(rows)["product in bf16, 128 rows, of cuBLAS"]
        self.assertIsNone(line["ratio"])
        self.assertIn("out of memory", line["verdict"])

    def test_only_times_of_one_kind_are_compared(self) -> None:
        both = {"seconds": 4.0, "replayed": 1.0}
        self.assertEqual(times(both, {"seconds": 8.0, "replayed": 3.0}), (1.0, 3.0, "in a graph"))
        self.assertEqual(times(both, {"seconds": 8.0}), (4.0, 8.0, "by the host's clock"))
        self.assertEqual(times(both | {"asking": 1.0}, {"seconds": 8.0}), (4.0, 8.0, "in a loop"))
        self.assertIsNone(times(both, {"error": "no"}))
        self.assertTrue(bound_by_host({"seconds": 1.0, "asking": 0.95}))
        self.assertFalse(bound_by_host({"seconds": 1.0}))

    def test_decoding(self) -> None:
        case, bytes = decode_case("tinyllama-1.1b", "bf16"), bytes_a_step(GPU.models["tinyllama-1.1b"], "bf16")
        rows = [
            {"op": "copy", "case": "1", "side": "PyTorch", "seconds": 1.0, "bandwidth": bytes / 1e-3},
            row("decode", case, OURS, 2e-3),
            row("decode", case, "plain PyTorch, eager", 12e-3),
            {"op": "decode", "case": case, "side": "transformers, eager", "absent": "not there"},
            row("decode", case, "plain PyTorch, compiled", 5e-3),
            row("decode", case, "transformers, compiled", 2.5e-3),
        ]
        lines = fill(rows)
        share = lines[f"decode, {case}, share of the copy's bandwidth"]
        self.assertAlmostEqual(share["ratio"], 0.5)
        self.assertEqual(share["verdict"], "missed")
        eager = lines[f"decode, {case}, times eager"]
        self.assertEqual((eager["verdict"], eager["of"]), ("met", "plain PyTorch, eager, by the host's clock"))
        self.assertEqual(lines[f"decode, {case}, times compiled"]["ratio"], 1.25)
        int8 = lines[f"decode, {decode_case('tinyllama-1.1b', 'int8')}, share of the copy's bandwidth"]
        self.assertEqual(int8["verdict"], "not measured: not run")

    def test_every_target_has_a_line(self) -> None:
        cases = [
            *CASES, PRODUCT | {"case": "c", "plain": False},
            {"op": "feed_forward", "case": "d", "inner": {"rows": 128}},
            {"op": "attend", "case": "e", "lengths": [1, 2]}, {"op": "attend_backward", "case": "e", "lengths": [2, 2]},
            {"op": "lstm", "case": "f"},
        ]  # fmt: skip
        lines = fill([], cases)
        self.assertEqual({line["verdict"].split(":")[0] for line in lines.values()}, {"not measured"})
        wanted = sorted({line["wanted"] for line in lines.values()})
        self.assertEqual(wanted, [0.35, 0.4, 0.5, 0.65, 0.7, 0.85, 1.0, 1.2, 1.3, 1.5, 5.0, 8.0])
        self.assertEqual(len(markdown(list(lines.values())).splitlines()), 2 + len(lines))


class Programs(unittest.TestCase):
    def test_a_clock_keeps_time_back(self) -> None:
        clock = Clock(100)
        self.assertEqual(clock.left(5), 5)
        self.assertAlmostEqual(clock.left(but=40), 60, places=1)
        self.assertEqual(Clock(0).left(5), 0)

    def test_calls_say_how_they_ended(self) -> None:
        python = [sys.executable, "-c"]
        self.assertEqual(call([*python, "print(1)"], 20), ("1\n", "ok"))
        self.assertEqual(call([*python, "exit(3)"], 20)[1], "status 3")
        self.assertEqual(call([*python, "print(1, flush=True); import time; time.sleep(9)"], 1.5), ("1\n", "no time"))
        self.assertEqual(call(["/no/such/program"], 20)[1], "missing")
        self.assertEqual(call([], 0.5), ("", "no time"))
        self.assertEqual(last_line("a\nb \n\n"), "b")

    def test_a_step_is_a_difference(self) -> None:
        found = [{"new": new, "num_beams": beams, "seconds": s} for new, beams, s in ((16, 1, 1.0), (80, 1, 7.4), (16, 4, 2.0))]
        self.assertAlmostEqual(ours.steps(found, GPU), 0.1)
        self.assertIsNone(ours.steps(found, GPU, 4))

    def test_rows_are_on_the_disk_at_once(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "rows.jsonl"
            rows = Rows(path)
            rows.add(op="linear", case="a", side=OURS, seconds=1.0)
            rows.add(op="linear", case="b", side=OURS, error="no")
            self.assertEqual([json.loads(line)["case"] for line in path.read_text().splitlines()], ["a", "b"])
            self.assertEqual([r["case"] for r in rows.failures()], ["b"])
            rows.add(op="step", case="t5-base, bf16, beams 1, without graphs", side=OURS, seconds=1e-6)
            rows.file.close()
            told = summary.text(rows, [], 1.0, False)
            self.assertIn("| t5-base, bf16, beams 1 |  |  |  | 1.0 |", told)
            self.assertIn("**failed**: no", told)
            self.assertIn("| linear | a | 1000000.0 |", told)

    def test_a_worker_that_cannot_work_says_so(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            # Without PyTorch, or without this device.
            worker = Worker("ops", "cuda:99", True, pathlib.Path(folder) / "log.txt")
            self.assertFalse(worker.wait(60))
            self.assertTrue(worker.absent)
            self.assertEqual([list(answer) for answer in worker.ask(5, do="copy")], [["absent"]])


class Files(unittest.TestCase):
    def test_a_header_says_where_tensors_lie(self) -> None:
        named = checkpoints.tensors(REHEARSAL.models["t5-base"])
        head = checkpoints.header(named, "F32", 4)
        size = int.from_bytes(head[:8], "little")
        self.assertEqual((len(head), len(head) % 8), (8 + size, 0))
        found = json.loads(head[8:])
        end = 0
        for name, shape, _ in named:
            self.assertEqual(found[name]["data_offsets"], [end, end + 4 * math.prod(shape)])
            end += 4 * math.prod(shape)
        self.assertEqual(len(found), len(named), "a name stands twice")


if __name__ == "__main__":
    unittest.main()
