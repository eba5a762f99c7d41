//! The arguments of the program.

mod decoding;
mod latent;
mod training;

pub(crate) use decoding::DecodingArgs;
pub(crate) use latent::{InterpolateArgs, PointsArgs, SampleArgs};
pub(crate) use training::{ScoreArgs, TokenizerCommand, TokenizerTrainArgs, TrainArgs};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};
use seq2seq_core::Format;
use seq2seq_models::{Device, ModuleFormat, tasks::Aggregation};
use std::{ffi::OsString, num::NonZeroUsize, path::PathBuf};

const EXAMPLES: &str = "\
Examples:
  seq2seq generate 'speak: $1,250.75'
  seq2seq generate --model google/flan-t5-small 'Translate to German: The house is small.'
  seq2seq generate --model DIR --input texts.jsonl --output out.jsonl --num-beams 4
  seq2seq generate --attention map.html 'speak: $1,250.75'
  seq2seq trace 'speak: $1,250.75'
  seq2seq sample --model VAE --count 5
  seq2seq interpolate --model VAE 'the first sentence' 'the second'
  seq2seq embed --model sentence-transformers/all-MiniLM-L6-v2 'a sentence' 'another'
  seq2seq inspect --model DIR
  seq2seq convert --model DIR --output DIR --format int8
  seq2seq train --train rows.tsv --valid valid.tsv --family t5 --output DIR
  seq2seq tokenizer train --input rows.tsv --kind bpe --vocab-size 8000 --output DIR
  seq2seq score --hypotheses out.jsonl --references rows.tsv

A model is a folder as Hugging Face's transformers writes it (config.json, model.safetensors, tokenizer.json), or the \
id of one on the hub, which is downloaded once. Without --model, `generate` uses a small one inside the program that \
writes numbers, dates and amounts as words (prefix `speak:`) and back (`write:`).

Exit codes: 0 done, 2 bad usage or bad input, 1 any other failure, such as output that cannot be written or a device \
without memory; ended by ctrl-C or SIGTERM (130, 143) it leaves no unfinished files. SEQ2SEQ_CPU_ISA=scalar|avx2|avx512|neon forces an \
instruction set. Warnings go to standard error, and with -v, -vv or SEQ2SEQ_LOG=debug more; SEQ2SEQ_LOG=off silences them.";

/// Runs encoder, decoder and encoder-decoder models with the results of Hugging Face's transformers, faster.
#[derive(Debug, Parser)]
#[command(name = "seq2seq", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the arguments ask for, the name of the program first.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(reason) = decoding::misplaced_value(&arguments) {
        return Err(Cli::command().error(ErrorKind::InvalidValue, reason));
    }
    Cli::try_parse_from(arguments)
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model and machine")]
pub(crate) struct Global {
    /// A folder, or an id on the hub such as google/flan-t5-small (@REVISION may follow).
    #[arg(long, short, global = true, value_name = "DIR|HUB_ID")]
    pub(crate) model: Option<String>,
    /// What computes: cpu, an NVIDIA GPU cuda:N, or libtorch tch:cpu, tch:cuda:N; `seq2seq devices` lists what there is
    /// [default: cpu].
    #[arg(long, global = true, value_name = "DEVICE")]
    pub(crate) device: Option<Device>,
    /// How weights are held and multiplied: f32 as in the file, bf16 and f16 in half the memory (bf16 rounds rows too; a
    /// file of f16 gives in f16 what it gives in f32), int8 in a quarter, int4 in an eighth where a decoder reads them for a
    /// few rows at a time, and else as int8 [default: f32, or that of a folder that `convert` wrote].
    #[arg(long, global = true, value_name = "f32|bf16|f16|int8|int4")]
    pub(crate) format: Option<Format>,
    /// Holds the layers that PATTERN matches in another format, such as decoder.layers.*.ffn.out=int8 or
    /// head.language.out=bf16; `*` stands for anything. May be given several times; the later goes before the earlier.
    #[arg(long = "module-format", global = true, value_name = "PATTERN=FORMAT")]
    pub(crate) module_formats: Vec<ModuleFormat>,
    /// Threads that compute [default: all cores]. Results are the same for any number.
    #[arg(long, global = true, value_name = "N", value_parser = positive)]
    pub(crate) threads: Option<NonZeroUsize>,
    /// A folder of low-rank adapters (LoRA) as peft writes it, or `train` in OUT/adapter, to be added to the weights of
    /// --model.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// Reads the checkpoint as this class in place of the one that config.json names, such as BertForMaskedLM.
    #[arg(long, global = true, value_name = "CLASS")]
    pub(crate) architecture: Option<String>,
    /// Logs more than warnings to standard error; twice for more.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Generate(Box<GenerateArgs>),
    Sample(Box<SampleArgs>),
    Interpolate(Box<InterpolateArgs>),
    Trace(Box<TraceArgs>),
    Forward(ForwardArgs),
    Embed(EmbedArgs),
    Classify(ClassifyArgs),
    Tag(TagArgs),
    Answer(AnswerArgs),
    FillMask(FillMaskArgs),
    Inspect(InspectArgs),
    Convert(ConvertArgs),
    Train(Box<TrainArgs>),
    #[command(subcommand)]
    Tokenizer(TokenizerCommand),
    Score(ScoreArgs),
    Bench(BenchArgs),
    Devices(DevicesArgs),
}

