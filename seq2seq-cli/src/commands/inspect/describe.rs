//! Plans in words and numbers.

use seq2seq_core::{Cell, NormKind};
use seq2seq_models::plan::{
    Bridge, Ffn, HeadKind, ModelPlan, NormPlace, Position, RecurrentAttention, RecurrentPlan,
    RotaryScaling, StackPlan,
};
use serde::Serialize;

/// What a model gives.
pub(super) fn output(plan: &ModelPlan) -> &'static str {
    match plan.head.kind {
        HeadKind::Hidden => "hidden states",
        HeadKind::Language => "text",
        HeadKind::MaskedLanguage => "tokens for masks",
        HeadKind::Classify => "labels for texts",
        HeadKind::Tag => "labels for tokens",
        HeadKind::Replaced => "which tokens are not the text's own",
        HeadKind::Answer => "answers within a context",
    }
}

/// A stack in a few lines.
pub(super) fn stack(plan: &StackPlan) -> Vec<String> {
    let a = &plan.attention;
    let heads = match a.kv_heads == a.heads {
        true => format!("{} heads of {}", a.heads, a.head_dim),
        false => format!("{} heads of {} over {} key-value heads", a.heads, a.head_dim, a.kv_heads),
    };
    let norm = match plan.norm.kind {
        NormKind::Layer => "LayerNorm",
        NormKind::Rms => "RMSNorm",
    };
    let place = match plan.place {
        NormPlace::Pre => "before",
        NormPlace::Post => "after",
    };
    vec![
        format!(
            "{} layers of width {}, {heads}, vocabulary {}",
            plan.layers, plan.width, plan.embedding.vocab
        ),
        format!(
            "feed-forward {} ({}), {norm} {place} each half",
            plan.feed_forward.width,
            feed_forward(plan.feed_forward.kind)
        ),
        format!("positions: {}", positions(plan)),
    ]
}

/// A stack as fields.
pub(super) fn shape(plan: &StackPlan) -> Shape {
    Shape {
        layers: plan.layers,
        width: plan.width,
        heads: plan.attention.heads,
        kv_heads: plan.attention.kv_heads,
        head_width: plan.attention.head_dim,
        feed_forward: plan.feed_forward.width,
        activation: feed_forward(plan.feed_forward.kind),
        vocabulary: plan.embedding.vocab,
        positions: positions(plan),
        max_positions: plan.max_positions(),
    }
}

/// The shape of a stack.
#[derive(Debug, Serialize)]
pub(super) struct Shape {
    layers: usize,
    width: usize,
    heads: usize,
    kv_heads: usize,
    head_width: usize,
    feed_forward: usize,
    activation: String,
    vocabulary: usize,
    positions: String,
    max_positions: Option<usize>,
}

/// A recurrent encoder and decoder in a few lines each.
pub(super) fn recurrent(plan: &RecurrentPlan) -> [(&'static str, Vec<String>); 2] {
    let RecurrentPlan { layers, width, encoder_width, source_vocab, target_vocab, .. } = plan;
    let cell = cell(plan.cell);
    let directions = if plan.bidirectional { " in each direction" } else { "" };
    let encoder = format!(
        "{layers} {cell} layers of width {encoder_width}{directions}, vocabulary {source_vocab}"
    );
    let decoder = format!("{layers} {cell} layers of width {width}, vocabulary {target_vocab}");
    let bridge = match (plan.latent, plan.bridge) {
        (Some(size), _) => format!("begins with a dense layer of a latent of {size}"),
        (None, Bridge::Copy) => "begins with the encoder's last states".into(),
        (None, Bridge::Dense) => "begins with a dense layer of the encoder's last states".into(),
    };
    let fed = match (plan.attention, plan.input_feeding) {
        (_, false) => "",
        (RecurrentAttention::None, true) if plan.latent.is_some() => ", fed with the latent",
        (RecurrentAttention::None, true) => ", fed with the encoder's last state",
        (RecurrentAttention::Bahdanau { .. }, true) => ", fed with the context",
        (_, true) => ", fed with its last output",
    };
    let attention = format!("attention: {}{fed}", plan.attention.name());
    [("encoder", vec![encoder]), ("decoder", vec![decoder, bridge, attention])]
}

/// A recurrent model as fields.
pub(super) fn recurrent_shape(plan: &RecurrentPlan) -> RecurrentShape {
    RecurrentShape {
        cell: cell(plan.cell),
        layers: plan.layers,
        bidirectional: plan.bidirectional,
        encoder_width: plan.encoder_width,
        width: plan.width,
        embedding: plan.embedding,
        source_vocabulary: plan.source_vocab,
        target_vocabulary: plan.target_vocab,
        attention: plan.attention.name(),
        input_feeding: plan.input_feeding,
        latent: plan.latent,
    }
}

/// The shape of a recurrent model.
#[derive(Debug, Serialize)]
pub(super) struct RecurrentShape {
    cell: &'static str,
    layers: usize,
    bidirectional: bool,
    encoder_width: usize,
    width: usize,
    embedding: usize,
    source_vocabulary: usize,
    target_vocabulary: usize,
    attention: &'static str,
    input_feeding: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    latent: Option<usize>,
}

fn cell(cell: Cell) -> &'static str {
    match cell {
        Cell::Lstm => "LSTM",
        Cell::Gru => "GRU",
    }
}

fn feed_forward(kind: Ffn) -> String {
    match kind {
        Ffn::Plain(activation) => format!("{activation:?}").to_lowercase(),
        Ffn::Gated(activation) => format!("gated {activation:?}").to_lowercase(),
    }
}

/// How a row learns where it stands, of all that tells it.
fn positions(plan: &StackPlan) -> String {
    let position = match &plan.embedding.position {
        Position::None => None,
        Position::Learned { rows, offset, .. } => {
            Some(format!("learned, {}", rows.saturating_sub(*offset)))
        }
        Position::Sinusoidal { rows, .. } => Some(format!("sinusoidal, {rows}")),
        Position::Rotary(plan) => {
            let scaling = match plan.scaling {
                RotaryScaling::None => "",
                RotaryScaling::Linear { .. } => ", stretched linearly",
                RotaryScaling::Llama3 { .. } => ", stretched as in LLaMA 3",
                RotaryScaling::Yarn { .. } => ", stretched by YaRN",
            };
            Some(format!("rotary, base {}{scaling}", plan.theta))
        }
    };
    let bias = plan.attention.relative_bias;
    let bias =
        bias.map(|b| format!("{} buckets up to a distance of {}", b.buckets, b.max_distance));
    let window = plan.attention.window.map(|w| format!("within a window of {w}"));
    let told: Vec<_> = [position, bias, window].into_iter().flatten().collect();
    if told.is_empty() { "none".into() } else { told.join("; ") }
}

/// 1234567 as 1,234,567.
pub(super) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use seq2seq_models::inspect::byte_size;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        let sizes = [1_250, 1_550_000, 2_345_000_000].map(byte_size);
        assert_eq!(sizes, ["1.2 kB", "1.6 MB", "2.35 GB"]);
    }
}
