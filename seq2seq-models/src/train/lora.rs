//! Low-rank adapters of linear layers (Hu et al. 2021, LoRA): W + alpha / rank · B A in place of W, of which A and B are
//! trained and little has to be saved.
//!
//! `learner.rs` puts them on a model, `files.rs` writes and reads them as peft does.

mod files;
mod learner;

use crate::{
    Error, Result,
    checkpoint::{Matrix, NameTable, TakenLinear, kinds},
    pattern::matches,
    peft::transposed,
    plan::{HeadKind, ModelPlan},
    train::random::{Draws, Purpose},
};
pub(super) use files::FOLDER;
use files::{load, rendered};
use seq2seq_core::{HostTensor, autodiff::LowRank};
use serde::{Deserialize, Serialize};

/// Which layers get adapters, and of what kind.
///
/// ```
/// use seq2seq_models::{
///     Forward, Learner, LoadOptions, Model,
///     seq2seq_core::{autodiff::Optimiser, train::AdamW},
///     train::{Batch, LoraOptions, PassOptions},
/// };
///
/// # let (folder, work) = ("../fixtures/gpt2", tempfile::tempdir()?);
/// # let adapter = work.path().join("adapter");
/// let mut learner = Learner::load(folder, &LoadOptions::default())?;
/// let targets = vec!["decoder.layers.*.attention.*".into(), "decoder.layers.*.ffn.*".into()];
/// learner.add_lora(&LoraOptions { rank: 4, alpha: 8.0, targets, ..LoraOptions::default() })?;
/// // Nothing else is trained.
/// assert!(learner.parameters().iter().all(|p| p.frozen != p.name.contains(".lora_")));
///
/// let input = Forward { input_ids: vec![vec![4, 5, 6]], ..Forward::default() };
/// let batch = Batch { input, targets: vec![Some(5), Some(6), Some(60)] };
/// for step in 1..=4 {
///     learner.learn(&batch, &PassOptions::default())?;
///     learner.step(&Optimiser::AdamW(AdamW { rate: 1e-2, step, ..AdamW::default() }))?;
/// }
/// learner.save_lora(&adapter, folder)?;
///
/// // Whoever serves it adds it to the same model.
/// let options = LoadOptions { adapter: Some(adapter), ..LoadOptions::default() };
/// let served = Model::load(folder, &options)?.forward(&batch.input)?;
/// let trained = learner.forward(&batch.input)?;
/// let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
/// assert!(served[0].values.iter().zip(&trained[0].values).all(near));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraOptions {
    /// r: rows of A and columns of B.
    pub rank: usize,
    /// B A is multiplied by alpha / rank.
    pub alpha: f32,
    /// Paths of linear layers, such as `decoder.layers.*.attention.query`, as
    /// [`ModuleFormat`](crate::ModuleFormat) has them; `*` stands for any run of characters.
    pub targets: Vec<String>,
    /// The rate at which elements of what A is multiplied with are dropped in training; what the model's own weights are
    /// multiplied with stays.
    pub dropout: f32,
    /// What the random A hangs on.
    pub seed: u64,
}

impl Default for LoraOptions {
    /// Rank 8 and alpha 16 on every layer of the encoder and the decoder.
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: vec!["*coder.*".into()], dropout: 0.0, seed: 0 }
    }
}

/// A matrix that adapters can be for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layer {
    /// Our path.
    pub(super) module: String,
    /// The name of its tensor, and of its parameter.
    pub(super) weight: String,
    /// What the module is called in transformers.
    pub(super) name: String,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Whether the tensor is `[in, out]`.
    pub(super) transposed: bool,
}

/// The adapters of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lora {
    pub(super) rank: usize,
    pub(super) alpha: f32,
    pub(super) dropout: f32,
    pub(super) layers: Vec<Layer>,
}

impl Layer {
    /// The matrices of all linear layers, those that recurrent layers multiply their state with among them.
    pub(super) fn all(linears: &[TakenLinear], plan: &ModelPlan) -> Vec<Self> {
        let names = plan.family.names();
        let bare = plan.head.kind == HeadKind::Hidden;
        let of = |linear: &TakenLinear| {
            let transposed = linear.transposed;
            let layer = |m: &Matrix| Self {
                name: name(names, &m.module, &m.weight, bare),
                module: m.module.clone(),
                weight: m.weight.clone(),
                outputs: m.outputs,
                inputs: m.inputs,
                transposed,
            };
            linear.parts.iter().map(layer).collect::<Vec<_>>()
        };
        linears.iter().flat_map(of).collect()
    }