/// Lists what there is to compute on, by the names that --device takes; behind a dash, why a device cannot be used.
#[derive(Debug, Args)]
pub(crate) struct DevicesArgs {
    /// One JSON object a device: "device", and "is" or "lacks".
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where work comes from and results go.
#[derive(Debug, Args)]
pub(crate) struct Streams {
    /// Reads JSON lines from FILE, or from standard input for `-`.
    #[arg(long, short, value_name = "FILE|-")]
    pub(crate) input: Option<PathBuf>,
    /// Writes JSON lines to FILE, which appears only when all is done, or to standard output for `-`.
    #[arg(long, short, value_name = "FILE|-")]
    pub(crate) output: Option<PathBuf>,
}

/// Writes text: translates, summarises, continues.
///
/// Texts as arguments give texts on standard output, one a line, the words as they come. --input, --output or --json
/// give JSON lines instead: {"row", "sequence", "ids", "text", "score"}, in the order of the input, all sequences of a
/// row together. `ids` are those of transformers' generate() without padding (for decoder-only models the new ones);
/// `score` is the sum of log-probabilities over length^length_penalty.
///
/// Lines of --input hold "text" or "input_ids", and for encoder-decoders perhaps "decoder_input_ids". Blank lines are
/// passed over, an empty file gives an empty output.
///
/// Every option of decoding is named and means what it does in transformers' GenerationConfig; what is left out is
/// taken from the model's generation_config.json (`seq2seq inspect` shows what is in force).
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Texts. What task a model does often stands before the text: `translate English to German: …`.
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) streams: Streams,
    /// Writes JSON lines where text would be written.
    #[arg(long)]
    pub(crate) json: bool,
    /// Writes a page to FILE, beside the results, that shows for each of them whom its tokens attended to in every layer
    /// and head, how sure each was and what its runners-up were, and the beams that lost and where: open it in a browser.
    /// Encoder-decoders show cross-attention, others self-attention.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) attention: Option<PathBuf>,
    /// Tokens of a batch: inputs, and the longest outputs they may have, for each beam.
    #[arg(long, value_name = "N", value_parser = positive, default_value = "8192")]
    pub(crate) batch_tokens: NonZeroUsize,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
}

/// Shows how a text goes through a model: the tokens that enter, what each stage makes of them, and how that becomes the
/// output.
///
/// Of each stage: how often it came, the rows that it gave and their width, the root mean square of their norms, mean, least
/// and largest value, and the time since the stage before. `decoder.memory` are the keys and values of the encoder's
/// output in all layers; `choice` is the choice of the next token, which here includes finding its runners-up. Steps of a
/// decoder add up. Then for each token that was written: its log-probability and the likeliest tokens of its step, and for
/// beam search the hypotheses that were lost. Models that do not write show what they give.
///
/// Values are looked at between the stages, which is not counted, but makes caches cold: `bench` measures speed.
#[derive(Debug, Args)]
pub(crate) struct TraceArgs {
    /// The text.
    #[arg(value_name = "TEXT", required_unless_present = "ids")]
    pub(crate) text: Option<String>,
    /// Ids in place of a text, for models without a tokenizer.
    #[arg(long, value_name = "ID,…", value_delimiter = ',', conflicts_with = "text")]
    pub(crate) ids: Vec<u32>,
    /// Writes one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// The likeliest tokens that are shown of each step.
    #[arg(long, value_name = "N", value_parser = positive, default_value = "4")]
    pub(crate) likeliest: NonZeroUsize,
    #[command(flatten)]
    pub(crate) decoding: DecodingArgs,
}

