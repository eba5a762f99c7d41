// A barrier of blocks that are on the device together (a cooperative launch).
#pragma once
#include "common.cuh"

// Two words in two lines of memory, so that who waits does not disturb who arrives: arrivals of all rounds, and the round that
// is over. Zeros before the launch.
constexpr int COUNTERS = 64, ROUND_AT = 32;

// Round `round`, from 1 on, of `blocks` blocks: what any of them did before lies before what any does behind it. One thread of
// a block arrives, having acquired what the block's others did; the last to arrive, who has acquired it of all blocks, releases
// the round; one thread of a block waits for it.
DEVICE void grid_barrier(u32* counters, u32 blocks, u32 round) {
    __syncthreads();
    if (threadIdx.x == 0) {
        u32 before, over;
        asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(counters) : "memory");
        if (before + 1 == round * blocks) {
            asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(counters + ROUND_AT), "r"(round) : "memory");
        } else {
            do {
                asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(over) : "l"(counters + ROUND_AT) : "memory");
            } while (over < round);
        }
    }
    __syncthreads();
}
