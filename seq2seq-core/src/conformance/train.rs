//! The suite of what training adds to a backend; see [`training_suite`](crate::training_suite).
//!
//! Backwards are held to the reference's loops, run over numbers that carry their error ([`Approx`]): the definition and
//! the bound are one text. Gradients begin at a number that is not zero, to be added to.
//!
//! ```
//! use seq2seq_core::{conformance::{Outcome, train}, train::TrainBackend};
//!
//! /// The way back of every operation; [`training_suite!`](seq2seq_core::training_suite) makes a test of each.
//! fn backwards<B: TrainBackend>(backend: &B) -> Outcome {
//!     train::linear::forward_is_linear(backend)?;
//!     train::linear::backward_matches_reference(backend)?;
//!     train::linear::packs_again(backend)?;
//!     train::norm::backward_matches_reference(backend)?;
//!     train::embed::backward_matches_reference(backend)?;
//!     train::embed::rows_and_pools_match_reference(backend)?;
//!     train::attention::backward_matches_reference(backend)?;
//!     train::attention::cross_backward_matches_reference(backend)?;
//!     train::recurrent::forward_is_recur(backend)?;
//!     train::recurrent::backward_matches_reference(backend)?;
//!     train::recurrent::passes_are_summed(backend)?;
//!     train::recurrent::packs_again(backend)?;
//!     train::additive::backward_matches_reference(backend)?;
//!     train::additive::renews(backend)?;
//!     train::columns::backwards_match_reference(backend)?;
//!     train::windows::backward_matches_reference(backend)?;
//!     train::windows::backward_is_batch_invariant(backend)?;
//!     train::errors::are_those_of_the_reference(backend)
//! }
//! ```
//!
//! Losses and steps of optimisers:
//!
//! ```
//! use seq2seq_core::{conformance::train, reference::Reference as MyBackend};
//!
//! let backend = MyBackend;
//! train::loss::matches_reference(&backend)?;
//! train::loss::dropout_matches_reference(&backend)?;
//! train::optimiser::squares_are_summed(&backend)?;
//! train::optimiser::sgd_matches_reference(&backend)?;
//! train::optimiser::adamw_matches_reference(&backend)?;
//! train::optimiser::adafactor_matches_reference(&backend)?;
//! train::muon::matches_reference(&backend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```

pub mod additive;
pub mod attention;
pub mod columns;
pub mod embed;
pub mod errors;
pub mod linear;
pub mod loss;
pub mod muon;
pub mod norm;
pub mod optimiser;
mod real;
pub mod recurrent;
pub mod windows;

use super::tolerance::{Approx, U, gamma};
use super::values::{Profile, values};
use super::{Outcome, host, within};
use crate::Result;
use crate::train::{Dropout, Gradient, TrainBackend};
use proptest::prelude::*;

/// What gradients hold before a check adds to them.
const BEFORE: f32 = 0.5;

/// A gradient of that shape to be added to.
fn begun<B: TrainBackend>(backend: &B, rows: usize, width: usize) -> Result<Gradient<B::Tensor>> {
    backend.upload(&host(rows, width, &vec![BEFORE; rows * width])).map(Some)
}

/// A gradient was added to [`BEFORE`], as one more of `terms` terms in any order, or begun.
fn added<B: TrainBackend>(
    backend: &B,
    what: &str,
    (bounds, terms): (&[Approx], usize),
    got: &Gradient<B::Tensor>,
    begun: bool,
) -> Outcome {
    let Some(got) = got else { return super::fail(format!("{what}: there is none")) };
    let before = if begun { f64::from(BEFORE) } else { 0.0 };
    let bound = |b: &Approx| {
        let error = b.error + gamma(terms + 1) * before + U * b.value.abs();
        Approx::new(b.value + before, error)
    };
    let bounds: Vec<Approx> = bounds.iter().map(bound).collect();
    within(what, &bounds, &backend.download(got)?)
}

/// Normal values, or some that are far apart.
fn gradient_values(seed: u64, n: usize) -> Vec<f32> {
    let profile = if seed.is_multiple_of(4) { Profile::Wide } else { Profile::Normal };
    values(profile, seed, n)
}

/// Now and then, with any rate.
fn dropout() -> impl Strategy<Value = Option<Dropout>> + Clone {
    let rate = proptest::sample::select(&[0.1f32, 0.5, 0.9][..]);
    proptest::option::of(
        (rate, any::<u64>(), 0..100u32, 0..100u32).prop_map(|(rate, seed, step, place)| Dropout {
            rate,
            seed,
            step,
            place,
        }),
    )
}