/// Computes a model's outputs for given ids.
///
/// Tensors of IN.safetensors: `input_ids`, and perhaps `attention_mask`, `token_type_ids`, `decoder_input_ids`,
/// `decoder_attention_mask`, integers of [batch, length]. Padding may stand on either side; positions count from the
/// first token that is not padding.
///
/// Tensors of OUT.safetensors are f32, named and shaped as in transformers: `logits`, `last_hidden_state`,
/// `pooler_output`, `start_logits`, `end_logits`, `encoder_last_hidden_state`. What stands at padding is 0.
#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// The ids, as a safetensors file.
    #[arg(long, short, value_name = "IN.safetensors")]
    pub(crate) input: PathBuf,
    /// The results, as a safetensors file, or on standard output for `-`.
    #[arg(long, short, value_name = "OUT.safetensors|-")]
    pub(crate) output: PathBuf,
}

/// What the encoder tasks share: texts in, JSON lines out.
#[derive(Debug, Args)]
pub(crate) struct TaskArgs {
    #[command(flatten)]
    pub(crate) streams: Streams,
    /// JSON lines are what is written in any case.
    #[arg(long, hide = true)]
    pub(crate) json: bool,
    /// Tokens of a batch.
    #[arg(long, value_name = "N", value_parser = positive, default_value = "2048")]
    pub(crate) batch_tokens: NonZeroUsize,
}

/// Turns texts into vectors, as sentence-transformers does.
///
/// Gives {"row", "embedding"} for each text, in order. Pooling, normalisation, the default prompt and the length after
/// which texts are cut come from modules.json and the files it names; a folder without it is averaged over its tokens.
/// Lines of --input hold "text".
#[derive(Debug, Args)]
pub(crate) struct EmbedArgs {
    /// Texts.
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
}

/// Says which labels fit a text.
///
/// Gives {"row", "labels": [{"label", "score"}, …]} for each text, the best first. Names come from id2label, scores from
/// a softmax, or from sigmoids where problem_type is multi_label_classification, or are the values themselves for
/// regression. Lines of --input hold "text", and "text_pair" for models that compare two texts.
#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// Texts.
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// How many labels to give.
    #[arg(long, value_name = "K", value_parser = positive, default_value = "1")]
    pub(crate) top_k: NonZeroUsize,
    /// Cuts texts that are longer than the model can read, where they would be an error.
    #[arg(long)]
    pub(crate) truncate: bool,
}

/// Finds names and other labelled stretches in a text.
///
/// Gives {"row", "entities": [{"entity_group", "score", "word", "start", "end"}, …]} for each text; start and end count
/// characters. With --aggregation none, {"entity", "score", "index", "word", "start", "end"} for each token.
/// Lines of --input hold "text".
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Texts.
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// How tokens become entities: none leaves them as they are, simple joins neighbours of one label; first, average
    /// and max give every word one label, that of its first token, of the mean over its tokens, of the surest one.
    #[arg(long, value_name = "HOW", default_value = "simple")]
    pub(crate) aggregation: Aggregation,
    /// Labels to leave out.
    #[arg(long, value_name = "LABEL", value_delimiter = ',', default_value = "O")]
    pub(crate) ignore_labels: Vec<String>,
    /// Cuts texts that are longer than the model can read, where they would be an error.
    #[arg(long)]
    pub(crate) truncate: bool,
}

/// Answers questions with words of a context.
///
/// Gives {"row", "answers": [{"score", "start", "end", "answer"}, …]} for each question, the best first; start and end
/// count characters of the context. A long context is read in windows. The rules are those of the question-answering
/// pipeline of transformers 4. Lines of --input hold "question" and "context".
#[derive(Debug, Args)]
pub(crate) struct AnswerArgs {
    /// The question.
    #[arg(long, short, value_name = "TEXT", requires = "context")]
    pub(crate) question: Option<String>,
    /// Where the answer stands.
    #[arg(long, short, value_name = "TEXT", requires = "question")]
    pub(crate) context: Option<String>,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// How many answers to give.
    #[arg(long, value_name = "K", value_parser = positive, default_value = "1")]
    pub(crate) top_k: NonZeroUsize,
    /// Tokens of the longest answer.
    #[arg(long, value_name = "N", value_parser = positive, default_value = "15")]
    pub(crate) max_answer_len: NonZeroUsize,
    /// Tokens of a window, the question included.
    #[arg(long, value_name = "N", value_parser = positive, default_value = "384")]
    pub(crate) max_seq_len: NonZeroUsize,
    /// Tokens that neighbouring windows share [default: 128, or half a window].
    #[arg(long, value_name = "N")]
    pub(crate) doc_stride: Option<usize>,
    /// Lets "no answer" compete, for models that were trained with it.
    #[arg(long)]
    pub(crate) handle_impossible_answer: bool,
}

