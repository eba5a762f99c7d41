// Which elements are dropped: `seq2seq_core::train::Dropout`. Nothing is drawn in an order.
#pragma once
#include "philox.cuh"

struct Dropout {
    u32 threshold, place, step;
    u64 seed;
    float scale;
};

// Parameters of a kernel, in the order of the launcher; `drop_scale` is 0 where nothing is dropped.
#define DROPOUT_PARAMETERS u64 drop_seed, u32 drop_threshold, u32 drop_place, u32 drop_step, float drop_scale
#define DROPOUT Dropout{drop_threshold, drop_place, drop_step, drop_seed, drop_scale}

// Of four columns, from a multiple of four on: 0 where an element is dropped, the scale where it is not.
DEVICE float4 dropout_factors(const Dropout& d, u32 row, u32 column) {
    const uint4 bits = philox(make_uint4(column / 4, row, d.place, d.step), d.seed);
    return {bits.x < d.threshold ? 0.0f : d.scale, bits.y < d.threshold ? 0.0f : d.scale,
            bits.z < d.threshold ? 0.0f : d.scale, bits.w < d.threshold ? 0.0f : d.scale};
}

// The same of one element.
DEVICE float dropout_factor(const Dropout& d, u32 row, u32 column) {
    const uint4 block = philox(make_uint4(column / 4, row, d.place, d.step), d.seed);
    const u32 which = column % 4, bits = which == 0 ? block.x : which == 1 ? block.y : which == 2 ? block.z : block.w;
    return bits < d.threshold ? 0.0f : d.scale;
}

// A bit of each of the four that is not dropped, the lowest of the first.
DEVICE u32 dropout_kept(const Dropout& d, u32 row, u32 column) {
    const uint4 bits = philox(make_uint4(column / 4, row, d.place, d.step), d.seed);
    return (bits.x >= d.threshold) | (bits.y >= d.threshold) << 1 | (bits.z >= d.threshold) << 2 | (bits.w >= d.threshold) << 3;
}
