//! Learning rates against transformers' `get_scheduler`.

use seq2seq_models::train::schedule::{Decay, Schedule};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    name: String,
    warmup: u64,
    steps: u64,
    decay: Decay,
    factors: Vec<f64>,
}

#[test]
fn rates_are_those_of_transformers() {
    let cases: Vec<Case> = super::fixture("schedules/factors.json");
    assert!(cases.len() > 10);
    for Case { name, warmup, steps, decay, factors } in cases {
        let schedule = Schedule { decay, warmup, steps };
        assert_eq!(factors.len() as u64, steps + 1);
        for (done, expected) in (0..).zip(factors) {
            let factor = schedule.factor(done);
            // A handful of f64 operations on numbers up to 1.
            assert!(
                (factor - expected).abs() < 1e-14,
                "{name} {schedule:?} {done}: {factor} {expected}"
            );
        }
    }
}
