//! Dropout within adapters, as peft has it: x W' + s · drop(x) R' L', each adapter with elements of its own dropped.
//!
//! An activation or a gate follows the sum, so it has to be one product: of x with s · drop(x) R' beside it, and of W with L
//! beside it. Both are layers like others, whose gradients come as theirs do; that of the wide weight is taken apart. In a
//! layer of several parts each adapter has columns of its own, which are zero in the other parts.
//!
//! In a layer whose tensor is `[in, out]`, L and R change places, and rows are below one another.

use super::{Adapter, Autodiff};
use crate::autodiff::layers::{Linear, LinearShared, PartIds};
use crate::autodiff::parameters::{Id, Parameters};
use crate::autodiff::{lock, tape::Tensor};
use crate::train::{Gradient, TrainBackend};
use crate::{Backend, Epilogue, Part, RecurrentOps, Result, Rows};
use std::sync::Arc;

/// What stands beside a weight.
#[derive(Clone, Copy)]
pub(in crate::autodiff) struct Beside {
    /// The factor that is next to the result, and the first of its columns among those that are added.
    up: Option<(Id, usize)>,
    /// Columns that are added.
    added: usize,
}

/// A layer with dropout within its adapters.
pub(in crate::autodiff) struct Dropped<B: TrainBackend> {
    /// Of each adapter the rate, and the factor that is next to the input, with the scale.
    downs: Vec<(f32, Linear<B>)>,
    /// The weights with the other factors beside them.
    wide: Linear<B>,
    /// Adapters that there were when it was made.
    adapters: usize,
}

impl<B: TrainBackend> Dropped<B> {
    pub(in crate::autodiff) fn forward(
        &self,
        b: &Autodiff<B>,
        x: &Tensor<B>,
        epilogue: Epilogue<'_, Tensor<B>>,
    ) -> Result<Tensor<B>> {
        let down = |(rate, down): &(f32, Linear<B>)| {
            let kept = b.dropout(x.clone(), *rate)?;
            b.linear_of(&kept, &down.shared, Epilogue::NONE)
        };
        let downs = self.downs.iter().map(down).collect::<Result<Vec<_>>>()?;
        let parts: Vec<_> = [x].into_iter().chain(&downs).map(Part::all).collect();
        b.linear_of(&b.columns(&parts)?, &self.wide.shared, epilogue)
    }
}

impl<B: TrainBackend> Autodiff<B> {
    /// What a layer is computed by in a pass that drops within its adapters; `None` in others.
    pub(in crate::autodiff) fn dropped(
        &self,
        layer: &Arc<LinearShared<B>>,
    ) -> Result<Option<Arc<Dropped<B>>>> {
        if !self.tape().is_some_and(|tape| tape.drops()) {
            return Ok(None);
        }
        let parameters = self.parameters();
        let drops =
            |part: &PartIds| parameters.adapter(part.weight).is_some_and(|a| a.dropout > 0.0);
        if !layer.parts.iter().any(drops) {
            return Ok(None);
        }
        let mut held = lock(&layer.dropped);
        let count = parameters.adapters.len();
        if let Some(made) = held.as_ref().filter(|made| made.adapters == count) {
            return Ok(Some(made.clone()));
        }
        let made = Arc::new(self.make_dropped(&parameters, layer)?);
        Ok(Some(held.insert(made).clone()))
    }

    fn make_dropped(
        &self,
        parameters: &Parameters<B>,
        layer: &LinearShared<B>,
    ) -> Result<Dropped<B>> {
        let pack = |parts, packing| {
            let shared = LinearShared::pack(&self.inner, parameters, parts, packing)?;
            Ok::<_, crate::Error>(Linear { shared: self.watch(shared) })
        };
        let (_, _, format) = layer.packing();
        let (mut downs, mut parts, mut added) = (Vec::new(), layer.parts.clone(), 0);
        for part in &mut parts {
            let adapter = parameters.adapter(part.weight);
            let up = adapter.map(|adapter| (adapter.ends(part.transposed)[1], added));
            part.beside = Some(Beside { up, added: 0 });
            let Some(adapter) = adapter else { continue };
            let [weight, _] = adapter.ends(part.transposed);
            added += parameters.rank(adapter);
            let down = PartIds { weight, bias: None, beside: None, ..*part };
            downs.push((adapter.dropout, pack(vec![down], (false, adapter.scale, format))?));
        }
        parts.iter_mut().filter_map(|part| part.beside.as_mut()).for_each(|b| b.added = added);
        let wide = pack(parts, layer.packing())?;
        Ok(Dropped { downs, wide, adapters: parameters.adapters.len() })
    }
}

