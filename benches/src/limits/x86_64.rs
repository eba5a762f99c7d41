//! The instructions that multiply, in chains that never wait for memory, and a plain walk over memory.

use std::{arch::x86_64::*, hint::black_box, sync::Barrier, time::Instant};

/// Accumulators of a chain: with fewer, the bf16 product waits for its own result. 32 registers hold them.
const WIDE: usize = 24;
/// The same for the 16 registers of AVX2.
const NARROW: usize = 12;
const TURNS: usize = 4_000_000;
/// Bytes that each thread reads: far more than the caches hold.
const READ: usize = 256 << 20;
const REPEATS: usize = 4;

macro_rules! peak {
    ($name:ident, $features:literal, $count:expr, $zero:expr, $a:expr, $b:expr, $multiply:expr) => {
        #[target_feature(enable = $features)]
        fn $name() {
            let (a, b) = (black_box($a), black_box($b));
            let mut sums = [$zero; $count];
            for _ in 0..TURNS {
                for sum in &mut sums {
                    *sum = $multiply(*sum, a, b);
                }
            }
            black_box(sums);
        }
    };
}

peak!(
    f32_avx512,
    "avx512f",
    WIDE,
    _mm512_setzero_ps(),
    _mm512_set1_ps(1e-9),
    _mm512_set1_ps(1.0),
    |sum, a, b| _mm512_fmadd_ps(a, b, sum)
);
peak!(
    f32_avx2,
    "avx2,fma",
    NARROW,
    _mm256_setzero_ps(),
    _mm256_set1_ps(1e-9),
    _mm256_set1_ps(1.0),
    |sum, a, b| _mm256_fmadd_ps(a, b, sum)
);
peak!(
    bf16_avx512,
    "avx512f,avx512bf16",
    WIDE,
    _mm512_setzero_ps(),
    _mm512_cvtne2ps_pbh(_mm512_set1_ps(1e-9), _mm512_set1_ps(1e-9)),
    _mm512_cvtne2ps_pbh(_mm512_set1_ps(1.0), _mm512_set1_ps(1.0)),
    |sum, a, b| _mm512_dpbf16_ps(sum, a, b)
);
peak!(
    int8_avx512,
    "avx512f,avx512vnni",
    WIDE,
    _mm512_setzero_si512(),
    _mm512_set1_epi8(1),
    _mm512_set1_epi8(1),
    |sum, a, b| _mm512_dpbusd_epi32(sum, a, b)
);
peak!(
    int8_avxvnni,
    "avx2,avxvnni",
    NARROW,
    _mm256_setzero_si256(),
    _mm256_set1_epi8(1),
    _mm256_set1_epi8(1),
    |sum, a, b| _mm256_dpbusd_avx_epi32(sum, a, b)
);
peak!(
    // Of weights and activations that were widened to i16: products of bytes by `vpmaddubsw` saturate. The sum is a factor
    // too, so that no product is the same in two turns and computed once.
    int8_avx2,
    "avx2",
    NARROW,
    _mm256_setzero_si256(),
    _mm256_set1_epi16(1),
    _mm256_set1_epi16(1),
    |sum, _, b| _mm256_add_epi32(sum, _mm256_madd_epi16(sum, b))
);

