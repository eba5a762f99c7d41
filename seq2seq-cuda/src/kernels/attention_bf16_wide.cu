// The same of wider heads, up to 256 columns. A file of its own, as the driver compiles a whole file, and a model needs one of
// the two.

#include "attention_bf16_tile.cuh"

INSTANCE(128, 1, 64)
INSTANCE(256, 1, 64)
