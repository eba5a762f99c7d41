//! What the tape does beside the backwards, which the conformance suite and the fixtures of models check.

mod convolution;
mod posterior;
mod recurrent;

use super::*;
use crate::reference::{self, Reference};
use crate::train::{AdamW, Muon, OptimiserOps, Sgd};
use crate::{
    AttentionSpec, Backend, DecoderOps, EncoderOps, Epilogue, Format, HostTensor, LinearSpec,
    Lookup, Precision, Ragged, Rows, ScoreOrder,
};

type Traced = Autodiff<Reference>;

fn host(shape: &[usize], seed: f32) -> HostTensor {
    let n = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (0.9 * i as f32 + seed).sin()).collect();
    HostTensor::from_f32(shape.to_vec(), &values).unwrap()
}

fn gradient(b: &Traced, name: &str) -> Option<Vec<f32>> {
    let parameters = b.parameters();
    let gradient = parameters.get(name).unwrap_or_else(|| panic!("no {name}")).gradient();
    gradient.map(|g| Reference.download(g).unwrap())
}

/// A table that is also the output layer, and a residual around a square layer.
struct Toy {
    b: Traced,
    table: Embedding,
    square: Linear<Reference>,
    output: Linear<Reference>,
}

impl Toy {
    fn new() -> Self {
        let b = Autodiff::new(Reference);
        let tied = host(&[5, 3], 0.1).named("table");
        let square =
            LinearSpec::single(host(&[3, 3], 0.7).named("w"), Some(host(&[3], 2.0).named("b")));
        Self {
            table: b.embedding(&tied).unwrap(),
            square: b.pack(&square, Format::F32).unwrap(),
            output: b.pack(&LinearSpec::single(tied, None), Format::F32).unwrap(),
            b,
        }
    }

    fn logits(&self, ids: &[u32], rate: f32) -> Tensor<Reference> {
        let lookup = Lookup { table: &self.table, ids, scale: 1.0 };
        let x = self.b.embed(&[lookup]).unwrap();
        let x = self.b.dropout(x, rate).unwrap();
        let y = self.b.linear(&x, &self.square, Epilogue::residual(&x).with_dropout(rate)).unwrap();
        self.b.linear(&y, &self.output, Epilogue::NONE).unwrap()
    }

    fn pass(&self, step: u32, rate: f32) -> Loss {
        self.b.begin(Some((1, step)));
        let logits = self.logits(&[0, 3, 3], rate);
        let loss =
            self.b.cross_entropy(&logits, &[Some(1), None, Some(4)], Smoothing::None).unwrap();
        self.b.backward().unwrap();
        loss
    }

    fn set(&self, name: &str, at: usize, by: f32) {
        let mut parameters = self.b.parameters();
        let parameter = parameters.iter_mut().find(|p| p.name() == name).unwrap();
        let mut values = Reference.download(parameter.value()).unwrap();
        values[at] += by;
        let shape = vec![parameter.value().rows(), parameter.value().width()];
        let host = HostTensor::from_f32(shape, &values).unwrap();
        *parameter.value_mut() = Reference.upload(&host).unwrap();
        drop(parameters);
        self.b.refresh().unwrap();
    }
}

#[test]
fn a_tied_table_sums_both_of_its_uses() {
    let toy = Toy::new();
    toy.pass(0, 0.0);
    for name in ["table", "w", "b"] {
        let got = gradient(&toy.b, name).unwrap();
        for (i, got) in got.iter().enumerate() {
            let h = 1e-2;
            let loss_at = |by: f32| {
                toy.set(name, i, by);
                let logits = toy.logits(&[0, 3, 3], 0.0);
                let targets = [Some(1), None, Some(4)];
                let loss = toy.b.cross_entropy(&logits, &targets, Smoothing::None).unwrap();
                toy.set(name, i, -by);
                loss.sum
            };
            let want = (loss_at(h) - loss_at(-h)) / f64::from(2.0 * h);
            assert!((want - f64::from(*got)).abs() < 1e-3, "{name} {i}: {got}, not {want}");
        }
    }
}

#[test]
fn gradients_add_up_until_a_step() {
    let toy = Toy::new();
    toy.pass(0, 0.0);
    let once = gradient(&toy.b, "w").unwrap();
    toy.pass(1, 0.0);
    let twice = gradient(&toy.b, "w").unwrap();
    assert_eq!(twice, once.iter().map(|g| 2.0 * g).collect::<Vec<_>>());
    let norm = toy.b.parameters().gradient_norm(&Reference).unwrap();
    assert!(norm > 0.0);
    toy.b.step(&Optimiser::AdamW(AdamW { rate: 0.05, ..AdamW::default() })).unwrap();
    assert_eq!(gradient(&toy.b, "w"), None);
}

