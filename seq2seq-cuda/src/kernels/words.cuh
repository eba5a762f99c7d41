// Weights that FMA multiplies in f32, as they lie in device memory: words of four bytes, of one column of a channel in f32 or of two
// that follow each other in f16.
//
// weights: [channels / 32][depth / COLUMNS][32] words, zero where there is no channel or column; `depth` is a multiple of 32.
#pragma once
#include "common.cuh"

constexpr int PANEL = 32;

// A format W gives COLUMNS, the columns of a word, and `widen`, which makes f32 of them.

struct F32Words {
    static constexpr int COLUMNS = 1;

    static __device__ __forceinline__ void widen(float* w, u32 word) { w[0] = __uint_as_float(word); }
};

struct F16Words {
    static constexpr int COLUMNS = 2;

    // Exact, of denormal numbers too.
    static __device__ __forceinline__ void widen(float* w, u32 word) {
        w[0] = f16_to_f32((u16)word);
        w[1] = f16_to_f32((u16)(word >> 16));
    }
};
