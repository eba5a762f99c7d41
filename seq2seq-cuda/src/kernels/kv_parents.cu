// Which page each hypothesis reads at each position, where the device knows what it continues and the host does not.
//
// spans: two a hypothesis, {first row, position, keys, pages}, {rows, 0, 0, 0}: what attention is told of it. It has held
// `position` positions, as many as its parent, and grows by one. In both tables the pages of hypothesis i begin at its
// `pages`: in `old` those of the one that had its number before, and then the one that it writes itself. table[i] =
// old[parents[i]], but for the last.
//
// Floor: 16 bytes a position over the memory bandwidth. A block is one hypothesis. Not measured: no GPU has run it yet.

#include "overlap.cuh"

KERNEL kv_parents(const u64* old, const int4* spans, const u32* parents, u64* table) {
    begin_behind_previous();
    const int4 mine = spans[2 * blockIdx.x], parent = spans[2 * (s64)parents[blockIdx.x]];
    for (int i = threadIdx.x; i <= mine.y; i += blockDim.x) table[mine.w + i] = old[(i < mine.y ? parent.w : mine.w) + i];
}
