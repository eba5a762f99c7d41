// Weights that FMA multiplies in f32, as they lie in device memory: words of four bytes, each of COLUMNS columns of
// a channel that follow each other.
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
