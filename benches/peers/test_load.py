"""`python -m unittest discover benches/peers`: what load.py makes of what it measures, with a program that plays seq2seq."""

import argparse
import json
import pathlib
import tempfile
import unittest

import load
from peers import Failed

# Touches 64 MB, so that its peak is known, and says what `bench` says.
PLAYED = """#!/usr/bin/env python3
import json, pathlib, sys
command, *flags = sys.argv[1:]
named = dict(zip(flags[::2], flags[1::2]))
if command == "convert":
    output = pathlib.Path(named["--output"])
    output.mkdir()
    (output / "model.safetensors").write_bytes(bytes(500))
    sys.exit()
named = dict(zip(flags[1::2], flags[2::2]))
if named["--format"] == "int4":
    sys.exit("error: no room\\n")
held = bytearray(64 << 20)
held[::4096] = bytes([1]) * len(held[::4096])
print(json.dumps(dict(load_seconds=0.5, first_seconds=0.25, weight_bytes=32 << 20, table_bytes=7)))
"""


class Load(unittest.TestCase):
    def setUp(self) -> None:
        work = tempfile.TemporaryDirectory()
        self.addCleanup(work.cleanup)
        self.work = pathlib.Path(work.name)
        self.program = self.work / "seq2seq"
        self.program.write_text(PLAYED)
        self.program.chmod(0o755)
        (self.work / "model").mkdir()
        (self.work / "model" / "model.safetensors").write_bytes(bytes(3000))
        self.args = argparse.Namespace(
            program=self.program, checkpoints=self.work, rounds=3, threads=2, temporary=self.work
        )

    def test_both_folders_are_in_every_round(self) -> None:
        checkpoint, converted = load.measure(self.args, "model", "int8")
        self.assertEqual([r["folder"] for r in (checkpoint, converted)], ["checkpoint", "converted"])
        self.assertEqual([r["file_bytes"] for r in (checkpoint, converted)], [3000, 500])
        self.assertEqual(checkpoint["load_seconds"], [0.5] * 3)
        self.assertEqual(len(converted["read_seconds"]), 3)
        self.assertGreaterEqual(min(checkpoint["peak_bytes"]), 64 << 20)
        self.assertLess(max(checkpoint["peak_bytes"]), 128 << 20)
        # What was converted is gone.
        self.assertEqual({p.name for p in self.work.iterdir()}, {"seq2seq", "model"})

    def test_a_checkpoint_is_not_converted_to_f32(self) -> None:
        self.assertEqual([r["folder"] for r in load.measure(self.args, "model", "f32")], ["checkpoint"])

    def test_a_failure_says_why(self) -> None:
        with self.assertRaisesRegex(Failed, "error: no room"):
            load.measure(self.args, "model", "int4")

    def test_ratios_are_of_single_rounds(self) -> None:
        starts = [load.Start(load=t, first=0.0, weight_bytes=100, table_bytes=0, peak=p) for t, p in ((1.0, 110), (9.0, 150), (2.0, 120))]
        medians = load.row("checkpoint", 1, [1.0, 3.0, 1.0], starts)["medians"]
        self.assertEqual((medians["over_reading"], medians["over_weights"]), (2.0, 1.2))

    def test_the_table_names_every_row(self) -> None:
        machine = dict(cpu="c", cores=2, memory_gib=4, os="o", compiler="r", date="2026-01-01T00")
        rows = load.measure(self.args, "model", "int8") + [dict(model="model", format="int4", error="no room")]
        lines = [dict(machine=machine, version="0", threads=2), *rows]
        text = load.markdown([json.loads(json.dumps(line)) for line in lines])
        self.assertEqual(text.count("| model | int8 |"), 2)
        self.assertIn("- model in int4: no room", text)


if __name__ == "__main__":
    unittest.main()
