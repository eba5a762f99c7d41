"""`python -m unittest discover benches/peers`: what threads.py makes of what it measures."""

import json
import unittest

import threads
from cost import Pass


def row(passes: list[Pass], seconds: dict[int, list[list[float]]]) -> dict:
    one = {"f32": 100.0, "bandwidth": 40.0}
    two = {"f32": 190.0, "bandwidth": 50.0}
    made = dict(
        workload="w", format="f32", seconds=seconds, limits={n: [seen] * 2 for n, seen in zip(seconds, (one, two), strict=True)},
        passes=[vars(p) for p in passes],
    )  # fmt: skip
    return json.loads(json.dumps(made))


class Threads(unittest.TestCase):
    def test_operations_scale_with_the_peak(self) -> None:
        line = threads.Line.of(row([Pass(1, 1000, 1000)], {1: [[3.8], [4.0]], 2: [[2.0], [2.0]]}))
        self.assertEqual((line.threads, line.medians), ((1, 2), (3.9, 2.0)))
        self.assertAlmostEqual(line.speedup, 1.95)
        self.assertAlmostEqual(line.machine, 1.9)
        self.assertAlmostEqual(line.operations, 1.0)

    def test_reading_scales_with_the_bandwidth(self) -> None:
        line = threads.Line.of(row([Pass(7, 1000, 1)], {1: [[1.0]], 2: [[1.0]]}))
        self.assertAlmostEqual(line.machine, 1.25)
        self.assertAlmostEqual(line.bandwidth, 1.25)
        self.assertAlmostEqual(line.peak, 1.9)
        self.assertAlmostEqual(line.operations, 0.0)

    def test_a_row_may_be_made_of_both(self) -> None:
        # With two threads 10 s of operations and 8 s of reading.
        both = threads.Line.of(row([Pass(1, 95, 10), Pass(1, 100, 0)], {1: [[1.0]], 2: [[1.0]]}))
        self.assertAlmostEqual(both.operations, 10 / 18)

    def test_runs_are_compared_within_their_round(self) -> None:
        line = threads.Line.of(row([Pass(1, 1, 1)], {1: [[2.0], [20.0], [4.0]], 2: [[1.0], [10.0], [4.0]]}))
        self.assertEqual(line.speedup, 2.0)

    def test_the_table_names_every_row(self) -> None:
        machine = dict(cpu="c", cores=2, memory_gib=4, os="o", compiler="r", date="2026-01-01T00")
        rows = [row([Pass(1, 1, 1)], {1: [[2.0]], 2: [[1.0]]}), dict(workload="v", format="int8", error="no room")]
        text = threads.markdown([dict(machine=machine, version="0", threads=2), *rows])
        self.assertIn("| w | f32 | 2000.0 | 1000.0 | **2.00** |", text)
        self.assertIn("- v, int8: no room", text)


if __name__ == "__main__":
    unittest.main()
