//! Against transformers' own `generate()`; the logits are equal to the bit, so that only decoding is compared.

use super::case::Case;
use serde_json::Value;

/// Ids equal, scores within 1e-5, for every row of every case; a batch and its rows alone give the same bits.
#[test]
fn agrees_with_transformers() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("expected.json")).unwrap();
    let mut wrong = Vec::new();
    for (i, case) in cases.iter().enumerate() {
        let settings = Value::Object(case.kwargs.clone());
        let got = case.run().unwrap_or_else(|e| panic!("case {i} {settings}: {e}"));
        assert_eq!(got, case.run_alone().unwrap(), "case {i} {settings}: batch and alone differ");
        for (row, (got, expected)) in got.iter().zip(&case.expected).enumerate() {
            let same_ids = got.iter().map(|g| &g.ids).eq(expected.iter().map(|(ids, _)| ids));
            let close = |(g, (_, e)): (&seq2seq_models::Generated, &(Vec<u32>, f32))| {
                (g.score - e).abs() <= 1e-5 * e.abs().max(1.0)
            };
            if !(same_ids && got.iter().zip(expected).all(close)) {
                let got: Vec<_> = got.iter().map(|g| (&g.ids, g.score)).collect();
                wrong.push(format!(
                    "case {i} row {row} {settings}\n  got {got:?}\n  expected {expected:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} rows differ\n{}", wrong.len(), wrong.join("\n"));
}
