// Table lookups: y[n][j] = sum over i of scale[i] * table[i][ids[i][n]][j], added in the order of i.
//
// y: [rows, width]; table i: [any, width] in f32, f16 or bf16; ids: [rows] of the first table, which may be what a kernel before
// has chosen, and [count - 1, rows] of the others.
// Up to four tables a launch; more are added by further launches (`accumulate`).
//
// Floor: the rows that are read and written, count * width * (2 or 4) + width * 4 bytes a row, over the memory bandwidth.
// A block takes one row, so that ids are read once by all of its threads and neighbours read neighbours.
#include "overlap.cuh"

struct Table {
    const void* values;
    int type;
    float scale;
};

DEVICE float entry(const Table& table, u64 at) {
    switch (table.type) {
        case 0: return ((const float*)table.values)[at];
        case 1: return f16_to_f32(((const u16*)table.values)[at]);
        default: return bf16_to_f32(((const u16*)table.values)[at]);
    }
}

KERNEL embed(const void* t0, int type0, float s0, const void* t1, int type1, float s1, const void* t2, int type2, float s2,
             const void* t3, int type3, float s3, const u32* first, const u32* others, int count, int rows, int width,
             int accumulate, float* y) {
    const Table tables[4] = {{t0, type0, s0}, {t1, type1, s1}, {t2, type2, s2}, {t3, type3, s3}};
    begin_behind_previous();
    u64 row = blockIdx.x;
    for (int j = threadIdx.x; j < width; j += blockDim.x) {
        float sum = accumulate ? y[row * width + j] : 0.0f;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i < count) {
                u64 id = i == 0 ? first[row] : others[(u64)(i - 1) * rows + row];
                sum += tables[i].scale * entry(tables[i], id * width + j);
            }
        }
        y[row * width + j] = sum;
    }
}
