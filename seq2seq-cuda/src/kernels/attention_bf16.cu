// Attention of many rows in bf16, of heads of up to 64 columns: attention_bf16_tile.cuh.

#include "attention_bf16_tile.cuh"

// Widths in between take the next one.
INSTANCE(32, 1, 64)
INSTANCE(64, 1, 64)
INSTANCE(32, 2, 128)
INSTANCE(64, 2, 128)
