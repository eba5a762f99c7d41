#!/usr/bin/env python3
"""Fits the polynomials of GELU and writes `seq2seq-cpu/src/simd/gelu_tables.rs`.

GELU is x F(x) with F(-a) = 1 - F(a), so that F(-a) for a >= 0 is all that is needed. Around each multiple of 1/2 below 7.25
it is a polynomial of degree 6, minimax in the relative error (Remez exchange in 40 digits), then rounded to f32. From 7.25 on
it is below 1e-12 and taken as 0.

    python scripts/gelu_tables.py          # needs mpmath
"""

import struct
from pathlib import Path

import mpmath as mp

mp.mp.dps = 40
INTERVALS, WIDTH, DEGREE = 16, mp.mpf(1) / 2, 6
OUT = Path(__file__).parent.parent / "seq2seq-cpu/src/simd/gelu_tables.rs"


def normal(a):
    """The normal distribution at -a."""
    return mp.erfc(a / mp.sqrt(2)) / 2


def logistic(a):
    """The approximation by tanh at -a."""
    return 1 / (1 + mp.exp(2 * mp.sqrt(2 / mp.pi) * (a + mp.mpf("0.044715") * a**3)))


def remez(f, centre):
    """Coefficients, lowest power first, of the polynomial of x nearest to f(centre + x) in relative error."""
    n, half = DEGREE + 2, WIDTH / 2
    points = [-half * mp.cos(mp.pi * i / (n - 1)) for i in range(n)]
    grid = [-half + WIDTH * i / 400 for i in range(401)]
    for _ in range(30):
        rows = [[x**k / f(centre + x) for k in range(DEGREE + 1)] + [(-1) ** i] for i, x in enumerate(points)]
        *coefficients, level = mp.lu_solve(mp.matrix(rows), mp.ones(n, 1))
        error = [mp.polyval(coefficients[::-1], x) / f(centre + x) - 1 for x in grid]
        # The largest error of each run of one sign.
        runs = []
        for x, e in zip(grid, error):
            if runs and (runs[-1][1] > 0) == (e > 0):
                runs[-1] = max(runs[-1], (x, e), key=lambda r: abs(r[1]))
            else:
                runs.append((x, e))
        if len(runs) != n or max(map(abs, error)) < abs(level) * mp.mpf("1.001"):
            break
        points = [x for x, _ in runs]
    return coefficients


def table(f):
    """For each power its coefficient in each interval."""
    fits = [remez(f, WIDTH * i) for i in range(INTERVALS - 1)] + [[mp.mpf(0)] * (DEGREE + 1)]
    rows = []
    for power in zip(*fits):
        singles = [struct.unpack("f", struct.pack("f", float(c)))[0] for c in power]
        lines = [", ".join(f"{c:.9e}" for c in singles[i : i + 4]) for i in range(0, INTERVALS, 4)]
        rows.append("    [\n" + "".join(f"        {line},\n" for line in lines) + "    ],\n")
    return "".join(rows)


def main():
    text = f"""//! Written by `scripts/gelu_tables.py`: F(-a) of GELU, x F(x), around each multiple of 1/2.
#![allow(clippy::excessive_precision, clippy::unreadable_literal)]

/// For each power of a - i / 2, lowest first, its coefficient for each i.
#[repr(align(64))]
pub(super) struct Table(pub(super) [[f32; {INTERVALS}]; {DEGREE + 1}]);

/// F is the normal distribution.
#[rustfmt::skip]
pub(super) static NORMAL: Table = Table([
{table(normal)}]);

/// F is the logistic function of the approximation by tanh.
#[rustfmt::skip]
pub(super) static LOGISTIC: Table = Table([
{table(logistic)}]);
"""
    OUT.write_text(text)


if __name__ == "__main__":
    main()
