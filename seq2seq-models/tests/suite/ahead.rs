//! Models whose next step is asked for before the ids are known that it reads.

use crate::support::{
    Fixture,
    ahead::{Ahead, Asked},
    fixtures_with,
};
use seq2seq_core::reference::Reference;
use seq2seq_models::{
    Files, Generated, LoadOptions, Model, Prompt,
    generate::{GenerationConfig, TokenIds},
};
use std::collections::BTreeSet;

/// The model of a fixture that waits for ids, and one that does not.
fn models(fixture: &Fixture) -> (Model, Model, Ahead) {
    let (options, ahead) = (LoadOptions::default(), Ahead::new());
    let files = || Files::folder(fixture.folder.clone()).unwrap();
    let waiting = Model::load_on(files(), Reference, &options).unwrap();
    let going = Model::load_on(files(), ahead.clone(), &options).unwrap();
    (waiting, going, ahead)
}

fn write(model: &Model, prompts: &[Prompt], config: &GenerationConfig) -> Vec<Vec<Generated>> {
    model.generate(prompts, config, &mut ()).unwrap_or_else(|e| panic!("{e}"))
}

/// Both models of a fixture, and what they write behind.
struct Pair {
    name: String,
    waiting: Model,
    going: Model,
    ahead: Ahead,
    prompts: Vec<Prompt>,
}

/// Of every family that writes.
fn pairs() -> impl Iterator<Item = Pair> {
    let fixtures = fixtures_with("forward.safetensors");
    let pairs = fixtures.into_iter().filter_map(|fixture| {
        let (waiting, going, ahead) = models(&fixture);
        let prompts = fixture.forward().0.input_ids.into_iter().map(Prompt::new).collect();
        let pair = Pair { name: fixture.name.clone(), waiting, going, ahead, prompts };
        pair.waiting.plan().generates().then_some(pair)
    });
    let pairs: Vec<_> = pairs.collect();
    let families: BTreeSet<_> = pairs.iter().map(|pair| pair.waiting.family().name()).collect();
    assert!(families.len() > 8, "{families:?}");
    pairs.into_iter()
}

/// Every family: the same ids and the bits of the scores, where rows end in different steps, whether ids are the best or drawn.
#[test]
fn models_write_what_they_write_when_they_wait() {
    const NEW: usize = 6;
    for Pair { name, waiting, going, ahead, prompts } in pairs() {
        let no_end = Some(TokenIds(Vec::new()));
        let greedy = GenerationConfig {
            num_beams: Some(1),
            max_new_tokens: Some(NEW),
            eos_token_id: no_end,
            ..GenerationConfig::default()
        };
        let drawn = GenerationConfig {
            do_sample: Some(true),
            seed: Some(4),
            num_return_sequences: Some(2),
            ..greedy.clone()
        };
        for config in [greedy, drawn] {
            let rows = write(&waiting, &prompts, &config);
            ahead.asked().clear();
            assert_eq!(write(&going, &prompts, &config), rows, "{}", name);
            let count = |what| ahead.asked().iter().filter(|&&asked| asked == what).count();
            // Where positions depend on ids, a step that goes ahead asks for them itself.
            let steps = count(Asked::Step) + count(Asked::Ids) - NEW;
            // The first step of several sequences of a row spreads them.
            let spread = usize::from(config.num_return_sequences.is_some());
            assert_eq!(steps, NEW - 1 - spread, "{}", name);
            // The third new id of the first row ends texts, wherever it comes.
            let first = &rows[0][0].ids;
            let end = first[first.len() - 4];
            let config = GenerationConfig { eos_token_id: Some(end.into()), ..config };
            let rows = write(&waiting, &prompts, &config);
            assert_eq!(write(&going, &prompts, &config), rows, "{}, ended", name);
        }
    }
}

/// Every family: beams that go on before the host knows which, with rows that are done in different steps.
#[test]
fn models_write_with_beams_what_they_write_when_they_wait() {
    const NEW: usize = 6;
    for Pair { name, waiting, going, ahead, prompts } in pairs() {
        let config = GenerationConfig {
            num_beams: Some(3),
            num_return_sequences: Some(3),
            max_new_tokens: Some(NEW),
            eos_token_id: Some(TokenIds(Vec::new())),
            ..GenerationConfig::default()
        };
        let rows = write(&waiting, &prompts, &config);
        ahead.asked().clear();
        assert_eq!(write(&going, &prompts, &config), rows, "{}", name);
        let count = |what| ahead.asked().iter().filter(|&&asked| asked == what).count();
        // All but the first choice, which spreads the rows, and the last, which no step follows.
        let steps = NEW - 2;
        assert_eq!(count(Asked::Choice), steps, "{}", name);
        // Where positions depend on ids, a step that goes ahead asks for them itself.
        assert_eq!(count(Asked::Step) + count(Asked::Ids), 2 * steps, "{}", name);
        // The third new id of the first row ends texts, wherever it comes.
        let first = &rows[0][0].ids;
        let end = first[first.len() - 4];
        let config = GenerationConfig { eos_token_id: Some(end.into()), ..config };
        let rows = write(&waiting, &prompts, &config);
        assert_eq!(write(&going, &prompts, &config), rows, "{}, ended", name);
    }
}

/// A text that ends with the last position of its model needs no step for its end.
#[test]
fn a_text_may_end_at_the_last_position() {
    for name in ["gpt2", "bart_base", "m2m_100"] {
        let fixture = crate::support::fixture(name);
        let (waiting, going, ahead) = models(&fixture);
        let most = waiting.plan().last_stack().and_then(|stack| stack.max_positions()).unwrap();
        // One position is left; behind an encoder the decoder's start stands first.
        let encoder = waiting.plan().has_encoder();
        let long = most as u32 - 1 - u32::from(encoder);
        let long: Vec<u32> = (0..long).map(|i| 5 + i % 7).collect();
        let prompt = match encoder {
            true => Prompt { input_ids: vec![5, 6, 7], decoder_input_ids: Some(long) },
            false => Prompt::new(long),
        };
        let config = |new, end: Option<u32>, beams| GenerationConfig {
            num_beams: Some(beams),
            // Ids that are all different: the second ends the text, and not the first.
            no_repeat_ngram_size: Some(1),
            forced_eos_token_id: Some(TokenIds(Vec::new())),
            max_new_tokens: Some(new),
            eos_token_id: Some(TokenIds(end.into_iter().collect())),
            ..GenerationConfig::default()
        };
        let prompts = [prompt];
        let two = write(&waiting, &prompts, &config(2, None, 1));
        let end = two[0][0].ids.last().copied();
        let rows = write(&waiting, &prompts, &config(8, end, 1));
        assert_eq!(rows[0][0].ids, two[0][0].ids, "{name}");
        ahead.asked().clear();
        assert_eq!(write(&going, &prompts, &config(8, end, 1)), rows, "{name}");
        // Two choices: the step of the first was asked for ahead.
        assert!(ahead.asked().len() > 4, "{name}: {:?}", ahead.asked());
        for beams in [1, 2] {
            let error = |model: &Model| {
                model.generate(&prompts, &config(8, None, beams), &mut ()).unwrap_err()
            };
            assert_eq!(error(&going).to_string(), error(&waiting).to_string(), "{name}");
        }
    }
}
