// The gradient of a relative bias, from the sums of ds by distance that the blocks of attention_back_queries.cu left.
//
// Order of the sums: of a distance and head, eight chains over the blocks in turn, added in their order; of a bucket, a chain over
// rising distances.
//
// Floor: 4 bytes a place of a block over the bandwidth. Not measured: no GPU has run it yet.

#include "common.cuh"

constexpr int CHAINS = 8;

// by_distance[h][i], of distance i + 1 - longest. A block takes 32 distances and a head, a lane a distance, a warp a chain.
// places: of each block {first place, in two halves, places of a head, the last row}; place e is distance e - last row.
KERNEL __launch_bounds__(CHAINS* WARP) attention_back_distances(
    const float* parts, const int4* places, int blocks, int longest, int distances, float* by_distance) {
    __shared__ float chains[CHAINS][WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, h = blockIdx.y, i = blockIdx.x * WARP + lane;
    const int distance = i + 1 - longest;
    float sum = 0.0f;
    for (int b = warp; b < blocks; b += CHAINS) {
        const int4 place = places[b];
        const int e = distance + place.w;
        if (e >= 0 && e < place.z) sum += parts[((s64)place.y << 32 | (u32)place.x) + (s64)h * place.z + e];
    }
    chains[warp][lane] = sum;
    __syncthreads();
    if (warp > 0 || i >= distances) return;
    for (int c = 1; c < CHAINS; ++c) sum += chains[c][lane];
    by_distance[(s64)h * distances + i] = sum;
}

// table[bucket][h] += the sum over the distances of the bucket. A block takes a bucket, a thread a head.
KERNEL attention_back_table(const float* by_distance, const u32* buckets, int distances, int heads, float* table) {
    for (int h = threadIdx.x; h < heads; h += blockDim.x) {
        float sum = 0.0f;
        for (int i = 0; i < distances; i++) {
            if (buckets[i] == blockIdx.x) sum += by_distance[(u64)h * distances + i];
        }
        table[(u64)blockIdx.x * heads + h] += sum;
    }
}
