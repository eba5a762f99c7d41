// dq of attention (attention_back.cuh), and of each tile the sums of ds by distance, of which the gradient of a relative bias is
// made: a block takes 64 query vectors of a group of rows and a key-value head and goes through the keys that they see, 64 at a
// time (32 where D > 128).
//
// dq: rows of q_stride columns, as q, or none. items: a block's first vector. by_distance, or none: a block has so many places for
// each head as places[block] says, from where that says: place e is distance e - last, where `last` is the last of its rows. It
// meets distances from its last row's first key to its first row's last key, or to 0 where it is causal.
//
// Order of the sums: dq is one chain of FMA over the keys that a row sees, rising; then it is multiplied by the scale. A sum by
// distance is that of tiles of 64 keys, rising, in each a chain over rising keys. The blocks' are added by attention_back_table.cu.
//
// Design. When s and dp of a tile are made, ds goes to shared memory, transposed, in the place of the slabs of q and dy, and the
// keys come again in slabs of 64 columns. A thread has four vectors by four columns of each slab of dq in registers, for which a key is
// two reads of 16 bytes and 16 FMA. 32 KB of slabs and 2 of vectors. Sums by distance: attention_back_distances.cuh.
//
// Floor: 6 D operations a score over the FMA peak; with those of attention_back_keys.cu 14 D, where 10 D would do if one kernel made
// all: its dq would be added by blocks in no order. Slabs are 20 D bytes a key and tile of 64 vectors out of the L2 cache, 13 bytes
// a cycle and multiprocessor at peak. by_distance: 4 bytes for 64 scores, written once and read once.
// Not measured: no GPU has run it yet.

#include "attention_back.cuh"
#include "attention_back_distances.cuh"

// So many numbers, read at once.
template <int N>
struct Numbers {
    typedef float4 Type;
};
template <>
struct Numbers<2> {
    typedef float2 Type;
};

// Where ds of four vectors and a key lies.
DEVICE int turned_vectors(int key, int four) { return turned_quad<VECTORS / 4, 4>(key, four); }

// Heads of up to W columns, KEYS keys a tile.
template <int W, int KEYS>
DEVICE void queries_back(
    const Operands& of, const int4* items, float* dq, const int4* places, float* by_distance) {
    // Quads of a slab of s and dp; columns of a thread in a slab of keys.
    constexpr int QUADS = 8, COLUMNS = W == 32 ? 2 : 4, SLABS = W / (16 * COLUMNS), KEY_QUADS = 4 * COLUMNS;
    typedef typename Numbers<COLUMNS>::Type Own;
    extern __shared__ __align__(16) float4 shared[];
    float4* ds = shared;                           // [KEYS][VECTORS / 4]
    float4* slab = ds + KEYS * VECTORS / 4;        // [KEYS][KEY_QUADS]
    Vectors& vectors = *(Vectors*)(shared + 2 * (VECTORS + KEYS) * QUADS);
    const Item& item = begin(vectors, items);
    const int kv_head = blockIdx.y, first = item.start, count = min(item.rows * of.group - first, VECTORS);
    const int most = of.causal ? (first + count - 1) / of.group + 1 : item.keys;

    const int own = threadIdx.x / 16 * 4, pair = threadIdx.x % 16;
    const bool part = threadIdx.x / WARP * 8 < count;
    float sums[SLABS][4][COLUMNS] = {};

    describe(vectors, of, item, nullptr, kv_head, first, count);
    __syncthreads();
    for (int start = 0; start < most; start += KEYS) {
        const int keys = min(most - start, KEYS);
        Tile<KEYS> tile;
        tile.template products<QUADS>(shared, of, item, vectors, count, kv_head, start, keys);
        if (tile.takes_part(count, keys)) {
            tile.differentiate(of, vectors, count, start, keys);
#pragma unroll
            for (int j = 0; j < Tile<KEYS>::PER; ++j) {
                const int key = Tile<KEYS>::PER * tile.x() + j;
                ds[turned_vectors(key, tile.y())] = {tile.dp[0][j], tile.dp[1][j], tile.dp[2][j], tile.dp[3][j]};
            }
        }
        // Keys of the tile that each vector sees.
        int seen[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) seen[i] = own + i < count ? min(vectors.seen[own + i] - start, keys) : 0;
        const bool whole = seen[0] == keys && seen[3] == keys;
        const int limit = max(max(seen[0], seen[1]), max(seen[2], seen[3]));
#pragma unroll
        for (int s = 0; s < SLABS; ++s) {
            const int column = 4 * KEY_QUADS * s;
            if (column >= of.width || !dq) break;
            if (s > 0) __syncthreads();
            const s64 key = (s64)(item.keys_first + start) * of.kv_stride + kv_head * of.width;
            load_slab<KEYS, KEY_QUADS, 4>(slab, keys, column, of, [&](int i) { return of.k + key + (s64)i * of.kv_stride; });
            wait_for_slabs();
            if (!part) continue;
            // This thread's columns of a key that lies, turned, at `row`.
            const auto own_columns = [&](const float4* row) { return columns(((const Own*)row)[pair % (4 / COLUMNS)]); };
            if (whole) {
                // Behind the last key are zeros.
#pragma unroll 1
                for (int i = 0; i < keys; i += 4) {
                    const float4* rows = slab + turned_quad<KEY_QUADS, 4>(i, pair * COLUMNS / 4);
                    const float4* left = ds + turned_vectors(i, own / 4);
#pragma unroll
                    for (int u = 0; u < 4; ++u) add_outer(sums[s], left[u * VECTORS / 4], own_columns(rows + u * KEY_QUADS));
                }
            } else {
#pragma unroll 1
                for (int i = 0; i < limit; ++i) {
                    const Columns<COLUMNS> b = own_columns(slab + turned_quad<KEY_QUADS, 4>(i, pair * COLUMNS / 4));
                    add_outer_where(sums[s], ds[turned_vectors(i, own / 4)], b, [&](int vector) { return i < seen[vector]; });
                }
            }
        }
        if (by_distance) {
            // {first place, in two halves, distances, the last row}
            const int4 place = places[blockIdx.x];
            if (!dq) __syncthreads();
            float* to = by_distance + ((s64)place.y << 32 | (u32)place.x);
            const auto share = [&](int vector, int key) { return ((const float*)(ds + turned_vectors(key, vector / 4)))[vector % 4]; };
            add_distances<KEYS, THREADS>(share, of.group, kv_head, first, count, start, keys, place.z, to);
        }
    }

    if (!dq) return;
#pragma unroll
    for (int s = 0; s < SLABS; ++s) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (own + i >= count) continue;
            store_columns(dq + vectors.query[own + i], 4 * KEY_QUADS * s + COLUMNS * pair, of.scale, sums[s][i], of);
        }
    }
}

#define INSTANCE(WIDTH, KEYS)                                                                                         \
    KERNEL __launch_bounds__(THREADS, 2) attention_back_queries_##WIDTH(                                              \
        BACK_PARAMETERS, const int4* items, float* dq, const int4* places, float* by_distance) {                      \
        queries_back<WIDTH, KEYS>(BACK, items, dq, places, by_distance);                                              \
    }

// Widths in between take the next one.
INSTANCE(32, 64)
INSTANCE(64, 64)
INSTANCE(128, 64)
INSTANCE(256, 32)
