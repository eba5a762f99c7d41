// LSTM and GRU over whole sequences, their weights on the chip: one launch for all positions of a direction.
//
// Equations, x, y, state and kept: recurrent.cuh. u = U h + b is what linear_f32.cu and linear_bf16.cu compute, in their order
// of the sum: chunks of 128 columns, in a chunk one chain over rising columns that begins at 0, the chunks added in their
// order. So a sequence alone, among others, or position by position has one set of bits, however blocks divide the work; and
// where mma.sync is what multiplies bf16 (all devices but Hopper), it is that of recurrent.cu. A layer takes this kernel for
// one position as for many.
//
// A block owns 8 or 16 units: the rows of U of all their gates, units * gates * depth weights, stay in its shared memory for
// all positions, beside partial sums of 32 sequences. blockIdx.x is of the units, blockIdx.y of the sequences: group g of G has
// 32 of them in every 32 G. All blocks are on the device together; those of a group need the whole h of their sequences, which
// goes from block to block by way of the second cache, in two buffers in turn, and between two positions there is one barrier
// of the group (grid_barrier.cuh). One position needs none.
//
// h0, h1: the operands that rows.cu makes (rows_f32, rows_bf16) of h in the order of length, padded with zeros; h0 what
// sequences begin with, h1 zeros. h1 and the counters of the barriers, zeros too, may be null where there is one position.
// weights: as linear_f32.cu, linear_bf16.cu or, `swizzled`, linear_bf16_wgmma.cu have them: they are laid out anew once a
// launch.
//
// A warp takes chunks in turn and multiplies them for 32 sequences, or with 16 units for 16, so that a block reads no value of
// h twice; then a thread has one unit of one sequence: it adds the sums of its gates' chunks and goes through the equations.
//
// Floor: the weights once from memory. A position: every block reads h of the sequences of its group from the second cache
// (bf16: width * 2 bytes a sequence, f32: width * 4), writes its units of it, reads gates * 4 bytes of x a unit and writes y
// and state; one barrier, that is an atomic of each block on one address and a line that each block reads until it changes.
// LSTM of 1024 in bf16 on 132 multiprocessors, 64 sequences: 64 x 2 blocks of 16 units, 128 KB of weights; a position reads 64
// KB a block, 8 MB of all, 1.5 us at 5.5 TB/s, and multiplies 1024 products of m16n8k16 a block, about 1 us. 128 blocks of 8
// units for all 64 sequences would read twice as much, in two turns. By counting: not yet measured on a GPU.
#include "grid_barrier.cuh"
#include "packed.cuh"
#include "recurrent.cuh"

// A block has OCTETS times 8 units and as many warps; of 32 sequences in 4 tiles a warp takes MINE.
constexpr int OCTET = 8, CHUNK_WARPS = 8, OCTET_THREADS = CHUNK_WARPS * WARP;
constexpr int TILE = 8, TILES = 4, SEQUENCES_AT_ONCE = TILES * TILE;
constexpr int SLAB = 32, CHUNK = 4 * SLAB;

// A format gives: Sums, partial sums of a chunk in shared memory; the bytes of the weights of a block for `depth` columns;
// `load`, which lays them out; `multiply`, which multiplies the columns of a chunk by the tiles of a warp, of `tiles` tiles of
// sequences from `first` on; the `unit` and `sequence` of a thread, and `sum` of one of its gates in the sums of a chunk;
// `put`, which stores a new value of h.

template <int OCTETS>
struct F32 {
    static constexpr int MINE = TILES / OCTETS / 2;

    // Rows apart by 8 more than their length, so that a warp that adds meets different banks.
    typedef float Sums[SEQUENCES_AT_ONCE][OCTETS * 4 * OCTET + 8];

    template <int GATES>
    static __device__ __forceinline__ int bytes(int depth) { return OCTETS * GATES * OCTET * depth * 4; }