/// Operations a second (a product and a sum are two) by format, and `bandwidth` in bytes a second, by small pages and by large.
///
/// # Errors
/// The processor lacks AVX2 and FMA.
pub(crate) fn measure(threads: usize) -> Result<Vec<(&'static str, f64)>, String> {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return Err("limits: this processor has no AVX2 and FMA".to_owned());
    }
    let forced = std::env::var("SEQ2SEQ_CPU_ISA").is_ok_and(|isa| isa == "avx2");
    let wide = !forced && is_x86_feature_detected!("avx512f");
    // Operations of an accumulator and turn: two for each 32-bit lane, times the products that a lane sums.
    let f32 = match wide {
        true => rate(threads, 32 * WIDE, f32_avx512),
        false => rate(threads, 16 * NARROW, f32_avx2),
    };
    let mut rows = vec![("f32", f32)];
    if wide && is_x86_feature_detected!("avx512bf16") {
        // On Intel's processors with AMX the instruction has half of the speed of f32, as which bf16 can be multiplied too.
        rows.push(("bf16", rate(threads, 64 * WIDE, bf16_avx512).max(f32)));
    }
    if wide && is_x86_feature_detected!("avx512vnni") {
        rows.push(("int8", rate(threads, 128 * WIDE, int8_avx512)));
    } else if is_x86_feature_detected!("avxvnni") {
        rows.push(("int8", rate(threads, 64 * NARROW, int8_avxvnni)));
    } else {
        rows.push(("int8", rate(threads, 32 * NARROW, int8_avx2)));
    }
    rows.push(("bandwidth", bandwidth(threads, Pages::Small)));
    rows.push(("large_pages", bandwidth(threads, Pages::Large)));
    Ok(rows)
}

/// The best of a few runs: what disturbs a run only makes it slower.
fn rate(threads: usize, operations: usize, chain: unsafe fn()) -> f64 {
    let total = (operations * TURNS * threads) as f64;
    let run = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                // SAFETY: `measure` passes a chain only where its instructions were detected.
                scope.spawn(move || unsafe { chain() });
            }
        });
        total / start.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(|_| run()).fold(0.0, f64::max)
}

/// Under what is read: such as every program's memory has, or large ones, of which the processor remembers the places of more.
#[derive(Clone, Copy)]
enum Pages {
    Small,
    Large,
}

impl Pages {
    /// `count` ones.
    fn ones(self, count: usize) -> Vec<u64> {
        let mut values = Vec::with_capacity(count);
        #[cfg(target_os = "linux")]
        if let Self::Large = self {
            const LARGE: usize = 2 << 20;
            let room = values.spare_capacity_mut().as_mut_ptr_range();
            let start = room.start.addr().next_multiple_of(LARGE);
            let bytes = room.end.addr().saturating_sub(start) / LARGE * LARGE;
            // SAFETY: whole pages within the room, on which nothing but speed depends.
            unsafe {
                libc::madvise(room.start.with_addr(start).cast(), bytes, libc::MADV_HUGEPAGE);
            }
        }
        values.resize(count, 1);
        values
    }
}

/// The best of a few walks over buffers of the threads' own. The threads take the time themselves: a thread that only
/// watched could be woken late on a busy machine and see too short a walk.
fn bandwidth(threads: usize, pages: Pages) -> f64 {
    let gate = Barrier::new(threads);
    let walks = || {
        let buffer = pages.ones(READ / size_of::<u64>());
        let walk = |_| {
            gate.wait();
            let start = Instant::now();
            black_box(sum(&buffer));
            (start, Instant::now())
        };
        (0..REPEATS).map(walk).collect::<Vec<_>>()
    };
    let spans: Vec<Vec<(Instant, Instant)>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(walks)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    let walk = |i: usize| {
        let start = spans.iter().map(|s| s[i].0).min()?;
        let end = spans.iter().map(|s| s[i].1).max()?;
        Some((READ * threads) as f64 / (end - start).as_secs_f64())
    };
    (0..REPEATS).filter_map(walk).fold(0.0, f64::max)
}

/// A sum in lanes of its own, which the compiler makes vectors of. It asks for what comes into the second cache: a core that waits
/// for the first one alone reads up to a third less than there is.
fn sum(values: &[u64]) -> [u64; 32] {
    const AHEAD: usize = 6144;
    let mut lanes = [0u64; 32];
    for chunk in values.chunks_exact(32) {
        for line in chunk.chunks_exact(8) {
            let ahead = line.as_ptr().cast::<i8>().wrapping_add(AHEAD);
            // SAFETY: a hint, which neither reads memory nor faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(ahead) };
        }
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = lane.wrapping_add(*value);
        }
    }
    lanes
}
