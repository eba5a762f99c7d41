//! The suite that every backend runs.
//!
//! Two kinds of checks, each a function over any [`SeqBackend`]:
//!
//! - **against the reference**, on generated cases, within the error that the format and the length of the reduction
//!   allow each element ([`tolerance`] has the formulas);
//! - **properties to the bit**: the same row alone and in any batch, a cache and the whole sequence, a reordered cache
//!   and a fresh one, one number of threads and another ([`same_bits`]).
//!
//! A backend's test file is one line; see [`conformance_suite`](crate::conformance_suite). The cases that check are
//! the cases that are timed: see [`Timed`].
//!
//! Each check runs an eighth of `PROPTEST_CASES` cases (256 where unset), the same ones every time unless
//! `PROPTEST_RNG_SEED` is set.
//!
//! # One operation of one's own
//!
//! A backend that inherits all but one operation from another is held to what is said of that one:
//!
//! ```
//! use seq2seq_core::{conformance::{Failure, norm, pool}, inherit, reference::Reference, *};
//!
//! /// Takes the middle row for the mean.
//! #[derive(Clone)]
//! struct Hasty {
//!     inner: Reference,
//! }
//!
//! impl Backend for Hasty {
//!     inherit! { inner: Reference =>
//!         Tensor, Linear, Norm, Embedding,
//!         describe, formats, device_memory, upload, download, pack, linear, embedding, embed, norm_weights, norm, gather_rows,
//!         dropout, step, observe
//!     }
//!
//!     fn pool(&self, x: &Self::Tensor, rows: &Ragged, pool: Pool) -> Result<Self::Tensor> {
//!         backend::check::pool(x, rows)?;
//!         match pool {
//!             Pool::Mean => self.gather_rows(x, &rows.ranges().map(|r| r.start + r.len() / 2).collect::<Vec<_>>()),
//!             other => self.inner.pool(x, rows, other),
//!         }
//!     }
//! }
//!
//! impl EncoderOps for Hasty {
//!     inherit! { inner: Reference => RelativeBias, relative_bias, attend }
//! }
//! # impl DecoderOps for Hasty {
//! #     inherit! { inner: Reference => KvCache, kv_cache, extend, attend_step, reorder, top_k, sample, sample_k, Chosen, choose, chosen }
//! # }
//! # impl CrossAttentionOps for Hasty {
//! #     inherit! { inner: Reference => Memory, memory, cross_attend }
//! # }
//! # impl ConvolutionOps for Hasty {
//! #     inherit! { inner: Reference => windows }
//! # }
//! # impl RecurrentOps for Hasty {
//! #     inherit! { inner: Reference =>
//! #         Recurrent, Additive, AdditiveMemory, recurrent, recur, columns, stack_rows, additive, additive_memory, additive_attend
//! #     }
//! # }
//! // ... and so on
//!
//! let hasty = Hasty { inner: Reference };
//! norm::matches_reference(&hasty)?;
//! pool::is_batch_invariant(&hasty)?;
//! let Err(Failure(reason)) = pool::matches_reference(&hasty) else { panic!("this went unnoticed") };
//! // What is wrong, and the smallest case that shows it.
//! assert!(reason.contains("pool: value 0 is") && reason.contains("minimal failing input"), "{reason}");
//! # Ok::<(), Failure>(())
//! ```

pub mod additive;
pub mod attention;
pub mod cache;
pub mod choose;
pub mod columns;
pub mod cross;
pub mod embed;
pub mod errors;
pub mod feed_forward;
pub mod groups;
pub mod linear;
pub mod norm;
pub mod pool;
mod precision;
pub mod recurrent;
pub mod sample;
pub mod sample_k;
pub mod threads;
pub mod tolerance;
pub mod top_k;
pub mod train;
pub mod values;
pub mod windows;

pub use threads::same_bits;

use crate::{Backend, Format, HostTensor, Result, SeqBackend};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use std::fmt;
use tolerance::Approx;