/// Widths of tensors whose bounds are computed term by term.
fn narrow() -> impl Strategy<Value = usize> + Clone {
    const WIDTHS: [usize; 12] = [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 70];
    proptest::sample::select(&WIDTHS[..])
}

/// Two instances of a backend, such as one with one thread and one with two, give the same bits, also where there is
/// enough work to be divided.
///
/// ```
/// use seq2seq_core::{conformance::{Outcome, train}, train::TrainBackend};
///
/// /// `on` gives the backend with so many threads.
/// fn threads_change_no_gradient<B: TrainBackend>(on: impl Fn(usize) -> B) -> Outcome {
///     train::same_bits(&on(1), &on(2))?;
///     train::same_bits(&on(1), &on(3))
/// }
/// ```
pub fn same_bits(a: &impl TrainBackend, b: &impl TrainBackend) -> Outcome {
    linear::same_bits(a, b)?;
    norm::same_bits(a, b)?;
    embed::same_bits(a, b)?;
    attention::same_bits(a, b)?;
    recurrent::same_bits(a, b)?;
    additive::same_bits(a, b)?;
    loss::same_bits(a, b)?;
    optimiser::same_bits(a, b)?;
    muon::same_bits(a, b)?;
    windows::same_bits(a, b)
}

/// Runs every check of the suite as a `#[test]` of its own, as [`conformance_suite`](crate::conformance_suite) does;
/// the expression gives an `Option` of a [`TrainBackend`]. `training_suite!(each check)` takes them one by one.
///
/// ```
/// // tests/conformance.rs of a backend
/// mod reference {
///     seq2seq_core::training_suite!(Some(seq2seq_core::reference::Reference));
/// }
/// ```
#[macro_export]
macro_rules! training_suite {
    (each $callback:ident) => {
        $crate::training_suite! { @list [@each $callback] }
    };
    ($backend:expr) => {
        $crate::training_suite! { @list [@tests $backend] }
    };
    (@list [$($how:tt)+]) => {
        $crate::training_suite! { $($how)+;
            linear_forward_is_linear: linear::forward_is_linear,
            linear_backward_matches_reference: linear::backward_matches_reference,
            linear_packs_again: linear::packs_again,
            norm_backward_matches_reference: norm::backward_matches_reference,
            embed_backward_matches_reference: embed::backward_matches_reference,
            rows_and_pools_match_reference: embed::rows_and_pools_match_reference,
            attend_backward_matches_reference: attention::backward_matches_reference,
            cross_attend_backward_matches_reference: attention::cross_backward_matches_reference,
            recur_forward_is_recur: recurrent::forward_is_recur,
            recur_backward_matches_reference: recurrent::backward_matches_reference,
            recurrent_passes_are_summed: recurrent::passes_are_summed,
            recurrent_packs_again: recurrent::packs_again,
            additive_attend_backward_matches_reference: additive::backward_matches_reference,
            additive_renews: additive::renews,
            columns_and_rows_back_match_reference: columns::backwards_match_reference,
            windows_backward_matches_reference: windows::backward_matches_reference,
            windows_backward_is_batch_invariant: windows::backward_is_batch_invariant,
            cross_entropy_matches_reference: loss::matches_reference,
            dropout_matches_reference: loss::dropout_matches_reference,
            adamw_matches_reference: optimiser::adamw_matches_reference,
            sgd_matches_reference: optimiser::sgd_matches_reference,
            adafactor_matches_reference: optimiser::adafactor_matches_reference,
            muon_matches_reference: muon::matches_reference,
            squares_are_summed: optimiser::squares_are_summed,
            training_errors_are_those_of_the_reference: errors::are_those_of_the_reference,
        }
    };
    (@each $callback:ident; $($test:ident: $module:ident::$check:ident,)+) => {
        $($callback! { $test: $crate::conformance::train::$module::$check })+
    };
    (@tests $backend:expr; $($test:ident: $module:ident::$check:ident,)+) => {
        $(
            #[test]
            fn $test() -> $crate::conformance::Outcome {
                match $backend {
                    Some(backend) => $crate::conformance::train::$module::$check(&backend),
                    None => {
                        eprintln!("skipped: this machine lacks what the backend needs");
                        Ok(())
                    }
                }
            }
        )+
    };
}
