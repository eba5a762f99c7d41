//! The least that a case asks of a machine: operations of arithmetic, and bytes that go to or come from memory.
//!
//! From it follows the **limit** of a case, the time that no kernel can beat (the roofline of Williams, Waterman and Patterson
//! 2009):
//!
//! ```text
//! limit, seconds = max(operations / peak, bytes / bandwidth)        share = limit / time
//! ```
//!
//! Peak (operations a second in the format of the case) and bandwidth (bytes a second from memory) are measured
//! ([`limits`](crate::limits)).
//!
//! **Operations.** A product and a sum are two; a comparison, a division, exp, tanh, log and σ are one each, though they take
//! more. Work that another algorithm could leave out is not counted.
//!
//! **Bytes.** Everything that a call is given is read once, and what it gives is written once; activations are f32. Between two
//! calls small operands stay in the caches, which are faster than memory: a share can then exceed 100 %.

use crate::limits::Limits;
use seq2seq_core::conformance::{
    Timed, additive, attention, cache, cross, embed, linear, norm, pool, recurrent, sample,
    sample_k, top_k, windows,
};
use seq2seq_core::{Cell, Format, NormKind, Precision};

/// Bytes of an activation.
pub(crate) const F32: usize = 4;
/// Operations of a softmax on each score: the maximum, the difference, exp, the sum. The division is one a row, or a column.
pub(crate) const SOFTMAX: usize = 4;

/// What a case asks at least.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Of arithmetic.
    pub operations: usize,
    /// Read and written.
    pub bytes: usize,
    /// What is multiplied.
    pub format: Format,
}

impl Work {
    /// Attention, which holds `held` values beside the others.
    pub(crate) fn attention(
        precision: Precision,
        operations: usize,
        values: usize,
        held: usize,
    ) -> Self {
        let format = match precision {
            Precision::F32 => Format::F32,
            Precision::Bf16 => Format::Bf16,
        };
        Self { operations, bytes: F32 * values + format.bytes(1, held), format }
    }

    /// Of f32 throughout: `values` are read and written.
    pub(crate) fn f32(operations: usize, values: usize) -> Self {
        Self { operations, bytes: F32 * values, format: Format::F32 }
    }

    /// The seconds that no kernel can beat.
    pub fn seconds(&self, limits: &Limits) -> f64 {
        let computing = self.operations as f64 / limits.peak(self.format);
        computing.max(self.bytes as f64 / limits.bandwidth())
    }
}

/// An operation whose least work is known.
pub trait Counted: Timed {
    /// Of one call.
    fn work(case: &Self::Case) -> Work;
}

/// Each table beyond the first adds a sum, each scale a product. Of the tables only the rows that are looked up are read.
impl Counted for embed::Embed {
    fn work(case: &embed::Case) -> Work {
        let elements = case.rows * case.width;
        let scaled = case.tables.iter().filter(|table| table.scale != 1.0).count();
        let read: usize = case.tables.iter().map(|table| elements * table.dtype.size()).sum();
        let ids = 4 * case.rows * case.tables.len();
        let operations = elements * (case.tables.len().saturating_sub(1) + scaled);
        Work { operations, bytes: read + ids + F32 * elements, format: Format::F32 }
    }
}

/// 2 · N · in · out for the product, and one for each step of the epilogue on each result. The weight is read in its format.
impl Counted for linear::Linear {
    fn work(case: &linear::Case) -> Work {
        let product: usize = case.parts.iter().sum();
        let output = if case.gated { product / 2 } else { product };
        let [bias, activation, gated, residual] =
            [case.bias, case.activation.is_some(), case.gated, case.residual].map(usize::from);
        let epilogue = bias * product + (activation + gated + residual) * output;
        let rows = case.input + output * (1 + residual);
        let weights = case.format.bytes(product, case.input) + F32 * bias * product;
        Work {
            operations: case.rows * (2 * case.input * product + epilogue),
            bytes: weights + F32 * case.rows * rows,
            format: case.format,
        }
    }
}

