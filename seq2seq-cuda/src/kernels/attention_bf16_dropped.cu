// Attention of many rows in bf16 in training, with dropout: attention_bf16_tile.cuh. As attention_bf16.cu, but that of a chunk's
// probabilities, when their sum is made, some become 0, each by its row, head and key (dropout.cuh); what is left is scaled with the
// result, in f32. Tiles have 64 vectors: there are no registers for more beside the bits.
//
// Floor: that of attention_bf16_tile.cuh and, for four scores, one block of Philox, some 60 integer operations: 15 a score, where the
// products of 64 columns take 4 cycles of a warp's share of the unit and the rest of the softmax some 8 instructions.
// Not measured: no GPU has run it yet.

#include "attention_bf16_tile.cuh"
#include "dropout_tile.cuh"

struct Dropping {
    Dropout dropout;
    int heads;

    __device__ __forceinline__ void drop(float (&p)[TILES][4], const Queries& of, int first, int start) const {
        u32 at[2];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const Vector v = of.at(first + half * 8 + threadIdx.x % WARP / 4);
            at[half] = (u32)(v.row * heads + v.head);
        }
        const KeptByVector<TILES> kept(dropout, at, start);
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (!kept.at(i, e / 2, e % 2)) p[i][e] = 0.0f;
        }
    }

    __device__ __forceinline__ float scaled(float out) const { return __fmul_rn(out, dropout.scale); }
};

#define DROPPED(WIDTH)                                                                                                \
    KERNEL __launch_bounds__(THREADS) attention_bf16_dropped_##WIDTH(                                                 \
        float* out, float2* stats, ATTENTION_PARAMETERS(int2), DROPOUT_PARAMETERS) {                                  \
        attend<WIDTH, 1>(                                                                                             \
            out, stats, q, q_stride, spans, items, table, shift, layer, angles, pairs, scale,                         \
            {1.0f, bias, reach, scores, starts}, heads, kv_heads, width, causal, {nullptr, false, 0, 0},              \
            Dropping{DROPOUT, heads});                                                                                \
    }

// Widths in between take the next one.
DROPPED(32)
DROPPED(64)
DROPPED(128)
DROPPED(256)
