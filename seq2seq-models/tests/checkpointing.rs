//! Gradient checkpointing holds less memory: bytes are counted where they are allocated. A program of its own: the allocator
//! that counts is that of the whole process, and another test beside it would be counted too.

use seq2seq_models::{
    Device, Family, Forward, Learner, LoadOptions,
    train::{
        Batch, NewModel, PassOptions,
        tokenizers::{Kind, NewTokenizer, TokenizerOptions},
    },
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Positions of the one sequence of a batch.
const LONG: usize = 96;
const WIDTH: usize = 16;
const LAYERS: usize = 6;

fn learner(family: Family, architecture: &str) -> Learner {
    let tokenizer = NewTokenizer::train(&TokenizerOptions::new(Kind::Bytes), None).unwrap();
    let files = tokenizer.files().map(|(name, text)| (name.into(), text.as_bytes().to_vec()));
    let architecture = &architecture.parse().unwrap();
    let model = NewModel { family, architecture, seed: 1 }.files(files.into()).unwrap();
    let options = LoadOptions { device: Device::Reference, ..LoadOptions::default() };
    Learner::load_files(model, &options).unwrap()
}

/// The most bytes that are held in a pass beside what there was before it.
fn peak(learner: &Learner, batch: &Batch, checkpointing: bool) -> usize {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let pass = PassOptions { checkpointing, ..PassOptions::default() };
    learner.learn(batch, &pass).unwrap();
    let peak = PEAK.load(Relaxed) - before;
    learner.clear_gradients();
    peak
}

// One test alone, as all threads are counted.
#[test]
fn a_pass_holds_one_layer_and_the_inputs_of_the_others() {
    let gpt2 = format!("n_embd = {WIDTH}\nn_layer = {LAYERS}\nn_head = 2");
    let t5 = format!(
        "d_model = {WIDTH}\nd_kv = 8\nd_ff = 64\nnum_heads = 2\nnum_layers = {LAYERS}\nnum_decoder_layers = {LAYERS}"
    );
    // What of a layer is kept in one row: of GPT-2 the inputs of four linear layers, queries, keys and values, the result of
    // the attention, the sums before the activation and the logarithms of two heads; of T5 less in the encoder.
    for (family, architecture, stacks) in [(Family::Gpt2, gpt2, 1), (Family::T5, t5, 2)] {
        let learner = learner(family, &architecture);
        let ids: Vec<u32> = (0..LONG as u32).map(|i| 3 + i % 200).collect();
        let decoder_input_ids = (stacks == 2).then(|| vec![ids.clone()]);
        let targets = ids.iter().map(|&id| Some(id)).collect();
        let input = Forward { input_ids: vec![ids], decoder_input_ids, ..Forward::default() };
        let batch = Batch { input, targets };
        // What is made once and stays is made in the first pass.
        peak(&learner, &batch, true);
        let (kept, again) = (peak(&learner, &batch, false), peak(&learner, &batch, true));
        // The layers but one of each stack let go at least of normed rows, queries, keys and values, and what the
        // feed-forward has in its middle.
        let row = 4 * (WIDTH + 3 * WIDTH + 4 * WIDTH);
        let saved = stacks * (LAYERS - 1) * LONG * row;
        assert!(again + saved < kept, "{family}: {again} bytes, {kept} without, {saved} expected");
    }
}