/// Proposes words in place of a mask token such as [MASK].
///
/// Gives {"row", "masks": [[{"score", "token", "token_str", "sequence"}, …], …]} for each text: one list for each mask,
/// the best first. Lines of --input hold "text".
#[derive(Debug, Args)]
pub(crate) struct FillMaskArgs {
    /// Texts with masks.
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// How many proposals to give for each mask.
    #[arg(long, value_name = "K", value_parser = positive, default_value = "5")]
    pub(crate) top_k: NonZeroUsize,
}

/// Shows what a model is: family, shape, size, how it decodes, and what is odd about its files.
///
/// --compare-formats measures in its place how far each format (or the one that --format names) is from f32 on the
/// lines of FILE, which hold "text" or "input_ids" as for `generate`:
///
/// For each linear layer ‖y' - y‖ / ‖y‖ of its output, where that layer alone is in the format and its input is that of
/// the f32 model. Then for the whole model, where it writes: KL divergence of the next token's distribution, agreement
/// of the best token, and share of rows with identical greedy output, teacher-forced on what f32 writes; otherwise: the
/// cosine of the last hidden state, averaged over the tokens of each row, and the relative error of the logits.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Writes one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Measures the error of each format on JSON lines from FILE, or from standard input for `-`.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) compare_formats: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
}

/// How formats are compared.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The most tokens that are written for each line of --compare-formats.
    #[arg(long, value_name = "N", value_parser = positive, default_value = "32", requires = "compare_formats")]
    pub(crate) max_new_tokens: NonZeroUsize,
}

/// Writes a model with its weights in --format bf16, f16, int8 or int4, so that loading need not make them so.
///
/// The folder holds config.json, the tokenizer's files and one model.safetensors, works with every command, and gives
/// to the bit what the original gives in that format. It loads in no other format. It appears when all is written; a
/// folder that holds something already is refused.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The folder to be written.
    #[arg(long, short, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

/// Measures speed on random ids.
///
/// Models that write generate exactly --new tokens; others, or --new 0, compute one forward pass. One run warms up;
/// the median of --runs is reported, in seconds and in tokens a second (new ones, or those of the input).
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Sequences of a batch.
    #[arg(long, value_name = "B", value_parser = positive, default_value = "1")]
    pub(crate) batch: NonZeroUsize,
    /// Tokens of each source or prompt.
    #[arg(long, value_name = "S", value_parser = positive, default_value = "64")]
    pub(crate) source: NonZeroUsize,
    /// New tokens of each sequence. Several, with commas between, are timed one after the other by the model that is loaded once.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "64")]
    pub(crate) new: Vec<usize>,
    /// Beams; 1 for greedy search. Of several each is timed with each number of new tokens.
    #[arg(long, value_name = "K", value_delimiter = ',', value_parser = positive, default_value = "1")]
    pub(crate) num_beams: Vec<NonZeroUsize>,
    /// Runs that are timed.
    #[arg(long, value_name = "R", value_parser = positive, default_value = "5")]
    pub(crate) runs: NonZeroUsize,
    /// What the random ids hang on.
    #[arg(long, value_name = "SEED", default_value = "0")]
    pub(crate) seed: u64,
    /// One JSON object a line and case, {"seconds": …, "tokens_per_second": …, …}, as soon as it is timed.
    #[arg(long)]
    pub(crate) json: bool,
}

fn positive(text: &str) -> Result<NonZeroUsize, String> {
    let number: usize = text.parse().map_err(|_| "not a whole number")?;
    NonZeroUsize::new(number).ok_or_else(|| "must be at least 1".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_is_explained() {
        let mut root = Cli::command();
        root.build();
        let inner = root.get_subcommands().flat_map(|c| c.get_subcommands());
        for command in root.get_subcommands().chain(inner) {
            assert!(
                command.get_about().is_some() || command.get_name() == "help",
                "{}",
                command.get_name()
            );
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
