//! `seq2seq trace`.

use crate::support::{model, run};
use serde_json::{Value, json};

fn traced(args: &[&str], name: &str) -> Value {
    let args = ["trace", "--json"].iter().chain(args).map(ToString::to_string).chain(model(name));
    let lines = run(args).lines();
    assert_eq!(lines.len(), 1);
    lines[0].clone()
}

fn names(trace: &Value) -> Vec<&str> {
    trace["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect()
}

#[test]
fn the_way_of_a_text_is_shown() {
    let text = run(["trace", "speak: 7"]).ok();
    for part in ["t5", "speak: 7", "encoder.layers.0", "decoder.memory", "choice", "output  seven"]
    {
        assert!(text.contains(part), "'{part}' in {text}");
    }
    let args = ["trace", "--json", "--likeliest=3", "speak: 7"];
    let trace = &run(args).lines()[0];
    let generated = &run(["generate", "--json", "speak: 7"]).lines()[0];
    let written = &trace["written"][0];
    assert_eq!((&written["text"], &written["score"]), (&json!("seven"), &generated["score"]));
    let steps = written["steps"].as_array().unwrap();
    let ids: Vec<&Value> = steps.iter().map(|s| &s["id"]).collect();
    assert_eq!(json!(ids), json!(generated["ids"].as_array().unwrap()[1..]));
    for step in steps {
        let likeliest = step["likeliest"].as_array().unwrap();
        assert_eq!(likeliest.len(), 3);
        // Greedy search takes the best.
        assert_eq!(
            (&likeliest[0]["id"], &likeliest[0]["log_prob"]),
            (&step["id"], &step["log_prob"])
        );
        assert!(step["token"].is_string());
    }
    assert_eq!(trace["input"]["decoder_tokens"][0]["id"], generated["ids"][0]);
    let stages = trace["stages"].as_array().unwrap();
    let calls = |name: &str| stages.iter().find(|s| s["name"] == name).unwrap()["calls"].clone();
    assert_eq!(calls("encoder.layers.0"), json!(1));
    assert_eq!(calls("head"), json!(steps.len()));
    assert!(trace["lost"].as_array().unwrap().is_empty());
}

#[test]
fn beams_that_lost_are_listed() {
    let trace = &run(["trace", "--json", "--num-beams=3", "speak: 7"]).lines()[0];
    let lost = trace["lost"].as_array().unwrap();
    assert!(!lost.is_empty() && lost.iter().all(|l| l["text"].is_string() && l["step"].is_u64()));
    assert!(run(["trace", "--num-beams=3", "speak: 7"]).ok().contains("beams lost"));
}

#[test]
fn every_kind_of_model_is_traced() {
    let gpt2 = traced(&["--ids=5,9", "--max-new-tokens=2", "--min-new-tokens=2"], "gpt2");
    let stages =
        ["decoder.embed", "decoder.layers.0", "decoder.layers.1", "decoder.norm", "head", "choice"];
    assert_eq!(names(&gpt2), stages);
    assert_eq!(gpt2["written"][0]["steps"].as_array().unwrap().len(), 2);
    assert!(gpt2["written"][0]["text"].is_null());
    let rnn = traced(&["--ids=5,9,1"], "rnn_lstm_luong_dot");
    assert!(names(&rnn).contains(&"decoder.attention"));
    let bert = traced(&["a sentence"], "bert_sequence_classification");
    assert_eq!(names(&bert).last(), Some(&"head"));
    let logits = &bert["outputs"][0];
    assert_eq!(
        (&logits["name"], &logits["rows"], &logits["width"]),
        (&json!("logits"), &json!(1), &json!(3))
    );
    assert!(bert["written"].is_null());
    let args = ["trace".into(), "a sentence".into()];
    assert!(
        run([&args[..], &model("bert_sequence_classification")].concat()).ok().contains("logits")
    );
}

#[test]
fn what_cannot_be_traced_is_said() {
    for (args, says) in [
        (&["trace"][..], "TEXT"),
        (&["trace", "a", "--ids=1"], "--ids"),
        (&["trace", "--ids=99999999"], "vocabulary"),
        (&["trace", "a", "--num-beams=0"], "at least 1"),
    ] {
        let error = run(args).error(2);
        assert!(error.contains(says), "{error}");
    }
}
