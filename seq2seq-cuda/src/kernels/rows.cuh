// How rows lie in memory for the matrix units: what rows.cu makes of values, and what other kernels store in their place.
//
// Rows are whole tiles of 8, and columns whole slabs (`depth`); the rest are zeros, so that the kernels that read them need no
// conditions.
//
// BF16:          [tile][depth / 32][lane][8] bf16: what lane 4 g + t of mma.m16n8k16 holds of row g for two steps of 16 columns: columns
//                2t, 2t + 1, 2t + 8, 2t + 9 of each step. One 16-byte load gives both B operands.
// BF16_SWIZZLED: [depth / 64][tile][8 rows][64] bf16, as wgmma reads them from shared memory (wgmma.cuh): the 16-byte piece of
//                columns 8 c to 8 c + 7 of row r is at c ^ r of its 128 bytes.
// U8:            [tile][depth / 64][lane][16] u8: the same of mma.m16n8k32: columns 4t to 4t + 3 and 4t + 16 to 4t + 19 of each of two
//                steps of 32.
// U8_SWIZZLED:   [depth / 128][tile][8 rows][128] u8, as BF16_SWIZZLED: a piece is 16 columns.
#pragma once
#include "common.cuh"

enum Operand { NO_OPERAND, BF16, BF16_SWIZZLED, U8, U8_SWIZZLED };

constexpr int ROW_TILE = 8;

// Two columns that follow each other, the first in the lower half.
DEVICE u32 rounded_pair(float low, float high) { return (u32)f32_to_bf16(low) | (u32)f32_to_bf16(high) << 16; }

// Where the value of a row and a column stands, in values.
template <int OPERAND>
DEVICE u64 operand_place(int row, int column, int tiles, int depth) {
    const int r = row % ROW_TILE;
    const u64 tile = row / ROW_TILE;
    if (OPERAND == BF16) {
        const int k = column % 32;
        const u64 lane = (tile * (depth / 32) + column / 32) * WARP + r * 4 + k % 8 / 2;
        return lane * 8 + k / 8 * 2 + k % 2;
    }
    if (OPERAND == U8) {
        const int k = column % 64;
        const u64 lane = (tile * (depth / 64) + column / 64) * WARP + r * 4 + k % 16 / 4;
        return lane * 16 + k / 16 * 4 + k % 4;
    }
    constexpr int PIECE = OPERAND == BF16_SWIZZLED ? 8 : 16, SLAB_COLUMNS = 8 * PIECE;
    const int k = column % SLAB_COLUMNS;
    return ((u64)(column / SLAB_COLUMNS * tiles + tile) * ROW_TILE + r) * SLAB_COLUMNS + (k / PIECE ^ r) * PIECE + k % PIECE;
}
