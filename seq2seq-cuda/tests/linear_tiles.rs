//! The kernels of a linear layer give one another's bits: any row of a large product, with every tile size, is that of the
//! row alone, on a GPU of Hopper as on others. The conformance suite, whose products are small, holds the kernels for few rows
//! to the reference.

mod common;

use common::Played;
use common::counting::Counting;
use common::tiles::{Product, Sizes};
use seq2seq_core::{Activation, Backend, Epilogue, Format, HostTensor};
use seq2seq_cuda::{Cuda, CudaOptions};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

/// Enough for the largest tiles, with a rest in each direction.
const SIZES: Sizes = Sizes { rows: 141, input: 300, output: 530 };

/// Rows for the kernels of 1, 4, 8 and 16 rows, and for small tiles.
const PARTS: [Range<usize>; 6] = [0..1, 1..4, 4..11, 11..27, 27..60, 120..SIZES.rows];

fn rows_have_the_same_bits(format: Format, gated: bool) {
    Product::new(SIZES).rows_have_the_same_bits(&common::cuda(), (format, gated), &PARTS);
}

/// Tiles of kernels for rows that are laid out, and of those for up to 8 as they are.
const TILES: [&str; 3] = ["64x64", "64x32", "64x16"];
const FEW: [&str; 3] = ["8x64", "8x32", "8x16"];

/// The tiles are those that are expected to be done first: each number of multiprocessors has others, `tiles` in all for the whole
/// product. What they all give is what another GPU gives: in int8 to the bit, and in bf16 nearly, whose sums are
/// added in another order there.
fn every_tile_of_hopper_gives_the_same_bits(
    sizes: Sizes,
    (format, gated): (Format, bool),
    multiprocessors: &[u32],
    tiles: &[&str],
) {
    let product = Product::new(sizes);
    let spec = product.layer(gated);
    let cuda = common::cuda();
    let other = product.run(&cuda, &cuda.pack(&spec, format).unwrap(), 0..sizes.rows);
    let (mut whole, mut launched) = (None, BTreeSet::new());
    for (seed, &count) in multiprocessors.iter().enumerate() {
        let (cuda, driver) = common::watched_hopper(count, seed as u64);
        let layer = cuda.pack(&spec, format).unwrap();
        let whole = whole.get_or_insert_with(|| match format {
            Format::Int8 => other.clone(),
            _ => product.run(&cuda, &layer, 0..sizes.rows),
        });
        for rows in [0..sizes.rows, 0..1, 27..60, sizes.rows - 21..sizes.rows] {
            product.part_has_the_bits(&cuda, &layer, whole, rows);
        }
        launched.extend(driver.kernels());
    }
    let whole = whole.expect("there are some");
    let far = whole.iter().zip(&other).find(|(w, o)| (*w - *o).abs() > 1e-4 * o.abs().max(1.0));
    assert_eq!((far, whole.len()), (None, other.len()));
    for tile in tiles {
        let kernel = format!("linear_{format}_wgmma_{tile}");
        assert!(launched.contains(&kernel), "{kernel}: {launched:?}");
    }
}

#[test]
fn f32_rows() {
    rows_have_the_same_bits(Format::F32, false);
}