    /// The names of the parameters: L and R of [`LowRank`]. They are B and A, or A and B transposed where the tensor is.
    pub(super) fn parameters(&self) -> [String; 2] {
        let [a, b] = ["A", "B"].map(|factor| format!("{}.lora_{factor}.weight", self.name));
        if self.transposed { [a, b] } else { [b, a] }
    }

    /// The change that A, `[rank, inputs]`, and B, `[outputs, rank]`, make.
    pub(super) fn change(&self, lora: &Lora, a: &[f32], b: &[f32]) -> Result<LowRank> {
        let (rank, scale, dropout) = (lora.rank, lora.scale(), lora.dropout);
        let [left, right] = self.parameters();
        let host = |shape: [usize; 2], values: &[f32], name: String| {
            Ok::<_, Error>(HostTensor::from_f32(shape.to_vec(), values)?.named(name.as_str()))
        };
        let (outputs, inputs) = (self.outputs, self.inputs);
        let (left, right) = match self.transposed {
            false => (host([outputs, rank], b, left)?, host([rank, inputs], a, right)?),
            true => (
                host([inputs, rank], &transposed(a, rank), left)?,
                host([rank, outputs], &transposed(b, outputs), right)?,
            ),
        };
        Ok(LowRank { left, right, scale, dropout })
    }

    /// A and B of what [`parameters`](Self::parameters) hold.
    pub(super) fn factors(&self, rank: usize, left: Vec<f32>, right: Vec<f32>) -> [Vec<f32>; 2] {
        match self.transposed {
            false => [right, left],
            true => [transposed(&left, self.inputs), transposed(&right, rank)],
        }
    }

    /// A anew, uniform in ±1 / √inputs (peft takes PyTorch's `kaiming_uniform_` with a = √5), and B of zeros, so that
    /// nothing changes at first.
    fn initial(&self, rank: usize, seed: u64, number: usize) -> [Vec<f32>; 2] {
        let mut draws = Draws::new(seed, Purpose::Adapters, 0, number as u64);
        let bound = 1.0 / (self.inputs as f64).sqrt();
        let a = (0..rank * self.inputs).map(|_| ((2.0 * draws.unit() - 1.0) * bound) as f32);
        [a.collect(), vec![0.0; self.outputs * rank]]
    }
}

impl Lora {
    /// The adapters that `options` ask for, and what each begins with.
    pub(super) fn new(layers: Vec<Layer>, options: &LoraOptions) -> Result<(Self, Vec<LowRank>)> {
        let LoraOptions { rank, alpha, targets, dropout, seed } = options;
        if *rank == 0 || !alpha.is_finite() {
            let reason =
                format!("LoRA of rank {rank} with alpha {alpha}: the rank must be 1 or more");
            return Err(Error::Input(reason));
        }
        if !(0.0..1.0).contains(dropout) {
            let reason = format!("LoRA with a dropout of {dropout}; it is from 0 to below 1");
            return Err(Error::Input(reason));
        }
        let unmatched = |t: &&String| !layers.iter().any(|l| matches(t, &l.module));
        if let Some(target) = targets.iter().find(unmatched) {
            let there = kinds(layers.iter().map(|l| l.module.clone()));
            let reason =
                format!("LoRA target '{target}' matches no linear layer; there are {there}");
            return Err(Error::Input(reason));
        }
        let chosen: Vec<Layer> =
            layers.into_iter().filter(|l| targets.iter().any(|t| matches(t, &l.module))).collect();
        if chosen.is_empty() {
            return Err(Error::input("LoRA without targets; name some, such as *.attention.*"));
        }
        check_dropout(&chosen, *dropout)?;
        let lora = Self { rank: *rank, alpha: *alpha, dropout: *dropout, layers: chosen };
        let change = |(i, layer): (usize, &Layer)| {
            let [a, b] = layer.initial(*rank, *seed, i);
            layer.change(&lora, &a, &b)
        };
        let changes = lora.layers.iter().enumerate().map(change).collect::<Result<_>>()?;
        Ok((lora, changes))
    }

    pub(super) fn scale(&self) -> f32 {
        self.alpha / self.rank as f32
    }
}

/// The state of a recurrent layer goes from step to step within one operation, which multiplies it with the sum of weight and
/// adapter; what an adapter alone reads of it cannot be dropped there.
pub(super) fn check_dropout(layers: &[Layer], dropout: f32) -> Result<()> {
    match layers.iter().find(|l| dropout > 0.0 && l.module.ends_with(".hidden")) {
        None => Ok(()),
        Some(layer) => Err(Error::Input(format!(
            "LoRA with a dropout of {dropout} on '{}': a recurrent layer multiplies its state within one operation, in which \
             nothing is dropped; give a dropout of 0, or targets such as *.input",
            layer.module
        ))),
    }
}

