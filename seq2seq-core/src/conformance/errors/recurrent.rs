//! Recurrent layers, columns and rows, additive attention.

use super::super::host;
use super::{Calls, vector, zeros};
use crate::{Cell, Format, LinearPart, Part, Ragged, RecurrentSpec, Result, SeqBackend};

pub(super) fn direction(rows: usize, width: usize) -> LinearPart {
    LinearPart { weight: zeros(rows, width), bias: None, transposed: false }
}

pub(super) fn recurrences<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    let spec = |cell, directions| RecurrentSpec { cell, directions };
    let nan = LinearPart { weight: host(3, 1, &[0.0, f32::NAN, 0.0]), ..direction(3, 1) };
    let turned = LinearPart { transposed: true, ..direction(2, 8) };
    for (what, spec) in [
        ("no directions", spec(Cell::Lstm, vec![])),
        ("three directions", spec(Cell::Gru, vec![direction(6, 2); 3])),
        ("directions of unequal width", spec(Cell::Gru, vec![direction(6, 2), direction(9, 3)])),
        ("four gates in a GRU", spec(Cell::Gru, vec![direction(8, 2)])),
        ("three gates in an LSTM", spec(Cell::Lstm, vec![direction(8, 2), direction(6, 2)])),
        ("a transposed weight", spec(Cell::Lstm, vec![turned])),
        ("a NaN weight", spec(Cell::Gru, vec![nan])),
    ] {
        calls.add(what, backend.recurrent(&spec, Format::F32));
    }
    let layer = backend.recurrent(&spec(Cell::Lstm, vec![direction(8, 2); 2]), Format::F32)?;
    let rows = Ragged::from_lengths([1, 2]);
    let tensor = |rows, width| backend.upload(&zeros(rows, width));
    for (what, x, state) in [
        ("width of the projected input", (3, 8), (2, 8)),
        ("rows of the input", (2, 16), (2, 8)),
        ("width of the state", (3, 16), (2, 4)),
        ("rows of the state", (3, 16), (3, 8)),
    ] {
        let (x, state) = (tensor(x.0, x.1)?, tensor(state.0, state.1)?);
        calls.add(what, backend.recur(&x, &rows, &layer, Some(&state)));
    }
    let (x, y) = (tensor(3, 4)?, tensor(2, 5)?);
    calls.add("no columns", backend.columns(&[]));
    calls.add("rows of columns", backend.columns(&[Part::all(&x), Part::all(&y)]));
    calls.add("columns beyond", backend.columns(&[Part { tensor: &x, columns: 2..5 }]));
    let backwards = std::ops::Range { start: 3, end: 2 };
    calls.add("columns that fall", backend.columns(&[Part { tensor: &x, columns: backwards }]));
    calls.add("nothing to stack", backend.stack_rows(&[]));
    calls.add("widths of rows", backend.stack_rows(&[&x, &y]));
    Ok(())
}

pub(super) fn additives<B: SeqBackend>(backend: &B, calls: &mut Calls) -> Result<()> {
    calls.add("an empty v", backend.additive(&vector(&[])));
    calls.add("a NaN in v", backend.additive(&vector(&[1.0, f32::NAN])));
    calls.add("a matrix as v", backend.additive(&zeros(1, 2)));
    let tensor = |rows, width| backend.upload(&zeros(rows, width));
    let (keys, values) = (tensor(3, 4)?, tensor(3, 5)?);
    let sources = Ragged::from_lengths([1, 2]);
    let short = tensor(2, 5)?;
    calls.add("rows of the keys", backend.additive_memory(&short, &values, &sources));
    calls.add("rows of the values", backend.additive_memory(&keys, &short, &sources));
    let memory = backend.additive_memory(&keys, &values, &sources)?;
    let (v, long) = (backend.additive(&vector(&[1.0; 4]))?, backend.additive(&vector(&[1.0; 5]))?);
    let (q, wide, rows) = (tensor(2, 4)?, tensor(2, 5)?, Ragged::single_rows(2));
    let mut attend = |what, q: &B::Tensor, rows: &Ragged, v: &B::Additive, sources: &[usize]| {
        calls.add(what, backend.additive_attend(q, rows, v, &memory, sources, None));
    };
    attend("width of the query", &wide, &rows, &v, &[0, 1]);
    attend("width of the keys", &wide, &rows, &long, &[0, 1]);
    attend("rows of the queries", &q, &Ragged::single_rows(1), &v, &[0]);
    attend("numbers of sources", &q, &rows, &v, &[0]);
    attend("a source out of range", &q, &rows, &v, &[0, 2]);
    Ok(())
}
