//! The kernels of a linear layer give one another's bits: any row of a large product, with every tile size, is that of the
//! row alone. The conformance suite, whose products are small, holds the kernels for few rows to the reference.

mod common;

use seq2seq_core::conformance::values::{Profile, values};
use seq2seq_core::{Activation, Backend, Epilogue, Format, HostTensor, LinearPart, LinearSpec};

/// Enough for the largest tiles, with a rest in each direction.
const ROWS: usize = 141;
const INPUT: usize = 300;
const OUTPUT: usize = 530;

fn tensor(seed: u64, rows: usize, width: usize) -> HostTensor {
    HostTensor::from_f32(vec![rows, width], &values(Profile::Normal, seed, rows * width)).unwrap()
}

fn layer(gated: bool) -> LinearSpec {
    let part = |seed| LinearPart {
        weight: tensor(seed, OUTPUT, INPUT),
        bias: Some(
            HostTensor::from_f32(vec![OUTPUT], &values(Profile::Normal, seed + 1, OUTPUT)).unwrap(),
        ),
        transposed: false,
    };
    let parts = if gated { vec![part(1), part(3)] } else { vec![part(1)] };
    LinearSpec { parts, gated, scale: 0.3 }
}

fn rows_have_the_same_bits(format: Format, gated: bool) {
    let cuda = common::cuda();
    let packed = cuda.pack(&layer(gated), format).unwrap();
    let (x, residual) = (tensor(5, ROWS, INPUT), tensor(6, ROWS, OUTPUT));
    let run = |rows: std::ops::Range<usize>| {
        let part = |t: &HostTensor| cuda.upload(&t.slice_rows(rows.clone()).unwrap()).unwrap();
        let (x, residual) = (part(&x), part(&residual));
        let epilogue =
            Epilogue { activation: Some(Activation::Silu), ..Epilogue::residual(&residual) };
        cuda.download(&cuda.linear(&x, &packed, epilogue).unwrap()).unwrap()
    };
    let whole = run(0..ROWS);
    assert!(whole.iter().all(|v| v.is_finite()));
    // The kernels for 1, 4, 8, 16 rows, and small tiles.
    for rows in [0..1, 1..4, 4..11, 11..27, 27..60, 120..ROWS] {
        let expected = &whole[rows.start * OUTPUT..rows.end * OUTPUT];
        let got = run(rows.clone());
        let same = expected.iter().zip(&got).all(|(e, g)| e.to_bits() == g.to_bits());
        assert!(same && expected.len() == got.len(), "{format}, rows {rows:?}");
    }
}

#[test]
fn f32_rows() {
    rows_have_the_same_bits(Format::F32, false);
}

#[test]
fn bf16_rows() {
    rows_have_the_same_bits(Format::Bf16, false);
}

#[test]
fn bf16_rows_through_a_gate() {
    rows_have_the_same_bits(Format::Bf16, true);
}

#[test]
fn int8_rows() {
    rows_have_the_same_bits(Format::Int8, false);
}

#[test]
fn int4_rows() {
    rows_have_the_same_bits(Format::Int4, true);
}
