use super::*;
use crate::{
    Learner, LoadOptions,
    checkpoint::Checkpoint,
    inspect::inspect,
    train::tokenizers::{Kind, NewTokenizer, TokenizerOptions},
};

fn files(family: Family, architecture: &str) -> Result<Files> {
    let tokenizer = NewTokenizer::train(&TokenizerOptions::new(Kind::Bytes), None).unwrap();
    let tokenizer =
        tokenizer.files().map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    NewModel { family, architecture: &architecture.parse().unwrap(), seed: 3 }
        .files(tokenizer.to_vec())
}

#[test]
fn new_models_load_and_have_nothing_too_many() {
    for (family, architecture) in [
        (Family::T5, ""),
        (Family::T5, "feed_forward_proj = 'gated-gelu'\ntie_word_embeddings = false"),
        (Family::Bart, "encoder_layers = 1"),
        (Family::Gpt2, "n_layer = 1"),
        (Family::RnnSeq2Seq, ""),
        (Family::RnnSeq2Seq, "cell = 'gru'\nattention = 'luong_general'\nnum_layers = 2"),
        (Family::RnnSeq2Seq, "attention = 'none'"),
    ] {
        let checkpoint = Checkpoint::open(files(family, architecture).unwrap(), None).unwrap();
        let inspection = inspect(&checkpoint).unwrap();
        assert!(inspection.problems.is_empty(), "{family}: {:?}", inspection.problems);
        assert!(inspection.unused.is_empty(), "{family}: {:?}", inspection.unused);
    }
    let untied = files(Family::T5, "tie_word_embeddings = false").unwrap();
    let learner = Learner::load_files(untied, &LoadOptions::default()).unwrap();
    let names: Vec<String> = learner.parameters().into_iter().map(|p| p.name).collect();
    assert!(
        names.contains(&"lm_head.weight".to_owned()) && names.contains(&"shared.weight".into())
    );
    assert!(!names.iter().any(|name| name.contains("embed_tokens")));
}

#[test]
fn weights_hang_on_the_seed() {
    let weights = |seed| {
        let tokenizer = NewTokenizer::train(&TokenizerOptions::new(Kind::Bytes), None).unwrap();
        let files = tokenizer.files().map(|(n, text)| (n.to_owned(), text.as_bytes().to_vec()));
        let architecture = &Architecture::default();
        let new = NewModel { family: Family::Gpt2, architecture, seed };
        new.files(files.to_vec()).unwrap().read(WEIGHTS).unwrap().unwrap()
    };
    assert!(weights(1) == weights(1) && weights(1) != weights(2));
}

#[test]
fn what_makes_no_model_is_an_error() {
    let error = files(Family::Bert, "").err().unwrap().to_string();
    assert!(error.contains("t5, bart, gpt2, rnn"), "{error}");
    for (family, key, near) in [
        (Family::T5, "d_modle", "'d_model' may be meant"),
        (Family::T5, "n_embd", "there is no 'n_embd'"),
        (Family::Bart, "encoder_layer", "'encoder_layers' may be meant"),
        (Family::Gpt2, "n_heads", "'n_head' may be meant"),
        (Family::RnnSeq2Seq, "hiden_size", "'hidden_size' may be meant"),
    ] {
        let error = files(family, &format!("{key} = 32")).err().unwrap().to_string();
        assert!(
            error.contains(&format!("'architecture.{key}'")) && error.contains(near),
            "{error}"
        );
    }
    let error = files(Family::T5, "num_heads = 0").err().unwrap().to_string();
    assert!(error.ends_with("the number of attention heads is 0"), "{error}");
    let error = files(Family::Bart, "d_model = 7").err().unwrap().to_string();
    assert!(error.contains("config.json") && error.contains('7'), "{error}");
}
