// Activations in the layout and the number format of the linear kernels, once for each layer that reads them.
//
// x: [rows, width] f32, value (row, column) at row * row_stride + column * column_stride: a matrix may be read turned.
// Results lie as rows.cuh has it:
//
// rows_f32:  [tile][depth][8 rows] f32: the 8 rows of a column lie together.
// rows_bf16, rows_bf16_swizzled: rounded.
// rows_u8, rows_u8_swizzled: and a scale and a zero point a row, as `seq2seq_core::quant::row` defines them. The levels of
//            both are the same.
//
// Floor: width * (4 + element) bytes a row over the memory bandwidth. Loads and stores fill whole sectors.
#include "overlap.cuh"
#include "quantise.cuh"
#include "rows.cuh"

constexpr int TILE = ROW_TILE;

struct Source {
    const float* values;
    int rows, width;
    s64 row_stride, column_stride;
};

DEVICE float element(const Source& x, int row, int column) {
    bool inside = row < x.rows && column < x.width;
    return inside ? x.values[row * x.row_stride + column * x.column_stride] : 0.0f;
}

// Two columns that follow each other, rounded to bf16, the first in the lower half.
DEVICE u32 rounded_pair(const Source& x, int row, int column) {
    return rounded_pair(element(x, row, column), element(x, row, column + 1));
}

KERNEL rows_f32(const float* values, int rows, int width, int depth, s64 row_stride, s64 column_stride, float* out) {
    begin_behind_previous();
    const Source x = {values, rows, width, row_stride, column_stride};
    int tile = blockIdx.x, k = blockIdx.y * blockDim.x + threadIdx.x;
    if (k >= depth) return;
    float v[TILE];
#pragma unroll
    for (int r = 0; r < TILE; r++) v[r] = element(x, tile * TILE + r, k);
    float4* to = (float4*)(out + ((u64)tile * depth + k) * TILE);
    to[0] = make_float4(v[0], v[1], v[2], v[3]);
    to[1] = make_float4(v[4], v[5], v[6], v[7]);
}

// A warp makes the operands of 8 rows and 32 columns.
KERNEL rows_bf16(const float* values, int rows, int width, int depth, s64 row_stride, s64 column_stride, u8* out) {
    begin_behind_previous();
    const Source x = {values, rows, width, row_stride, column_stride};
    int lane = threadIdx.x % WARP, slab = blockIdx.y * (blockDim.x / WARP) + threadIdx.x / WARP, slabs = depth / 32;
    if (slab >= slabs) return;
    int row = blockIdx.x * TILE + lane / 4, k = slab * 32 + lane % 4 * 2;
    u32 r[4];
#pragma unroll
    for (int i = 0; i < 4; i++) r[i] = rounded_pair(x, row, k + 8 * i);
    ((uint4*)out)[((u64)blockIdx.x * slabs + slab) * WARP + lane] = make_uint4(r[0], r[1], r[2], r[3]);
}

// A warp makes 8 rows of 64 columns.
KERNEL rows_bf16_swizzled(const float* values, int rows, int width, int depth, s64 row_stride, s64 column_stride, u8* out) {
    begin_behind_previous();
    const Source x = {values, rows, width, row_stride, column_stride};
    int lane = threadIdx.x % WARP, slab = blockIdx.y * (blockDim.x / WARP) + threadIdx.x / WARP, slabs = depth / 64;
    if (slab >= slabs) return;
    int r = lane / 4, row = blockIdx.x * TILE + r;
    uint4* to = (uint4*)out + ((u64)slab * gridDim.x + blockIdx.x) * 64 + r * 8;
#pragma unroll
    for (int piece = lane % 4; piece < 8; piece += 4) {
        u32 pair[4];
#pragma unroll
        for (int i = 0; i < 4; i++) pair[i] = rounded_pair(x, row, slab * 64 + piece * 8 + i * 2);
        to[piece ^ r] = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    }
}

// A block makes a row; rows past the last are zeros. A thread makes words of four columns: neighbours read neighbours, and fill
// whole sectors in either layout.
template <int OPERAND>
DEVICE void quantise_rows(const float* x, int rows, int width, int depth, u32* out, float* scales, int* zeros) {
    __shared__ Extremes part[WARP];
    begin_behind_previous();
    int row = blockIdx.x;
    Extremes all;
    all.clear();
    if (row < rows) {
        for (int k = threadIdx.x; k < width; k += blockDim.x) all.add(x[(u64)row * width + k]);
    }
    all.add_block(part);
    const RowScale of(all);
    if (threadIdx.x == 0 && row < rows) {
        scales[row] = of.scale;
        zeros[row] = (int)of.zero;
    }
    for (int k = threadIdx.x * 4; k < depth; k += blockDim.x * 4) {
        u32 word = 0;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            // Columns past the last are zeros.
            u32 q = row < rows && k + j < width ? of.level(x[(u64)row * width + k + j]) : 0;
            word |= q << 8 * j;
        }
        out[operand_place<OPERAND>(row, k, gridDim.x / TILE, depth) / 4] = word;
    }
}

KERNEL rows_u8(const float* x, int rows, int width, int depth, u32* out, float* scales, int* zeros) {
    quantise_rows<U8>(x, rows, width, depth, out, scales, zeros);
}

KERNEL rows_u8_swizzled(const float* x, int rows, int width, int depth, u32* out, float* scales, int* zeros) {
    quantise_rows<U8_SWIZZLED>(x, rows, width, depth, out, scales, zeros);
}
