//! Adapters against matrices that hold the sum.

use super::*;
use crate::autodiff::{Optimiser, Tensor};
use crate::reference::Reference;
use crate::reference::activation::erfc;
use crate::train::{Dropout, Sgd, Smoothing};
use crate::{Activation, Backend, Epilogue, LinearPart, LinearSpec, Lookup};

const SCALE: f32 = 0.75;
const RANK: usize = 2;

fn values(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| (0.9 * i as f32 + seed).sin()).collect()
}

fn host(shape: [usize; 2], values: &[f32]) -> HostTensor {
    HostTensor::from_f32(shape.to_vec(), values).unwrap()
}

/// `[n, k]` times `[k, m]`, each perhaps transposed, by the definition.
fn product(
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
    [n, k, m]: [usize; 3],
) -> Vec<f32> {
    let sum =
        |i: usize, j: usize| (0..k).map(|l| f64::from(a(i, l)) * f64::from(b(l, j))).sum::<f64>();
    (0..n).flat_map(|i| (0..m).map(move |j| (i, j))).map(|(i, j)| sum(i, j) as f32).collect()
}

/// From the ids to the scores.
type Pass = dyn Fn(&Autodiff<Reference>) -> Tensor<Reference>;

/// A table, a layer with an activation, stored either way, and an output layer.
struct Toy {
    b: Autodiff<Reference>,
    shape: [usize; 2],
    pass: Box<Pass>,
}

impl Toy {
    fn new(transposed: bool, weight: Option<Vec<f32>>) -> Self {
        let b = Autodiff::new(Reference);
        let shape = if transposed { [3, 4] } else { [4, 3] };
        let weight = weight.unwrap_or_else(|| values(12, 0.7));
        let mut spec = LinearSpec::single(host(shape, &weight).named("w"), None);
        spec.parts[0].transposed = transposed;
        let layer = b.pack(&spec, Format::F32).unwrap();
        let output = host([5, 4], &values(20, 0.1)).named("output");
        let table = b.embedding(&host([5, 3], &values(15, 0.4)).named("inputs")).unwrap();
        let output = b.pack(&LinearSpec::single(output, None), Format::F32).unwrap();
        let pass = move |b: &Autodiff<Reference>| {
            let x = b.embed(&[Lookup { table: &table, ids: &[0, 3, 3], scale: 1.0 }]).unwrap();
            let y = b.linear(&x, &layer, Epilogue::activation(Activation::Gelu)).unwrap();
            b.linear(&y, &output, Epilogue::NONE).unwrap()
        };
        Self { b, shape, pass: Box::new(pass) }
    }

    fn adapted(transposed: bool) -> Self {
        Self::dropping(transposed, 0.0)
    }

    fn dropping(transposed: bool, dropout: f32) -> Self {
        let toy = Self::new(transposed, None);
        let [left, right] = toy.factors();
        toy.b.parameters().iter_mut().for_each(|p| p.freeze(true));
        let [rows, columns] = toy.shape;
        let change = LowRank {
            left: host([rows, RANK], &left).named("l"),
            right: host([RANK, columns], &right).named("r"),
            scale: SCALE,
            dropout,
        };
        toy.b.adapt("w", &change).unwrap();
        toy
    }

    fn factors(&self) -> [Vec<f32>; 2] {
        [values(self.shape[0] * RANK, 1.3), values(RANK * self.shape[1], 2.1)]
    }

    /// W + scale · L R
    fn sum(&self) -> Vec<f32> {
        let [left, right] = self.factors();
        let [rows, columns] = self.shape;
        let lr = product(
            |i, k| left[i * RANK + k],
            |k, j| right[k * columns + j],
            [rows, RANK, columns],
        );
        values(12, 0.7).iter().zip(lr).map(|(w, lr)| w + SCALE * lr).collect()
    }

    fn logits(&self) -> Vec<f32> {
        self.b.download(&(self.pass)(&self.b)).unwrap()
    }

    fn learn(&self) {
        self.b.begin(None);
        let logits = (self.pass)(&self.b);
        self.b.cross_entropy(&logits, &[Some(1), None, Some(4)], Smoothing::None).unwrap();
        self.b.backward().unwrap();
    }