/// An element of LayerNorm: the sum for the mean, the difference, its square and their sum, the product with 1/σ, weight and
/// bias. RMSNorm leaves out the first two, and here the bias.
impl Counted for norm::Norm {
    fn work(case: &norm::Case) -> Work {
        let bias = usize::from(case.bias && case.kind == NormKind::Layer);
        let each = match case.kind {
            NormKind::Layer => 6 + bias,
            NormKind::Rms => 4,
        };
        let elements = case.rows * case.runs * case.width;
        Work::f32(each * elements, 2 * elements + (1 + bias) * case.width)
    }
}

/// A score and its share of the result are 4 · D operations, its softmax and its bias some more.
fn attention(scores: usize, case: &attention::Case) -> usize {
    let bias = usize::from(case.buckets.is_some());
    scores * case.heads * (4 * case.head_dim + SOFTMAX + bias)
}

/// Every query with every key of its sequence, or with those up to its own.
impl Counted for attention::Attend {
    fn work(case: &attention::Case) -> Work {
        let scores = |&n: &usize| if case.causal { n * (n + 1) / 2 } else { n * n };
        let rows: usize = case.lengths.iter().sum();
        let spec = case.spec();
        let scores = case.lengths.iter().map(scores).sum();
        let values = rows * (spec.qkv_width() + spec.inner());
        Work::attention(case.precision, attention(scores, case), values, 0)
    }
}

/// One query with the whole context, which grows while it is timed: its mean length counts. The new key and value are stored,
/// all keys and values read.
impl Counted for cache::Step {
    fn work(case: &attention::Case) -> Work {
        let grown = cache::Step::passes(case).div_ceil(2);
        let context: usize = case.lengths.iter().map(|n| n + grown).sum();
        let (spec, rows) = (case.spec(), case.lengths.len());
        let held = 2 * spec.kv_width() * (context + rows);
        let values = rows * (spec.qkv_width() + spec.inner());
        Work::attention(case.precision, attention(context, case), values, held)
    }
}

/// Rows times positions of their sources, and the positions of all sources that somebody attends to.
fn groups(groups: &seq2seq_core::conformance::groups::Groups) -> [usize; 2] {
    let sources = groups.sources();
    let scores = groups.rows.iter().zip(&sources).map(|(rows, &s)| rows * groups.lengths[s]).sum();
    let used = |source: &usize| sources.contains(source);
    let read = (0..groups.lengths.len()).filter(used).map(|source| groups.lengths[source]).sum();
    [scores, read]
}

/// Every query with every key of its source. The memory of a source is read once, however many attend to it.
impl Counted for cross::CrossAttend {
    fn work(case: &cross::Case) -> Work {
        let ([scores, read], spec) = (groups(&case.groups), case.spec());
        let rows: usize = case.groups.rows.iter().sum();
        let operations = scores * case.heads * (4 * case.head_dim + SOFTMAX);
        let held = 2 * spec.kv_width() * read;
        Work::attention(case.precision, operations, 2 * rows * spec.inner(), held)
    }
}

/// Every gate is a product with the state, 2 · M a column, and a sum with the input. Then, a column: in an LSTM 3 σ, 2 tanh, 3
/// products and a sum; in a GRU 2 σ, tanh, 3 products, a sum and a difference. The weights are read once, though each position
/// needs all of them again.
impl Counted for recurrent::Recur {
    fn work(case: &recurrent::Case) -> Work {
        let (gates, rows) = (case.cell.gates(), case.lengths.iter().sum::<usize>());
        let cell = match case.cell {
            Cell::Lstm => 9,
            Cell::Gru => 8,
        };
        let bias = usize::from(case.bias);
        let columns = case.directions * case.width;
        let each = gates * (2 * case.width + 1 + bias) + cell;
        let states = case.lengths.len() * case.cell.vectors() * (1 + usize::from(case.state));
        let values = rows * (gates + 1) + states + bias * gates;
        let weights = case.directions * case.format.bytes(gates * case.width, case.width);
        Work {
            operations: rows * columns * each,
            bytes: weights + F32 * columns * values,
            format: case.format,
        }
    }
}

