//! Recurrent layers, additive attention, rows and columns.

use super::{added, close, download, normal, slopes, tensor, wide};
use seq2seq_core::reference::{Reference, Tensor};
use seq2seq_core::train::*;
use seq2seq_core::*;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A layer over sequences.
#[derive(Debug)]
struct Layer {
    cell: Cell,
    width: usize,
    directions: usize,
    lengths: Vec<usize>,
}

impl Layer {
    fn gates(&self) -> usize {
        self.cell.gates() * self.width
    }

    fn output(&self) -> usize {
        self.directions * self.width
    }

    fn state_width(&self) -> usize {
        self.cell.vectors() * self.output()
    }

    fn rows(&self) -> Ragged {
        Ragged::from_lengths(self.lengths.iter().copied())
    }

    /// h and c after one position of one direction, by the equations of PyTorch's documentation.
    fn step(&self, x: &[f64], u: &[f64], b: &[f64], h: &mut [f64], c: &mut [f64]) {
        let m = self.width;
        let hidden: Vec<f64> = (0..self.gates())
            .map(|k| (0..m).map(|i| u[k * m + i] * h[i]).sum::<f64>() + b[k])
            .collect();
        for j in 0..m {
            let sum = |gate: usize| x[gate * m + j] + hidden[gate * m + j];
            match self.cell {
                Cell::Lstm => {
                    c[j] = sigmoid(sum(1)) * c[j] + sigmoid(sum(0)) * sum(2).tanh();
                    h[j] = sigmoid(sum(3)) * c[j].tanh();
                }
                Cell::Gru => {
                    let (r, z) = (sigmoid(sum(0)), sigmoid(sum(1)));
                    let n = (x[2 * m + j] + r * hidden[2 * m + j]).tanh();
                    h[j] = (1.0 - z) * n + z * h[j];
                }
            }
        }
    }

    /// Results, then last states; `u` and `b` have all directions one after the other.
    fn forward(&self, x: &[f64], u: &[f64], b: &[f64], state: &[f64]) -> Vec<f64> {
        let (m, gates, all) = (self.width, self.gates(), self.output());
        let mut y = vec![0.0; self.rows().rows() * all];
        let mut ends = state.to_vec();
        for (range, end) in self.rows().ranges().zip(ends.chunks_mut(self.state_width())) {
            for d in 0..self.directions {
                let (hs, cs) = end.split_at_mut(all);
                let h = &mut hs[d * m..][..m];
                let c = if cs.is_empty() { cs } else { &mut cs[d * m..][..m] };
                let order: Vec<usize> =
                    if d == 1 { range.clone().rev().collect() } else { range.clone().collect() };
                for n in order {
                    let x = &x[(n * self.directions + d) * gates..][..gates];
                    let (u, b) = (&u[d * gates * m..][..gates * m], &b[d * gates..][..gates]);
                    self.step(x, u, b, h, c);
                    y[n * all + d * m..][..m].copy_from_slice(h);
                }
            }
        }
        y.extend(ends);
        y
    }
}

/// Weights and biases on the backend.
struct Held(Vec<[Tensor; 2]>);

impl Held {
    fn new(layer: &Layer, u: &[f32], b: &[f32]) -> Self {
        let (gates, m) = (layer.gates(), layer.width);
        let directions = u.chunks(gates * m).zip(b.chunks(gates));
        Self(directions.map(|(u, b)| [tensor(gates, m, u), tensor(1, gates, b)]).collect())
    }

    fn masters(&self, cell: Cell) -> RecurrentMasters<'_, Tensor> {
        let directions = self.0.iter().map(|[weight, bias]| MasterPart {
            weight,
            bias: Some(bias),
            transposed: false,
        });
        RecurrentMasters { cell, directions: directions.collect() }
    }
}

