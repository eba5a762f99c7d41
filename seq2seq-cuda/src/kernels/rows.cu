// Activations in the layout and the number format of the linear kernels, once for each layer that reads them.
//
// x: [rows, width] f32, value (row, column) at row * row_stride + column * column_stride: a matrix may be read turned.
// Results are padded with zeros to `depth` columns and to whole tiles of 8 rows, so that the kernels
// that read them need no conditions:
//
// rows_f32:  [tile][depth][8 rows] f32: the 8 rows of a column lie together.
// rows_bf16: [tile][depth / 32][lane][8] bf16: what lane 4 g + t of mma.m16n8k16 holds of row g for two steps of 16 columns:
//            columns 2t, 2t + 1, 2t + 8, 2t + 9 of each step. One 16-byte load gives both B operands.
// rows_bf16_swizzled: [depth / 64][tile][8 rows][64] bf16, as wgmma reads them from shared memory (wgmma.cuh): the 16-byte piece
//            of columns 8 c to 8 c + 7 of row r is at c ^ r of its 128 bytes.
// rows_u8:   [tile][depth / 64][lane][16] u8: the same of mma.m16n8k32: columns 4t to 4t + 3 and 4t + 16 to 4t + 19 of
//            each of two steps of 32; and a scale and a zero point a row, as `seq2seq_core::quant::row` defines them.
// rows_u8_swizzled: [depth / 128][tile][8 rows][128] u8, as rows_bf16_swizzled: a piece is 16 columns. The levels, scales and zero
//            points are those of rows_u8.
//
// Floor: width * (4 + element) bytes a row over the memory bandwidth. Loads and stores fill whole sectors.
#include "overlap.cuh"
#include "quantise.cuh"

constexpr int TILE = 8;

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
    u32 low = f32_to_bf16(element(x, row, column)), high = f32_to_bf16(element(x, row, column + 1));
    return low | high << 16;
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

// A block makes a row; rows past the last are zeros. A thread makes words of four columns, each where `place(row, column)` has it
// among the words of `out`: neighbours read neighbours, and fill whole sectors in either layout.
template <typename Place>
DEVICE void quantise_rows(const float* x, int rows, int width, int depth, u32* out, float* scales, int* zeros, Place place) {
    __shared__ Extremes part[WARP];
    begin_behind_previous();
    int row = blockIdx.x, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    Extremes all;
    all.clear();
    if (row < rows) {
        for (int k = threadIdx.x; k < width; k += blockDim.x) all.add(x[(u64)row * width + k]);
    }
    all.add_lanes();
    if (lane == 0) part[threadIdx.x / WARP] = all;
    __syncthreads();
    for (int i = 0; i < warps; i++) all.add(part[i]);
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
        out[place(row, k)] = word;
    }
}

KERNEL rows_u8(const float* x, int rows, int width, int depth, u32* out, float* scales, int* zeros) {
    quantise_rows(x, rows, width, depth, out, scales, zeros, [=](int row, int k) {
        u64 lane = ((u64)(row / TILE) * (depth / 64) + k / 64) * WARP + row % TILE * 4 + k % 16 / 4;
        return lane * 4 + k % 64 / 16;
    });
}

KERNEL rows_u8_swizzled(const float* x, int rows, int width, int depth, u32* out, float* scales, int* zeros) {
    const int tiles = gridDim.x / TILE;
    quantise_rows(x, rows, width, depth, out, scales, zeros, [=](int row, int k) {
        u64 tile = (u64)(k / 128) * tiles + row / TILE;
        int r = row % TILE;
        return (tile * TILE + r) * 32 + (k % 128 / 16 ^ r) * 4 + k % 16 / 4;
    });
}