    // [depth][octet][gate][unit]
    template <int GATES>
    static __device__ __forceinline__ void load(u8* to, const Packed& from, int width, int depth) {
        constexpr int EACH = GATES * OCTET, ALL_OF_K = OCTETS * EACH;
#pragma unroll 4
        for (int i = threadIdx.x; i < ALL_OF_K * depth; i += OCTETS * OCTET_THREADS) {
            int k = i / ALL_OF_K, octet = i % ALL_OF_K / EACH, unit = (blockIdx.x * OCTETS + octet) * OCTET + i % OCTET;
            int c = i % EACH / OCTET * width + unit;
            u64 at = ((u64)(c / 32) * from.depth + k) * 32 + c % 32;
            ((float*)to)[i] = unit < width ? ((const float*)from.weights)[at] : 0.0f;
        }
    }

    // A lane takes two channels of each octet, and a half warp half of the tiles.
    template <int GATES>
    static __device__ __forceinline__ void multiply(Sums& part, const u8* weights, const u8* h, int depth, int begin, int first,
                                                    int tiles) {
        constexpr int PAIRS = GATES * OCTET / 2;
        int lane = threadIdx.x % WARP, pair = lane % 16, mine = threadIdx.x / OCTET_THREADS * 2 * MINE + lane / 16 * MINE;
        int end = min(begin + CHUNK, depth);
        if (pair >= PAIRS || mine >= tiles) return;
        const float4* rows[MINE];
#pragma unroll
        for (int i = 0; i < MINE; i++) {
            int tile = mine + i < tiles ? first + mine + i : first;  // Else of sequences that are not looked at.
            rows[i] = (const float4*)h + (u64)tile * depth * 2;
        }
        float sum[OCTETS][MINE][TILE][2] = {};
#pragma unroll 4
        for (int k = begin; k < end; k++) {
            float2 w[OCTETS];
#pragma unroll
            for (int o = 0; o < OCTETS; o++) w[o] = ((const float2*)weights)[(k * OCTETS + o) * PAIRS + pair];
#pragma unroll
            for (int i = 0; i < MINE; i++) {
                float4 low = __ldcg(rows[i] + k * 2), high = __ldcg(rows[i] + k * 2 + 1);
                const float v[TILE] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
                for (int r = 0; r < OCTETS * TILE; r++) {
                    float(&to)[2] = sum[r / TILE][i][r % TILE];
                    to[0] = __fmaf_rn(v[r % TILE], w[r / TILE].x, to[0]);
                    to[1] = __fmaf_rn(v[r % TILE], w[r / TILE].y, to[1]);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < OCTETS * MINE * TILE; i++) {
            int o = i / TILE / MINE, tile = i / TILE % MINE, r = i % TILE;
            const float(&from)[2] = sum[o][tile][r];
            *(float2*)&part[(mine + tile) * TILE + r][o * 4 * OCTET + pair * 2] = make_float2(from[0], from[1]);
        }
    }

    static __device__ __forceinline__ int unit() { return threadIdx.x / OCTET_THREADS * OCTET + threadIdx.x % OCTET; }
    static __device__ __forceinline__ int sequence() { return threadIdx.x % OCTET_THREADS / OCTET; }
    static __device__ __forceinline__ float sum(const Sums& part, int gate) {
        return part[sequence()][(threadIdx.x / OCTET_THREADS * 4 + gate) * OCTET + threadIdx.x % OCTET];
    }

    static __device__ __forceinline__ void put(u8* h, int depth, int sequence, int unit, float v) {
        ((float*)h)[((u64)(sequence / TILE) * depth + unit) * TILE + sequence % TILE] = v;
    }
};

template <int OCTETS>
struct Bf16 {
    // Slabs of h that are under way: as many as there are registers for, at best a whole chunk.
    static constexpr int MINE = TILES / OCTETS, STEPS = CHUNK / SLAB, AHEAD = OCTETS == 1 ? STEPS : 3;

    // Of two gates each of an octet, a tile of sequences, a register of the result, a lane.
    typedef float Sums[OCTETS][2][TILES][4][WARP];

    template <int GATES>
    static __device__ __forceinline__ int bytes(int depth) { return OCTETS * GATES * OCTET * depth * 2; }

    // [octet][gate][slab][lane][8]: lane 4 g + t has, of unit g, columns 2 t, 2 t + 1, 2 t + 8, 2 t + 9 of both steps of a slab:
    // half of the rows of an operand of mma.m16n8k16.
    template <int GATES>
    static __device__ __forceinline__ void load(u8* to, const Packed& from, int width, int depth) {
        int slabs = depth / SLAB;
#pragma unroll 2
        for (int i = threadIdx.x; i < OCTETS * GATES * slabs * WARP; i += OCTETS * OCTET_THREADS) {
            int lane = i % WARP, slab = i / WARP % slabs, gate = i / WARP / slabs % GATES, octet = i / WARP / slabs / GATES;
            int unit = (blockIdx.x * OCTETS + octet) * OCTET + lane / 4, c = gate * width + unit;
            u32 r[4];
#pragma unroll
            for (int j = 0; j < 4; j++) r[j] = unit < width ? packed_pair(from, c, slab * SLAB + lane % 4 * 2 + 8 * j) : 0;
            ((uint4*)to)[i] = make_uint4(r[0], r[1], r[2], r[3]);
        }
    }

    template <int GATES>
    static __device__ __forceinline__ void multiply(Sums& part, const u8* weights, const u8* h, int depth, int begin, int first,
                                                    int tiles) {
        int lane = threadIdx.x % WARP, mine = threadIdx.x / OCTET_THREADS * MINE;
        int slabs = depth / SLAB, slab = begin / SLAB, end = min(begin + CHUNK, depth) / SLAB;
        if (mine >= tiles) return;
        const uint4* rows = (const uint4*)h + (u64)(first + mine) * slabs * WARP + lane;
        float sum[OCTETS][2][MINE][4] = {};
        uint4 b[AHEAD][MINE];
        auto ask = [&](int step) {
#pragma unroll
            for (int j = 0; j < MINE; j++) {
                if (slab + step < end && mine + j < tiles) b[step % AHEAD][j] = __ldcg(rows + (j * slabs + slab + step) * WARP);
            }
        };
#pragma unroll
        for (int step = 0; step < AHEAD; step++) ask(step);
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            if (slab + step == end) break;
#pragma unroll
            for (int o = 0; o < OCTETS; o++) {
                uint4 w[4] = {};
#pragma unroll
                for (int i = 0; i < GATES; i++) {
                    w[i] = ((const uint4*)weights)[((o * GATES + i) * slabs + slab + step) * WARP + lane];
                }
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const u32 a0[4] = {w[2 * i].x, w[2 * i + 1].x, w[2 * i].y, w[2 * i + 1].y};
                    const u32 a1[4] = {w[2 * i].z, w[2 * i + 1].z, w[2 * i].w, w[2 * i + 1].w};
#pragma unroll
                    for (int j = 0; j < MINE; j++) {
                        if (mine + j < tiles) {
                            const uint4 of = b[step % AHEAD][j];
                            const u32 b0[2] = {of.x, of.y}, b1[2] = {of.z, of.w};
                            mma_bf16(sum[o][i][j], a0, b0);
                            mma_bf16(sum[o][i][j], a1, b1);
                        }
                    }
                }
            }
            if (step + AHEAD < STEPS) ask(step + AHEAD);
        }
#pragma unroll
        for (int i = 0; i < OCTETS * 2 * MINE * 4; i++) {
            int o = i / 4 / MINE / 2, two = i / 4 / MINE % 2, j = i / 4 % MINE, r = i % 4;
            part[o][two][mine + j][r][lane] = sum[o][two][j][r];
        }
    }