/// Weights of f16 become f32: whichever kernel takes a row, it gives what format f32 gives where weights are f16 numbers.
#[test]
fn f16_rows_are_those_of_f32() {
    let (cuda, product) = (common::cuda(), Product::new(SIZES));
    let mut spec = product.layer(false);
    for part in &mut spec.parts {
        let values = part.weight.to_f32().into_iter().map(|w| half::f16::from_f32(w).to_f32());
        let shape = part.weight.shape().to_vec();
        part.weight = HostTensor::from_f32(shape, &values.collect::<Vec<_>>()).unwrap();
    }
    let [f32, f16] = [Format::F32, Format::F16].map(|format| cuda.pack(&spec, format).unwrap());
    let expected = product.run(&cuda, &f32, 0..SIZES.rows);
    for rows in PARTS.into_iter().chain(std::iter::once(0..SIZES.rows)) {
        product.part_has_the_bits(&cuda, &f16, &expected, rows);
    }
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

#[test]
fn hopper_tiles() {
    for format in [Format::Bf16, Format::Int8] {
        let counts = [6, 10, 27, 51, 132];
        every_tile_of_hopper_gives_the_same_bits(SIZES, (format, false), &counts, &TILES);
    }
}

#[test]
fn hopper_tiles_through_a_gate() {
    for format in [Format::Bf16, Format::Int8] {
        let tiles = ["64x64", "64x16"];
        every_tile_of_hopper_gives_the_same_bits(SIZES, (format, true), &[10, 132], &tiles);
    }
}

/// Those for products that would wait for the second cache by smaller ones: of many columns.
#[test]
fn the_largest_tiles_of_hopper() {
    for (format, input, gated) in [(Format::Bf16, 770, false), (Format::Int8, 1540, true)] {
        let sizes = Sizes { rows: 70, input, output: if gated { 150 } else { 300 } };
        let tiles = ["128x256", "128x128"];
        every_tile_of_hopper_gives_the_same_bits(sizes, (format, gated), &[2, 3], &tiles);
    }
}

/// Up to 8 rows are rounded by the kernel that multiplies them; more by one before it. Slabs are many enough to go round all
/// stages of each.
fn hopper_rows_that_are_rounded_on_their_way(format: Format, input: usize) {
    let product = Product::new(Sizes { rows: 12, input, output: 210 });
    let mut launched = BTreeSet::new();
    // 64, 32 and 16 channels a block; a width that is no multiple of 4 is left to the kernel before.
    for multiprocessors in [4, 7, 132] {
        let (cuda, driver) = common::watched_hopper(multiprocessors, multiprocessors.into());
        let parts = [0..1, 3..6, 4..12, 2..11];
        product.rows_have_the_same_bits(&cuda, (format, false), &parts);
        launched.extend(driver.kernels());
    }
    assert!(FEW.iter().all(|t| launched.contains(&format!("linear_{format}_wgmma_{t}"))));
    let odd = Product::new(Sizes { rows: 9, input: 71, output: 30 });
    odd.rows_have_the_same_bits(&common::hopper(4, 3), (format, true), &[0..1, 2..8]);
}

#[test]
fn hopper_rows_that_are_rounded() {
    hopper_rows_that_are_rounded_on_their_way(Format::Bf16, 1100);
}

#[test]
fn hopper_rows_that_are_quantised() {
    hopper_rows_that_are_rounded_on_their_way(Format::Int8, 1700);
}

/// In bf16 more rows than are read as they are go from layer to layer as operands: a launch less, and the same bits by tiles of
/// every size, those of the last rows too.
#[test]
fn two_layers_pass_operands() {
    let sizes = [(9, 128, 70), (141, 64, 530)];
    let drivers = [6u32, 10, 27, 51, 132].map(|n| Played::new(common::BYTES).hopper(n));
    for driver in drivers.into_iter().chain([Played::new(common::BYTES)]) {
        let driver = Arc::new(Counting::new(driver));
        let cuda = Cuda::with_driver(driver.clone(), CudaOptions::default().keep_memory(false));
        for (gated, (rows, between, output)) in [false, true].into_iter().zip(sizes) {
            let first = Product::new(Sizes { rows, input: 100, output: between });
            let second = Product::new(Sizes { rows, input: between, output });
            let pack = |spec| cuda.pack(&spec, Format::Bf16).unwrap();
            let layers = [pack(first.layer(gated)), pack(second.layer(false))];
            let [x, residual] = [first.x(), second.residual()].map(|t| cuda.upload(t).unwrap());
            let inner = || Epilogue::activation(Activation::GeluTanh);
            let outer = || Epilogue::residual(&residual);
            let (expected, apart) = driver.counts_of(|| {
                let between = cuda.linear(&x, &layers[0], inner()).unwrap();
                cuda.linear(&between, &layers[1], outer()).unwrap()
            });
            let (got, together) = driver.counts_of(|| {
                let [first, second] = &layers;
                cuda.feed_forward(&x, [first, second], [inner(), outer()]).unwrap()
            });
            let [expected, got] = [expected, got].map(|y| cuda.download(&y).unwrap());
            let same = expected.iter().zip(&got).all(|(e, g)| e.to_bits() == g.to_bits());
            assert!(same && expected.len() == got.len(), "{}, {rows} rows", cuda.describe());
            assert_eq!((apart.launches, together.launches), (4, 3));
        }
    }
}
