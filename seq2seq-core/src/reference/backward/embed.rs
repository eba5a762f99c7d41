//! Lookups in masters.

use super::{Real, Tensor, add};
use crate::backend::check;
use crate::train::{Gradient, Looked};
use crate::{Lookup, Result, Rows};

pub(super) fn forward(lookups: &[Lookup<'_, Tensor>]) -> Result<Tensor> {
    let [rows, width] = check::embed(lookups, |table| [table.rows(), table.width()])?;
    let mut out = Vec::with_capacity(rows * width);
    for row in 0..rows {
        out.extend((0..width).map(|i| {
            let terms = lookups.iter().map(|lookup| {
                let entry = lookup.table.row(lookup.ids[row] as usize)[i];
                f64::from(lookup.scale) * f64::from(entry)
            });
            terms.sum::<f64>() as f32
        }));
    }
    Ok(Tensor::new(rows, width, out))
}

/// The gradient of a table of `table_rows` rows, from `[N, width]`.
pub(crate) fn gradient<R: Real>(looked: Looked<'_>, dy: &[R], width: usize) -> Vec<R> {
    let mut terms = vec![Vec::new(); looked.table_rows * width];
    for (dy, &id) in dy.chunks(width.max(1)).zip(looked.ids) {
        for (i, dy) in dy.iter().enumerate() {
            terms[id as usize * width + i].push(dy.times(R::exact(looked.scale.into())));
        }
    }
    terms.iter().map(|terms| R::sum(terms)).collect()
}

pub(super) fn backward(
    looked: Looked<'_>,
    dy: &Tensor,
    table: &mut Gradient<Tensor>,
) -> Result<()> {
    check::embed_backward(looked, dy, table)?;
    let values = gradient(looked, &f64::all(&dy.values), dy.width);
    add(table, looked.table_rows, dy.width, &values);
    Ok(())
}