fn layer_case(layer: &Layer, with_state: bool, seed: u64) {
    let name = format!("{layer:?}, state {with_state}");
    let (rows, gates, m, all) = (layer.rows(), layer.gates(), layer.width, layer.output());
    let (n, sequences, width) = (rows.rows(), rows.sequences(), layer.state_width());
    let x = normal(seed, n * layer.directions * gates);
    let u: Vec<f32> =
        normal(seed + 1, layer.directions * gates * m).iter().map(|v| 0.6 * v).collect();
    let b = normal(seed + 2, layer.directions * gates);
    let state =
        if with_state { normal(seed + 3, sequences * width) } else { vec![0.0; sequences * width] };
    let dy = normal(seed + 4, n * all);
    let dend = normal(seed + 5, sequences * width);
    let held = Held::new(layer, &u, &b);
    let packed = Reference.pack_recurrent(&held.masters(layer.cell), Format::F32).unwrap();
    let x_t = tensor(n, layer.directions * gates, &x);
    let state_t = tensor(sequences, width, &state);
    let given = with_state.then_some(&state_t);
    let Recurred { y, end, kept } =
        Reference.recur_forward(&x_t, &rows, &packed, given, true).unwrap();
    let kept = kept.expect("it was asked for");
    assert_eq!(kept.width(), layer.directions * layer.cell.kept() * m);
    let (xw, uw, bw, sw) = (wide(&x), wide(&u), wide(&b), wide(&state));
    let both = [download(&y), download(&end)].concat();
    close(&format!("{name} forward"), &layer.forward(&xw, &uw, &bw, &sw), &both);

    let (dy_t, dend_t) = (tensor(n, all, &dy), tensor(sequences, width, &dend));
    let mut dx = Some(tensor(n, layer.directions * gates, &vec![0.5; x.len()]));
    let mut dstate = None;
    let of = RecurBackward {
        rows: &rows,
        state: given,
        y: &y,
        kept: &kept,
        dy: Some(&dy_t),
        dend: Some(&dend_t),
    };
    let du = Reference.recur_backward(&packed, &of, Some(&mut dx), Some(&mut dstate)).unwrap();
    let mut parts: Vec<[Option<Tensor>; 2]> = (0..layer.directions).map(|_| [None, None]).collect();
    let pass = RecurPass { rows: &rows, state: given, y: &y, du: &du };
    let wanted = parts.iter_mut().map(|p| p.each_mut().map(Some)).collect();
    Reference.recur_weights_backward(&packed, &[pass], wanted).unwrap();

    let together = [dy, dend].concat();
    let slopes = |of: &[f32], f: &dyn Fn(&[f64]) -> Vec<f64>| slopes(of, &together, f);
    added(&format!("{name} dx"), 0.5, &slopes(&x, &|x| layer.forward(x, &uw, &bw, &sw)), &dx);
    let want = slopes(&state, &|s| layer.forward(&xw, &uw, &bw, s));
    added(&format!("{name} dstate"), 0.0, &want, &dstate);
    let du = slopes(&u, &|u| layer.forward(&xw, u, &bw, &sw));
    let db = slopes(&b, &|b| layer.forward(&xw, &uw, b, &sw));
    for (d, [weight, bias]) in parts.iter().enumerate() {
        added(&format!("{name} dU"), 0.0, &du[d * gates * m..][..gates * m], weight);
        added(&format!("{name} db"), 0.0, &db[d * gates..][..gates], bias);
    }
}

#[test]
fn recurrent_layers() {
    for cell in Cell::ALL {
        for directions in [1, 2] {
            for with_state in [false, true] {
                let layer = Layer { cell, width: 3, directions, lengths: vec![3, 0, 1, 4] };
                layer_case(&layer, with_state, 7 * directions as u64);
            }
        }
    }
}

