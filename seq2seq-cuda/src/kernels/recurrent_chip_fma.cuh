// Recurrent layers on the chip in f32 and f16, which FMA multiplies: weights stay words of words.cuh there, those of f16 become f32 in
// registers, and h is f32. The rest: recurrent_chip.cuh.
#pragma once
#include "recurrent_chip.cuh"
#include "words.cuh"

// W is a format of words.cuh.
template <class W, int OCTETS>
struct Fma {
    static constexpr int MINE = TILES / OCTETS / 2;

    // Rows apart by 8 more than their length, so that a warp that adds meets different banks.
    typedef float Sums[SEQUENCES_AT_ONCE][OCTETS * 4 * OCTET + 8];

    template <int GATES>
    static __device__ __forceinline__ int bytes(int depth) { return OCTETS * GATES * OCTET * depth / W::COLUMNS * 4; }

    // [depth / COLUMNS][octet][gate][unit] words
    template <int GATES>
    static __device__ __forceinline__ void load(u8* to, const Packed& from, int width, int depth) {
        constexpr int EACH = GATES * OCTET, ALL_OF_WORD = OCTETS * EACH;
#pragma unroll 4
        for (int i = threadIdx.x; i < ALL_OF_WORD * (depth / W::COLUMNS); i += OCTETS * OCTET_THREADS) {
            int word = i / ALL_OF_WORD, octet = i % ALL_OF_WORD / EACH, unit = (blockIdx.x * OCTETS + octet) * OCTET + i % OCTET;
            int c = i % EACH / OCTET * width + unit;
            u64 at = ((u64)(c / PANEL) * (from.depth / W::COLUMNS) + word) * PANEL + c % PANEL;
            ((u32*)to)[i] = unit < width ? ((const u32*)from.weights)[at] : 0;
        }
    }

    // A lane takes two channels of each octet, and a half warp half of the tiles.
    template <int GATES>
    static __device__ __forceinline__ void multiply(Sums& part, const u8* weights, const u8* h, int depth, int begin, int first,
                                                    int tiles) {
        constexpr int PAIRS = GATES * OCTET / 2;
        int lane = threadIdx.x % WARP, pair = lane % 16, mine = threadIdx.x / OCTET_THREADS * 2 * MINE + lane / 16 * MINE;
        int end = min(begin + CHUNK, depth);
        if (pair >= PAIRS || mine >= tiles) return;
        const float4* rows[MINE];
#pragma unroll
        for (int i = 0; i < MINE; i++) {
            int tile = mine + i < tiles ? first + mine + i : first;  // Else of sequences that are not looked at.
            rows[i] = (const float4*)h + (u64)tile * depth * 2;
        }
        float sum[OCTETS][MINE][TILE][2] = {};
#pragma unroll 4 / W::COLUMNS
        for (int k = begin; k < end; k += W::COLUMNS) {
            float w[OCTETS][2][W::COLUMNS];
#pragma unroll
            for (int o = 0; o < OCTETS; o++) {
                uint2 words = ((const uint2*)weights)[(k / W::COLUMNS * OCTETS + o) * PAIRS + pair];
                W::widen(w[o][0], words.x), W::widen(w[o][1], words.y);
            }
#pragma unroll
            for (int i = 0; i < MINE * W::COLUMNS; i++) {
                int tile = i / W::COLUMNS, column = i % W::COLUMNS;
                const float4* row = rows[tile] + (k + column) * 2;
                float4 low = __ldcg(row), high = __ldcg(row + 1);
                const float v[TILE] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
                for (int r = 0; r < OCTETS * TILE; r++) {
                    float(&to)[2] = sum[r / TILE][tile][r % TILE];
                    to[0] = __fmaf_rn(v[r % TILE], w[r / TILE][0][column], to[0]);
                    to[1] = __fmaf_rn(v[r % TILE], w[r / TILE][1][column], to[1]);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < OCTETS * MINE * TILE; i++) {
            int o = i / TILE / MINE, tile = i / TILE % MINE, r = i % TILE;
            const float(&from)[2] = sum[o][tile][r];
            *(float2*)&part[(mine + tile) * TILE + r][o * 4 * OCTET + pair * 2] = make_float2(from[0], from[1]);
        }
    }

    static __device__ __forceinline__ int unit() { return threadIdx.x / OCTET_THREADS * OCTET + threadIdx.x % OCTET; }
    static __device__ __forceinline__ int sequence() { return threadIdx.x % OCTET_THREADS / OCTET; }
    static __device__ __forceinline__ float sum(const Sums& part, int gate) {
        return part[sequence()][(threadIdx.x / OCTET_THREADS * 4 + gate) * OCTET + threadIdx.x % OCTET];
    }

    static __device__ __forceinline__ void put(u8* h, int depth, int sequence, int unit, float v) {
        ((float*)h)[((u64)(sequence / TILE) * depth + unit) * TILE + sequence % TILE] = v;
    }
};
