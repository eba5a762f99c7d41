//! The same numbers as transformers: whole passes of every fixture.

use crate::support::{Expected, backends, fixtures_with, label};
use seq2seq_models::ForwardOutput;

/// Of the largest magnitude of a result.
const TOLERANCE: f32 = 1e-4;

#[test]
fn forward_matches_transformers() {
    let mut worst = Vec::new();
    for fixture in fixtures_with("forward.safetensors") {
        let (request, expected) = fixture.forward();
        for options in backends() {
            let outputs = fixture.load(&options).forward(&request);
            let outputs = outputs.unwrap_or_else(|e| panic!("{}: {e}", fixture.name));
            for (name, expected) in &expected {
                let found = outputs.iter().find(|o| o.name == name);
                let found = found.unwrap_or_else(|| panic!("{}: no {name}", fixture.name));
                let error = error(found, expected);
                worst.push((error, format!("{} {name} {}", fixture.name, label(&options))));
            }
        }
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("largest error: {:e} in {}", worst[0].0, worst[0].1);
    let wrong: Vec<_> = worst.iter().filter(|(error, _)| *error > TOLERANCE).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The largest difference over the largest magnitude, of the positions that are no padding; padding must be zero in
/// the fixture. Panics where shapes differ.
fn error(found: &ForwardOutput, expected: &Expected) -> f32 {
    let batch = found.rows.len();
    let longest = found.rows.iter().copied().max().unwrap_or(0);
    let mut shape = vec![batch];
    if found.per_position {
        shape.push(longest);
    }
    // A single column may stand alone.
    if found.width != 1 || expected.shape.len() > shape.len() {
        shape.push(found.width);
    }
    assert_eq!(shape, expected.shape, "{}", found.name);
    let mut values = found.values.chunks(found.width);
    let (mut worst, mut largest) = (0f32, 0f32);
    for (i, row) in expected.values.chunks(longest * found.width).enumerate() {
        for (at, want) in row.chunks(found.width).enumerate() {
            if at >= found.rows[i] {
                assert!(want.iter().all(|w| *w == 0.0), "{}: padding is not zero", found.name);
                continue;
            }
            let got = values.next().expect("as many rows as the shape says");
            for (g, w) in got.iter().zip(want) {
                worst = if g.is_finite() { worst.max((g - w).abs()) } else { f32::INFINITY };
                largest = largest.max(w.abs());
            }
        }
    }
    assert!(values.next().is_none());
    worst / largest.max(f32::MIN_POSITIVE)
}
