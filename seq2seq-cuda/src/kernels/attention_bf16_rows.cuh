// Rows in shared memory, as blocks of four warps multiply them on the matrix units: forward (attention_bf16_tile.cuh) and back
// (attention_back_bf16.cuh). Where a piece of a row lies there is `place`'s to say.
#pragma once

#include "attention_bf16.cuh"

constexpr int WARPS = 4, THREADS = WARPS * WARP;

// Starts to copy ROWS rows of a chunk to shared memory: keys, or the values, which lie `behind` pieces behind them. Rows without
// a position become 0.
template <int W, int ROWS = CHUNK>
DEVICE void load_chunk(uint4* to, const PiecePages& pages, int behind, int start, int keys, int slabs) {
    constexpr int PIECES = W / 8;
#pragma unroll 4
    for (int i = threadIdx.x; i < ROWS * PIECES; i += THREADS) {
        const int row = i / PIECES, piece = i % PIECES;
        if (piece >= slabs * (SLAB / 8)) continue;
        const bool there = start + row < keys && piece < pages.pieces;
        copy_async_16(to + place<W>(row, piece), pages.key(min(start + row, keys - 1)) + behind + piece, there);
    }
    copy_async_commit();
}

// s += a b over all slabs of columns: a has 16 M rows, of which `own` gives the part of a lane of a slab; b are 8 T rows of
// shared memory.
template <int W, int M, int T, class Own>
DEVICE void multiply_rows(Own own, const uint4* rows, int slabs, float (&s)[M][T][4]) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int slab = 0; slab < W / SLAB; ++slab) {
        if (slab >= slabs) break;
        uint4 a[M][2];
        own(slab, a);
#pragma unroll
        for (int from = 0; from < T; from += 4) {
            uint4 b[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) b[i] = rows[place<W>((from + i) * 8 + lane / 4, slab * 4 + lane % 4)];
            multiply_slab(a, b, from, s);
        }
    }
}

// Sixteen rows from `row` on as operands, for each tile of 8 columns of a slab: lanes 0 to 15 name rows of the first tile of a pair,
// the others of the second.
template <int W>
DEVICE void column_slab(const uint4* rows, int row, int slab, u32 (&b)[COLUMN_TILES][2]) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int i = 0; i < COLUMN_TILES; i += 2) {
        u32 four[4];
        load_matrix_4_transposed(four, rows + place<W>(row + lane % 16, slab * COLUMN_TILES + i + lane / 16));
        b[i][0] = four[0], b[i][1] = four[1], b[i + 1][0] = four[2], b[i + 1][1] = four[3];
    }
}
