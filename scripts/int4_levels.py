"""Fits the 16 levels of the format int4 (`quant::int4` in seq2seq-core) to weights that are normal.

    python scripts/int4_levels.py

Lloyd's method (1982): groups of 32 normal values are quantised by the rule of the format, then each level moves to the
mean, in units of the groups' scales, of the values that chose it, weighted by the squares of the scales, as the error to
be made small is that of the values themselves. The outermost level is held at -127 and the level nearest 0 at 0. Prints
the levels and the relative error of groups that they were not fitted to.
"""

import numpy as np

GROUP = 32
ENDS = [-140, -127, -118, -108, 98, 104, 114, 126]


def bf16(x):
    bits = x.astype(np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def choose(units, levels):
    """The nearest level to each value rounded to an integer, the lower one of two."""
    borders = np.floor((levels[1:] + levels[:-1]) / 2)
    return np.searchsorted(borders, np.clip(np.rint(units), -127, 127), side="left")


def quantise(groups, levels):
    """Codes and the scale of each group."""
    extreme = groups[np.arange(len(groups)), np.abs(groups).argmax(1)]
    units = groups * (127 / extreme)[:, None]
    best, scale = np.full(len(groups), -1.0), np.zeros(len(groups))
    for end in ENDS:
        q = levels[choose(units * (end / 127), levels)]
        product, square = (units * q).sum(1), (q * q).sum(1)
        better = product**2 / square > best
        best[better] = (product**2 / square)[better]
        scale[better] = (product / square)[better]
    scale = bf16(scale * extreme / 127)
    return choose(groups / scale[:, None], levels), scale


def error(groups, levels):
    codes, scale = quantise(groups, levels)
    return np.sqrt(((groups - scale[:, None] * levels[codes]) ** 2).sum() / (groups**2).sum())


def main():
    random = np.random.default_rng(1)
    groups, others = random.standard_normal((100_000, GROUP)), random.standard_normal((50_000, GROUP))
    levels = np.linspace(-127, 113, 16)
    for _ in range(80):
        codes, scale = quantise(groups, levels)
        units, weight = groups / scale[:, None], np.broadcast_to((scale**2)[:, None], groups.shape)
        levels = np.bincount(codes.ravel(), (weight * units).ravel(), 16) / np.bincount(codes.ravel(), weight.ravel(), 16)
        levels *= -127 / levels[0]
        levels[np.abs(levels).argmin()] = 0
    print(np.rint(levels).astype(int).tolist())
    print(f"relative error {error(others, np.rint(levels)):.5f}, of uniform levels {error(others, np.linspace(-127, 112, 16).round()):.5f}")


if __name__ == "__main__":
    main()