/// What a check found.
///
/// ```
/// use seq2seq_core::{SeqBackend, conformance::{Outcome, norm, pool}, reference::Reference};
///
/// /// What there is to be said of a backend by those who changed two of its operations.
/// fn both<B: SeqBackend>(backend: &B) -> Outcome {
///     norm::matches_reference(backend)?;
///     pool::matches_reference(backend)
/// }
///
/// // As the result of a `#[test]` it prints what was found.
/// both(&Reference)?;
/// # Ok::<(), seq2seq_core::conformance::Failure>(())
/// ```
pub type Outcome = std::result::Result<(), Failure>;

/// Why a backend does not conform, with the least case that shows it.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, conformance::{Failure, Outcome}, reference::Reference};
///
/// /// A check of one's own, beside those of the suite.
/// fn keeps_minus_zero<B: Backend>(backend: &B) -> Outcome {
///     let x = backend.upload(&HostTensor::from_f32(vec![1, 1], &[-0.0])?)?; // an error is a failure, too
///     match backend.download(&x)?[0].is_sign_negative() {
///         true => Ok(()),
///         false => Err(Failure("-0 came back as 0".into())),
///     }
/// }
///
/// keeps_minus_zero(&Reference)?;
/// let error = seq2seq_core::Error::invalid("upload", "no such device");
/// assert_eq!(Failure::from(error).to_string(), "the backend refused a valid call: upload: no such device");
/// # Ok::<(), Failure>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As [`Display`](fmt::Display): this is what a test that returns an [`Outcome`] prints.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self(format!("the backend refused a valid call: {error}"))
    }
}

/// An operation that is run on cases.
///
/// ```
/// use seq2seq_core::{Result, SeqBackend, conformance::{Op, linear}, reference::Reference};
///
/// /// The largest difference of two backends on one case of whatever operation.
/// fn difference<O: Op>(a: &impl SeqBackend, b: &impl SeqBackend, case: &O::Case) -> Result<f32> {
///     let pairs = O::run(a, case)?.into_iter().zip(O::run(b, case)?);
///     Ok(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
/// }
///
/// let case = linear::Case::plain(4, 64, 32);
/// assert_eq!(difference::<linear::Linear>(&Reference, &Reference, &case)?, 0.0);
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub trait Op {
    /// One call, as plain data.
    type Case: fmt::Debug + Clone + 'static;

    /// Everything that `backend` gives for the case, flattened.
    fn run<B: SeqBackend>(backend: &B, case: &Self::Case) -> Result<Vec<f32>>;
}

/// An operation whose cases are generated.
trait Cases: Op {
    fn cases() -> BoxedStrategy<Self::Case>;

    /// What the layer of a case is packed in, where it has one.
    fn format(case: &Self::Case) -> Option<Format> {
        let _ = case;
        None
    }
}

/// The cases whose formats `backend` has.
fn cases_on<O: Cases>(backend: &impl Backend) -> impl Strategy<Value = O::Case> {
    let formats = backend.formats();
    let has = move |case: &O::Case| O::format(case).is_none_or(|f| formats.contains(&f));
    O::cases().prop_filter("a format that the backend lacks", has)
}

