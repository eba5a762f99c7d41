// Warps of a distribution (seq2seq_core::Warp), applied to the scores of one row in place by one block.
//
// Each part looks at the softmax of what the one before left and sets what it drops to minus infinity. All that a part
// drops is decided by where scores in some order come to weigh more than a budget (`split`): scores by count (top k), by
// probability (top p), by distance from the entropy (typical). Probabilities are f64 in the softmax and integers of 2^-60 in
// sums, so that ties, and with them the ids that are left, are those of the reference. Nothing is sorted.
#pragma once

#include "choice.cuh"

constexpr double ONE = 1152921504606846976.0;  // 2^60

struct WarpSpec {
    float temperature, top_p, min_p, typical_p, epsilon, eta;
    int top_k, keep;
};

struct Scratch {
    Bins bins;
    double sums[WARP];
    float part[WARP];
    u64 keys[WARP];
};

struct Row {
    float* s;
    int count;
    Scratch& scratch;

    template <class F>
    __device__ __forceinline__ void each(F f) const {
        for (int i = threadIdx.x; i < count; i += blockDim.x) f(i);
    }
    template <class F>
    __device__ __forceinline__ void drop(F f) const {
        each([&](int i) { if (f(i)) s[i] = lowest(); });
        __syncthreads();
    }
    template <class F>
    __device__ __forceinline__ double sum(F f) const {
        double total = 0.0;
        each([&](int i) { total += f(i); });
        return block_sum(total, scratch.sums);
    }
    __device__ __forceinline__ float largest() const {
        float m = lowest();
        each([&](int i) { m = fmaxf(m, s[i]); });
        return block_max(m, scratch.part);
    }
    __device__ LogSum softmax() const {
        const double m = largest();
        const double base = m == -(double)infinity() ? 0.0 : m;
        const double total = sum([&](int i) { return exp((double)s[i] - base); });
        return {m, total == 0.0 ? 0.0 : log(total)};
    }
    // NaN and infinity have no distribution; nor has a row of nothing but minus infinity, for which 0.
    __device__ int state() const {
        const double bad = sum([&](int i) { return s[i] < infinity() ? 0.0 : 1.0; });
        return bad > 0.0 ? -1 : largest() > lowest();
    }
    __device__ __forceinline__ u64 mass(const LogSum& p, int i) const { return __double2ull_rn(exp(p.of(s[i])) * ONE); }
    __device__ Split by_count(u64 budget) const {
        return split(count, 32, budget, scratch.bins, [&](int i) { return (u64)ordered(s[i]); }, [](int) { return 1ull; });
    }
    // The first id behind the n lowest among those for which f holds; `count` where there are not so many.
    template <class F>
    __device__ __forceinline__ int behind(u64 n, F f) const {
        const Split at = split(count, 32, n, scratch.bins, [](int i) { return (u64)i; }, [&](int i) { return f(i) ? 1ull : 0ull; });
        return at.found ? (int)at.key : count;
    }
    __device__ double entropy(const LogSum& p) const {
        return -sum([&](int i) {
            const double l = p.of(s[i]);
            return l > -(double)infinity() ? l * exp(l) : 0.0;
        });
    }

    // Drops what is below the k-th best; keeps its equals.
    __device__ void top_k(int k) const {
        if (k >= count) return;
        const u64 least = by_count(count - k).key;
        drop([&](int i) { return ordered(s[i]) < least; });
    }
    // Drops from the least probable upwards while their sum is at most 1 - p, except the last `keep`; of equal scores
    // lower ids go first.
    __device__ void top_p(double p, int keep) const {
        const LogSum of = softmax();
        const u64 budget = __double2ull_rn((1.0 - p) * ONE);
        const Split heavy = split(count, 32, budget, scratch.bins, [&](int i) { return (u64)ordered(s[i]); }, [&](int i) { return mass(of, i); });
        const Split kept = by_count(count - keep);
        u64 key = kept.key, ties = count - keep - kept.below;
        if (heavy.found && heavy.key <= key) {
            // How many of equal weight the rest of the budget covers.
            const u64 equal = (u64)sum([&](int i) { return ordered(s[i]) == heavy.key ? 1.0 : 0.0; });
            const u64 covered = (budget - heavy.below) / (heavy.at / equal);
            ties = heavy.key < key || covered < ties ? covered : ties;
            key = heavy.key;
        }
        const int until = ties > 0 ? behind(ties, [&](int i) { return ordered(s[i]) == key; }) : 0;
        drop([&](int i) { return ordered(s[i]) < key || (ordered(s[i]) == key && i < until); });
    }
    // Drops probabilities below a share of the largest, but never the best `keep`.
    __device__ void min_p(double share, int keep) const {
        const LogSum of = softmax();
        const double least = share * exp(of.of((float)of.m));
        // The best one by itself is never below its share.
        Split kept = {~0ull, 0, 0, 0};
        int until = 0;
        if (keep > 1) {
            kept = by_count(count - keep);
            const u64 better = count - kept.below - kept.at;
            until = behind(keep - better, [&](int i) { return ordered(s[i]) == kept.key; });
        }
        drop([&](int i) {
            const u64 key = ordered(s[i]);
            const bool best = key > kept.key || (key == kept.key && i < until);
            return exp(of.of(s[i])) < least && !best;
        });
    }
    // Keeps the ids whose -ln p is nearest to the entropy until their mass is reached, with all that tie with the last, and
    // at least `keep`.
    __device__ void typical(double wanted, int keep) const {
        const LogSum of = softmax();
        const double middle = entropy(of);
        const auto shift = [&](int i) { return (u64)__double_as_longlong(fabs(-of.of(s[i]) - middle)); };
        const u64 goal = __double2ull_rn(wanted * ONE);
        const Split last = split(count, 64, goal > 0 ? goal - 1 : 0, scratch.bins, shift, [&](int i) { return mass(of, i); });
        if (!last.found) return;
        // The nearest one by itself is never behind the last.
        Split nearest = {0, 0, 0, 0};
        int until = 0;
        if (keep > 1) {
            nearest = split(count, 64, keep - 1, scratch.bins, shift, [](int) { return 1ull; });
            until = behind(keep - nearest.below, [&](int i) { return shift(i) == nearest.key; });
        }
        drop([&](int i) {
            const u64 key = shift(i);
            return key > last.key && !(key < nearest.key || (key == nearest.key && i < until));
        });
    }
    // Drops probabilities below `least`, but never the `keep` best scores and their equals.
    __device__ void cutoff(double least, const LogSum& of, int keep) const {
        const u64 kept = by_count(count - keep).key;
        drop([&](int i) { return exp(of.of(s[i])) < least && ordered(s[i]) < kept; });
    }
    __device__ void warp(const WarpSpec& w) const {
        const int keep = min(w.keep, count);
        each([&](int i) { s[i] = __fdiv_rn(s[i], w.temperature); });
        __syncthreads();
        if (w.top_k > 0) top_k(max(w.top_k, keep));
        if (w.top_p < 1.0f) top_p(w.top_p, keep);
        if (w.min_p > 0.0f) min_p(w.min_p, keep);
        if (w.typical_p < 1.0f) typical(w.typical_p, keep);
        if (w.epsilon > 0.0f) cutoff(w.epsilon, softmax(), keep);
        if (w.eta > 0.0f) {
            const LogSum of = softmax();
            cutoff(fmin((double)w.eta, sqrt((double)w.eta) * exp(-entropy(of))), of, keep);
        }
    }
};
