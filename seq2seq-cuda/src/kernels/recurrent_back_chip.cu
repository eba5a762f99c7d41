// LSTM and GRU on the way back over whole sequences in bf16, their weights on the chip: one launch for all positions of a
// direction.
//
// Equations, and what lies where: recurrent_back.cuh. What comes back to h is U' du, as linear_bf16.cu computes it, in its order
// of the sum, so where mma.sync is what multiplies bf16, the bits are those of recurrent_back.cu.
//
// A block owns 16 units: their rows of U', 16 * gates * width weights, stay in its shared memory, beside partial sums of 32
// sequences; groups of sequences, the barrier and what has to be on the device together are those of recurrent_chip.cuh. du of all
// gates goes from block to block by way of the second cache, in two buffers in turn: d0 for even positions, d1 for odd ones, as
// rows_bf16 of rows.cu makes them, gate after gate, zeros before. A position begins with the product of the one behind it.
//
// weights: U' as linear_bf16.cu or, `swizzled`, linear_wgmma.cuh have it: `width` channels of gates * width columns.
//
// Floor: the weights once from memory. A position: every block reads du of the sequences of its group from the second cache,
// gates * width * 2 bytes a sequence, which is gates times what the way forward reads; about 84 bytes a unit and sequence from
// and to memory; one barrier. LSTM of 1024 on 132 multiprocessors, 64 sequences: 64 x 2 blocks, 32 MB of all, 6 us at 5.5 TB/s.
// By counting: not yet measured on a GPU.
#include "grid_barrier.cuh"
#include "packed.cuh"
#include "recurrent_back.cuh"

constexpr int UNITS = 16, CHUNK_WARPS = 16, THREADS = CHUNK_WARPS * WARP;
constexpr int TILE = 8, TILES = 4, SEQUENCES_AT_ONCE = TILES * TILE;
constexpr int SLAB = 32, STEPS = 4, CHUNK = STEPS * SLAB;

// Partial sums of a chunk: of a tile of sequences, a register of the result, a lane.
typedef float Sums[TILES][4][WARP];

// [eight units][slab][lane][8], as recurrent_chip_bf16.cu lays a gate out.
DEVICE void load(u8* to, const Packed& from, int width, int slabs) {
#pragma unroll 2
    for (int i = threadIdx.x; i < UNITS / 8 * slabs * WARP; i += THREADS) {
        int lane = i % WARP, slab = i / WARP % slabs, unit = blockIdx.x * UNITS + i / WARP / slabs * 8 + lane / 4;
        u32 r[4];
#pragma unroll
        for (int j = 0; j < 4; j++) r[j] = unit < width ? packed_pair(from, unit, slab * SLAB + lane % 4 * 2 + 8 * j) : 0;
        ((uint4*)to)[i] = make_uint4(r[0], r[1], r[2], r[3]);
    }
}

