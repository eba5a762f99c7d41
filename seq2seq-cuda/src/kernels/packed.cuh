// Weights of linear layers as they lie in device memory, for kernels that lay them out anew.
#pragma once
#include "common.cuh"

// Of `channels` channels, `depth` columns: as words.cuh, linear_bf16.cu or, `swizzled`, linear_wgmma.cuh have them.
struct Packed {
    const u8* weights;
    int channels, depth, swizzled;
};

// Two columns of a channel in bf16, k even.
DEVICE u32 packed_pair(const Packed& from, int c, int k) {
    u64 at;
    if (from.swizzled) {
        u64 eight = (u64)(k / 64) * (from.channels / 8) + c / 8;
        at = eight * 1024 + c % 8 * 128 + (k % 64 / 8 ^ c % 8) * 16 + k % 8 * 2;
    } else {
        u64 tile = (u64)(c / 16) * (from.depth / 16) + k / 16;
        at = tile * 512 + (c % 16 / 2 * 4 + k % 8 / 2) * 16 + (c % 2 + k % 16 / 8 * 2) * 4;
    }
    return *(const u32*)(from.weights + at);
}
