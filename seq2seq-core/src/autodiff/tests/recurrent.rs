//! Weights that a pass uses several times, and what has several results.

use super::{Traced, gradient, host};
use crate::autodiff::{Autodiff, Linear, Recurrent, Tensor};
use crate::reference::Reference;
use crate::{
    Activation, Backend, Cell, Epilogue, Format, LinearPart, LinearSpec, Part, Ragged,
    RecurrentOps, RecurrentSpec,
};

const STEPS: usize = 4;
const NAMES: [&str; 5] = ["w", "b", "u", "c", "x"];

/// A recurrent layer of three units over two sequences, whose input is trained too.
struct Layer {
    b: Traced,
    input: Linear<Reference>,
    recurrent: Recurrent<Reference>,
    x: Linear<Reference>,
}

impl Layer {
    fn new(cell: Cell) -> Self {
        let b = Autodiff::new(Reference);
        let gates = 3 * cell.gates();
        let (w, bias) = (host(&[gates, 5], 0.3).named("w"), host(&[gates], 1.0).named("b"));
        let input = b.pack(&LinearSpec::single(w, Some(bias)), Format::F32).unwrap();
        let part = LinearPart {
            weight: host(&[gates, 3], 2.0).named("u"),
            bias: Some(host(&[gates], 4.0).named("c")),
            transposed: false,
        };
        let spec = RecurrentSpec { cell, directions: vec![part] };
        let recurrent = b.recurrent(&spec, Format::F32).unwrap();
        let x = LinearSpec::single(host(&[5, 2], 0.9).named("x"), None);
        Self { input, recurrent, x: b.pack(&x, Format::F32).unwrap(), b }
    }

    /// Both sequences at all positions.
    fn input(&self) -> Tensor<Reference> {
        let ids = self.b.upload(&host(&[2 * STEPS, 2], 0.1)).unwrap();
        let tanh = Epilogue::activation(Activation::Tanh);
        self.b.linear(&ids, &self.x, tanh).unwrap()
    }

    fn gates(&self, x: &Tensor<Reference>) -> Tensor<Reference> {
        self.b.linear(x, &self.input, Epilogue::NONE).unwrap()
    }

    /// From what the last positions gave, and the states; or from one of them.
    fn back(
        &self,
        y: Option<&Tensor<Reference>>,
        end: Option<&Tensor<Reference>>,
    ) -> Vec<Vec<f32>> {
        for (x, seed) in [(y, 0.2), (end, 0.6)] {
            let Some(x) = x else { continue };
            let dy = host(&[crate::Rows::rows(x), crate::Rows::width(x)], seed);
            self.b.seed(x, Reference.upload(&dy).unwrap()).unwrap();
        }
        self.b.backward().unwrap();
        let gradients = NAMES.map(|name| gradient(&self.b, name).unwrap_or_default());
        self.b.parameters().clear_gradients();
        gradients.into()
    }

    fn whole(&self, of: [bool; 2]) -> Vec<Vec<f32>> {
        self.b.begin(None);
        let rows = Ragged::from_lengths([STEPS, STEPS]);
        let gates = self.gates(&self.input());
        let (y, end) = self.b.recur(&gates, &rows, &self.recurrent, None).unwrap();
        self.back(of[0].then_some(&y), of[1].then_some(&end))
    }

    /// A step at a time; the same rows.
    fn by_steps(&self, of: [bool; 2]) -> Vec<Vec<f32>> {
        self.b.begin(None);
        let (x, each) = (self.input(), Ragged::single_rows(2));
        let (mut outputs, mut state) = (Vec::new(), None);
        for t in 0..STEPS {
            let x = self.b.gather_rows(&x, &[t, STEPS + t]).unwrap();
            // Cut in two and put together again.
            let halves = [0..2, 2..5].map(|columns| Part { tensor: &x, columns });
            let x = self.b.columns(&halves).unwrap();
            let gates = self.gates(&x);
            let (y, end) = self.b.recur(&gates, &each, &self.recurrent, state.as_ref()).unwrap();
            outputs.push(y);
            state = Some(end);
        }
        let all = self.b.stack_rows(&outputs.iter().collect::<Vec<_>>()).unwrap();
        let places: Vec<usize> = (0..2 * STEPS).map(|i| i % STEPS * 2 + i / STEPS).collect();
        let y = self.b.gather_rows(&all, &places).unwrap();
        self.back(of[0].then_some(&y), state.as_ref().filter(|_| of[1]))
    }
}

#[test]
fn steps_have_the_gradients_of_the_whole() {
    for cell in Cell::ALL {
        let layer = Layer::new(cell);
        for of in [[true, true], [true, false], [false, true]] {
            let (whole, steps) = (layer.whole(of), layer.by_steps(of));
            for ((name, whole), steps) in NAMES.iter().zip(&whole).zip(&steps) {
                let largest = whole.iter().fold(0.0f32, |a, v| a.max(v.abs()));
                assert!(largest > 1e-3, "{cell:?} {name}");
                assert_eq!(whole.len(), steps.len());
                let off = whole.iter().zip(steps).fold(0.0f32, |a, (w, s)| a.max((w - s).abs()));
                assert!(off < 1e-5 * largest, "{cell:?} {of:?} {name}: {off} of {largest}");
            }
        }
    }
}

#[test]
fn frozen_recurrent_weights_have_no_gradient() {
    let layer = Layer::new(Cell::Lstm);
    let all = layer.by_steps([true, true]);
    let freeze = |frozen: &[&str]| {
        let mut parameters = layer.b.parameters();
        parameters.iter_mut().for_each(|p| p.freeze(frozen.contains(&p.name())));
    };
    freeze(&["u", "w"]);
    let some = layer.by_steps([true, true]);
    assert_eq!((some[0].len(), some[2].len()), (0, 0));
    assert_eq!((&some[1], &some[3], &some[4]), (&all[1], &all[3], &all[4]));
    freeze(&NAMES);
    layer.b.begin(None);
    let (y, _) = {
        let gates = layer.gates(&layer.input());
        let rows = Ragged::from_lengths([STEPS, STEPS]);
        layer.b.recur(&gates, &rows, &layer.recurrent, None).unwrap()
    };
    assert!(layer.back(Some(&y), None).iter().all(Vec::is_empty));
}
