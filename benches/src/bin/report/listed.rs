//! The cases of the targets in numbers, for programs that do the same work with something else.

use seq2seq_benches::{
    bench::Bench,
    lstm::Lstm,
    targets::{AttentionCase, Back, Forward, Halves, HalvesCase, Product, Size, lstms},
    work::Counted,
};
use seq2seq_core::{
    Activation,
    conformance::{Timed, linear},
};
use serde_json::{Value, json};

/// Small where a processor takes part.
pub(crate) fn size(processor: bool) -> Size {
    if processor { Size::REHEARSAL } else { Size::GPU }
}

/// Each case with its operation, its name, and the least number of operations and bytes that it needs.
pub(crate) fn cases(processor: bool) -> impl Iterator<Item = Value> {
    let size = size(processor);
    let products = Product::cases(&size);
    let products = products.into_iter().map(|(name, case)| {
        with::<Product>(
            &name,
            &case,
            json!({ "plain": Product::is_plain(&case), "layer": layer(&case) }),
        )
    });
    let halves = HalvesCase::all(&size).into_iter().map(|(name, case)| {
        let layers = json!({ "inner": layer(&case.inner), "outer": layer(&case.outer) });
        with::<Halves>(&name, &case, layers)
    });
    let attentions = AttentionCase::all(&size).into_iter().flat_map(|(name, case)| {
        let AttentionCase { lengths, heads, head_dim } = &case;
        let sizes = json!({ "lengths": lengths, "heads": heads, "head_dim": head_dim });
        [with::<Forward>(&name, &case, sizes.clone()), with::<Back>(&name, &case, sizes)]
    });
    let lstms = lstms(&size).into_iter().map(|(name, case)| {
        let mut listed = json!({
            "layers": case.layers, "width": case.width, "sequences": case.sequences, "length": case.length,
            "format": case.format.to_string(),
        });
        named(&mut listed, <Lstm as Timed>::NAME, &name, <Lstm as Counted>::work(&case));
        listed
    });
    products.chain(halves).chain(attentions).chain(lstms)
}

fn with<O: Bench>(name: &str, case: &O::Case, mut listed: Value) -> Value {
    named(&mut listed, O::NAME, name, O::work(case));
    listed
}

fn named(listed: &mut Value, op: &str, case: &str, work: seq2seq_benches::work::Work) {
    listed["op"] = op.into();
    listed["case"] = case.into();
    listed["operations"] = work.operations.into();
    listed["bytes"] = work.bytes.into();
}

fn layer(case: &linear::Case) -> Value {
    let activation = case.activation.map(|activation| match activation {
        Activation::Relu => "relu",
        Activation::Gelu => "gelu",
        Activation::Silu => "silu",
        // No layer of the targets has another.
        _ => "another",
    });
    json!({
        "rows": case.rows, "input": case.input, "parts": case.parts, "gated": case.gated, "bias": case.bias,
        "activation": activation, "residual": case.residual,
    })
}