#[test]
fn steps_lower_the_loss_on_the_packed_layers() {
    let settings = Sgd { rate: 0.1, momentum: 0.5, decay: 0.0, gradient_scale: 0.5 };
    let toy = Toy::new();
    let first = toy.pass(0, 0.0).sum;
    toy.b.step(&Optimiser::Sgd(settings)).unwrap();
    for step in 1..20 {
        toy.pass(step, 0.0);
        toy.b.step(&Optimiser::Sgd(settings)).unwrap();
    }
    let last = toy.pass(20, 0.0).sum;
    assert!(last < 0.2 * first, "{first} to {last}");
}

#[test]
fn what_is_frozen_stays() {
    let toy = Toy::new();
    let freeze = |frozen| {
        let mut parameters = toy.b.parameters();
        parameters.iter_mut().filter(|p| p.name() != "b").for_each(|p| p.freeze(frozen));
    };
    freeze(true);
    toy.pass(0, 0.0);
    assert_eq!((gradient(&toy.b, "w"), gradient(&toy.b, "table")), (None, None));
    let alone = gradient(&toy.b, "b").unwrap();
    freeze(false);
    toy.b.parameters().clear_gradients();
    toy.pass(0, 0.0);
    assert_eq!(gradient(&toy.b, "b").unwrap(), alone);
}

#[test]
fn dropout_follows_the_seed_and_the_step() {
    let toy = Toy::new();
    let run = |step, rate| {
        let loss = toy.pass(step, rate).sum;
        let gradient = gradient(&toy.b, "table");
        toy.b.parameters().clear_gradients();
        (loss, gradient)
    };
    assert_eq!(run(3, 0.5), run(3, 0.5));
    assert_ne!(run(3, 0.5).0, run(4, 0.5).0);
    assert_ne!(run(3, 0.5).0, run(3, 0.0).0);
    // Outside a pass nothing is dropped.
    let logits = |rate| toy.b.download(&toy.logits(&[2], rate)).unwrap();
    assert_eq!(logits(0.5), logits(0.0));
}

#[test]
fn what_has_no_gradient_is_an_error_in_a_pass_and_works_outside() {
    let toy = Toy::new();
    toy.b.begin(None);
    let logits = toy.logits(&[1], 0.0);
    let order = ScoreOrder::NormaliseThenRules;
    let error = toy.b.top_k(&logits, 2, order, &[]).unwrap_err();
    assert!(matches!(&error, Error::Unsupported { what, .. } if what.contains("top_k")), "{error}");
    toy.b.stop();
    assert_eq!(toy.b.top_k(&logits, 2, order, &[]).unwrap().ids.len(), 2);
    assert!(toy.b.backward().is_err(), "nothing is recorded");
}

#[test]
fn tensors_of_another_pass_are_refused() {
    let toy = Toy::new();
    toy.b.begin(None);
    let old = toy.logits(&[1], 0.0);
    toy.b.begin(None);
    let error = toy.b.gather_rows(&old, &[0]).err().unwrap();
    assert!(error.to_string().contains("another pass"), "{error}");
    assert!(toy.b.cross_entropy(&old, &[Some(0)], Smoothing::None).is_err());
}

#[test]
fn one_name_is_one_shape_and_quantised_layers_are_refused() {
    let b = Autodiff::new(Reference);
    b.embedding(&host(&[4, 3], 0.0).named("t")).unwrap();
    let other = LinearSpec::single(host(&[3, 4], 0.0).named("t"), None);
    assert!(b.pack(&other, Format::F32).err().unwrap().to_string().contains("'t'"));
    let layer = LinearSpec::single(host(&[3, 4], 0.0).named("u"), None);
    assert!(matches!(b.pack(&layer, Format::Int8), Err(Error::Unsupported { .. })));
    assert_eq!(b.parameters().iter().count(), 1);
}

