//! Steps of the optimisers on one parameter.

use super::{Size, Training, data};
use crate::bench::{Bench, Call};
use crate::work::Work;
use seq2seq_core::train::{Adafactor, AdamW, Factors, Muon, Second, Sgd, TrainBackend};
use seq2seq_core::{Format, Result};

/// A parameter `[rows, columns]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    shape: [usize; 2],
    /// What Muon multiplies matrices in.
    format: Format,
}

impl Case {
    fn new(shape: [usize; 2]) -> Self {
        Self { shape, format: Format::F32 }
    }

    fn elements(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    fn is_vector(&self) -> bool {
        self.shape[0] == 1
    }

    fn zeros<B: TrainBackend>(&self, backend: &B) -> Result<B::Tensor> {
        backend.zeros(self.shape[0], self.shape[1])
    }

    /// The parameter and its gradient.
    fn tensors<B: TrainBackend>(&self, backend: &B) -> Result<[B::Tensor; 2]> {
        Ok([data::matrix(backend, 1, self.shape)?, data::rows(backend, 2, self.shape)?])
    }
}

fn named(name: &str, case: Case) -> (String, Case) {
    (format!("{name}, {} x {}", case.shape[0], case.shape[1]), case)
}

/// A matrix of a feed-forward layer.
fn up(size: &Size) -> (String, Case) {
    named("t5-base up", Case::new([size.feed_forward, size.width]))
}

/// State begins as zeros.
pub(super) struct Zeros;

impl Training for Zeros {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        vec![up(size)]
    }
}

/// Written once.
impl Bench for Zeros {
    const NAME: &'static str = "zeros";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(0, case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, case) = (backend.clone(), *case);
        Ok(Box::new(move || case.zeros(&backend).map(drop)))
    }
}

/// For clipping, of each gradient.
pub(super) struct SumOfSquares;

impl Training for SumOfSquares {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        vec![up(size)]
    }
}

/// A product and a sum an element.
impl Bench for SumOfSquares {
    const NAME: &'static str = "sums_of_squares";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(2 * case.elements(), case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, [_, gradient]) = (backend.clone(), case.tensors(backend)?);
        Ok(Box::new(move || backend.sums_of_squares(&[&gradient]).map(drop)))
    }
}

/// A step of [`AdamW`].
pub(super) struct AdamWStep;

impl Training for AdamWStep {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let vocabulary = Case::new([size.vocabulary, size.width]);
        vec![up(size), named("t5-base vocabulary", vocabulary)]
    }
}

/// An element: the scaled gradient, the decay, 3 for m, 4 for v, and 6 for the update: root, product, sum, division, product,
/// difference. All but the gradient is read and written.
impl Bench for AdamWStep {
    const NAME: &'static str = "adamw";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(15 * case.elements(), 7 * case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, [mut parameter, gradient]) = (backend.clone(), case.tensors(backend)?);
        let mut moments = [case.zeros(&backend)?, case.zeros(&backend)?];
        let settings = AdamW { rate: 1e-4, decay: 0.01, step: 10, ..AdamW::default() };
        Ok(Box::new(move || backend.adamw(&settings, &mut parameter, &gradient, &mut moments)))
    }
}

/// A step of [`Sgd`], which is not the first.
pub(super) struct SgdStep;

impl Training for SgdStep {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        vec![up(size)]
    }
}

/// An element: the scaled gradient, 2 each for decay, momentum and update. Parameter and velocity are read and written.
impl Bench for SgdStep {
    const NAME: &'static str = "sgd";
    type Case = Case;

    fn work(case: &Case) -> Work {
        Work::f32(7 * case.elements(), 5 * case.elements())
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, [mut parameter, gradient]) = (backend.clone(), case.tensors(backend)?);
        let mut velocity = Some(case.zeros(&backend)?);
        let settings = Sgd { rate: 1e-4, momentum: 0.9, decay: 0.01, gradient_scale: 1.0 };
        Ok(Box::new(move || backend.sgd(&settings, &mut parameter, &gradient, &mut velocity)))
    }
}

/// A step of [`Adafactor`].
pub(super) struct AdafactorStep;

impl Training for AdafactorStep {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        vec![up(size), named("t5-base norm", Case::new([1, size.width]))]
    }
}

/// An element: the scaled gradient, its square and the sum with eps; of a matrix the sums of row and column, of a vector 3 for the
/// mean; for u root and division, of a matrix a product before; 2 for the mean square of u, 2 for that of p, and 3 for the update
/// with its decay. Parameter and mean are read and written; of a matrix there is a mean for each row and column.
impl Bench for AdafactorStep {
    const NAME: &'static str = "adafactor";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let [rows, columns] = case.shape;
        let (each, means) = match case.is_vector() {
            true => (3 + 3 + 2 + 2 + 2 + 3, columns),
            false => (3 + 2 + 3 + 2 + 2 + 3, rows + columns),
        };
        Work::f32(each * case.elements(), 3 * case.elements() + 2 * means)
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, [mut parameter, gradient]) = (backend.clone(), case.tensors(backend)?);
        let [rows, columns] = case.shape;
        let mut second = match case.is_vector() {
            true => Second::Full(backend.zeros(1, columns)?),
            false => {
                let (rows, columns) = (backend.zeros(1, rows)?, backend.zeros(1, columns)?);
                Second::Factored(Factors { rows, columns })
            }
        };
        let settings = Adafactor {
            rate: 1e-4,
            decay: 0.01,
            scale_parameter: true,
            step: 10,
            ..Adafactor::default()
        };
        Ok(Box::new(move || backend.adafactor(&settings, &mut parameter, &gradient, &mut second)))
    }
}

/// A step of [`Muon`].
pub(super) struct MuonStep;

impl Training for MuonStep {
    fn cases(size: &Size) -> Vec<(String, Case)> {
        let in_format = |format: Format| {
            let square = named("t5-base output", Case::new([size.width; 2]));
            let both = [square, up(size)];
            both.map(|(name, case)| (format!("{name}, {format}"), Case { format, ..case }))
        };
        Format::TRAINED.into_iter().flat_map(in_format).collect()
    }
}

/// With r the shorter side and c the longer, an iteration is X Xᵀ and A A, of which one triangle is enough, r (r + 1) c and
/// r (r + 1) r, and their product with X, 2 r r c, all of them with the sums that go with them. An element: the scaled gradient,
/// 3 for m and u each, 2 for the norm and 1 for the division by it, 3 for the update with its decay. Parameter and momentum are
/// read and written.
impl Bench for MuonStep {
    const NAME: &'static str = "muon";
    type Case = Case;

    fn work(case: &Case) -> Work {
        let [a, b] = case.shape;
        let (short, long) = (a.min(b), a.max(b));
        let triangle = short * (short + 1);
        let iteration = triangle * long + triangle * short + 2 * short * short * long;
        let each = 1 + 3 + 3 + 2 + 1 + 3;
        let iterations = Muon::default().iterations as usize;
        let operations = iterations * iteration + each * case.elements();
        Work { format: case.format, ..Work::f32(operations, 5 * case.elements()) }
    }

    fn prepare<B: TrainBackend>(backend: &B, case: &Case) -> Result<Call> {
        let (backend, [mut parameter, gradient]) = (backend.clone(), case.tensors(backend)?);
        let mut momentum = case.zeros(&backend)?;
        let settings = Muon { rate: 1e-4, decay: 0.01, format: case.format, ..Muon::default() };
        Ok(Box::new(move || backend.muon(&settings, &mut parameter, &gradient, &mut momentum)))
    }
}
