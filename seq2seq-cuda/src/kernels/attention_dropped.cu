// Attention of many rows in training, with dropout: attention_tile.cuh. As attention.cu, but that of a chunk's weights, when their
// sum is made, some are dropped, each by its row, head and key (dropout.cuh). It takes few rows, too: in training there are
// seldom so few that their keys would have to be spread over the device.
//
// Floor: that of attention.cu and, for four scores, one block of Philox, some 60 integer operations: at D = 64 a quarter of the
// time of the products where a multiprocessor has half as many integer units as FMA.
// Not measured: no GPU has run it yet.

#include "attention_tile.cuh"
#include "dropout.cuh"

struct Dropping {
    Dropout dropout;

    // Half a warp takes the 64 weights of a vector, a lane four.
    template <int R>
    __device__ __forceinline__ void drop(float* weights, const Queries& of, int first, int start, int heads) const {
        const int half = threadIdx.x % WARP / 16, key = threadIdx.x % 16 * 4;
        __syncwarp();
#pragma unroll 1
        for (int r = half; r < R; r += 2) {
            const Vector v = of.at(first + r);
            if (start + key >= v.seen) continue;
            float4& four = *(float4*)(weights + r * CHUNK + key);
            const float4 by = dropout_factors(dropout, (u32)(v.row * heads + v.head), start + key);
            four = {four.x * by.x, four.y * by.y, four.z * by.z, four.w * by.w};
        }
    }
};

#define INSTANCE(WIDTH, R, WARPS)                                                                                     \
    KERNEL attention_dropped_##WIDTH(                                                                                 \
        float* out, float2* stats, ATTENTION_PARAMETERS(int2), DROPOUT_PARAMETERS) {                                  \
        attend<R, WIDTH / WARP, WARPS>(                                                                               \
            out, stats, q, q_stride, spans, items, table, shift, layer, angles, pairs,                                \
            {scale, bias, reach, scores, starts}, heads, kv_heads, width, causal, Dropping{DROPOUT});                 \
    }

// Widths in between take the next one.
INSTANCE(32, 8, 8)
INSTANCE(64, 8, 8)
INSTANCE(128, 8, 8)
INSTANCE(256, 4, 4)
