// Which elements are dropped: `seq2seq_core::train::Dropout`, by Philox4x32-10 (Salmon et al. 2011, see
// `seq2seq_core::noise`). Nothing is drawn in an order.
#pragma once
#include "common.cuh"

struct Dropout {
    u32 threshold, place, step;
    u64 seed;
    float scale;
};

// Parameters of a kernel, in the order of the launcher; `drop_scale` is 0 where nothing is dropped.
#define DROPOUT_PARAMETERS u64 drop_seed, u32 drop_threshold, u32 drop_place, u32 drop_step, float drop_scale
#define DROPOUT Dropout{drop_threshold, drop_place, drop_step, drop_seed, drop_scale}

// 0 where the element is dropped, the scale where it is not.
DEVICE float dropout_factor(const Dropout& d, u32 row, u32 column) {
    u32 c0 = column / 4, c1 = row, c2 = d.place, c3 = d.step, k0 = (u32)d.seed, k1 = (u32)(d.seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 p0 = 0xd2511f53ull * c0, p1 = 0xcd9e8d57ull * c2;
        c0 = (u32)(p1 >> 32) ^ c1 ^ k0;
        c1 = (u32)p1;
        c2 = (u32)(p0 >> 32) ^ c3 ^ k1;
        c3 = (u32)p0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    u32 which = column % 4, bits = which == 0 ? c0 : which == 1 ? c1 : which == 2 ? c2 : c3;
    return bits < d.threshold ? 0.0f : d.scale;
}