/// A step at a time, as a decoder that is fed takes them: the gradients are those of the whole.
#[test]
fn recurrent_layers_by_steps() {
    for cell in Cell::ALL {
        let layer = Layer { cell, width: 3, directions: 1, lengths: vec![4, 4] };
        let (gates, m, width, steps) = (layer.gates(), 3, layer.state_width(), 4);
        let (x, dy) = (normal(1, 2 * steps * gates), normal(2, 2 * steps * m));
        let held = Held::new(&layer, &normal(3, gates * m), &normal(4, gates));
        let packed = Reference.pack_recurrent(&held.masters(cell), Format::F32).unwrap();
        let begin = tensor(2, width, &normal(5, 2 * width));
        let gradients = |passes: &[RecurPass<'_, Tensor>]| {
            let [mut du, mut db] = [None, None];
            let wanted = vec![[Some(&mut du), Some(&mut db)]];
            Reference.recur_weights_backward(&packed, passes, wanted).unwrap();
            [du, db].map(|g| download(&g.unwrap()))
        };

        let rows = layer.rows();
        let (x_t, dy_t) = (tensor(2 * steps, gates, &x), tensor(2 * steps, m, &dy));
        let whole = Reference.recur_forward(&x_t, &rows, &packed, Some(&begin), true).unwrap();
        let (y, kept) = (&whole.y, whole.kept.as_ref().unwrap());
        let of = RecurBackward {
            rows: &rows,
            state: Some(&begin),
            y,
            kept,
            dy: Some(&dy_t),
            dend: None,
        };
        let mut first = None;
        let du = Reference.recur_backward(&packed, &of, None, Some(&mut first)).unwrap();
        let pass = RecurPass { rows: &rows, state: Some(&begin), y, du: &du };
        let want = gradients(&[pass]);

        let each = Ragged::single_rows(2);
        let of_step = |t: usize| [t, steps + t];
        let mut states = vec![begin.clone()];
        let mut recurred = Vec::new();
        for t in 0..steps {
            let x = Reference.gather_rows(&x_t, &of_step(t)).unwrap();
            let step = Reference.recur_forward(&x, &each, &packed, Some(&states[t]), true).unwrap();
            states.push(step.end.clone());
            recurred.push(step);
        }
        let (mut dend, mut du) = (None, Vec::new());
        for t in (0..steps).rev() {
            let dy = Reference.gather_rows(&dy_t, &of_step(t)).unwrap();
            let Recurred { y, kept, .. } = &recurred[t];
            let of = RecurBackward {
                rows: &each,
                state: Some(&states[t]),
                y,
                kept: kept.as_ref().unwrap(),
                dy: Some(&dy),
                dend: dend.as_ref(),
            };
            let mut before = None;
            du.push(Reference.recur_backward(&packed, &of, None, Some(&mut before)).unwrap());
            dend = before;
        }
        du.reverse();
        let pass = |t: usize| (&each, &states[t], &recurred[t].y, &du[t]);
        let passes: Vec<_> = (0..steps)
            .map(pass)
            .map(|(rows, state, y, du)| RecurPass { rows, state: Some(state), y, du })
            .collect();
        let got = gradients(&passes);
        close(
            &format!("{cell:?} state"),
            &wide(&download(&first.unwrap())),
            &download(&dend.unwrap()),
        );
        for (want, got) in want.iter().zip(&got) {
            close(&format!("{cell:?} weights"), &wide(want), got);
        }
    }
}

#[test]
fn bf16_recurrences_round_their_operands() {
    let round =
        |v: &[f32]| -> Vec<f32> { v.iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect() };
    let layer = Layer { cell: Cell::Gru, width: 3, directions: 1, lengths: vec![1] };
    let (gates, u, b) = (layer.gates(), normal(1, 27), normal(2, 9));
    let run = |format, u: &[f32]| {
        let held = Held::new(&layer, u, &b);
        let packed = Reference.pack_recurrent(&held.masters(layer.cell), format).unwrap();
        let (rows, state) = (layer.rows(), tensor(1, 3, &round(&normal(4, 3))));
        let x = tensor(1, gates, &normal(3, gates));
        let forward = Reference.recur_forward(&x, &rows, &packed, Some(&state), true).unwrap();
        let dy = tensor(1, 3, &normal(5, 3));
        let of = RecurBackward {
            rows: &rows,
            state: Some(&state),
            y: &forward.y,
            kept: forward.kept.as_ref().unwrap(),
            dy: Some(&dy),
            dend: None,
        };
        let [mut dstate, mut dw, mut db] = [None, None, None];
        let du = Reference.recur_backward(&packed, &of, None, Some(&mut dstate)).unwrap();
        let pass = RecurPass { rows: &rows, state: Some(&state), y: &forward.y, du: &du };
        let wanted = vec![[Some(&mut dw), Some(&mut db)]];
        Reference.recur_weights_backward(&packed, &[pass], wanted).unwrap();
        [dstate, dw, db].map(|g| download(&g.unwrap()))
    };
    let (got, of_rounded) = (run(Format::Bf16, &u), run(Format::F32, &round(&u)));
    assert_ne!(got[0], of_rounded[0], "du is rounded before it is multiplied");
    assert_ne!(got[1], of_rounded[1]);
    assert_eq!(got[2], of_rounded[2], "the bias sums what is not rounded");
}