// The columns of the chunk from `slab` on by `tiles` tiles of sequences from `first` on, two at a time: so all of their du is
// under way before it is multiplied.
DEVICE void multiply(Sums& part, const u8* weights, const u8* d, int slabs, int slab, int first, int tiles) {
    int lane = threadIdx.x % WARP, count = min(STEPS, slabs - slab);
    const uint4* units = (const uint4*)weights + slab * WARP + lane;
#pragma unroll 1
    for (int tile = 0; tile < tiles; tile += 2) {
        const uint4* rows = (const uint4*)d + ((u64)(first + tile) * slabs + slab) * WARP + lane;
        bool two = tile + 1 < tiles;
        uint4 b[STEPS][2];
        float sum[2][4] = {};
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            if (step < count) b[step][0] = __ldcg(rows + step * WARP);
            if (step < count && two) b[step][1] = __ldcg(rows + (slabs + step) * WARP);
        }
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            if (step == count) break;
            const uint4 low = units[step * WARP], high = units[(slabs + step) * WARP];
            const u32 a0[4] = {low.x, high.x, low.y, high.y}, a1[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
            for (int j = 0; j < 2; j++) {
                if (j == 0 || two) {
                    const u32 b0[2] = {b[step][j].x, b[step][j].y}, b1[2] = {b[step][j].z, b[step][j].w};
                    mma_bf16(sum[j], a0, b0);
                    mma_bf16(sum[j], a1, b1);
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 8; i++) part[tile + i / 4][i % 4][lane] = sum[i / 4][i % 4];
    }
}

// `sequences` > 0 sequences, none of them empty, the longest of `positions` > 0.
template <class C>
DEVICE void back(const SequencesBack& s, const Packed& packed, u8* d0, u8* d1, u32* counters, int sequences, int positions,
                 int depth) {
    extern __shared__ __align__(16) u8 weights[];
    int slabs = depth / SLAB, chunks = (depth + CHUNK - 1) / CHUNK;
    auto part = (Sums*)(weights + UNITS * depth * 2);
    load(weights, packed, s.width, slabs);
    __syncthreads();
    // Thread 256 e + 128 i + 32 j + lane: of tile j, what the lane holds of its column e of two and its unit i of two.
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, tile = warp % TILES, eight = warp / 4 % 2, half = warp / 8;
    int unit = blockIdx.x * UNITS + eight * 8 + lane / 4, own = tile * TILE + lane % 4 * 2 + half;
    int group = blockIdx.y * SEQUENCES_AT_ONCE, count = 0, round = 0;
    counters += blockIdx.y * COUNTERS;
    // Behind the first position there is one product more.
    for (int position = positions - 1; position >= -1; position--) {
        int behind = count;  // Sequences that have the position behind this one.
        while (count < sequences && s.length(count) > position) count++;
        if (count <= group) continue;  // As do all blocks of the group.
        if (behind > group) grid_barrier(counters, gridDim.x, ++round);
        const u8* from = position % 2 ? d0 : d1;
        u8* to = position % 2 ? d1 : d0;
        for (int first = group; first < count; first += gridDim.y * SEQUENCES_AT_ONCE) {
            int sequence = first + own, tiles = min((behind - first + TILE - 1) / TILE, TILES);
            bool mine = sequence < count && unit < s.width;
            Behind<C> in = {};
            if (mine && position >= 0) in = read_back<C>(s, sequence, position, unit);  // Under way while du is.
            float product = 0.0f;
            for (int chunk = 0; tiles > 0 && chunk < chunks; chunk += CHUNK_WARPS) {
                int own_chunk = chunk + warp;
                if (own_chunk < chunks) multiply(part[warp], weights, from, slabs, own_chunk * STEPS, first / TILE, tiles);
                __syncthreads();
                for (int i = 0; i < CHUNK_WARPS && chunk + i < chunks; i++) {
                    product = __fadd_rn(product, tile < tiles ? part[i][tile][eight * 2 + half][lane] : 0.0f);
                }
                __syncthreads();
            }
            if (mine) {
                float* carry = s.carry + (u64)sequence * s.width + unit;
                float comes = sequence < behind ? C::carried(product, s.second[(u64)sequence * s.width + unit]) : *carry;
                if (position >= 0) {
                    float du[C::GATES];
                    pass_back<C>(s, in, sequence, unit, comes, du);
#pragma unroll
                    for (int gate = 0; gate < C::GATES; gate++) {
                        int column = gate * s.width + unit;
                        u64 at = ((u64)(sequence / TILE) * slabs + column / SLAB) * WARP + sequence % TILE * 4 + column % 8 / 2;
                        ((u16*)to)[at * 8 + column % SLAB / 8 * 2 + column % 2] = f32_to_bf16(du[gate]);
                    }
                } else {
                    *carry = comes;
                }
            }
        }
    }
}

#define RECUR_BACK_KERNEL(NAME, C)                                                                                      \
    KERNEL __launch_bounds__(THREADS, 1)                                                                                \
        NAME(SEQUENCES_BACK_PARAMETERS, const u8* weights, int channels, int depth, int swizzled, u8* d0, u8* d1,       \
             u32* counters, int sequences, int positions, int columns) {                                                \
        const Packed packed = {weights, channels, depth, swizzled};                                                     \
        back<C>(SEQUENCES_BACK, packed, d0, d1, counters, sequences, positions, columns);                               \
    }

RECUR_BACK_KERNEL(recur_lstm_back_bf16, LstmBack)
RECUR_BACK_KERNEL(recur_gru_back_bf16, GruBack)
