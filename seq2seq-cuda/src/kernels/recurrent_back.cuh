// The way back of LSTM and GRU for one unit of one sequence at one position, and where everything lies; recurrent_back.cu says
// more.
#pragma once
#include "common.cuh"

// In the order of length, as in recurrent.cuh; kept, y, dy, du and dx are in that of the rows, from this direction's first
// column on. y (of a GRU), dy, state and dx may be null.
struct SequencesBack {
    const float *kept, *y, *dy, *state;
    const u32 *order, *first, *last;
    int backwards, width;
    int kept_stride, y_stride, state_stride, gate_stride;
    int cells;      // From h to c in a row of the state; 0 in a GRU.
    float* carry;   // [sequences, width]: what comes back to h from the next position.
    float* second;  // The same to c, in an LSTM; in a GRU dh z, which goes back beside the product.
    float *du, *dx;

    __device__ __forceinline__ int length(int sequence) const { return last[sequence] - first[sequence]; }
};

#define SEQUENCES_BACK_PARAMETERS                                                                                     \
    const float *kept, const float *y, const float *dy, const float *state, const u32 *order, const u32 *first,       \
        const u32 *last, int backwards, int width, int kept_stride, int y_stride, int state_stride, int gate_stride,  \
        int cells, float *carry, float *second, float *du, float *dx
#define SEQUENCES_BACK                                                                                                \
    {kept, y, dy, state, order, first, last, backwards, width, kept_stride, y_stride, state_stride, gate_stride,      \
     cells, carry, second, du, dx}

// What a unit of a sequence begins a position with on the way back.
template <class C>
struct Behind {
    u32 row;
    float kept[C::KEPT], before, dy, second;  // `before`: c, or in a GRU h, of the position before.
};

template <class C>
DEVICE Behind<C> read_back(const SequencesBack& s, int sequence, int position, int unit) {
    Behind<C> in;
    in.row = s.backwards ? s.last[sequence] - 1 - position : s.first[sequence] + position;
    const float* k = s.kept + (u64)in.row * s.kept_stride + unit;
#pragma unroll
    for (int i = 0; i < C::KEPT; i++) in.kept[i] = k[(u64)i * s.width];
    if (position == 0) {
        in.before = s.state ? s.state[(u64)s.order[sequence] * s.state_stride + s.cells + unit] : 0.0f;
    } else {
        in.before = C::before(s, s.backwards ? in.row + 1 : in.row - 1, unit);
    }
    in.dy = s.dy ? s.dy[(u64)in.row * s.y_stride + unit] : 0.0f;
    in.second = C::HAS_C ? s.second[(u64)sequence * s.width + unit] : 0.0f;
    return in;
}

//   dc' = dc + dh o (1 - tanh^2 c');  da_i = dc' g i (1 - i);  da_f = dc' c f (1 - f);  da_g = dc' i (1 - g^2);
//   da_o = dh tanh c' o (1 - o);  dc = dc' f;  dx = du = da
struct LstmBack {
    static constexpr int GATES = 4, KEPT = 5;
    static constexpr bool HAS_C = true;

    static __device__ __forceinline__ float before(const SequencesBack& s, u64 row, int unit) {
        return s.kept[row * s.kept_stride + 4 * (u64)s.width + unit];
    }

    // du of the gates, and dx; gives the new `second`.
    static __device__ __forceinline__ float unit(const Behind<LstmBack>& in, float dh, float (&du)[4], float (&dx)[4]) {
        float i = in.kept[0], f = in.kept[1], g = in.kept[2], o = in.kept[3], tanh = tanhf(in.kept[4]);
        float dc = in.second + dh * o * (1.0f - tanh * tanh);
        const float da[4] = {dc * g * (i * (1.0f - i)), dc * in.before * (f * (1.0f - f)), dc * i * (1.0f - g * g),
                             dh * tanh * (o * (1.0f - o))};
#pragma unroll
        for (int gate = 0; gate < 4; gate++) du[gate] = dx[gate] = da[gate];
        return dc * f;
    }

    // What comes back to h.
    static __device__ __forceinline__ float carried(float product, float) { return product; }
};

//   da_n = dh (1 - z) (1 - n^2);  da_z = dh (h - n) z (1 - z);  da_r = da_n u_n r (1 - r);
//   dx = (da_r, da_z, da_n);  du = (da_r, da_z, da_n r);  dh z goes back beside the product
struct GruBack {
    static constexpr int GATES = 3, KEPT = 4;
    static constexpr bool HAS_C = false;

    static __device__ __forceinline__ float before(const SequencesBack& s, u64 row, int unit) {
        return s.y[row * s.y_stride + unit];
    }

    static __device__ __forceinline__ float unit(const Behind<GruBack>& in, float dh, float (&du)[3], float (&dx)[3]) {
        float r = in.kept[0], z = in.kept[1], n = in.kept[2], un = in.kept[3];
        float dn = dh * (1.0f - z) * (1.0f - n * n), dz = dh * (in.before - n) * (z * (1.0f - z));
        float dr = dn * un * (r * (1.0f - r));
        du[0] = dx[0] = dr, du[1] = dx[1] = dz, du[2] = dn * r, dx[2] = dn;
        return dh * z;
    }

    static __device__ __forceinline__ float carried(float product, float second) { return __fadd_rn(product, second); }
};

// Goes back through the equations with what comes back to h: stores the results and gives du.
template <class C>
DEVICE void pass_back(const SequencesBack& s, const Behind<C>& in, int sequence, int unit, float carry, float (&du)[C::GATES]) {
    float dx[C::GATES];
    s.second[(u64)sequence * s.width + unit] = C::unit(in, carry + in.dy, du, dx);
#pragma unroll
    for (int gate = 0; gate < C::GATES; gate++) {
        u64 to = (u64)in.row * s.gate_stride + (u64)gate * s.width + unit;
        s.du[to] = du[gate];
        if (s.dx) s.dx[to] = dx[gate];
    }
}
