// LSTM and GRU over whole sequences, their weights on the chip: one launch for all positions of a direction.
//
// Equations, x, y, state and kept: recurrent.cuh. u = U h + b is what linear_fma.cuh and linear_bf16.cu compute, in their order
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
// h0, h1: the operands that rows.cu makes (rows_bf16, else rows_f32) of h in the order of length, padded with zeros; h0 what
// sequences begin with, h1 zeros. h1 and the counters of the barriers, zeros too, may be null where there is one position.
// weights: as they lie in device memory (packed.cuh); they are laid out anew once a launch.
//
// A warp takes chunks in turn and multiplies them for 32 sequences, or with 16 units for 16, so that a block reads no value of
// h twice; then a thread has one unit of one sequence: it adds the sums of its gates' chunks and goes through the equations.
//
// Floor: the weights once from memory. A position: every block reads h of the sequences of its group from the second cache
// (bf16: width * 2 bytes a sequence, else width * 4), writes its units of it, reads gates * 4 bytes of x a unit and writes y
// and state; one barrier, that is an atomic of each block on one address and a line that each block reads until it changes.
// LSTM of 1024 in bf16 on 132 multiprocessors, 64 sequences: 64 x 2 blocks of 16 units, 128 KB of weights; a position reads 64
// KB a block, 8 MB of all, 1.5 us at 5.5 TB/s, and multiplies 1024 products of m16n8k16 a block, about 1 us. 128 blocks of 8
// units for all 64 sequences would read twice as much, in two turns. By counting: not yet measured on a GPU.
#pragma once
#include "grid_barrier.cuh"
#include "packed.cuh"
#include "recurrent.cuh"

// A block has OCTETS times 8 units and as many warps; of 32 sequences in 4 tiles a warp takes MINE.
constexpr int OCTET = 8, CHUNK_WARPS = 8, OCTET_THREADS = CHUNK_WARPS * WARP;
constexpr int TILE = 8, TILES = 4, SEQUENCES_AT_ONCE = TILES * TILE;
constexpr int SLAB = 32, CHUNK = 4 * SLAB;

// A format (recurrent_chip_fma.cuh, recurrent_chip_bf16.cu) gives: Sums, partial sums of a chunk in shared memory; the bytes of
// the weights of a block for `depth` columns; `load`, which lays them out; `multiply`, which multiplies the columns of a chunk by
// the tiles of a warp, of `tiles` tiles of sequences from `first` on; the `unit` and `sequence` of a thread, and `sum` of one of
// its gates in the sums of a chunk; `put`, which stores a new value of h.

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
