// Normalised rows (norm.cuh), and what the linear layers behind them read: the same rows, rounded or quantised and laid out
// (rows.cuh), as rows.cu would make them of y, to the bit.
//
// x, y: [rows, width]. A block takes a row of a tile; those past the last row store zeros. Of u8, scales and zeros: [rows].
//
// Floor: 8 bytes an element and those of its place in the layout over the memory bandwidth; a kernel of its own would read 4 more (u8:
// 8, mostly from the second cache). A warp stores 64 bytes of bf16 or 32 of u8 side by side, whole sectors.
#include "norm.cuh"
#include "quantise.cuh"
#include "rows.cuh"

struct Rows {
    float* y;
    int rows, depth;
    void* operand;
    float* scales;
    int* zeros;
};

template <int OPERAND>
DEVICE void norm_rows(const float* x, const float* weight, const float* bias, int width, float eps, int layer, const Rows& to) {
    __shared__ float part[WARP];
    __shared__ Extremes extremes[WARP];
    begin(weight, bias, width);
    const int row = blockIdx.x, tiles = gridDim.x / ROW_TILE;
    const bool there = row < to.rows;
    float v[HELD] = {};
    if (there) normalise(x + (u64)row * width, weight, bias, width, eps, layer, part, v);
    each_column(width, [&](int k, int i) {
        if (there) to.y[(u64)row * width + i] = v[k];
    });
    if (OPERAND == BF16 || OPERAND == BF16_SWIZZLED) {
        each_column(to.depth, [&](int k, int i) {
            ((u16*)to.operand)[operand_place<OPERAND>(row, i, tiles, to.depth)] = f32_to_bf16(v[k]);
        });
        return;
    }
    Extremes all;
    all.clear();
    each_column(width, [&](int k, int) { all.add(v[k]); });
    all.add_block(extremes);
    const RowScale of(all);
    if (threadIdx.x == 0 && there) {
        to.scales[row] = of.scale;
        to.zeros[row] = (int)of.zero;
    }
    each_column(to.depth, [&](int k, int i) {
        // Columns past the last are zeros.
        const u32 level = there && i < width ? of.level(v[k]) : 0;
        ((u8*)to.operand)[operand_place<OPERAND>(row, i, tiles, to.depth)] = (u8)level;
    });
}

#define INSTANCE(NAME, OPERAND)                                                                                             \
    KERNEL NAME(                                                                                                            \
        const float* x, const float* weight, const float* bias, int width, float eps, int layer, float* y, int rows,        \
        int depth, void* operand, float* scales, int* zeros) {                                                              \
        norm_rows<OPERAND>(x, weight, bias, width, eps, layer, {y, rows, depth, operand, scales, zeros});                   \
    }
INSTANCE(norm_rows_bf16, BF16)
INSTANCE(norm_rows_bf16_swizzled, BF16_SWIZZLED)
INSTANCE(norm_rows_u8, U8)
INSTANCE(norm_rows_u8_swizzled, U8_SWIZZLED)
