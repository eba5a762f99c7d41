// Lays out keys and values of new rows in their pages, keys rotated to their positions; as they are, or rounded to bf16.
//
// x [N, stride] has the keys of a row from column `keys` on and the values behind them, [G][D] each. pages[n] is the address
// of the page that holds positions[n]; layout of pages: attention.cuh, and attention_bf16.cuh for bf16. Columns up to the
// next multiple of 4 (bf16: 8) become 0. A block is one row; a thread takes 4 (8) columns of a head at a time.
//
// Floor: 16 bytes a value pair, 12 in bf16, read and written once, over the bandwidth. Keys in f32 are written 16 bytes at a
// time, 1 KB apart; neighbouring rows fill the lines up in the L2 cache. Not measured: no GPU has run it yet.

#include "attention_bf16.cuh"
#include "overlap.cuh"

KERNEL kv_store(
    const float* x, int stride, int keys, const u64* pages, const int* positions, s64 layer,
    const float2* angles, int pairs, int kv_heads, int width) {
    begin_behind_previous();
    const int quads = (width + 3) / 4, position = positions[blockIdx.x];
    const float* row = x + (s64)blockIdx.x * stride + keys;
    const Pages page = {pages + blockIdx.x, layer, 31, quads};
    float4* base = (float4*)page.at(0);
    for (int i = threadIdx.x; i < kv_heads * quads; i += blockDim.x) {
        const int head = i / quads, quad = i % quads;
        const float* k = row + head * width;
        const float* v = k + kv_heads * width;
        float key[4], value[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int d = 4 * quad + e;
            key[e] = d < width ? turned(k, d, angles, pairs, position) : 0.0f;
            value[e] = d < width ? v[d] : 0.0f;
        }
        float4* mine = base + (s64)head * 2 * CHUNK * quads;
        mine[quad * CHUNK + position % CHUNK] = {key[0], key[1], key[2], key[3]};
        mine[(CHUNK + position % CHUNK) * quads + quad] = {value[0], value[1], value[2], value[3]};
    }
}

KERNEL kv_store_bf16(
    const float* x, int stride, int keys, const u64* pages, const int* positions, s64 layer,
    const float2* angles, int pairs, int kv_heads, int width) {
    begin_behind_previous();
    const int pieces = (width + 7) / 8, position = positions[blockIdx.x];
    const float* row = x + (s64)blockIdx.x * stride + keys;
    const PiecePages page = {pages + blockIdx.x, layer, 31, pieces};
    uint4* base = page.key(0);
    for (int i = threadIdx.x; i < kv_heads * pieces; i += blockDim.x) {
        const int head = i / pieces, piece = i % pieces;
        const float* k = row + head * width;
        const float* v = k + kv_heads * width;
        float key[8], value[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) {
            const int d = 8 * piece + e;
            key[e] = d < width ? turned(k, d, angles, pairs, position) : 0.0f;
            value[e] = d < width ? v[d] : 0.0f;
        }
        uint4* mine = base + (s64)head * 2 * CHUNK * pieces + position % CHUNK * pieces + piece;
        mine[0] = bf16_piece(key);
        mine[CHUNK * pieces] = bf16_piece(value);
    }
}
