// What is dropped of scores as products of the matrix units leave them: of 16 rows by 8 T columns a warp's lane has, with g = lane / 4
// and t = lane % 4, rows g and g + 8 and columns 8 i + 2 t and 8 i + 2 t + 1.
//
// A block of Philox is four keys of one vector, which lie with two lanes, or with four. So lanes share the blocks out, one for four
// scores, and pass each other the bits.
#pragma once

#include "dropout.cuh"

// Rows are vectors, columns the keys from `key` on, a multiple of 8.
template <int T>
struct KeptByVector {
    u32 bits[2];  // of either row four a tile

    // `at`: row and head of the lane's vectors, as Philox counts them.
    __device__ __forceinline__ KeptByVector(const Dropout& d, const u32 (&at)[2], int key) {
        const int lane = threadIdx.x % WARP, t = lane % 4;
        // Of vector g or g + 8 the first or the second four keys of each tile.
        const u32 row = t % 2 ? at[1] : at[0];
        u32 own = 0;
#pragma unroll 1
        for (int i = 0; i < T; ++i) own |= dropout_kept(d, row, key + 8 * i + t / 2 * 4) << 4 * i;
#pragma unroll
        for (int half = 0; half < 2; ++half) bits[half] = __shfl_sync(ALL, own, lane / 2 * 2 + half) >> t % 2 * 2;
    }

    __device__ __forceinline__ bool at(int i, int half, int e) const { return bits[half] >> (4 * i + e) & 1; }
};

// Rows are the 16 keys from `key` on, columns vectors; vector(i) is row and head of one.
template <int T>
struct KeptByKey {
    u32 bits[2][2];  // of half of the tiles and either row, two a tile, four bits apart

    template <class Vector>
    __device__ __forceinline__ KeptByKey(const Dropout& d, int key, Vector vector) {
        const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
        // Four of the sixteen keys, of the lane's vectors in half of the tiles.
        u32 own = 0;
#pragma unroll 1
        for (int i = 0; i < T; ++i) {
            own |= dropout_kept(d, vector(8 * (g / 4 * (T / 2) + i / 2) + 2 * t + i % 2), key + g % 4 * 4) << 4 * i;
        }
#pragma unroll
        for (int of = 0; of < 2; ++of) {
#pragma unroll
            for (int half = 0; half < 2; ++half)
                bits[of][half] = __shfl_sync(ALL, own, 4 * (4 * of + 2 * half + g / 4) + t) >> g % 4;
        }
    }

    __device__ __forceinline__ bool at(int i, int half, int e) const {
        return bits[i / (T / 2)][half] >> 4 * (i % (T / 2) * 2 + e) & 1;
    }
};