#[test]
fn columns_and_rows() {
    let (a, b) = (normal(1, 3 * 4), normal(2, 3 * 2));
    let dy = normal(3, 3 * 5);
    let run = |a: &[f64], b: &[f64]| -> Vec<f64> {
        (0..3).flat_map(|n| [&b[n * 2..][..2], &a[n * 4 + 1..][..3]].concat()).collect()
    };
    let (aw, bw) = (wide(&a), wide(&b));
    let dy_t = tensor(3, 5, &dy);
    let mut da = Some(tensor(3, 4, &[0.25; 12]));
    Reference.columns_backward(&dy_t, 2, (4, 1..4), &mut da).unwrap();
    added("columns", 0.25, &slopes(&a, &dy, |a| run(a, &bw)), &da);
    let mut db = None;
    Reference.columns_backward(&dy_t, 0, (2, 0..2), &mut db).unwrap();
    added("columns", 0.0, &slopes(&b, &dy, |b| run(&aw, b)), &db);
    let mut rows = None;
    for _ in 0..2 {
        Reference.stack_rows_backward(&dy_t, 1..3, &mut rows).unwrap();
    }
    let twice: Vec<f64> = dy[5..].iter().map(|&v| 2.0 * f64::from(v)).collect();
    added("stack_rows", 0.0, &twice, &rows);
}

/// Σ softmax(vᵀ tanh(q + key)) value
fn additive(
    [q, keys, values, v]: [&[f64]; 4],
    rows: &Ragged,
    source_rows: &Ragged,
    sources: &[usize],
) -> Vec<f64> {
    let (a, m) = (v.len(), values.len() / source_rows.rows());
    let mut y = Vec::new();
    for (range, &source) in rows.ranges().zip(sources) {
        for n in range {
            let score = |j: usize| -> f64 {
                (0..a).map(|i| v[i] * (q[n * a + i] + keys[j * a + i]).tanh()).sum()
            };
            let e: Vec<f64> = source_rows.range(source).map(|j| score(j).exp()).collect();
            let total: f64 = e.iter().sum();
            let value = |i: usize| -> f64 {
                source_rows.range(source).zip(&e).map(|(j, e)| e / total * values[j * m + i]).sum()
            };
            y.extend((0..m).map(value));
        }
    }
    y
}

#[test]
fn additive_attention() {
    let (a, m) = (5, 3);
    let (rows, source_rows) =
        (Ragged::from_lengths([2, 0, 3, 1, 1]), Ragged::from_lengths([4, 0, 2]));
    // One source is read by two groups, one is empty.
    let sources = [2, 0, 0, 1, 2];
    let (n, s) = (rows.rows(), source_rows.rows());
    let (q, keys, values) = (normal(1, n * a), normal(2, s * a), normal(3, s * m));
    let (v, dy) = (normal(4, a), normal(5, n * m));
    let [q_t, dy_t] = [tensor(n, a, &q), tensor(n, m, &dy)];
    let by = Reference.additive(&HostTensor::from_f32(vec![a], &v).unwrap()).unwrap();
    let memory =
        Reference.additive_memory(&tensor(s, a, &keys), &tensor(s, m, &values), &source_rows);
    let memory = memory.unwrap();
    let forward = Reference.additive_attend_forward(&q_t, &rows, &by, &memory, &sources);
    let (y, weights) = forward.unwrap();
    let [qw, kw, vw, bw] = [&q, &keys, &values, &v].map(|x| wide(x));
    let run = |operands: [&[f64]; 4]| additive(operands, &rows, &source_rows, &sources);
    close("additive_attend", &run([&qw, &kw, &vw, &bw]), &download(&y));
    let of = AdditiveBackward {
        q: &q_t,
        weights: &weights,
        rows: &rows,
        v: &by,
        memory: &memory,
        sources: &sources,
        dy: &dy_t,
    };
    let [mut dq, mut dkeys, mut dvalues, mut dv] = [None, None, None, None];
    let gradients = AdditiveGradients {
        q: Some(&mut dq),
        keys: Some(&mut dkeys),
        values: Some(&mut dvalues),
        v: Some(&mut dv),
    };
    Reference.additive_attend_backward(&of, gradients).unwrap();
    added("dq", 0.0, &slopes(&q, &dy, |q| run([q, &kw, &vw, &bw])), &dq);
    added("dkeys", 0.0, &slopes(&keys, &dy, |k| run([&qw, k, &vw, &bw])), &dkeys);
    added("dvalues", 0.0, &slopes(&values, &dy, |v| run([&qw, &kw, v, &bw])), &dvalues);
    added("dv", 0.0, &slopes(&v, &dy, |v| run([&qw, &kw, &vw, v])), &dv);
}
