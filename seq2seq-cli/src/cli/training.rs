//! The arguments of the commands around training.

use clap::{Args, Subcommand};
use seq2seq_models::train::{metrics::Metric, tokenizers::Kind};
use std::{num::NonZeroU64, path::PathBuf};

/// Trains a model: a new one of a family, or further the one that --model names.
///
/// Rows are `source<TAB>target`, texts in the lines of a *.txt file, or JSON lines with "source" and "target" or with
/// "text"; to tag words, with "tokens" and "tags"; to answer questions, with "question", "context", "answer" and "start".
/// The output folder is a model as any other: `seq2seq generate --model DIR` runs it, or fill-mask, classify, tag or answer,
/// by what it learned. It holds the best model by the rows of --valid; without them, the last one. Its folder `training`
/// holds config.toml (all settings), metrics.jsonl, curves.svg and the checkpoint from which --resume goes on, to the bits
/// of a training that was never stopped. Ctrl-C ends it after the step that runs, with a checkpoint. One training at a time
/// runs in a folder.
///
/// Everything else is in a config.toml, whose keys `--set` sets too: checkpointing (layers are computed again on the way
/// back rather than kept, for less memory), architecture (keys of config.json), tokenizer (kind, vocab_size, folder), data
/// (objective, such as { kind = "vae" }, batch_tokens, max_source, max_target), optimiser (kind, rate, decay, clip, accumulate, smoothing),
/// parameters (names, rate, frozen), lora (rank, alpha, targets, dropout), sampling (probability, decay), schedule (decay,
/// warmup), average, evaluation (every, generate, metrics, best, patience), save_as, device, threads. docs/training.md has them all.
#[derive(Debug, Args)]
pub(crate) struct TrainArgs {
    /// Settings; the options of this command and --set lie over them.
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: Option<PathBuf>,
    /// Rows to learn from; several files after one another.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) train: Vec<PathBuf>,
    /// Rows to be measured by.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) valid: Vec<PathBuf>,
    /// The folder to be written.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// A new model of this family, some three million weights unless `architecture` says otherwise.
    #[arg(long, value_name = "t5|bart|gpt2|rnn")]
    pub(crate) family: Option<String>,
    /// Steps [default: 1000].
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<NonZeroU64>,
    /// Minutes spent in steps, in place of --steps.
    #[arg(long, value_name = "M", conflicts_with = "steps")]
    pub(crate) minutes: Option<f64>,
    /// Steps between checkpoints [default: as many as between evaluations, a tenth of all].
    #[arg(long, value_name = "N")]
    pub(crate) save_every: Option<NonZeroU64>,
    /// What everything random hangs on [default: 1].
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Goes on with the training in the output folder, if there is one.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Sets a key of config.toml, such as optimiser.rate=1e-3. May be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Makes tokenizers.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenizerCommand {
    Train(TokenizerTrainArgs),
}

/// Trains a tokenizer on rows of text and writes tokenizer.json and tokenizer_config.json.
///
/// All kinds begin with `<pad>`, `</s>` and `<unk>` (0, 1, 2) and put `</s>` behind a text, as T5 does. bpe merges bytes that are
/// frequent neighbours; unigram finds the pieces under which words are likeliest, and takes bytes for characters that
/// the rows do not have; bytes needs no rows: byte b is token b + 3, as in ByT5. The same rows give the same files.
///
/// Rows are `source<TAB>target`, texts in the lines of a *.txt file, or JSON lines with "source" and "target" or with
/// "text"; all of it is trained on. The folder appears when all is written; one that holds something already is refused.
/// transformers reads it too.
#[derive(Debug, Args)]
pub(crate) struct TokenizerTrainArgs {
    /// Files of rows; several after one another, or --input for each.
    #[arg(long, short, value_name = "FILE", num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// What tokens are.
    #[arg(long, value_name = "bpe|unigram|bytes")]
    pub(crate) kind: Kind,
    /// The most tokens, special ones included, up to 16777216 [default: 8000; bytes have 259 and those of --extra-ids and
    /// --mask].
    #[arg(long, value_name = "N")]
    pub(crate) vocab_size: Option<usize>,
    /// Sentinels for span corruption: `<extra_id_0>` to `<extra_id_N-1>`.
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) extra_ids: usize,
    /// Has a token `<mask>`, for denoising and masked language models.
    #[arg(long)]
    pub(crate) mask: bool,
    /// The folder to be written.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

/// Compares texts with references: BLEU, chrF, ROUGE and others, from 0 to 100.
///
/// bleu, chrf and chrf++ are those of sacrebleu with its defaults; rouge1, rouge2 and rougeL the mean F1 of the
/// rouge-score package without a stemmer; exact_match is the share of texts that equal a reference to the byte.
///
/// Files hold a text on each line; those called *.tsv have it behind the first tab, and those called *.jsonl (*.ndjson)
/// in "text" or "target", as does standard input, `-`: so what `generate --output` wrote is compared with the rows of a data
/// set. Of rows with several sequences the first counts.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// What a model wrote.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) hypotheses: PathBuf,
    /// What it should have written; several files for several references of each line.
    #[arg(long, value_name = "FILE|-", num_args = 1.., required = true)]
    pub(crate) references: Vec<PathBuf>,
    /// Which scores to give.
    #[arg(
        long,
        value_name = "NAME,…",
        value_delimiter = ',',
        default_value = "exact_match,bleu,chrf,chrf++,rouge1,rouge2,rougeL"
    )]
    pub(crate) metrics: Vec<Metric>,
    /// Writes one JSON object: {"rows": …, "bleu": …, …}.
    #[arg(long)]
    pub(crate) json: bool,
}