    fn gradient(&self, name: &str) -> Option<Vec<f32>> {
        let parameters = self.b.parameters();
        parameters.get(name).unwrap().gradient().map(|g| Reference.download(g).unwrap())
    }

    fn value(&self, name: &str) -> Vec<f32> {
        Reference.download(self.b.parameters().get(name).unwrap().value()).unwrap()
    }
}

fn assert_close(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (g, w) in got.iter().zip(want) {
        assert!((g - w).abs() < 1e-5, "{got:?}, not {want:?}");
    }
}

/// Against a layer whose weight is the sum: the same scores, and the gradients of the factors follow from that of the sum.
#[test]
fn factors_have_the_gradients_of_their_product() {
    for transposed in [false, true] {
        let adapted = Toy::adapted(transposed);
        let plain = Toy::new(transposed, Some(adapted.sum()));
        assert_close(&adapted.logits(), &plain.logits());
        plain.learn();
        // Two passes add up.
        adapted.learn();
        adapted.learn();
        let g = plain.gradient("w").unwrap();
        let [left, right] = adapted.factors();
        let [rows, columns] = adapted.shape;
        let twice = 2.0 * SCALE;
        let of_left = product(
            |i, k| twice * g[i * columns + k],
            |k, j| right[j * columns + k],
            [rows, columns, RANK],
        );
        let of_right = product(
            |i, k| twice * left[k * RANK + i],
            |k, j| g[k * columns + j],
            [RANK, rows, columns],
        );
        assert_close(&adapted.gradient("l").unwrap(), &of_left);
        assert_close(&adapted.gradient("r").unwrap(), &of_right);
        for name in ["w", "output", "inputs"] {
            assert_eq!(adapted.gradient(name), None, "{name} is frozen");
        }
        // The matrix may be trained beside its adapter.
        adapted.b.parameters().clear_gradients();
        adapted.b.parameters().iter_mut().for_each(|p| p.freeze(p.name() == "l"));
        adapted.learn();
        assert_close(&adapted.gradient("w").unwrap(), &g);
        assert_eq!(adapted.gradient("l"), None);
        assert!(adapted.gradient("r").is_some());
    }
}

#[test]
fn steps_change_the_factors_and_merging_changes_nothing() {
    let toy = Toy::adapted(false);
    let (base, before) = (toy.value("w"), toy.logits());
    toy.learn();
    toy.b
        .step(&Optimiser::Sgd(Sgd { rate: 0.1, momentum: 0.0, decay: 0.0, gradient_scale: 1.0 }))
        .unwrap();
    let after = toy.logits();
    assert_ne!(after, before);
    assert_eq!(toy.value("w"), base);
    toy.b.merge_adapters(true);
    assert_eq!(toy.logits(), after);
    let sum = toy.value("w");
    assert_close(&Toy::new(false, Some(sum.clone())).logits(), &after);
    toy.b.refresh().unwrap();
    assert_eq!(toy.logits(), after);
    toy.learn();
    assert_eq!(toy.gradient("l"), None, "merged adapters are not trained");
    toy.b.merge_adapters(true);
    assert_eq!(toy.value("w"), sum, "merged once");
    toy.b.merge_adapters(false);
    assert_eq!((toy.value("w"), toy.logits()), (base, after));
}

