// Philox4x32-10 (Salmon et al. 2011), as `seq2seq_core::noise` has it: random bits that are a function of a counter and a key.
#pragma once
#include "common.cuh"

// The 128 random bits of `counter` under `key`.
DEVICE uint4 philox(uint4 counter, u64 key) {
    u32 k0 = (u32)key, k1 = (u32)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u64 p0 = 0xd2511f53ull * counter.x, p1 = 0xcd9e8d57ull * counter.z;
        counter = make_uint4((u32)(p1 >> 32) ^ counter.y ^ k0, (u32)p1, (u32)(p0 >> 32) ^ counter.w ^ k1, (u32)p0);
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return counter;
}
