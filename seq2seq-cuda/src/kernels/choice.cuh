// What choosing among V scores of a row takes: their order, their log-softmax, and splitting them by weight.
//
// The order of scores is that of the reference: NaN first, as the largest; 0 and -0 are equal; of equal scores the lower id
// comes first. `ordered` maps a score to an integer that sorts the same way.
#pragma once

#include "attention.cuh"

// Scores of a row that one block takes, and whose sums are one part.
constexpr int SEGMENT = 4096;

DEVICE u32 ordered(float v) {
    if (v != v) return 0xffffffffu;
    const u32 bits = __float_as_uint(v + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

DEVICE u64 ordered(double v) {
    if (v != v) return ~0ull;
    const u64 bits = (u64)__double_as_longlong(v + 0.0);
    return bits >> 63 ? ~bits : bits | 1ull << 63;
}

// The sum of e^(score - m) and the logarithm of it, in f64; m is the largest score.
//
// A log-probability is (score - m) - log. Where every score is minus infinity they stay so; NaN or plus infinity
// anywhere makes the sum NaN, and with it every log-probability.
struct LogSum {
    double m, log;

    __device__ __forceinline__ double of(float score) const {
        if (m == -(double)infinity() && log == log) return score;
        return ((double)score - m) - log;
    }
};

// From the parts of a row's segments, in their order; m of a part passes over NaN, its sum does not.
DEVICE LogSum log_sum(const float2* parts, int count) {
    double m = -(double)infinity(), sum = 0.0;
    for (int i = 0; i < count; ++i) m = fmax(m, (double)parts[i].x);
    const double base = m == -(double)infinity() ? 0.0 : m;
    for (int i = 0; i < count; ++i) sum += (double)parts[i].y * exp((double)parts[i].x - base);
    return {m, sum == 0.0 ? 0.0 : log(sum)};
}

DEVICE float block_max(float v, float* part) {
    const int warps = blockDim.x / WARP;
    v = warp_max(v);
    __syncthreads();
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
    __syncthreads();
    float largest = part[0];
    for (int i = 1; i < warps; ++i) largest = fmaxf(largest, part[i]);
    return largest;
}

// Thread by thread as a butterfly, then warps in their order.
DEVICE double block_sum(double v, double* part) {
    const int warps = blockDim.x / WARP;
    for (int step = WARP / 2; step > 0; step /= 2) v += __shfl_xor_sync(ALL, v, step);
    __syncthreads();
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
    __syncthreads();
    double sum = part[0];
    for (int i = 1; i < warps; ++i) sum += part[i];
    return sum;
}

DEVICE u64 larger(u64 a, u64 b) { return a > b ? a : b; }

DEVICE u64 block_max(u64 v, u64* part) {
    const int warps = blockDim.x / WARP;
    for (int step = WARP / 2; step > 0; step /= 2) v = larger(v, __shfl_xor_sync(ALL, v, step));
    __syncthreads();
    if (threadIdx.x % WARP == 0) part[threadIdx.x / WARP] = v;
    __syncthreads();
    u64 largest = part[0];
    for (int i = 1; i < warps; ++i) largest = larger(largest, part[i]);
    return largest;
}

// Where elements in rising order of their keys come to weigh more than a budget.
struct Split {
    u64 key;    // the smallest key up to which they do
    u64 below;  // the weight of smaller keys
    u64 at;     // the weight of this key
    u64 found;  // 1, or 0 where all together do not; no shorter type, so that it has no padding
};

struct Bins {
    u64 weight[256];
    Split split;
};

// Finds a split by the digits of the keys, 8 bits at a time from the highest of `bits`. Weights are integers, so their sums
// do not depend on the order in which threads add them. All threads call it, and get the same.
template <class Key, class Weight>
DEVICE Split split(int count, int bits, u64 budget, Bins& bins, Key key, Weight weight) {
    u64 prefix = 0, below = 0;
    for (int shift = bits - 8; shift >= 0; shift -= 8) {
        __syncthreads();
        for (int i = threadIdx.x; i < 256; i += blockDim.x) bins.weight[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < count; i += blockDim.x) {
            const u64 k = key(i), w = weight(i);
            const bool within = shift + 8 == bits || k >> (shift + 8) == prefix;
            if (within && w > 0) atomicAdd(&bins.weight[k >> shift & 255], w);
        }
        __syncthreads();
        if (threadIdx.x < WARP) {
            u64 mine = 0;
            for (int i = 0; i < 8; ++i) mine += bins.weight[threadIdx.x * 8 + i];
            u64 until = mine;
            for (int step = 1; step < WARP; step *= 2) {
                const u64 before = __shfl_up_sync(ALL, until, step);
                if (threadIdx.x >= step) until += before;
            }
            const u32 over = __ballot_sync(ALL, below + until > budget);
            if (over == 0 ? threadIdx.x == 0 : threadIdx.x == __ffs(over) - 1) {
                u64 sum = below + until - mine;
                int digit = threadIdx.x * 8;
                while (over && sum + bins.weight[digit] <= budget) sum += bins.weight[digit++];
                bins.split = {prefix << 8 | (u64)digit, sum, bins.weight[digit], over != 0 ? 1ull : 0ull};
            }
        }
        __syncthreads();
        const Split found = bins.split;
        if (!found.found) return found;
        prefix = found.key;
        below = found.below;
    }
    return bins.split;
}
