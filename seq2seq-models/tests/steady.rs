//! What a further token costs in allocations: the difference between a generation and one that is twice as long. A program of its
//! own: the allocator that counts is that of the whole process, and another test beside it would be counted too.

#[path = "../../seq2seq-cpu/tests/counting/mod.rs"]
mod counting;

use seq2seq_models::{
    LoadOptions, Model, Prompt,
    generate::{GenerationConfig, TokenIds},
    seq2seq_core::Format,
};

/// New tokens: all that the smallest fixture has positions for when it is twice as many.
const NEW: usize = 16;

/// A way of decoding, which goes on to the last token.
fn config(more: GenerationConfig) -> GenerationConfig {
    GenerationConfig { eos_token_id: Some(TokenIds(Vec::new())), seed: Some(7), ..more }
}

fn greedy() -> GenerationConfig {
    config(GenerationConfig { num_beams: Some(1), ..GenerationConfig::default() })
}

fn beams() -> GenerationConfig {
    config(GenerationConfig { num_beams: Some(4), ..GenerationConfig::default() })
}

fn sampling() -> GenerationConfig {
    let (do_sample, top_k, top_p) = (Some(true), Some(20), Some(0.9));
    let num_beams = Some(1);
    config(GenerationConfig { num_beams, do_sample, top_k, top_p, ..GenerationConfig::default() })
}

fn load(fixture: &str, threads: usize, format: Format) -> Model {
    let folder = format!("{}/../fixtures/{fixture}", env!("CARGO_MANIFEST_DIR"));
    let options = LoadOptions { threads: Some(threads), format, ..LoadOptions::default() };
    Model::load(folder, &options).unwrap()
}

/// Allocations of a generation of `new` tokens, all threads' together.
fn allocations(model: &Model, config: &GenerationConfig, new: usize) -> usize {
    let config = GenerationConfig { max_new_tokens: Some(new), ..config.clone() };
    let prompts = [Prompt::new([4, 5, 6, 7]), Prompt::new([9, 8])];
    let before = counting::allocations();
    let rows = model.generate(&prompts, &config, &mut ()).unwrap();
    let count = counting::allocations() - before;
    assert!(rows.iter().all(|row| row[0].ids.len() >= new));
    count
}

/// Allocations of a further token of two texts, on average and rounded: what the longer of two generations needs once, or the shorter,
/// such as a buffer of another size, is a few in `NEW` tokens.
///
/// The first generations of a thread make the buffers that later ones find. With workers it is chance who takes which part of an
/// operation, and so who needs a buffer for the first time: the least of some generations is that of one that found all.
fn of_a_token(model: &Model, config: &GenerationConfig) -> usize {
    let [mut short, mut long] = [usize::MAX; 2];
    for _ in 0..10 {
        short = short.min(allocations(model, config, NEW));
        long = long.min(allocations(model, config, 2 * NEW));
    }
    (long.saturating_sub(short) + NEW / 2) / NEW
}

/// Whatever the format, the threads and the way of decoding, a step allocates the ids and the scores that it chooses, which are the
/// host's: two lists.
fn a_step_allocates_only_what_it_chooses() {
    let decodings = [("greedy", greedy()), ("beams", beams()), ("sampling", sampling())];
    for fixture in ["t5_v1_0", "gpt2", "llama", "rnn_lstm_bahdanau"] {
        for (threads, format) in [(1, Format::F32), (2, Format::F32), (2, Format::Int4)] {
            let model = load(fixture, threads, format);
            for (name, config) in &decodings {
                let found = of_a_token(&model, config);
                assert_eq!(found, 2, "{fixture} in {format} on {threads}, {name}");
            }
        }
    }
}

/// Rules are lists too, made anew for each hypothesis: here of Marian, whose padding token is banned at each step. What is banned, and
/// that in order and each once, is two. Beams change no other score, so four more are the ids that change, their ranks and those
/// of the others, as they grow.
fn rules_allocate_their_lists() {
    let model = load("marian_shared", 1, Format::F32);
    for (name, config, hypotheses, of_each) in
        [("greedy", greedy(), 2, 2), ("beams", beams(), 8, 6), ("sampling", sampling(), 2, 2)]
    {
        let found = of_a_token(&model, &config);
        assert_eq!(found, 2 + hypotheses * of_each, "{name}");
    }
}

/// One test: another thread's allocations would be counted too.
#[test]
fn steady_steps() {
    a_step_allocates_only_what_it_chooses();
    rules_allocate_their_lists();
}
