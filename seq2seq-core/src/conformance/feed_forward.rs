//! Two linear layers in one call, every format.
//!
//! ```
//! use seq2seq_core::{conformance::feed_forward, reference::Reference as MyBackend};
//!
//! feed_forward::gives_the_bits_of_two_layers(&MyBackend)?;
//! # Ok::<(), seq2seq_core::conformance::Failure>(())
//! ```

use super::linear::{Case, Linear};
use super::{Outcome, Timed, bits, cases_on, each, host, width};
use crate::{Format, SeqBackend};
use proptest::prelude::*;

/// [`Backend::feed_forward`](crate::Backend::feed_forward) is two calls of [`Backend::linear`](crate::Backend::linear), to the bit,
/// whatever the formats of the layers, and a row that holds NaN stays by itself in it.
pub fn gives_the_bits_of_two_layers<B: SeqBackend>(backend: &B) -> Outcome {
    let between = prop_oneof![proptest::sample::select(&[64usize, 128, 192][..]), width()];
    let shape = (between, width(), any::<bool>(), any::<bool>());
    each((cases_on::<Linear>(backend), shape), |(case, (between, output, added, bad))| {
        let parts = vec![*between; if case.gated { 2 } else { 1 }];
        let inner = Case { parts, residual: *added && case.residual, ..case.clone() };
        let outer = Case {
            input: *between,
            parts: vec![*output],
            gated: false,
            activation: None,
            format: if *added { case.format } else { Format::F32 },
            seed: case.seed + 100,
            ..case.clone()
        };
        let mut x = inner.x().to_f32();
        if *bad && let Some(value) = x.last_mut() {
            *value = f32::NAN;
        }
        let x = backend.upload(&host(case.rows, case.input, &x))?;
        let mut inner = Linear::prepare(backend, &inner)?;
        inner.x = x;
        let outer = Linear::prepare(backend, &outer)?;
        let expected = backend.linear(&inner.run(backend)?, &outer.layer, outer.epilogue())?;
        let epilogues = [inner.epilogue(), outer.epilogue()];
        let got = backend.feed_forward(&inner.x, [&inner.layer, &outer.layer], epilogues)?;
        bits("feed_forward", &backend.download(&expected)?, &backend.download(&got)?)
    })
}
