// Which continuations a beam search goes on with, of the k best of each hypothesis: what `seq2seq_core::Beams` says, to the bit.
//
// ids, scores: [rows, k], the best first; running: [rows], the score of each hypothesis; a source has `width` rows. entries:
// [sources, keep] and heads: [rows] are scratch. next, parents: [rows].
//
// A block is one warp and one source. Lists are sorted, and stay so when the score of their hypothesis is added: rounding keeps
// the order. So each step compares their heads, list i held by lane i % 32. Of what is looked at, that which ends is a list
// that is sorted, too, and so is the rest: one lane merges the two.
//
// Floor: none worth having: keep entries a source. Not measured: no GPU has run it yet.

#include "choice.cuh"

// Added to the score of what ends.
constexpr float ENDED = -1e9f;

// Sorts as the total order of IEEE 754 does.
DEVICE u32 total(float v) {
    const u32 bits = __float_as_uint(v);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// A continuation: its score, its id, its list, and whether it ends.
struct Entry {
    u32 score, id, beam, ends;
};

// The next entry from `at` on that ends, or that does not.
DEVICE int from(const Entry* entries, int at, int count, u32 ends) {
    while (at < count && entries[at].ends != ends) ++at;
    return at;
}

KERNEL beams(
    const u32* ids, const float* scores, int k, const float* running, int width, int keep, const u32* endings, int ending_count,
    int* heads, Entry* entries, u32* next, u32* parents) {
    const int lane = threadIdx.x;
    const s64 first = (s64)blockIdx.x * width;
    entries += (s64)blockIdx.x * keep;
    for (int i = lane; i < width; i += WARP) heads[first + i] = 0;
    for (int rank = 0; rank < keep; ++rank) {
        u64 best = 0;
        for (int i = lane; i < width; i += WARP) {
            const int head = heads[first + i];
            if (head == k) continue;
            // Of equal scores that of the first list is largest.
            const u32 score = total(__fadd_rn(scores[(first + i) * k + head], running[first + i]));
            best = larger(best, (u64)score << 32 | (u32)~i);
        }
        for (int step = WARP / 2; step > 0; step /= 2) best = larger(best, __shfl_xor_sync(ALL, best, step));
        const u32 beam = ~(u32)best;
        if (beam % WARP == lane) {
            const s64 at = (first + beam) * k + heads[first + beam]++;
            const float score = __fadd_rn(scores[at], running[first + beam]);
            u32 ends = 0;
            for (int i = 0; i < ending_count; ++i) ends |= endings[i] == ids[at];
            entries[rank] = {__float_as_uint(score), ids[at], beam, ends};
        }
    }
    __syncthreads();
    if (lane > 0) return;
    int going = from(entries, 0, keep, 0), ended = from(entries, 0, keep, 1);
    for (int i = 0; i < width; ++i) {
        u32 of_going = 0, of_ended = 0;
        if (going < keep) of_going = total(__fadd_rn(__uint_as_float(entries[going].score), 0.0f));
        if (ended < keep) of_ended = total(__fadd_rn(__uint_as_float(entries[ended].score), ENDED));
        // Of equal ones that which is looked at first; where one list is at its end, the other.
        const bool goes = ended == keep || going < keep && (of_going > of_ended || of_going == of_ended && going < ended);
        const Entry chosen = entries[goes ? going : ended];
        next[first + i] = chosen.id;
        parents[first + i] = (u32)first + chosen.beam;
        if (goes) going = from(entries, going + 1, keep, 0);
        else ended = from(entries, ended + 1, keep, 1);
    }
}