/// An operation that a bench can time, by the same cases.
///
/// ```
/// use seq2seq_core::{Result, SeqBackend, conformance::{Timed, linear::{Case, Linear}}, reference::Reference};
/// use std::time::{Duration, Instant};
///
/// /// The shortest of some calls. What has to be done but once is not timed.
/// fn shortest<O: Timed, B: SeqBackend>(backend: &B, case: &O::Case) -> Result<Duration> {
///     let mut prepared = O::prepare(backend, case)?;
///     let mut shortest = Duration::MAX;
///     for _ in 0..O::calls(case).min(10) {
///         let begin = Instant::now();
///         O::call(backend, &mut prepared)?;
///         shortest = shortest.min(begin.elapsed());
///     }
///     Ok(shortest)
/// }
///
/// let case = Case::plain(2, 16, 16);
/// println!("{} of 2 rows: {:?}", Linear::NAME, shortest::<Linear, _>(&Reference, &case)?);
/// // Shapes of real models come with their names.
/// assert!(Linear::real().iter().any(|(name, _)| name == "bert-base qkv, 16 rows"));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub trait Timed: Op {
    /// The operation, by its method name.
    const NAME: &'static str;

    /// A case on a backend: weights packed, activations uploaded.
    type Prepared<B: SeqBackend>;

    /// What one call gives.
    type Output<B: SeqBackend>;

    /// Shapes of real models, by name.
    fn real() -> Vec<(String, Self::Case)>;

    /// How many calls one preparation bears before it is another case, where a call changes it.
    fn calls(case: &Self::Case) -> usize {
        let _ = case;
        usize::MAX
    }

    /// All that comes before the call.
    fn prepare<B: SeqBackend>(backend: &B, case: &Self::Case) -> Result<Self::Prepared<B>>;

    /// One call of the operation.
    fn call<B: SeqBackend>(
        backend: &B,
        prepared: &mut Self::Prepared<B>,
    ) -> Result<Self::Output<B>>;
}

/// Prepares and calls, for operations that give a tensor.
fn run_timed<B: SeqBackend, O: Timed<Output<B> = B::Tensor>>(
    backend: &B,
    case: &O::Case,
) -> Result<Vec<f32>> {
    backend.download(&O::call(backend, &mut O::prepare(backend, case)?)?)
}

/// Runs `check` on generated cases and shrinks the first that fails.
fn each<C: fmt::Debug>(cases: impl Strategy<Value = C>, check: impl Fn(&C) -> Outcome) -> Outcome {
    let base = Config::default();
    let rng_seed = match base.rng_seed {
        RngSeed::Random => RngSeed::Fixed(0),
        fixed => fixed,
    };
    let config = Config {
        cases: (base.cases / 8).max(1),
        failure_persistence: None,
        max_shrink_iters: 256,
        rng_seed,
        ..base
    };
    TestRunner::new(config)
        .run(&cases, |case| check(&case).map_err(|f| TestCaseError::fail(f.0)))
        .map_err(|e| Failure(e.to_string()))
}

fn fail(message: String) -> Outcome {
    Err(Failure(message))
}

/// `got` has the bits of `expected`. Every NaN equals every other: their payloads depend on the order of operands.
fn bits(what: &str, expected: &[f32], got: &[f32]) -> Outcome {
    if expected.len() != got.len() {
        return fail(format!("{what}: {} values, expected {}", got.len(), expected.len()));
    }
    let same = |(e, g): (&f32, &f32)| e.to_bits() == g.to_bits() || (e.is_nan() && g.is_nan());
    match expected.iter().zip(got).position(|pair| !same(pair)) {
        None => Ok(()),
        Some(i) => fail(format!(
            "{what}: value {i} is {:e}, expected {:e} to the bit",
            got[i], expected[i]
        )),
    }
}

/// Each of `got` lies within its bound.
fn within(what: &str, bounds: &[Approx], got: &[f32]) -> Outcome {
    if bounds.len() != got.len() {
        return fail(format!("{what}: {} values, expected {}", got.len(), bounds.len()));
    }
    match bounds.iter().zip(got).position(|(bound, &g)| !bound.accepts(g)) {
        None => Ok(()),
        Some(i) => {
            let Approx { value, error } = bounds[i];
            fail(format!("{what}: value {i} is {:e}, expected {value:e} within {error:e}", got[i]))
        }
    }
}

