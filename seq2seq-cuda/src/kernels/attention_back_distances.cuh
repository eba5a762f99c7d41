// Sums of ds by distance, of which the gradient of a relative bias is made (attention_back_queries.cu, attention_back_queries_bf16.cu).
// They are a thread's own, so that they need neither atomics nor barriers: of two tiles that follow each other place e is thread
// e % 128's.
#pragma once

#include "common.cuh"

constexpr int OWNERS = 128;

// Adds ds of a tile of KEYS keys, of which there are `keys` from `first_key` on, and of `count` vectors from `first` on to the sums by
// distance of the block, which has OF_BLOCK threads. share(vector, key) is ds of two of them.
template <int KEYS, int OF_BLOCK, class Share>
DEVICE void add_distances(
    Share share, int group, int kv_head, int first, int count, int first_key, int keys, int distances, float* sums) {
    const int low = first / group, last = (first + count - 1) / group;
    // Distance e - last is met by keys first_key .. first_key + KEYS - 1: e lies in first_key .. first_key + KEYS + 62.
    const int e = first_key + (threadIdx.x - first_key & OWNERS - 1), distance = e - last;
    if (e >= distances) return;
    const int begin = max(0, distance + low - first_key), end = min(keys, distance + last - first_key + 1);
    for (int h = threadIdx.x / OWNERS; h < group; h += OF_BLOCK / OWNERS) {
        float sum = 0.0f;
        for (int j = begin; j < end; ++j) {
            const int vector = (first_key + j - distance) * group + h - first;
            if (vector < 0 || vector >= count) continue;
            sum = __fadd_rn(sum, share(vector, j));
        }
        float& to = sums[(s64)(kv_head * group + h) * distances + e];
        // Who was not met by the tile before begins here.
        to = first_key > 0 && e < first_key + OWNERS - KEYS ? __fadd_rn(to, sum) : sum;
    }
}