#[test]
fn a_pass_gives_the_bits_of_the_backend_below() {
    let toy = Toy::new();
    let spec = AttentionSpec {
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        scale: 1.0,
        causal: true,
        rotary: None,
        dropout: 0.0,
        precision: Precision::F32,
    };
    let rows = Ragged::from_lengths([2, 1]);
    let run = |b: &Traced| {
        let x = toy.table;
        let x = b.embed(&[Lookup { table: &x, ids: &[1, 2, 4], scale: 2.0 }]).unwrap();
        let y = b.attend(&x, &rows, &spec, None).unwrap();
        b.download(&y).unwrap()
    };
    toy.b.begin(None);
    let recorded = run(&toy.b);
    toy.b.stop();
    assert_eq!(recorded, run(&toy.b));
}

#[test]
fn the_state_of_an_optimiser_can_be_taken_and_put_back() {
    let optimisers = [
        Optimiser::AdamW(AdamW::default()),
        Optimiser::Sgd(Sgd { rate: 0.1, momentum: 0.9, decay: 0.1, gradient_scale: 1.0 }),
        Optimiser::Adafactor(Default::default()),
        Optimiser::Muon(Default::default()),
    ];
    for optimiser in optimisers {
        let (whole, broken) = (Toy::new(), Toy::new());
        let vector = Optimiser::AdamW(AdamW::default());
        let chosen = |p: &Parameter<_>| if p.shape().len() > 1 { optimiser } else { vector };
        let step = |toy: &Toy| toy.b.step_each(chosen).unwrap();
        for toy in [&whole, &broken] {
            toy.pass(0, 0.0);
            step(toy);
        }
        // Every state through the host, into other tensors.
        for parameter in broken.b.parameters().iter_mut() {
            let copy = |(name, t): (&str, &reference::Tensor)| {
                let values = Reference.download(t).unwrap();
                let host = HostTensor::from_f32(vec![t.rows(), t.width()], &values).unwrap();
                (name.to_owned(), Reference.upload(&host).unwrap())
            };
            let state = parameter.state().into_iter().map(|(n, t)| copy((n, t))).collect();
            parameter.restore(Vec::new()).unwrap();
            parameter.restore(state).unwrap();
            let other = vec![("third".to_owned(), Reference.zeros(1, 1).unwrap())];
            assert!(parameter.restore(other).is_err());
        }
        for toy in [&whole, &broken] {
            toy.pass(1, 0.0);
            step(toy);
        }
        let value =
            |toy: &Toy| Reference.download(toy.b.parameters().get("w").unwrap().value()).unwrap();
        assert_eq!(value(&whole), value(&broken));
        assert_ne!(
            value(&whole),
            Reference.download(Toy::new().b.parameters().get("w").unwrap().value()).unwrap()
        );
    }
}

#[test]
fn each_parameter_has_the_step_of_its_optimiser() {
    let settings = Sgd { rate: 0.1, momentum: 0.5, decay: 0.0, gradient_scale: 1.0 };
    let value = |toy: &Toy, name| {
        Reference.download(toy.b.parameters().get(name).unwrap().value()).unwrap()
    };
    let stepped = |choose: &dyn Fn(&Parameter<Reference>) -> Optimiser| {
        let toy = Toy::new();
        for step in 0..2 {
            toy.pass(step, 0.0);
            toy.b.step_each(choose).unwrap();
        }
        toy
    };
    let muon = |p: &Parameter<Reference>| match p.name() {
        "w" => Optimiser::Muon(Muon::default()),
        _ => Optimiser::Sgd(settings),
    };
    let [one, other] = [stepped(&muon), stepped(&|_| Optimiser::Sgd(settings))];
    assert_ne!(value(&one, "w"), value(&other, "w"));
    let names = |toy: &Toy, name| {
        let parameters = toy.b.parameters();
        parameters.get(name).unwrap().state().iter().map(|s| s.0).collect::<Vec<_>>()
    };
    assert_eq!((names(&one, "w"), names(&one, "b")), (vec!["momentum"], vec!["velocity"]));
    // All in one matrix: the root mean square of the update is nearly what Moonlight says.
    let update = |toy: &Toy| {
        let before = value(&Toy::new(), "w");
        let squares = before.iter().zip(value(toy, "w")).map(|(a, b)| f64::from(a - b).powi(2));
        (squares.sum::<f64>() / before.len() as f64).sqrt()
    };
    let size = update(&one) / f64::from(Muon::default().rate);
    assert!((0.2..0.6).contains(&size), "two updates of {size}");

    one.pass(2, 0.0);
    let error = one.b.step(&Optimiser::Muon(Muon::default())).unwrap_err();
    assert!(error.to_string().contains("'b' is no matrix"), "{error}");
}