/// Rows `rows` of a packed host tensor.
fn rows_of(x: &HostTensor, rows: impl IntoIterator<Item = usize>) -> HostTensor {
    let width = x.shape()[1];
    let all = x.to_f32();
    let picked: Vec<usize> = rows.into_iter().collect();
    let values: Vec<f32> =
        picked.iter().flat_map(|&r| &all[r * width..(r + 1) * width]).copied().collect();
    host(picked.len(), width, &values)
}

/// A packed f32 tensor.
fn host(rows: usize, width: usize, values: &[f32]) -> HostTensor {
    values::tensor(crate::DType::F32, vec![rows, width], values)
}

/// Uploads and downloads: the host's view of an operation on one tensor.
fn on_host<B: Backend>(
    backend: &B,
    x: &HostTensor,
    op: impl FnOnce(&B::Tensor) -> Result<B::Tensor>,
) -> Result<Vec<f32>> {
    backend.download(&op(&backend.upload(x)?)?)
}

/// Lengths of sequences on both sides of the widths that kernels are cut into.
fn length() -> impl Strategy<Value = usize> + Clone {
    prop_oneof![
        2 => Just(0usize),
        3 => Just(1usize),
        6 => 2..=16usize,
        3 => 17..=40usize,
        1 => 64..=80usize,
    ]
}

/// A batch of unequal lengths.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(length(), 0..=5)
}

/// Widths that divide into no lanes, and some that do.
fn width() -> impl Strategy<Value = usize> + Clone {
    const ODD: [usize; 17] = [1, 2, 3, 7, 10, 12, 15, 17, 31, 33, 63, 65, 100, 127, 129, 200, 300];
    const EVEN: [usize; 8] = [8, 16, 32, 48, 64, 96, 128, 256];
    prop_oneof![3 => proptest::sample::select(&ODD[..]), 2 => proptest::sample::select(&EVEN[..])]
}

