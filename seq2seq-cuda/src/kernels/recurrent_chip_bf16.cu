// Recurrent layers on the chip in bf16, which mma.sync multiplies: recurrent_chip.cuh.
#include "recurrent_chip.cuh"

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

RECUR_KERNELS(recur_lstm_bf16, Lstm, Bf16)
RECUR_KERNELS(recur_gru_bf16, Gru, Bf16)
