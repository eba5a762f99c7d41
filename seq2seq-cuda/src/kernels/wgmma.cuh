// What only Hopper has (sm_90a): products of a group of four warps whose operands are in shared memory, copies of many bytes by
// one thread, and the barriers in shared memory that such copies arrive at.
#pragma once
#include "common.cuh"

// A barrier in shared memory, of `arrivals` a phase.
DEVICE void barrier_init(u64* barrier, u32 arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

// Shows barriers that this thread has made to what copies.
DEVICE void barriers_are_made() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

DEVICE void barrier_arrive(u64* barrier) {
    asm volatile("{.reg .b64 s; mbarrier.arrive.shared::cta.b64 s, [%0];}" ::"r"(shared_address(barrier)) : "memory");
}

// Arrives, and lets the phase wait for `bytes` of copies besides.
DEVICE void barrier_expect(u64* barrier, u32 bytes) {
    asm volatile("{.reg .b64 s; mbarrier.arrive.expect_tx.shared::cta.b64 s, [%0], %1;}"
                 ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}

// Waits until the phase of this parity is complete; the first is 0.
DEVICE void barrier_wait(u64* barrier, u32 parity) {
    u32 done;
    do {
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                     : "=r"(done) : "r"(shared_address(barrier)), "r"(parity) : "memory");
    } while (!done);
}

// `bytes` > 0 of device memory to shared memory, both at multiples of 16; they arrive at `barrier`, which has to expect them.
DEVICE void copy_bulk(void* to, const void* from, u32 bytes, u64* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier)) : "memory");
}

// Shows what this thread has stored in shared memory to the matrix units.
DEVICE void stores_are_seen() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Barrier `ID` of `THREADS` threads, whole warps. Who arrives does not wait; what it has stored is seen by those who do.
template <int ID, int THREADS>
DEVICE void barrier_sync() {
    asm volatile("bar.sync %0, %1;" ::"n"(ID), "n"(THREADS) : "memory");
}
template <int ID, int THREADS>
DEVICE void barrier_arrive_at() {
    asm volatile("bar.arrive %0, %1;" ::"n"(ID), "n"(THREADS) : "memory");
}

// An operand in shared memory: its rows along the other operand's rows, 128 bytes of each, eight rows in 1024 bytes at a multiple
// of 1024; the 16-byte pieces of row r exchanged by r % 8 ("K-major, 128-byte swizzle"). A product takes 32 bytes of a row; the next
// ones are 32 bytes further on.
DEVICE u64 operand(const u8* rows) {
    constexpr u64 SWIZZLE_128 = 1ull << 62, EIGHT_ROWS = 1024 >> 4;
    return SWIZZLE_128 | EIGHT_ROWS << 32 | 1ull << 16 | (shared_address(rows) & 0x3ffff) >> 4;
}

DEVICE void products_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void products_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until at most `N` groups of products are under way.
template <int N>
DEVICE void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

// d += a b, without waiting: a is 64 rows, b is `columns` rows, of 16 columns of bf16 with sums in f32, or of 32 columns, u8 in a and s8
// in b, with sums in i32; d is 64 by columns. Of d, lane 4 g + t of warp w holds, for each j < columns / 8, row 16 w + g, columns
// 8 j + 2 t and 8 j + 2 t + 1, then the same of row 16 w + g + 8.
template <int COUNT>
DEVICE void multiply_add(float (&d)[COUNT], u64 a, u64 b);
template <int COUNT>
DEVICE void multiply_add(int (&d)[COUNT], u64 a, u64 b);

#define NAMES_8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define NAMES_16 NAMES_8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define NAMES_32 NAMES_16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define NAMES_64                                                                                                        \
    NAMES_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"                                         \
             ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define NAMES_128                                                                                                       \
    NAMES_64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"                                         \
             ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"                                         \
             ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111"                             \
             ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define SUMS_8(C, i) C(d[i]), C(d[i + 1]), C(d[i + 2]), C(d[i + 3]), C(d[i + 4]), C(d[i + 5]), C(d[i + 6]), C(d[i + 7])
#define SUMS_16(C, i) SUMS_8(C, i), SUMS_8(C, i + 8)
#define SUMS_32(C, i) SUMS_16(C, i), SUMS_16(C, i + 16)
#define SUMS_64(C, i) SUMS_32(C, i), SUMS_32(C, i + 32)
#define SUMS_128(C, i) SUMS_64(C, i), SUMS_64(C, i + 64)
// COUNT sums a lane are 2 COUNT columns; KIND follows them in the name of the instruction, SIGNS what all of them take; A, B and ONE are
// the names of the arguments that follow the sums.
#define MULTIPLY_ADD(SUM, C, COUNT, COLUMNS, KIND, SIGNS, A, B, ONE)                                                    \
    template <>                                                                                                         \
    __device__ __forceinline__ void multiply_add<COUNT>(SUM (&d)[COUNT], u64 a, u64 b) {                                \
        asm volatile("{.reg .pred add; setp.ne.b32 add, " ONE ", 0; wgmma.mma_async.sync.aligned.m64n" COLUMNS          \
                     KIND " {" NAMES_##COUNT "}, " A ", " B ", add" SIGNS ";}"                                          \
                     : SUMS_##COUNT(C, 0) : "l"(a), "l"(b), "n"(1));                                                    \
    }
#define MULTIPLY_ADDS(SUM, C, KIND, SIGNS)                                  \
    MULTIPLY_ADD(SUM, C, 8, "16", KIND, SIGNS, "%8", "%9", "%10")           \
    MULTIPLY_ADD(SUM, C, 16, "32", KIND, SIGNS, "%16", "%17", "%18")        \
    MULTIPLY_ADD(SUM, C, 32, "64", KIND, SIGNS, "%32", "%33", "%34")        \
    MULTIPLY_ADD(SUM, C, 64, "128", KIND, SIGNS, "%64", "%65", "%66")       \
    MULTIPLY_ADD(SUM, C, 128, "256", KIND, SIGNS, "%128", "%129", "%130")
MULTIPLY_ADDS(float, "+f", "k16.f32.bf16.bf16", ", 1, 1, 0, 0")
MULTIPLY_ADDS(int, "+r", "k32.s32.u8.s8", "")
