//! Adapters against matrices that hold the sum.

use super::*;
use crate::autodiff::{Optimiser, Tensor};
use crate::reference::Reference;
use crate::train::{Sgd, Smoothing};
use crate::{Activation, Backend, Epilogue, LinearSpec, Lookup};

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
        let toy = Self::new(transposed, None);
        let [left, right] = toy.factors();
        toy.b.parameters().iter_mut().for_each(|p| p.freeze(true));
        let [rows, columns] = toy.shape;
        let change = LowRank {
            left: host([rows, RANK], &left).named("l"),
            right: host([RANK, columns], &right).named("r"),
            scale: SCALE,
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
    b.adapt("table", &LowRank { left: left_host, right: right_host, scale: SCALE }).unwrap();
    let x = b.embed(&[Lookup { table: &table, ids: &[2], scale: 1.0 }]).unwrap();
    let row = &weight[6..9];
    assert_eq!(b.download(&x).unwrap(), row);
    let change = product(|i, k| left[i * 2 + k], |k, j| right[k * 3 + j], [5, 2, 3]);
    let sum: Vec<f32> = weight.iter().zip(change).map(|(w, c)| w + SCALE * c).collect();
    let logits = b.linear(&x, &output, Epilogue::NONE).unwrap();
    let want = product(|_, k| row[k], |k, j| sum[j * 3 + k], [1, 3, 5]);
    assert_close(&b.download(&logits).unwrap(), &want);
}
