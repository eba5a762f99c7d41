//! Linear layers of whole models.

use seq2seq_core::conformance::{Timed, linear};
use seq2seq_core::{Activation, Format};

type Named = (String, linear::Case);

/// Rows: a decode step, a batch or its beams, a short source, a long one.
const ROWS: [usize; 4] = [1, 8, 64, 512];
/// Rows that are given logits.
const STEPS: [usize; 2] = [1, 8];
/// Rows at which one way of reading weights gives way to another: a step, beams, batches, a sentence.
const TURNS: [usize; 5] = [1, 4, 16, 32, 128];

/// The layers of a decoder, or of an encoder and its head.
struct Model {
    name: &'static str,
    width: usize,
    /// Outputs of keys, and of values.
    keys: usize,
    feed_forward: usize,
    gated: bool,
    bias: bool,
    activation: Activation,
    vocabulary: usize,
}

/// Those whose layers are like no other's. BART-base has the layers of BERT-base, but for its vocabulary.
const MODELS: [Model; 6] = [
    base("t5-base", false, Activation::Relu, 32128),
    base("gpt-2", true, Activation::GeluTanh, 50257),
    base("bert-base", true, Activation::Gelu, 30522),
    base("bart-base", true, Activation::Gelu, 50265),
    Model {
        width: 512,
        keys: 512,
        feed_forward: 2048,
        ..base("marian", true, Activation::Silu, 58101)
    },
    Model {
        width: 2048,
        keys: 256,
        feed_forward: 5632,
        gated: true,
        ..base("tinyllama", false, Activation::Silu, 32000)
    },
];

/// As wide as BERT-base.
const fn base(name: &'static str, bias: bool, activation: Activation, vocabulary: usize) -> Model {
    Model {
        name,
        width: 768,
        keys: 768,
        feed_forward: 3072,
        gated: false,
        bias,
        activation,
        vocabulary,
    }
}

fn layer(parts: Vec<usize>, input: usize, bias: bool) -> linear::Case {
    linear::Case { parts, bias, ..linear::Case::plain(1, input, 0) }
}

/// A case with each number of rows.
fn with_rows(name: &str, case: &linear::Case, rows: &[usize]) -> Vec<Named> {
    let with =
        |&rows: &usize| (format!("{name}, {rows} rows"), linear::Case { rows, ..case.clone() });
    rows.iter().map(with).collect()
}

/// Cases in a format, which is a part of their names.
fn in_format(cases: Vec<Named>, format: Format) -> impl Iterator<Item = Named> {
    let in_format =
        move |(name, case)| (format!("{name}, {format}"), linear::Case { format, ..case });
    cases.into_iter().map(in_format)
}

impl Model {
    fn qkv(&self) -> linear::Case {
        layer(vec![self.width, self.keys, self.keys], self.width, self.bias)
    }

    fn output(&self) -> linear::Case {
        linear::Case { residual: true, ..layer(vec![self.width], self.width, self.bias) }
    }

    /// In models with a gate, gate and up in one.
    fn up(&self) -> linear::Case {
        let parts = vec![self.feed_forward; if self.gated { 2 } else { 1 }];
        let layer = layer(parts, self.width, self.bias);
        linear::Case { gated: self.gated, activation: Some(self.activation), ..layer }
    }

    fn down(&self) -> linear::Case {
        linear::Case { residual: true, ..layer(vec![self.width], self.feed_forward, self.bias) }
    }

    fn layers(&self) -> Vec<Named> {
        let up = if self.gated { "gate and up" } else { "up" };
        let wide = [
            ("qkv", self.qkv()),
            ("output", self.output()),
            (up, self.up()),
            ("down", self.down()),
        ];
        let named = |layer: &str| format!("{} {layer}", self.name);
        let wide = wide.iter().flat_map(|(name, case)| with_rows(&named(name), case, &ROWS));
        let logits = layer(vec![self.vocabulary], self.width, false);
        wide.chain(with_rows(&named("vocabulary"), &logits, &STEPS)).collect()
    }
}

/// All layers of the models that the suite has not under the same name; of BART-base the vocabulary.
fn layers() -> Vec<Named> {
    let known: Vec<String> = linear::Linear::real().into_iter().map(|(name, _)| name).collect();
    let new = |(name, _): &Named| {
        !known.contains(name) && (!name.starts_with("bart-base") || name.contains("vocabulary"))
    };
    MODELS.iter().flat_map(Model::layers).filter(new).collect()
}

/// The suite's linear layers in every format, all layers of the models, and products alone.
pub fn linears() -> Vec<Named> {
    let all: Vec<_> = linear::Linear::real().into_iter().chain(layers()).collect();
    let in_format = |format: Format| {
        let cases = all.iter().cloned();
        cases.map(move |(name, case)| (format!("{format}/{name}"), linear::Case { format, ..case }))
    };
    let products = products().into_iter().map(|(name, case)| (format!("f32/{name}"), case));
    Format::ALL.into_iter().flat_map(in_format).chain(products).collect()
}

/// The suite's linear layers, which are of f32, in the formats of two bytes a weight and of one.
pub fn linears_in_fewer_bytes() -> Vec<Named> {
    let formats = [Format::Bf16, Format::F16, Format::Int8];
    formats.into_iter().flat_map(|format| in_format(linear::Linear::real(), format)).collect()
}

/// A few layers in every format of fewer bytes, with 1 to 128 rows: one that widens, one that sums over many columns, and one whose
/// weights no cache holds. They take a processor about a minute.
pub fn some_linears_in_fewer_bytes() -> Vec<Named> {
    let [t5, _, bert, .., tinyllama] = &MODELS;
    let layers = [
        ("bert-base up", bert.up()),
        ("t5-base down", t5.down()),
        ("tinyllama gate and up", tinyllama.up()),
    ];
    let at_turns = |format| {
        let cases = layers.iter().flat_map(|(name, case)| with_rows(name, case, &TURNS));
        in_format(cases.collect(), format)
    };
    let formats = [Format::Bf16, Format::F16, Format::Int8, Format::Int4];
    formats.into_iter().flat_map(at_turns).collect()
}

/// Products in f32 with nothing behind them, which are all that some peers offer.
pub fn products() -> Vec<Named> {
    let shapes = [(768, 768), (768, 3072), (3072, 768), (2048, 11264)];
    let product = |(input, output): (usize, usize)| {
        let case = layer(vec![output], input, false);
        with_rows(&format!("product of {input} to {output}"), &case, &TURNS)
    };
    shapes.into_iter().flat_map(product).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_case_has_its_own_name() {
        for cases in [linears(), linears_in_fewer_bytes(), some_linears_in_fewer_bytes()] {
            let names: BTreeSet<_> = cases.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), cases.len());
        }
    }

    #[test]
    fn models_of_other_shapes_are_there() {
        let cases = linears();
        let case = |name: &str| &cases.iter().find(|(n, _)| n == name).unwrap().1;
        assert_eq!(case("int8/tinyllama qkv, 8 rows").parts, [2048, 256, 256]);
        assert!(case("f32/tinyllama gate and up, 64 rows").gated);
        assert_eq!(case("bf16/marian vocabulary, 8 rows").parts, [58101]);
        assert_eq!(case("int4/bart-base vocabulary, 1 rows").parts, [50265]);
        assert!(cases.iter().all(|(name, _)| !name.contains("bart-base up")));
    }
}
