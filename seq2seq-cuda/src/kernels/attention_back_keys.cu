// dk and dv of attention (attention_back.cuh): a block takes 64 keys of a source and a key-value head (32 where D > 64) and goes
// through the query vectors that see them, 64 at a time.
//
// dk, dv: positions of kv_stride columns, as k and v. items: a block's first key. `list` has the rows of each source, in rising
// order; where there is none, the rows of a source follow each other.
//
// Order of the sums: each element is one chain of FMA over the vectors that see its key: rising rows, and in a row rising heads,
// also where several groups of rows read one source. Then dk is multiplied by the scale. So the bits of a source do not depend on
// other sources; and they are the same from run to run.
//
// Design. When s and dp of a tile are made, m p and ds go to shared memory, in the place of the keys' slabs, and q and dy come
// again, in slabs. Half of the threads add to dv, the others to dk, in registers: four keys by four columns of each slab, for which a vector
// is one read of 16 bytes of each operand and 16 FMA. 48 KB of slabs and 2 of vectors: four blocks a multiprocessor on Hopper, three
// on an A100, one where there are 100 KB; registers, 128 a thread, are for two. Sums are 16 a slab, 64 for D = 256; 64 keys of
// D = 128 have as many, and spilled 250 bytes.
//
// Floor: 8 D operations a score, 4 D for s and dp and 4 D for dk and dv, over the FMA peak. Beside it the slabs, 24 D bytes a vector
// and tile of 64 keys, out of the L2 cache: 12 bytes a cycle and multiprocessor at peak. Shared memory: 16 bytes a lane for 8 FMA.
// Not measured: no GPU has run it yet.

#include "attention_back.cuh"

// Heads of up to W columns, KEYS keys.
template <int W, int KEYS>
DEVICE void keys_back(const Operands& of, const int4* items, const u32* list, float* dk, float* dv) {
    constexpr int QUADS = 512 / KEYS, SLABS = W / (4 * QUADS), HALF = THREADS / 2;
    extern __shared__ __align__(16) float4 shared[];
    float4* slab = shared;                               // [2 VECTORS + 2 KEYS][QUADS], of which the second half become
    float* shares = (float*)(slab + 2 * VECTORS * QUADS);  // [VECTORS][KEYS], twice: m p, then ds
    Vectors& vectors = *(Vectors*)(shares + 2 * VECTORS * KEYS);
    const Item& item = begin(vectors, items);
    const int kv_head = blockIdx.y, keys = min(item.keys - item.start, KEYS), all = item.rows * of.group;

    // Four keys and four columns of each slab; of dv, or of dk.
    const bool for_keys = threadIdx.x >= HALF;
    const int own = threadIdx.x % HALF / QUADS * 4, quad = threadIdx.x % QUADS;
    const bool part = threadIdx.x % HALF / WARP * WARP / QUADS * 4 < keys;
    float sums[SLABS][4][4] = {};

    // Causal rows are in the source, and see none behind themselves.
    for (int first = of.causal ? item.start * of.group : 0; first < all; first += VECTORS) {
        const int count = min(all - first, VECTORS);
        __syncthreads();
        describe(vectors, of, item, list, kv_head, first, count);
        Tile<KEYS> tile;
        tile.template products<QUADS>(slab, of, item, vectors, count, kv_head, item.start, keys);
        if (tile.takes_part(count, keys)) {
            tile.differentiate(of, vectors, count, item.start, keys);
#pragma unroll
            for (int r = 0; r < 4; ++r) {
#pragma unroll
                for (int j = 0; j < Tile<KEYS>::PER; ++j) {
                    const int to = (4 * tile.y() + r) * KEYS + Tile<KEYS>::PER * tile.x() + j;
                    shares[to] = tile.s[r][j];
                    shares[VECTORS * KEYS + to] = tile.dp[r][j];
                }
            }
        }
        // The vector from which on the first of the four keys is seen; each next one, `group` behind it.
        const int from = of.causal ? (item.start + own) * of.group - first : -4 * of.group;
        const float* left = shares + (for_keys ? VECTORS * KEYS : 0) + own;
#pragma unroll
        for (int s = 0; s < SLABS; ++s) {
            const int column = 4 * QUADS * s;
            if (column >= of.width) break;
            // The last slab is there still, of q and dy: s and dp ended with it.
            if (SLABS > 1) {
                if (s > 0) __syncthreads();
                load_slab<VECTORS, QUADS, 4>(slab, count, column, of, [&](int i) { return of.q + vectors.query[i]; });
                load_slab<VECTORS, QUADS, 4>(
                    slab + VECTORS * QUADS, count, column, of, [&](int i) { return of.dy + vectors.at[i] * of.width; });
            }
            wait_for_slabs();
            if (!part) continue;
            const float4* right = slab + (for_keys ? 0 : VECTORS * QUADS);
            if (from + 3 * of.group <= 0) {
                // Behind the last vector are zeros.
#pragma unroll 1
                for (int i = 0; i < count; i += 4) {
                    const float4* rows = right + turned_quad<QUADS, 4>(i, quad);
#pragma unroll
                    for (int u = 0; u < 4; ++u) {
                        add_outer(sums[s], *(const float4*)(left + (i + u) * KEYS), columns(rows[u * QUADS]));
                    }
                }
            } else {
#pragma unroll 1
                for (int i = max(from, 0); i < count; ++i) {
                    const Columns<4> b = columns(right[turned_quad<QUADS, 4>(i, quad)]);
                    const float4& four = *(const float4*)(left + i * KEYS);
                    add_outer_where(sums[s], four, b, [&](int key) { return i >= from + key * of.group; });
                }
            }
        }
    }

    float* to = for_keys ? dk : dv;
    const float by = for_keys ? of.scale : 1.0f;
#pragma unroll
    for (int s = 0; s < SLABS; ++s) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (own + i >= keys) continue;
            const s64 position = item.keys_first + item.start + own + i;
            float* head = to + position * of.kv_stride + kv_head * of.width;
            store_columns(head, 4 * (QUADS * s + quad), by, sums[s][i], of);
        }
    }
}

#define INSTANCE(WIDTH, KEYS)                                                                                         \
    KERNEL __launch_bounds__(THREADS, 2) attention_back_keys_##WIDTH(                                                 \
        BACK_PARAMETERS, const int4* items, const u32* list, float* dk, float* dv) {                                  \
        keys_back<WIDTH, KEYS>(BACK, items, list, dk, dv);                                                            \
    }

// Widths in between take the next one.
INSTANCE(32, 64)
INSTANCE(64, 64)
INSTANCE(128, 32)
INSTANCE(256, 32)
