// Attention of few rows to many keys: the chunks of a sequence are spread over the GPU, then merged in their order.
//
// Formula, layout of pages and order of summation: attention.cuh.
//
// Design. A warp takes up to R query vectors of one sequence and key-value head (all heads of a group, and so each key is
// read once for them) and one chunk of 64 keys, straight from device memory into registers: pages are laid out so that each
// load of a warp is 512 bytes of keys, or whole rows of values. A block is four chunks of the same vectors. What a chunk
// gives (its largest score, its sum, its columns) goes to device memory, 1/124 of what was read for one vector of D = 64;
// `attention_merge` puts the chunks together. Where a vector sees one chunk only, that is its result at once.
//
// Floor: the bytes of keys and values over the memory's bandwidth, 8 D a position and key-value head.
// Hypotheses that share positions read the same pages, the later ones out of the L2 cache.
// Not measured: no GPU has run it yet.

#include "attention.cuh"
#include "overlap.cuh"

constexpr int WARPS = 4;

template <int R, int C>
DEVICE void attend_chunk(
    float* out, float2* stats, float* parts, float2* part_stats, int chunks,
    const float* q, s64 q_stride, const int4* spans, const int4* items,
    const u64* table, int shift, s64 layer, const float2* angles, int pairs,
    const Scoring& how, int heads, int kv_heads, int width, bool causal) {
    __shared__ __align__(16) float queries[R * C * WARP];
    __shared__ __align__(16) float weights[WARPS * R * CHUNK];
    __shared__ float2 sums_of[WARPS * R];
    __shared__ const float* rows_of[WARPS * CHUNK];  // where the value of each key lies: looked up once, by the lane of the key
    begin_behind_previous();
    const int quads = (width + 3) / 4, padded = 4 * quads, lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    // {first row, first position, keys, where its pages are in the table}, {rows, ..}; item: {sequence, first vector, first chunk}
    const int4 item = items[blockIdx.x];
    const int4 span = spans[2 * item.x];
    const int rows = spans[2 * item.x + 1].x, kv_head = blockIdx.y, group = heads / kv_heads;
    const Queries of = {span.x, span.y, span.z, rows, group, kv_head, causal};
    const Pages pages = {table + span.w, layer + (s64)kv_head * 2 * CHUNK * padded, shift, quads};

    for (int i = threadIdx.x; i < R * padded; i += WARPS * WARP) {
        const int d = i % padded;
        const Vector v = of.at(item.y + i / padded);
        const bool there = item.y + i / padded < of.count() && d < width;
        queries[i] = there ? turned(q + v.row * q_stride + (s64)v.head * width, d, angles, pairs, v.position) : 0.0f;
    }
    __syncthreads();

    const int chunk = item.z + warp, start = chunk * CHUNK, count = min(of.keys - start, CHUNK);
    // Vectors that see nothing at all have their zeros stored with the first chunk.
    if (chunk > 0 && count <= 0) return;
    float s[R][2] = {};
    // Lanes without a key read the last one; what they make of it is not seen.
    if (count > 0) {
        const float4* both[2];
#pragma unroll
        for (int x = 0; x < 2; ++x) {
            const int position = start + min(lane + x * WARP, count - 1);
            both[x] = pages.key(position);
            rows_of[warp * CHUNK + lane + x * WARP] = pages.value(position);
        }
        const float4* const pair[2] = {both[0], both[1]};
        const float4* const one[1] = {both[0]};
        if (count > WARP) dots<R, 2>(queries, pair, quads, s);
        else dots<R, 1>(queries, one, quads, s);
    }
    float* mine = weights + warp * R * CHUNK;
    soften<R>(s, of, item.y, start, how, mine, sums_of + warp * R);
    int seen[R];
#pragma unroll
    for (int r = 0; r < R; ++r) seen[r] = max(min(of.at(item.y + r).seen - start, CHUNK), 0);
    __syncwarp();
    float o[R][C] = {};
    const auto row = [&](int j) {
        const float* at = rows_of[warp * CHUNK + j];
        __builtin_assume(__isGlobal(at));
        return at;
    };
    weigh<R, C>(mine, seen, padded, row, o);
#pragma unroll
    for (int r = 0; r < R; ++r) {
        if (item.y + r >= of.count()) continue;
        const Vector v = of.at(item.y + r);
        if (v.seen <= CHUNK) {
            if (chunk > 0) continue;
            Merged<C> merged;
            merged.clear();
            if (v.seen > 0) merged.add(sums_of[warp * R + r], o[r]);
            merged.store(out, stats, v, heads, width);
        } else if (seen[r] > 0) {
            const s64 at = (v.row * heads + v.head) * chunks + chunk;
            if (lane == 0) part_stats[at] = sums_of[warp * R + r];
#pragma unroll
            for (int c = 0; c < C; ++c)
                if (lane + c * WARP < width) parts[at * width + lane + c * WARP] = o[r][c];
        }
    }
}

#define INSTANCE(NAME, WIDTH, R)                                                                                      \
    KERNEL NAME(                                                                                                      \
        float* out, float2* stats, float* parts, float2* part_stats, int chunks, ATTENTION_PARAMETERS(int4)) {        \
        attend_chunk<R, WIDTH / WARP>(                                                                                \
            out, stats, parts, part_stats, chunks, q, q_stride, spans, items, table, shift, layer,      \
            angles, pairs, {scale, bias, reach, scores, starts}, heads, kv_heads, width, causal);                     \
    }

// One vector a warp, where each query head has keys of its own and there is one row; several otherwise.
INSTANCE(attention_split_32_one, 32, 1)
INSTANCE(attention_split_64_one, 64, 1)
INSTANCE(attention_split_128_one, 128, 1)
INSTANCE(attention_split_256_one, 256, 1)
INSTANCE(attention_split_32, 32, 8)
INSTANCE(attention_split_64, 64, 8)
INSTANCE(attention_split_128, 128, 8)
INSTANCE(attention_split_256, 256, 4)
