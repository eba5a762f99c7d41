//! Single steps of the rules and warps against `fixtures/sampling/warpers.json`, where transformers builds its list of
//! processors from the same settings.

use super::{ConfigLayers, Context, Plan, beam::BeamSpec, plan::Mode};
use crate::Prompt;
use seq2seq_core::{
    Backend, DecoderOps, HostTensor, LogitRule, ScoreOrder,
    reference::{self, Reference},
};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Fixture {
    warpers: Vec<Warper>,
    processors: Vec<Processor>,
}

/// Numbers of which null is minus infinity.
type Row = Vec<Option<f32>>;

#[derive(Deserialize)]
struct Warper {
    kwargs: Map<String, Value>,
    history: Vec<u32>,
    prompt_length: usize,
    logits: Vec<Row>,
    probabilities: Vec<Row>,
}

#[derive(Deserialize)]
struct Processor {
    kwargs: Map<String, Value>,
    history: Vec<u32>,
    prompt_length: usize,
    encoder_input_ids: Option<Vec<u32>>,
    kind: String,
    logits: Row,
    processed: Row,
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/sampling/warpers.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A plan for one row whose decoder has been given `given`; `source` is what the encoder read, if there is one.
fn plan(
    kwargs: &Map<String, Value>,
    given: &[u32],
    source: Option<&[u32]>,
    vocab: usize,
) -> crate::Result<Plan<'static>> {
    let context = Context {
        encoder_decoder: source.is_some(),
        vocab,
        max_position_embeddings: None,
        token_bytes: None,
    };
    let start = Map::from_iter([("decoder_start_token_id".into(), given[0].into())]);
    let layers = ConfigLayers::new().with_fields(&start)?.with_fields(kwargs)?;
    let prompt = Prompt {
        input_ids: source.unwrap_or(given).to_vec(),
        decoder_input_ids: source.map(|_| given.to_vec()),
    };
    Plan::new(&layers, &context, &[prompt])
}

fn rules(plan: &Plan<'_>, history: &[u32]) -> Vec<LogitRule> {
    let mut rules = Vec::new();
    plan.rules.fill([plan.view(0, history)].into_iter(), &mut rules);
    rules.pop().unwrap_or_default()
}

fn number(x: &Option<f32>) -> f32 {
    x.unwrap_or(f32::NEG_INFINITY)
}

fn log_softmax(scores: &[f32]) -> Vec<f64> {
    let scores: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
    let total: f64 = scores.iter().map(|s| s.exp()).sum();
    scores.iter().map(|s| s - total.ln()).collect()
}

/// Greedy search takes the log-softmax of what the processors leave; beam search gives them log-probabilities.
#[test]
fn rules_change_the_scores_as_the_processors_do() {
    let cases = fixture().processors;
    assert!(cases.len() > 50);
    for case in &cases {
        let name = format!("{} of {:?}", Value::Object(case.kwargs.clone()), case.kind);
        let logits: Vec<f32> = case.logits.iter().map(number).collect();
        let given = &case.history[..case.prompt_length];
        let plan =
            plan(&case.kwargs, given, case.encoder_input_ids.as_deref(), logits.len()).unwrap();
        let rules = rules(&plan, &case.history);
        let renormalise = case.kwargs.get("renormalize_logits") == Some(&Value::Bool(true));
        let (order, twice) = match (&case.kind[..], renormalise) {
            ("logits", _) => (ScoreOrder::RulesThenNormalise, true),
            (_, true) => (ScoreOrder::NormaliseRulesNormalise, false),
            (_, false) => (ScoreOrder::NormaliseThenRules, false),
        };
        let tensor = HostTensor::from_f32(vec![1, logits.len()], &logits).unwrap();
        let tensor = Reference.upload(&tensor).unwrap();
        let top = Reference.top_k(&tensor, logits.len(), order, &[rules]).unwrap();
        let processed: Vec<f32> = case.processed.iter().map(number).collect();
        let expected: Vec<f64> = match twice {
            true => log_softmax(&processed),
            false => processed.iter().map(|&s| f64::from(s)).collect(),
        };
        for (&id, &score) in top.ids.iter().zip(&top.scores) {
            let want = expected[id as usize];
            // remove_invalid_values writes the lowest finite number for minus infinity.
            let banned = want < -1e30 && score == f32::NEG_INFINITY;
            let close = (f64::from(score) - want).abs() <= 2e-5 * want.abs().max(1.0);
            assert!(banned || close, "{name}: id {id} has {score}, not {want}");
        }
    }
}

/// The distribution that sampling draws from. Which of several equal scores are kept is left to chance by transformers
/// (its sort is not stable), so ids are compared in the order of their scores.
#[test]
fn warps_leave_the_exact_distribution() {
    let mut refused = Vec::new();
    for case in &fixture().warpers {
        let settings = Value::Object(case.kwargs.clone());
        let mut kwargs = case.kwargs.clone();
        kwargs.insert("do_sample".into(), true.into());
        kwargs.entry("eos_token_id").or_insert(2.into());
        let vocab = case.logits.first().map_or(31, Vec::len);
        let plan = match plan(&kwargs, &case.history[..case.prompt_length], None, vocab) {
            Ok(plan) => plan,
            Err(e) => {
                refused.push(e.to_string());
                continue;
            }
        };
        let warp = match &plan.mode {
            Mode::Sample { warp, .. } => warp,
            Mode::Beams(BeamSpec { sampling: Some(sampling), .. }) => &sampling.warp,
            _ => panic!("{settings} does not sample"),
        };
        let rules = rules(&plan, &case.history);
        for (logits, probabilities) in case.logits.iter().zip(&case.probabilities) {
            let mut scores: Vec<f32> = logits.iter().map(number).collect();
            reference::rules::apply(&rules, &mut scores);
            let by_score = |p: Vec<f64>| {
                let mut pairs: Vec<(f32, f64)> = scores.iter().copied().zip(p).collect();
                pairs.sort_by(|a, b| a.partial_cmp(b).unwrap());
                pairs
            };
            let expected =
                by_score(probabilities.iter().map(|p| f64::from(p.unwrap_or(0.0))).collect());
            let mut warped = scores.clone();
            reference::sample::apply(warp, &mut warped);
            let found = by_score(log_softmax(&warped).iter().map(|l| l.exp()).collect());
            for ((score, found), (_, expected)) in found.iter().zip(&expected) {
                let close = (found - expected).abs() <= 2e-6 * expected;
                assert!(close, "{settings} {logits:?}: {score} has {found}, not {expected}");
            }
        }
    }
    let top_h = refused.iter().filter(|e| e.contains("top-h")).count();
    assert_eq!((top_h, refused.len()), (2, 2), "{refused:?}");
}
