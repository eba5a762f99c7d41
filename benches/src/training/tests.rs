use super::*;
use crate::limits::Limits;
use seq2seq_core::reference::Reference;
use seq2seq_cpu::{Cpu, CpuOptions};
use std::collections::HashSet;

/// Every case, as small as its shape allows.
const SMALL: Size = Size {
    width: 24,
    heads: 2,
    feed_forward: 36,
    vocabulary: 40,
    sequences: 3,
    source: 6,
    target: 4,
    recurrent: 16,
    sentences: 3,
    words: 4,
};

/// Calls each case twice on the reference and on the CPU: what a first call leaves, the second bears.
struct Smoke {
    cpu: Cpu,
    cases: HashSet<(&'static str, String)>,
}

impl Visit for Smoke {
    type Error = String;

    fn visit<O: Training>(&mut self) -> Result<(), String> {
        for (name, case) in O::cases(&SMALL) {
            let failed = |error| format!("{}, {name}: {error}", O::NAME);
            assert!(O::work(&case).bytes > 0, "{}, {name}: nothing is asked for", O::NAME);
            let prepared = [O::prepare(&Reference, &case), O::prepare(&self.cpu, &case)];
            for call in prepared {
                let mut call = call.map_err(failed)?;
                call().and_then(|()| call()).map_err(failed)?;
            }
            if !self.cases.insert((O::NAME, name.clone())) {
                return Err(format!("{}, {name}: two cases have one name", O::NAME));
            }
        }
        Ok(())
    }
}

#[test]
fn every_case_can_be_called_again_and_again() {
    let cpu = Cpu::new(CpuOptions::default()).unwrap();
    let mut smoke = Smoke { cpu, cases: HashSet::new() };
    each(&mut smoke).unwrap();
    // The methods of TrainBackend, TrainRecurrentOps, TrainConvolutionOps and OptimiserOps.
    let methods: HashSet<_> = smoke.cases.iter().map(|(op, _)| op).collect();
    assert_eq!(methods.len(), 18 + 10 + 1 + 6);
}

/// The work of a case by its name.
struct Find<'a> {
    op: &'a str,
    case: &'a str,
    found: Option<crate::work::Work>,
}

impl Visit for Find<'_> {
    type Error = std::convert::Infallible;

    fn visit<O: Training>(&mut self) -> Result<(), Self::Error> {
        let mut cases = O::cases(&Size::BASE).into_iter();
        let case = cases.find(|(name, _)| O::NAME == self.op && name == self.case);
        self.found = self.found.or(case.map(|(_, case)| O::work(&case)));
        Ok(())
    }
}

fn work(op: &str, case: &str) -> crate::work::Work {
    let mut find = Find { op, case, found: None };
    let Ok(()) = each(&mut find);
    find.found.unwrap_or_else(|| panic!("there is no {op} of {case}"))
}

/// The way back of a product without more is two of its size, and is bound by them; in bf16 the weight alone is half as large.
#[test]
fn a_linear_layer_goes_back_in_two_products() {
    let forward = work("linear_forward", "t5-base qkv, 1024 rows, f32");
    let backward = work("linear_backward", "t5-base qkv, 1024 rows, f32");
    assert_eq!(forward.operations, 2 * 1024 * 768 * 2304);
    assert_eq!(backward.operations, 2 * forward.operations);
    assert_eq!(backward.bytes, 4 * (2 * 768 * 2304 + 1024 * (2 * 768 + 2304)));
    let halved = work("linear_backward", "t5-base qkv, 1024 rows, bf16");
    assert_eq!(backward.bytes - halved.bytes, 2 * 768 * 2304);
    let limits = Limits::new(vec![("f32", 1e11), ("bandwidth", 1e10)]);
    assert_eq!(backward.seconds(&limits), backward.operations as f64 / 1e11);
}

#[test]
fn attention_goes_back_in_five_products() {
    let backward = work("attend_backward", "bert-base, 8 of 128");
    let scores = 8 * 12 * 128 * 128;
    assert_eq!(backward.operations, scores * (10 * 64 + 4) + 2 * 1024 * 768);
    assert_eq!(backward.bytes, 4 * (8 * 1024 * 768 + 1024 * 12));
    let dropped = work("attend_backward", "bert-base, 8 of 128, dropout");
    assert_eq!(dropped.operations - backward.operations, scores * 18);
}

/// PyTorch's count of AdamW: four tensors are read and three are written.
#[test]
fn optimisers_are_bound_by_memory() {
    let limits = Limits::new(vec![("f32", 1e11), ("bandwidth", 2e10)]);
    let adamw = work("adamw", "t5-base up, 3072 x 768");
    assert_eq!(adamw.seconds(&limits), (28 * 3072 * 768) as f64 / 2e10);
}