    // Of an octet, thread 128 e + 32 j + lane: of tile j, what the lane holds of its column e of two.
    static __device__ __forceinline__ int octet() { return threadIdx.x / OCTET_THREADS; }
    static __device__ __forceinline__ int tile() { return threadIdx.x / WARP % TILES; }
    static __device__ __forceinline__ int half() { return threadIdx.x % OCTET_THREADS / (WARP * TILES); }
    static __device__ __forceinline__ int unit() { return octet() * OCTET + threadIdx.x % WARP / 4; }
    static __device__ __forceinline__ int sequence() { return tile() * TILE + threadIdx.x % 4 * 2 + half(); }
    static __device__ __forceinline__ float sum(const Sums& part, int gate) {
        return part[octet()][gate / 2][tile()][gate % 2 * 2 + half()][threadIdx.x % WARP];
    }

    static __device__ __forceinline__ void put(u8* h, int depth, int sequence, int unit, float v) {
        u64 slab = (u64)(sequence / TILE) * (depth / SLAB) + unit / SLAB;
        u64 at = (slab * WARP + sequence % TILE * 4 + unit % 8 / 2) * 8 + unit % SLAB / 8 * 2 + unit % 2;
        ((u16*)h)[at] = f32_to_bf16(v);
    }
};

// `sequences` > 0 sequences, the longest of `positions` > 0. depth: columns of h with their padding.
template <class C, class F, int OCTETS>
DEVICE void recur(const Sequences& s, const Packed& packed, const float* bias, u8* h0, u8* h1, u32* counters, int sequences,
                  int positions, int depth) {
    extern __shared__ __align__(16) u8 weights[];
    auto part = (typename F::Sums*)(weights + F::template bytes<C::GATES>(depth));
    F::template load<C::GATES>(weights, packed, s.width, depth);
    int warp = threadIdx.x / WARP % CHUNK_WARPS, chunks = (depth + CHUNK - 1) / CHUNK;
    int unit = blockIdx.x * OCTETS * OCTET + F::unit(), group = blockIdx.y * SEQUENCES_AT_ONCE;
    counters += blockIdx.y * COUNTERS;
    __syncthreads();
    int count = sequences;
    for (int position = 0; position < positions; position++) {
        while (s.length(count - 1) <= position) count--;  // The first has all positions.
        if (count <= group) return;                       // As do all blocks of the group.
        const u8* from = position % 2 ? h1 : h0;
        u8* to = position % 2 ? h0 : h1;
        if (position > 0) grid_barrier(counters, gridDim.x, position);
        for (int first = group; first < count; first += gridDim.y * SEQUENCES_AT_ONCE) {
            int sequence = first + F::sequence(), tiles = min((count - first + TILE - 1) / TILE, TILES);
            bool mine = sequence < count && unit < s.width;
            Before<C> before = {};
            float u[C::GATES] = {};
            if (mine) before = read_unit<C>(s, sequence, position, unit);  // Under way while h is.
            for (int chunk = 0; chunk < chunks; chunk += CHUNK_WARPS) {
                if (chunk + warp < chunks) {
                    F::template multiply<C::GATES>(part[warp], weights, from, depth, (chunk + warp) * CHUNK, first / TILE, tiles);
                }
                __syncthreads();
                if (mine) {
                    for (int i = 0; i < CHUNK_WARPS && chunk + i < chunks; i++) {
#pragma unroll
                        for (int g = 0; g < C::GATES; g++) u[g] = __fadd_rn(u[g], F::sum(part[i], g));
                    }
                }
                __syncthreads();
            }
            if (mine) {
#pragma unroll
                for (int i = 0; i < C::GATES; i++) u[i] = __fadd_rn(u[i], bias[i * s.width + unit]);
                float out = pass_unit<C>(s, before, unit, u);
                if (position + 1 < positions) F::put(to, depth, sequence, unit, out);
            }
        }
    }
}

#define RECUR_KERNEL(NAME, C, F, OCTETS)                                                                                 \
    KERNEL __launch_bounds__(OCTETS* OCTET_THREADS, 1)                                                                   \
        NAME(SEQUENCES_PARAMETERS, const u8* weights, const float* bias, int channels, int depth, int swizzled, u8* h0,  \
             u8* h1, u32* counters, int sequences, int positions, int columns) {                                         \
        const Packed packed = {weights, channels, depth, swizzled};                                                      \
        recur<C, F<OCTETS>, OCTETS>(SEQUENCES, packed, bias, h0, h1, counters, sequences, positions, columns);           \
    }
#define RECUR_KERNELS(NAME, C, F)         \
    RECUR_KERNEL(NAME##_8_units, C, F, 1) \
    RECUR_KERNEL(NAME##_16_units, C, F, 2)

RECUR_KERNELS(recur_lstm_f32, Lstm, F32)
RECUR_KERNELS(recur_gru_f32, Gru, F32)
RECUR_KERNELS(recur_lstm_bf16, Lstm, Bf16)
RECUR_KERNELS(recur_gru_bf16, Gru, Bf16)
