// The equations of LSTM and GRU for one unit of one sequence at one position, and where everything lies; recurrent.cu says more.
#pragma once
#include "epilogue.cuh"

// Sequences are ordered by length, longest first, so that those with a position t are the first `count`. x, y, state and kept
// from this direction's first column on.
struct Sequences {
    const float* x;                   // [rows, x_stride]
    const u32 *order, *first, *last;  // In the order of length: the place in the batch, the first row, the row behind the last.
    int backwards, width;
    int x_stride, y_stride, state_stride, kept_stride;
    int cells;     // From h to c in a row of the state; 0 in a GRU, which has no c.
    float* y;      // [rows, y_stride]
    float* state;  // [sequences, state_stride], in the order of the batch
    float* kept;   // [rows, kept_stride], or null

    __device__ __forceinline__ int length(int sequence) const { return last[sequence] - first[sequence]; }
    __device__ __forceinline__ u32 row(int sequence, int position) const {
        return backwards ? last[sequence] - 1 - position : first[sequence] + position;
    }
    __device__ __forceinline__ float* of_state(u32 place, int unit) const { return state + (u64)place * state_stride + unit; }
};

// Parameters of a kernel, in the order of the launcher, and what they make.
#define SEQUENCES_PARAMETERS                                                                                           \
    const float *x, const u32 *order, const u32 *first, const u32 *last, int backwards, int width, int x_stride,       \
        int y_stride, int state_stride, int kept_stride, int cells, float *y, float *state, float *kept
#define SEQUENCES                                                                                                      \
    {x, order, first, last, backwards, width, x_stride, y_stride, state_stride, kept_stride, cells, y, state, kept}

// i, f, g, o = x + u;  c' = s(f) c + s(i) tanh(g);  h' = s(o) tanh(c')       (s the logistic function)
struct Lstm {
    static constexpr int GATES = 4, KEPT = 5;

    // `held` is c, and becomes c'; kept for the way back: i, f, g, o and c'. Gives h'.
    static __device__ __forceinline__ float unit(const float (&x)[4], const float (&u)[4], float& held, float (&kept)[5]) {
        float in = sigmoid(__fadd_rn(x[0], u[0])), forget = sigmoid(__fadd_rn(x[1], u[1]));
        float candidate = tanhf(__fadd_rn(x[2], u[2])), open = sigmoid(__fadd_rn(x[3], u[3]));
        held = __fadd_rn(__fmul_rn(forget, held), __fmul_rn(in, candidate));
        kept[0] = in, kept[1] = forget, kept[2] = candidate, kept[3] = open, kept[4] = held;
        return __fmul_rn(open, tanhf(held));
    }
};

// r = s(x_r + u_r);  z = s(x_z + u_z);  n = tanh(x_n + r u_n);  h' = (1 - z) n + z h
struct Gru {
    static constexpr int GATES = 3, KEPT = 4;

    // `held` is h, and becomes h'; kept for the way back: r, z, n and u_n. Gives h'.
    static __device__ __forceinline__ float unit(const float (&x)[3], const float (&u)[3], float& held, float (&kept)[4]) {
        float r = sigmoid(__fadd_rn(x[0], u[0])), z = sigmoid(__fadd_rn(x[1], u[1]));
        float n = tanhf(__fadd_rn(x[2], __fmul_rn(r, u[2])));
        held = __fadd_rn(__fmul_rn(__fsub_rn(1.0f, z), n), __fmul_rn(z, held));
        kept[0] = r, kept[1] = z, kept[2] = n, kept[3] = u[2];
        return held;
    }
};

// What a unit of a sequence begins a position with.
template <class C>
struct Before {
    u32 row;
    u32 place;  // Of the sequence in the state.
    float x[C::GATES], held;
};

template <class C>
DEVICE Before<C> read_unit(const Sequences& s, int sequence, int position, int unit) {
    Before<C> before;
    before.row = s.row(sequence, position);
    before.place = s.order[sequence];
    const float* from = s.x + (u64)before.row * s.x_stride + unit;
#pragma unroll
    for (int i = 0; i < C::GATES; i++) before.x[i] = from[(u64)i * s.width];
    before.held = s.of_state(before.place, unit)[s.cells];
    return before;
}

// Goes through the equations, stores the results and gives h'.
template <class C>
DEVICE float pass_unit(const Sequences& s, const Before<C>& before, int unit, const float (&u)[C::GATES]) {
    float held = before.held, kept[C::KEPT];
    float* state = s.of_state(before.place, unit);
    float out = C::unit(before.x, u, held, kept);
    if (s.kept) {
        float* to = s.kept + (u64)before.row * s.kept_stride + unit;
#pragma unroll
        for (int i = 0; i < C::KEPT; i++) to[(u64)i * s.width] = kept[i];
    }
    state[s.cells] = held;
    state[0] = out;
    s.y[(u64)before.row * s.y_stride + unit] = out;
    return out;
}
