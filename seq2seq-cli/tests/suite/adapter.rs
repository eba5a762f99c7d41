//! `--adapter`, which adds low-rank adapters to the weights of a model.

use crate::support::{Done, fixture, model, run, run_with};

const INPUT: &[u8] = br#"{"input_ids": [5, 9, 2, 14, 7]}"#;

/// What a fixture writes behind some ids, and its scores.
fn generate(name: &str, more: &[String]) -> Done {
    let own = ["generate", "--input", "-", "--max-new-tokens", "6", "--json"].map(String::from);
    run_with([&own[..], &model(name), more].concat(), INPUT)
}

fn adapter(name: &str) -> [String; 2] {
    let folder = fixture("lora").join(name);
    ["--adapter".into(), folder.to_str().unwrap().into()]
}

#[test]
fn weights_have_adapters_added_when_loaded_and_when_converted() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["t5_v1_0", "gpt2"] {
        let format = ["--format", "int8"].map(String::from);
        let plain = generate(name, &format).lines();
        let adapted = generate(name, &[&format[..], &adapter(name)].concat()).lines();
        assert_ne!(plain, adapted);
        let output = folder.path().join(name);
        let output = output.to_str().unwrap();
        let convert = ["convert", "--output", output, "--format", "int8"].map(String::from);
        run([&convert[..], &model(name), &adapter(name)].concat()).ok();
        let own =
            ["generate", "--input", "-", "--max-new-tokens", "6", "--json", "--model", output];
        assert_eq!(run_with(own, INPUT).lines(), adapted);
        // inspect looks through the sums.
        let facts = run([&["inspect".into()][..], &model(name), &adapter(name)].concat()).ok();
        assert_eq!(facts, run([&["inspect".into()][..], &model(name)].concat()).ok());
    }
}

#[test]
fn what_is_no_adapter_of_the_model_is_said() {
    let error = generate("t5_v1_0", &adapter("gpt2")).error(2);
    assert!(error.contains("adapter_model.safetensors") && error.contains("no matrix"), "{error}");
    let error = generate("gpt2", &["--adapter".into(), "/nonexistent".into()]).error(2);
    assert!(error.contains("/nonexistent"), "{error}");
    let train = ["train", "--train", "rows.tsv", "--output", "out"].map(String::from);
    let error = run([&train[..], &model("gpt2"), &adapter("gpt2")].concat()).error(2);
    assert!(error.contains("lora.rank"), "{error}");
}
