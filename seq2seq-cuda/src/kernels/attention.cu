// Attention of many rows: attention_tile.cuh.

#include "attention_tile.cuh"

#define INSTANCE(WIDTH, R, WARPS)                                                                                     \
    KERNEL attention_##WIDTH(                                                                                         \
        float* out, float2* stats, const float* q, int q_stride, const int4* spans, const int2* items,                \
        const u64* table, int shift, s64 layer, const float2* angles, int pairs,                                      \
        float scale, const float* bias, int reach, float* scores, const s64* starts,                                  \
        int heads, int kv_heads, int width, int causal) {                                                             \
        attend<R, WIDTH / WARP, WARPS>(                                                                               \
            out, stats, q, q_stride, spans, items, table, shift, layer, angles, pairs,                                \
            {scale, bias, reach, scores, starts}, heads, kv_heads, width, causal, Whole{});                                     \
    }

// Widths in between take the next one.
INSTANCE(32, 8, 8)
INSTANCE(64, 8, 8)
INSTANCE(128, 8, 8)
INSTANCE(256, 4, 4)