/// What transformers calls the module of a tensor: the name in the file, with the prefix that a model with a head has and a
/// bare one has not, and for a head, which may be tied to a table, that of the head.
fn name(names: &NameTable, module: &str, weight: &str, bare: bool) -> String {
    let prefix = names.prefixes.first().copied().unwrap_or_default();
    let stem = |tensor: &str| tensor.strip_suffix(".weight").unwrap_or(tensor).to_owned();
    if module.starts_with("head.") {
        let candidates = names.candidates(&format!("{module}.weight"));
        let own = candidates.iter().find(|c| prefix.is_empty() || !c.starts_with(prefix));
        return stem(own.map_or(weight, String::as_str));
    }
    let without = weight.strip_prefix(prefix).unwrap_or(weight);
    if bare { stem(without) } else { stem(&format!("{prefix}{without}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(transposed: bool) -> Layer {
        Layer {
            module: "decoder.layers.0.ffn.in".into(),
            weight: "h.0.mlp.c_fc.weight".into(),
            name: "transformer.h.0.mlp.c_fc".into(),
            outputs: 3,
            inputs: 2,
            transposed,
        }
    }

    #[test]
    fn factors_come_back_as_they_went() {
        let (a, b) = (vec![1., 2., 3., 4.], vec![5., 6., 7., 8., 9., 10.]);
        for transposed in [false, true] {
            let layer = layer(transposed);
            let lora = Lora { rank: 2, alpha: 1.0, dropout: 0.25, layers: Vec::new() };
            let LowRank { left, right, scale, dropout } = layer.change(&lora, &a, &b).unwrap();
            assert_eq!((scale, dropout), (0.5, 0.25));
            // Σ L R is B A, or its transpose.
            let (l, r) = (left.to_f32(), right.to_f32());
            let columns = right.shape()[1];
            assert_eq!(l[0] * r[0] + l[1] * r[columns], 5. * 1. + 6. * 3.);
            assert_eq!(
                l[0] * r[1] + l[1] * r[columns + 1],
                match transposed {
                    false => 5. * 2. + 6. * 4.,
                    true => 7. * 1. + 8. * 3.,
                }
            );
            assert_eq!(layer.factors(2, l, r), [a.clone(), b.clone()]);
        }
    }

    #[test]
    fn modules_are_called_as_in_transformers() {
        let names = crate::families::Family::Gpt2.names();
        let of = |module, weight, bare| name(names, module, weight, bare);
        let qkv = "decoder.layers.0.attention.qkv";
        for stored in ["h.0.attn.c_attn.weight", "transformer.h.0.attn.c_attn.weight"] {
            assert_eq!(of(qkv, stored, false), "transformer.h.0.attn.c_attn");
            assert_eq!(of(qkv, stored, true), "h.0.attn.c_attn");
        }
        assert_eq!(of("head.language.out", "transformer.wte.weight", false), "lm_head");
    }

    #[test]
    fn targets_are_patterns_of_our_paths() {
        let options = |targets: &[&str]| LoraOptions {
            targets: targets.iter().map(ToString::to_string).collect(),
            ..LoraOptions::default()
        };
        let of = |targets: &[&str]| Lora::new(vec![layer(false)], &options(targets));
        let (lora, changes) = of(&["*.ffn.*"]).unwrap();
        assert_eq!((lora.layers.len(), lora.scale()), (1, 2.0));
        let a = changes[0].right.to_f32();
        let bound = 1.0 / 2f32.sqrt();
        assert!(a.iter().all(|v| v.abs() <= bound) && a.iter().any(|v| v.abs() > bound / 4.0));
        assert!(changes[0].left.to_f32().iter().all(|&v| v == 0.0));
        let error = of(&["*.ffn.*", "*.query"]).unwrap_err().to_string();
        assert!(
            error.contains("'*.query'") && error.contains("decoder.layers.*.ffn.in"),
            "{error}"
        );
        assert!(of(&[]).is_err());
        let none = LoraOptions { rank: 0, ..LoraOptions::default() };
        assert!(Lora::new(vec![layer(false)], &none).is_err());
        let all = LoraOptions { dropout: 1.0, ..LoraOptions::default() };
        let error = Lora::new(vec![layer(false)], &all).unwrap_err().to_string();
        assert!(error.contains("a dropout of 1"), "{error}");
    }
}
