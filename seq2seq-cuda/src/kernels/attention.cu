// Attention of many rows: attention_tile.cuh.

#include "attention_tile.cuh"

#define INSTANCE(WIDTH, R, WARPS)                                                                                     \
    KERNEL attention_##WIDTH(                                                                                         \
        float* out, float2* stats, ATTENTION_PARAMETERS(int2)) {                                                      \
        attend<R, WIDTH / WARP, WARPS>(                                                                               \
            out, stats, q, q_stride, spans, items, table, shift, layer, angles, pairs,                                \
            {scale, bias, reach, scores, starts}, heads, kv_heads, width, causal, Whole{});                                     \
    }

// Widths in between take the next one.
INSTANCE(32, 8, 8)
INSTANCE(64, 8, 8)
INSTANCE(128, 8, 8)
INSTANCE(256, 4, 4)