#[test]
fn what_does_not_fit_is_refused() {
    let toy = Toy::new(false, None);
    let change = |left: [usize; 2], right: [usize; 2], name: &str| LowRank {
        left: host(left, &values(left[0] * left[1], 0.0)).named(name),
        right: host(right, &values(right[0] * right[1], 0.0)).named("r"),
        scale: 1.0,
        dropout: 0.0,
    };
    let fits = || change([4, 2], [2, 3], "l");
    for (name, change, says) in [
        ("x", fits(), "no parameter"),
        ("w", change([3, 2], [2, 4], "l"), "do not make"),
        ("w", change([4, 2], [1, 3], "l"), "do not make"),
        ("w", change([4, 0], [0, 3], "l"), "do not make"),
        ("w", change([4, 2], [2, 3], "output"), "needs a name"),
    ] {
        let error = toy.b.adapt(name, &change).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let error = toy.b.adapt("w", &LowRank { dropout: 1.0, ..fits() }).unwrap_err().to_string();
    assert!(error.contains("a rate of 1"), "{error}");
    toy.b.adapt("w", &fits()).unwrap();
    assert!(toy.b.adapt("w", &fits()).unwrap_err().to_string().contains("has an adapter"));
}

/// As the output layer of peft, which leaves the embedding that it is tied to alone.
#[test]
fn a_tied_table_is_read_without_the_change() {
    let b = Autodiff::new(Reference);
    let [weight, left, right] = [values(15, 0.1), values(10, 1.0), values(6, 2.0)];
    let tied = host([5, 3], &weight).named("table");
    let table = b.embedding(&tied).unwrap();
    let output = b.pack(&LinearSpec::single(tied, None), Format::F32).unwrap();
    let (left_host, right_host) = (host([5, 2], &left).named("l"), host([2, 3], &right).named("r"));
    let change = LowRank { left: left_host, right: right_host, scale: SCALE, dropout: 0.0 };
    b.adapt("table", &change).unwrap();
    let x = b.embed(&[Lookup { table: &table, ids: &[2], scale: 1.0 }]).unwrap();
    let row = &weight[6..9];
    assert_eq!(b.download(&x).unwrap(), row);
    let change = product(|i, k| left[i * 2 + k], |k, j| right[k * 3 + j], [5, 2, 3]);
    let sum: Vec<f32> = weight.iter().zip(change).map(|(w, c)| w + SCALE * c).collect();
    let logits = b.linear(&x, &output, Epilogue::NONE).unwrap();
    let want = product(|_, k| row[k], |k, j| sum[j * 3 + k], [1, 3, 5]);
    assert_close(&b.download(&logits).unwrap(), &want);
}

/// The loss of [`Toy::learn`] in f64 by the definition, with the elements of the adapter's input that `kept` says.
fn loss(toy: &Toy, [table, left, right]: [&[f64]; 3], kept: impl Fn(usize, usize) -> f64) -> f64 {
    let [rows, columns] = toy.shape;
    let (w, output) = (values(12, 0.7), values(20, 0.1));
    let transposed = rows == 3;
    let at = |i: usize, o: usize| if transposed { [i, o] } else { [o, i] };
    let (mut sum, scale) = (0.0, f64::from(SCALE));
    for (row, (id, target)) in [(0, Some(1)), (3, None), (3, Some(4))].into_iter().enumerate() {
        let Some(target): Option<usize> = target else { continue };
        let y: Vec<f64> = (0..4)
            .map(|o| {
                (0..3)
                    .map(|i| {
                        let [a, b] = at(i, o);
                        let lr = (0..RANK).map(|k| left[a * RANK + k] * right[k * columns + b]);
                        let change = kept(row, i) * scale * lr.sum::<f64>();
                        table[id * 3 + i] * (f64::from(w[a * columns + b]) + change)
                    })
                    .sum()
            })
            .map(|z: f64| 0.5 * z * erfc(-z / std::f64::consts::SQRT_2))
            .collect();
        let logit = |v: usize| (0..4).map(|o| f64::from(output[v * 4 + o]) * y[o]).sum::<f64>();
        sum += (0..5).map(|v| logit(v).exp()).sum::<f64>().ln() - logit(target);
    }
    sum
}

/// Against finite differences of the definition: x W and s · drop(x) R L apart.
#[test]
fn adapters_drop_of_their_own_input_alone() {
    let (rate, seed, step) = (0.4, 9, 3);
    let dropout = Dropout { rate, seed, step, place: 0 };
    let kept = |row: usize, column: usize| f64::from(dropout.factor(row, column));
    // Some element of the rows with a target is dropped, some is not.
    let factors: Vec<f64> = (0..6).map(|i| kept(i / 3 * 2, i % 3)).collect();
    assert!(factors.contains(&0.0) && factors.iter().any(|&f| f > 1.0), "{factors:?}");
    for transposed in [false, true] {
        let toy = Toy::dropping(transposed, rate);
        toy.b.parameters().iter_mut().for_each(|p| p.freeze(p.name() == "output"));
        let [left, right] = toy.factors();
        let mut at = [values(15, 0.4), left, right]
            .map(|v| v.into_iter().map(f64::from).collect::<Vec<_>>());
        // Nothing is dropped outside of a training.
        let plain = Toy::adapted(transposed);
        assert_eq!(toy.logits(), plain.logits());
        toy.b.begin(Some((seed, step)));
        let logits = (toy.pass)(&toy.b);
        let got = toy.b.cross_entropy(&logits, &[Some(1), None, Some(4)], Smoothing::None).unwrap();
        toy.b.backward().unwrap();
        let all = |at: &[Vec<f64>; 3]| loss(&toy, [&at[0], &at[1], &at[2]], kept);
        assert!((got.sum - all(&at)).abs() < 1e-5, "{} {}", got.sum, all(&at));
        for (which, name) in ["inputs", "l", "r"].into_iter().enumerate() {
            let gradient = toy.gradient(name).unwrap();
            for i in 0..at[which].len() {
                let value = at[which][i];
                let [above, below] = [1e-5, -1e-5].map(|h| {
                    at[which][i] = value + h;
                    all(&at)
                });
                at[which][i] = value;
                let want = ((above - below) / 2e-5) as f32;
                assert!((gradient[i] - want).abs() < 1e-4, "{name} {i}: {} {want}", gradient[i]);
            }
        }
        assert!(toy.gradient("w").is_some(), "a weight is trained beside its adapter");
    }
}

/// Where nothing happens to be dropped, a layer of several parts has the gradients of the sum: gated or side by side, with an
/// adapter on each part or on one.
#[test]
fn parts_have_adapters_of_their_own() {
    for (gated, transposed, adapted) in [
        (true, false, &["w0", "w1"][..]),
        (false, false, &["w1", "w2"]),
        (false, true, &["w0"]),
        (false, true, &["w2", "w0"]),
    ] {
        let count = if gated { 2 } else { 3 };
        let run = |dropout| {
            let b = Autodiff::new(Reference);
            let shape = if transposed { [3, 4] } else { [4, 3] };
            let part = |i: usize| LinearPart {
                weight: host(shape, &values(12, i as f32)).named(["w0", "w1", "w2"][i]),
                bias: Some(
                    HostTensor::from_f32(vec![4], &values(4, 0.3))
                        .unwrap()
                        .named(["b0", "b1", "b2"][i]),
                ),
                transposed,
            };
            let spec = LinearSpec { parts: (0..count).map(part).collect(), gated, scale: 0.5 };
            let layer = b.pack(&spec, Format::F32).unwrap();
            let table = b.embedding(&host([5, 3], &values(15, 0.4)).named("inputs")).unwrap();
            for (i, name) in adapted.iter().enumerate() {
                let [rows, columns] = shape;
                // Ranks of 1 and 2.
                let (rank, seed) = (i + 1, i as f32);
                let [l, r] =
                    [[rows, rank], [rank, columns]].map(|s| host(s, &values(s[0] * s[1], seed)));
                let left = l.named(format!("{name} l").as_str());
                let right = r.named(format!("{name} r").as_str());
                // One that drops is enough.
                let dropout = if i == 0 { dropout } else { 0.0 };
                b.adapt(name, &LowRank { left, right, scale: SCALE, dropout }).unwrap();
            }
            b.begin(Some((1, 1)));
            let x = b.embed(&[Lookup { table: &table, ids: &[0, 3, 3], scale: 1.0 }]).unwrap();
            let activation = gated.then_some(Activation::Silu);
            let epilogue = Epilogue { activation, ..Epilogue::NONE };
            let y = b.linear(&x, &layer, epilogue).unwrap();
            let targets = [Some(1), None, Some(3)];
            let loss = b.cross_entropy(&y, &targets, Smoothing::None).unwrap();
            b.backward().unwrap();
            let parameters = b.parameters();
            let gradient = |p: &crate::autodiff::Parameter<Reference>| {
                (p.name().to_owned(), p.gradient().map(|g| Reference.download(g).unwrap()))
            };
            (loss.sum as f32, parameters.iter().map(gradient).collect::<Vec<_>>())
        };
        // So small a rate drops none of these few elements.
        let (sum, dropping) = (run(0.0), run(1e-8));
        assert_close(&[dropping.0], &[sum.0]);
        for ((name, got), (_, want)) in dropping.1.iter().zip(&sum.1) {
            let (got, want) = (got.as_deref().unwrap_or(&[]), want.as_deref().unwrap_or(&[]));
            assert!(!want.is_empty(), "{name}");
            assert_close(got, want);
        }
    }
}