/// A score is a sum, tanh, a product and a sum for each of the A columns; its share of the result 2 · M. Keys and values of a
/// source are read once.
impl Counted for additive::AdditiveAttend {
    fn work(case: &additive::Case) -> Work {
        let [scores, read] = groups(&case.groups);
        let rows: usize = case.groups.rows.iter().sum();
        let both = case.keys + case.width;
        Work::f32(
            scores * (4 * case.keys + SOFTMAX + 2 * case.width),
            read * both + rows * both + case.keys,
        )
    }
}

/// A sum an element.
impl Counted for pool::Pooling {
    fn work(case: &pool::Case) -> Work {
        let rows: usize = case.lengths.iter().sum();
        Work::f32(rows * case.width, (rows + case.lengths.len()) * case.width)
    }
}

/// A copy.
impl Counted for windows::Seen {
    fn work(case: &windows::Case) -> Work {
        let seen = case.rows() * case.windows.taps();
        Work::f32(0, (case.positions() + seen) * case.channels)
    }
}

/// A log-softmax, and a comparison with the worst of the best so far.
impl Counted for top_k::Choose {
    fn work(case: &top_k::Case) -> Work {
        Work::f32(case.rows * case.vocab * (SOFTMAX + 1), case.rows * case.vocab)
    }
}

/// The temperature, a softmax, and the sum that passes the uniform number.
impl Counted for sample::Draw {
    fn work(case: &sample::Case) -> Work {
        Work::f32(case.rows * case.vocab * (SOFTMAX + 2), case.rows * case.vocab)
    }
}

/// The temperature, a log-softmax, the noise (two logarithms) and its sum, a comparison.
impl Counted for sample_k::DrawK {
    fn work(case: &sample_k::Case) -> Work {
        Work::f32(case.rows * case.vocab * (SOFTMAX + 5), case.rows * case.vocab)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seq2seq_core::conformance::groups::Groups;

    #[test]
    fn a_product_is_bound_by_its_weights_or_by_its_operations() {
        let limits = Limits::new(vec![("f32", 1e11), ("int8", 4e11), ("bandwidth", 1e10)]);
        let case = |rows| linear::Case { bias: false, ..linear::Case::plain(rows, 1000, 2000) };
        let one = <linear::Linear as Counted>::work(&case(1));
        assert_eq!((one.operations, one.bytes), (4_000_000, 4 * (2_000_000 + 3000)));
        assert_eq!(one.seconds(&limits), 4.0 * 2_003_000.0 / 1e10);
        let many = <linear::Linear as Counted>::work(&case(1000));
        assert_eq!(many.seconds(&limits), 4e9 / 1e11);
        // int4 is multiplied as int8; f16 as f32, and so is bf16, which there is not.
        let peaks = Format::ALL.map(|format| limits.peak(format));
        assert_eq!(peaks, [1e11, 1e11, 1e11, 4e11, 4e11]);
    }

    #[test]
    fn attention_counts_pairs() {
        let case = attention::Case::plain(vec![3, 2], 2, 1);
        let whole = <attention::Attend as Counted>::work(&case);
        assert_eq!(whole.operations, (9 + 4) * 2 * (4 * 64 + 4));
        assert_eq!(whole.bytes, 4 * 5 * (4 * 64 + 2 * 64));
        let bf16 = attention::Case { precision: Precision::Bf16, ..case.clone() };
        let step = |case: &attention::Case| <cache::Step as Counted>::work(case);
        let held = 2 * 64 * (3 + 1 + 2 + 1 + 2);
        assert_eq!(step(&case).bytes - step(&bf16).bytes, 2 * held);
        let causal = attention::Case { causal: true, ..case };
        let causal = <attention::Attend as Counted>::work(&causal);
        assert_eq!(causal.operations, (6 + 3) * 2 * (4 * 64 + 4));
    }

    #[test]
    fn a_source_is_read_once() {
        // Groups 0 and 2 attend to source 0, group 1 to source 1.
        let three = Groups { lengths: vec![10, 20], rows: vec![1, 2, 3] };
        assert_eq!(groups(&three), [10 + 2 * 20 + 3 * 10, 30]);
        let one = Groups { lengths: vec![10, 20], rows: vec![4] };
        assert_eq!(groups(&one), [40, 10]);
    }
}