impl<T> Adapter<T> {
    /// The factor that is next to the input, and that next to the result.
    fn ends(&self, transposed: bool) -> [Id; 2] {
        if transposed { [self.left, self.right] } else { [self.right, self.left] }
    }
}

impl<B: TrainBackend> Parameters<B> {
    /// The adapter of a weight, where it is not merged.
    fn adapter(&self, id: Id) -> Option<&Adapter<B::Tensor>> {
        self.adapters.get(&id).filter(|adapter| !adapter.merged)
    }

    /// A weight without its adapter.
    fn base(&self, id: Id) -> &B::Tensor {
        match self.adapters.get(&id) {
            Some(adapter) if adapter.merged => &adapter.other,
            _ => self.value(id),
        }
    }

    fn rank(&self, adapter: &Adapter<B::Tensor>) -> usize {
        self.value(adapter.left).width()
    }

    /// Takes the gradient of a wide weight apart.
    pub(in crate::autodiff) fn put_wide(
        &mut self,
        inner: &B,
        part: &PartIds,
        beside: Beside,
        taken: Option<Gradient<B::Tensor>>,
    ) -> Result<()> {
        let Some(gradient) = taken.flatten() else { return Ok(()) };
        let cut = |from: usize, count: usize| match part.transposed {
            true => inner.gather_rows(&gradient, &(from..from + count).collect::<Vec<_>>()),
            false => inner.columns(&[Part { tensor: &gradient, columns: from..from + count }]),
        };
        let inputs = |x: &B::Tensor| if part.transposed { x.rows() } else { x.width() };
        let own = inputs(&gradient) - beside.added;
        if self.trained(part.weight) {
            let of_weight = cut(0, own)?;
            self.put(inner, part.weight, Some(Some(of_weight)))?;
        }
        match beside.up {
            Some((up, from)) if self.trained(up) => {
                let of_up = cut(own + from, inputs(self.value(up)))?;
                self.put(inner, up, Some(Some(of_up)))
            }
            _ => Ok(()),
        }
    }
}

/// The weights of the parts that have something beside them.
pub(in crate::autodiff) fn wide_weights<B: TrainBackend>(
    inner: &B,
    parameters: &Parameters<B>,
    parts: &[PartIds],
) -> Result<Vec<Option<B::Tensor>>> {
    let wide = |part: &PartIds| {
        let Some(Beside { up, added }) = part.beside else { return Ok(None) };
        let weight = parameters.base(part.weight);
        let zeros = |count: usize| match (count, part.transposed) {
            (0, _) => Ok(None),
            (_, true) => inner.zeros(count, weight.width()).map(Some),
            (_, false) => inner.zeros(weight.rows(), count).map(Some),
        };
        let up = up.map(|(id, from)| (parameters.value(id), from));
        let inputs = |x: &B::Tensor| if part.transposed { x.rows() } else { x.width() };
        let (before, after) = match up {
            None => (zeros(added)?, None),
            Some((up, from)) => (zeros(from)?, zeros(added - from - inputs(up))?),
        };
        let pieces = [Some(weight), before.as_ref(), up.map(|(up, _)| up), after.as_ref()];
        let pieces: Vec<&B::Tensor> = pieces.into_iter().flatten().collect();
        match part.transposed {
            true => inner.stack_rows(&pieces).map(Some),
            false => {
                let pieces: Vec<_> = pieces.into_iter().map(Part::all).collect();
                inner.columns(&pieces).map(Some)
            }
        }
    };
    parts.iter().map(wide).collect()
}
