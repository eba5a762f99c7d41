//! The encoder tasks against the pipelines of transformers and against sentence-transformers, from texts on.

use crate::support::{self, Fixture, backends, fixtures_with, label};
use seq2seq_models::{
    Forward, LoadOptions, Model, Tokenizer,
    tasks::{
        self, Aggregation, AnswerOptions, Answering, Classifier, Embedder, Labels, MaskFiller,
        Question, Tagger, Task, TextPair, View,
    },
};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-4;

/// The results for all inputs, computed in one batch.
fn run<T: Task>(model: &Model, task: &T, inputs: &[T::Input]) -> Vec<T::Output> {
    tasks::run(model, task, inputs).unwrap()
}

/// Equal, but for numbers, which are close.
fn same(got: &Value, expected: &Value, at: &str) {
    match (got, expected) {
        (Value::Number(g), Value::Number(e)) => {
            let (g, e) = (g.as_f64().unwrap(), e.as_f64().unwrap());
            assert!((g - e).abs() <= TOLERANCE * e.abs().max(1e-2), "{at}: {g}, not {e}");
        }
        (Value::Array(g), Value::Array(e)) => {
            assert_eq!(g.len(), e.len(), "{at}: {got} against {expected}");
            g.iter().zip(e).enumerate().for_each(|(i, (g, e))| same(g, e, &format!("{at}[{i}]")));
        }
        (Value::Object(g), Value::Object(e)) => {
            assert!(g.keys().eq(e.keys()), "{at}: {got} against {expected}");
            e.iter().for_each(|(key, e)| same(&g[key], e, &format!("{at}.{key}")));
        }
        _ => assert_eq!(got, expected, "{at}"),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

/// Runs `check` on every fixture with `tasks.json` for this task, on every backend.
fn each(task: &str, file: &str, check: impl Fn(&str, &Fixture, &Model, &Tokenizer, &[Value])) {
    let mut seen = 0;
    for fixture in fixtures_with(file) {
        let content = fixture.json(file);
        if content["task"].as_str().is_some_and(|t| t != task) {
            continue;
        }
        seen += 1;
        let cases = content["cases"].as_array().unwrap();
        let tokenizer = Tokenizer::from_folder(&fixture.folder).unwrap();
        for options in backends() {
            let at = format!("{} on {}", fixture.name, label(&options));
            check(&at, &fixture, &fixture.load(&options), &tokenizer, cases);
        }
    }
    assert!(seen > 0, "no fixture for {task}");
}

#[test]
fn tokenizers_agree_with_transformers() {
    for fixture in fixtures_with("tasks.json") {
        let tokenizer = Tokenizer::from_folder(&fixture.folder).unwrap();
        for case in fixture.json("tasks.json")["cases"].as_array().unwrap() {
            let encoding = match (&case["text_pair"], &case["question"]) {
                (Value::String(pair), _) => tokenizer.encode_pair(&string(&case["text"]), pair),
                (_, Value::String(question)) => {
                    tokenizer.encode_pair(question, &string(&case["context"]))
                }
                _ => tokenizer.encode(&string(&case["text"])),
            }
            .unwrap();
            assert_eq!(json!(encoding.ids()), case["input_ids"], "{} {case}", fixture.name);
            assert_eq!(json!(encoding.offsets()), case["offsets"], "{} {case}", fixture.name);
        }
    }
}

#[test]
fn classification() {
    each("text-classification", "tasks.json", |at, _, model, tokenizer, cases| {
        let labels = Labels::from_files(model.files()).unwrap();
        let task = Classifier { tokenizer, labels, top_k: usize::MAX, truncate: None };
        let input = |c: &Value| TextPair {
            text: string(&c["text"]),
            pair: c["text_pair"].as_str().map(String::from),
        };
        let inputs: Vec<_> = cases.iter().map(input).collect();
        for (case, got) in cases.iter().zip(run(model, &task, &inputs)) {
            same(&json!(got), &case["expected"], &format!("{at}: {}", case["text"]));
        }
    });
}

#[test]
fn tagging() {
    each("token-classification", "tasks.json", |at, _, model, tokenizer, cases| {
        let inputs: Vec<_> = cases.iter().map(|c| string(&c["text"])).collect();
        for (name, aggregation, ignore) in [
            ("none", Aggregation::None, &["O"][..]),
            ("none_with_O", Aggregation::None, &[]),
            ("simple", Aggregation::Simple, &["O"]),
            ("first", Aggregation::First, &["O"]),
            ("average", Aggregation::Average, &["O"]),
            ("max", Aggregation::Max, &["O"]),
        ] {
            let labels = Labels::from_files(model.files()).unwrap();
            let ignore = ignore.iter().map(ToString::to_string).collect();
            let task = Tagger { tokenizer, labels, aggregation, ignore, truncate: None };
            for (case, got) in cases.iter().zip(run(model, &task, &inputs)) {
                same(
                    &json!(got),
                    &case["expected"][name],
                    &format!("{at}, {name}: {}", case["text"]),
                );
            }
        }
    });
}

#[test]
fn filling_masks() {
    each("fill-mask", "tasks.json", |at, _, model, tokenizer, cases| {
        let task = MaskFiller::new(tokenizer, 5).unwrap();
        let inputs: Vec<_> = cases.iter().map(|c| string(&c["text"])).collect();
        for (case, got) in cases.iter().zip(run(model, &task, &inputs)) {
            // One mask gives a list of fills there, several a list of lists.
            let expected = match &case["expected"][0] {
                Value::Array(_) => case["expected"].clone(),
                _ => json!([case["expected"]]),
            };
            same(&json!(got), &expected, &format!("{at}: {}", case["text"]));
        }
    });
}

#[test]
fn answering() {
    each("question-answering", "tasks.json", |at, fixture, model, tokenizer, _| {
        // What stands in tasks.json is not from a pipeline, which transformers 5 does not have.
        let file = support::root().join(format!("answers/{}.json", fixture.name));
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        for case in &cases {
            let given = |name: &str| case["options"][name].as_u64().map(|n| n as usize);
            let all = AnswerOptions::default();
            let options = AnswerOptions {
                top_k: given("top_k").unwrap_or(all.top_k),
                max_answer_len: given("max_answer_len").unwrap_or(all.max_answer_len),
                max_seq_len: given("max_seq_len").unwrap_or(all.max_seq_len),
                doc_stride: given("doc_stride"),
                handle_impossible: case["options"]["handle_impossible_answer"] == true,
            };
            let task = Answering { tokenizer, options, positions: None };
            let input =
                Question { question: string(&case["question"]), context: string(&case["context"]) };
            let got = run(model, &task, &[input]).remove(0);
            same(
                &json!(got),
                &case["expected"],
                &format!("{at}: {} {}", case["question"], case["options"]),
            );
        }
    });
}

#[test]
fn embeddings() {
    each("embeddings", "embeddings.json", |at, _, model, tokenizer, cases| {
        let positions = model.plan().encoder.as_ref().and_then(|e| e.max_positions());
        let task = Embedder::new(model.files(), tokenizer, positions).unwrap();
        let inputs: Vec<_> = cases.iter().map(|c| string(&c["text"])).collect();
        let together = run(model, &task, &inputs);
        for ((case, input), got) in cases.iter().zip(&inputs).zip(together) {
            let expected: Vec<f64> = serde_json::from_value(case["embedding"].clone()).unwrap();
            assert_eq!(got.len(), expected.len());
            let off = got
                .iter()
                .zip(&expected)
                .map(|(g, e)| (f64::from(*g) - e).abs())
                .fold(0.0, f64::max);
            let largest = expected.iter().fold(0.0f64, |m, e| m.max(e.abs()));
            assert!(off <= TOLERANCE * largest, "{at}: {input}: off by {off}");
            let alone = run(model, &task, std::slice::from_ref(input)).remove(0);
            assert_eq!(alone, got, "{at}: {input}: another result alone");
        }
    });
}

#[test]
fn a_model_without_the_head_is_refused() {
    let fixture = support::fixture("bert_masked_lm");
    let model = fixture
        .load(&LoadOptions { device: seq2seq_models::Device::Reference, ..LoadOptions::default() });
    let tokenizer = Tokenizer::from_folder(&fixture.folder).unwrap();
    let task = Embedder::new(model.files(), &tokenizer, None).unwrap();
    let error = tasks::run(&model, &task, &["cat".into()]).unwrap_err().to_string();
    assert!(error.contains("logits, not last_hidden_state"), "{error}");
}

/// As sentence-transformers reads T5; a decoder has nothing to read here.
#[test]
fn an_encoder_decoder_embeds_by_its_encoder() {
    let options =
        LoadOptions { device: seq2seq_models::Device::Reference, ..LoadOptions::default() };
    let embed = |name: &str, architecture: Option<&str>| {
        let architecture = architecture.map(String::from);
        let model = support::fixture(name).load(&LoadOptions { architecture, ..options.clone() });
        let tokenizer = Tokenizer::from_folder(support::fixture("t5_v1_0").folder).unwrap();
        let task = Embedder::new(model.files(), &tokenizer, None).unwrap();
        tasks::run(&model, &task, &["cat".into()])
    };
    let error = |name| embed(name, None).unwrap_err().to_string();
    assert!(error("t5_v1_0").contains("--architecture T5EncoderModel"));
    assert!(error("marian_shared").contains("this marian model has a decoder"));

    let model = support::fixture("t5_v1_0").load(&options);
    let ids = Tokenizer::from_folder(support::fixture("t5_v1_0").folder).unwrap();
    let input_ids = vec![ids.encode("cat").unwrap().ids().to_vec()];
    let request =
        Forward { decoder_input_ids: Some(vec![vec![0]]), input_ids, token_type_ids: None };
    let outputs = model.forward(&request).unwrap();
    let rows = outputs.iter().find(|o| o.name == "encoder_last_hidden_state").unwrap();
    let mean = tasks::Pooling(vec![tasks::PoolingMode::Mean]);
    let mean = mean.apply(View { values: &rows.values, width: rows.width }).unwrap();
    assert_eq!(embed("t5_v1_0", Some("T5EncoderModel")).unwrap(), [mean]);
}