/// Runs every check of the suite as a `#[test]` of its own.
///
/// ```
/// // tests/conformance.rs of a backend
/// mod reference {
///     seq2seq_core::conformance_suite!(Some(seq2seq_core::reference::Reference));
/// }
/// ```
///
/// The expression gives an `Option` of a [`SeqBackend`] and is evaluated for each test. Tests pass, having said so,
/// where it is `None`: this machine lacks what the backend takes, such as an instruction set.
///
/// A backend that cannot promise all of it takes the checks one by one: `conformance_suite!(each check)` calls a macro `check`
/// for each with its name and its function, and what that macro has a rule for is left out by name. In a test file each function
/// is a test.
///
/// ```
/// use seq2seq_core::{conformance::Outcome, reference::Reference};
///
/// macro_rules! check {
///     (linear_is_batch_invariant: $check:path) => {};
///     ($test:ident: $check:path) => {
///         fn $test() -> Outcome {
///             $check(&Reference)
///         }
///     };
/// }
/// seq2seq_core::conformance_suite!(each check);
/// # let _: [fn() -> Outcome; 2] = [linear_matches_reference, norm_is_batch_invariant];
/// ```
#[macro_export]
macro_rules! conformance_suite {
    (each $callback:ident) => {
        $crate::conformance_suite! { @list [@each $callback] }
    };
    ($backend:expr) => {
        $crate::conformance_suite! { @list [@tests $backend] }
    };
    (@list [$($how:tt)+]) => {
        $crate::conformance_suite! { $($how)+;
            linear_matches_reference: linear::matches_reference,
            linear_int8_sums_are_exact: linear::int8_sums_are_exact,
            linear_int4_sums_are_exact: linear::int4_sums_are_exact,
            linear_f16_gives_the_bits_of_f32: linear::f16_gives_the_bits_of_f32,
            linear_activations_match: linear::activations_match,
            linear_is_batch_invariant: linear::is_batch_invariant,
            linear_propagates_nan: linear::propagates_nan,
            feed_forward_gives_the_bits_of_two_layers: feed_forward::gives_the_bits_of_two_layers,
            norm_matches_reference: norm::matches_reference,
            norm_is_batch_invariant: norm::is_batch_invariant,
            norm_propagates_nan: norm::propagates_nan,
            embed_matches_reference: embed::matches_reference,
            embed_is_batch_invariant: embed::is_batch_invariant,
            upload_is_exact: embed::upload_is_exact,
            pool_matches_reference: pool::matches_reference,
            pool_is_batch_invariant: pool::is_batch_invariant,
            gather_rows_copies: pool::gather_rows_copies,
            attend_matches_reference: attention::matches_reference,
            attend_is_batch_invariant: attention::is_batch_invariant,
            attend_keeps_nan_in_its_sequence: attention::keeps_nan_in_its_sequence,
            cache_gives_the_bits_of_the_whole: cache::gives_the_bits_of_the_whole,
            cache_reorders_as_if_recomputed: cache::reorders_as_if_recomputed,
            cache_follows_what_was_chosen: cache::follows_what_was_chosen,
            cache_is_batch_invariant: cache::is_batch_invariant,
            cache_refuses_without_change: cache::refuses_without_change,
            cross_attend_matches_reference: cross::matches_reference,
            cross_attend_is_batch_invariant: cross::is_batch_invariant,
            cross_attend_weights_sum_to_one: cross::weights_sum_to_one,
            recur_matches_reference: recurrent::matches_reference,
            recur_in_pieces_gives_the_bits_of_the_whole: recurrent::pieces_give_the_bits_of_the_whole,
            recur_f16_gives_the_bits_of_f32: recurrent::f16_gives_the_bits_of_f32,
            recur_runs_directions_apart: recurrent::runs_directions_apart,
            recur_is_batch_invariant: recurrent::is_batch_invariant,
            recur_keeps_nan_in_its_sequence: recurrent::keeps_nan_in_its_sequence,
            additive_attend_matches_reference: additive::matches_reference,
            additive_attend_is_batch_invariant: additive::is_batch_invariant,
            columns_copies: columns::columns_copies,
            stack_rows_copies: columns::stack_rows_copies,
            windows_match_reference: windows::match_reference,
            windows_are_batch_invariant: windows::are_batch_invariant,
            top_k_matches_reference: top_k::matches_reference,
            top_k_is_batch_invariant: top_k::is_batch_invariant,
            top_k_bears_nan: top_k::bears_nan,
            sample_matches_reference: sample::matches_reference,
            sample_is_batch_invariant: sample::is_batch_invariant,
            sample_follows_the_distribution: sample::follows_the_distribution,
            sample_k_matches_reference: sample_k::matches_reference,
            sample_k_is_batch_invariant: sample_k::is_batch_invariant,
            sample_k_bears_rows_without_a_distribution: sample_k::bears_rows_without_a_distribution,
            choose_gives_the_bits_of_top_k_and_sample: choose::gives_the_bits_of_top_k_and_sample,
            choose_goes_on_with_the_best_beams: choose::beams_go_on_with_the_best,
            choose_bears_rows_without_a_distribution: choose::bears_rows_without_a_distribution,
            embed_chosen_gives_the_bits_of_embed: choose::embed_chosen_gives_the_bits_of_embed,
            errors_are_those_of_the_reference: errors::are_those_of_the_reference,
            formats_are_as_said: errors::formats_are_as_said,
            empty_batches_are_allowed: errors::empty_batches_are_allowed,
        }
    };
    (@each $callback:ident; $($test:ident: $module:ident::$check:ident,)+) => {
        $($callback! { $test: $crate::conformance::$module::$check })+
    };
    (@tests $backend:expr; $($test:ident: $module:ident::$check:ident,)+) => {
        $(
            #[test]
            fn $test() -> $crate::conformance::Outcome {
                match $backend {
                    Some(backend) => $crate::conformance::$module::$check(&backend),
                    None => {
                        eprintln!("skipped: this machine lacks what the backend needs");
                        Ok(())
                    }
                }
            }
        )+
    };
}
