//! Extractive question answering: the stretch of a context that answers a question.
//!
//! The rules are those of the question-answering pipeline that transformers had up to release 4: a long context is
//! read in windows of 384 tokens that share 128; in each, starts and ends are softmaxed over the context and the first
//! token (where models put "no answer"), a span scores start · end and is widened to whole words, spans of the same
//! words add up, and the best of all windows compete.

use super::{Seen, Task, finite, largest, softmax};
use crate::{Encoding, Result, Tokenizer};
use serde::Serialize;

/// The context is the second text of a pair.
const CONTEXT: usize = 1;

/// What to ask of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The question.
    pub question: String,
    /// The text that holds the answer.
    pub context: String,
}

/// A stretch of the context.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Answer {
    /// Probability of its start times that of its end, in its window.
    pub score: f32,
    /// The first character in the context.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
    /// The text; empty for "no answer".
    pub answer: String,
}

/// How answers are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerOptions {
    /// How many answers to give.
    pub top_k: usize,
    /// Tokens of the longest answer.
    pub max_answer_len: usize,
    /// Tokens of a window, question included.
    pub max_seq_len: usize,
    /// Tokens that neighbouring windows share; `None` for 128, or half a window where that is less.
    pub doc_stride: Option<usize>,
    /// Whether "no answer" competes.
    pub handle_impossible: bool,
}

impl Default for AnswerOptions {
    fn default() -> Self {
        Self {
            top_k: 1,
            max_answer_len: 15,
            max_seq_len: 384,
            doc_stride: None,
            handle_impossible: false,
        }
    }
}

/// Extractive question answering.
///
/// ```
/// use seq2seq_models::{LoadOptions, Model, Tokenizer, tasks::{self, Answering, Question}};
///
/// # let folder = "../fixtures/bert_question_answering";
/// let model = Model::load(folder, &LoadOptions::default())?;
/// let tokenizer = Tokenizer::from_files(model.files())?;
/// let answering = Answering::new(&tokenizer, model.max_positions());
/// let question = Question {
///     question: "Where is the cat?".into(),
///     context: "The cat sat on the river. The old dog ran to the blue house in Paris.".into(),
/// };
/// let best = &tasks::run(&model, &answering, &[question])?[0][0];
/// println!("{} {}", best.answer, best.score);
/// # assert_eq!((best.start, best.end), (12, 44));
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug)]
pub struct Answering<'a> {
    /// Cuts texts.
    pub tokenizer: &'a Tokenizer,
    /// How answers are looked for.
    pub options: AnswerOptions,
    /// The longest input of the model: bounds the window.
    pub positions: Option<usize>,
}

/// A span of tokens and its probability.
struct Span {
    start: usize,
    end: usize,
    score: f32,
}

impl<'a> Answering<'a> {
    /// Gives the best answer; `positions` is the longest input of the model.
    pub fn new(tokenizer: &'a Tokenizer, positions: Option<usize>) -> Self {
        Self { tokenizer, options: AnswerOptions::default(), positions }
    }

    /// The best spans of one window, best first.
    fn spans(&self, encoding: &Encoding, start: &[f32], end: &[f32]) -> (Vec<Span>, f32) {
        let cls = self.tokenizer.cls_id();
        let allowed: Vec<bool> = encoding
            .sequence_ids()
            .iter()
            .zip(encoding.ids())
            .map(|(&text, &id)| text == Some(CONTEXT) || cls == Some(id))
            .collect();
        let probabilities = |logits: &[f32]| {
            let masked: Vec<f32> = logits
                .iter()
                .zip(&allowed)
                .map(|(&x, &ok)| if ok { x } else { -10000.0 })
                .collect();
            softmax(&masked)
        };
        let (mut start, mut end) = (probabilities(start), probabilities(end));
        let null = start[0] * end[0];
        (start[0], end[0]) = (0.0, 0.0);
        // A few more than asked for: spans of the same words are one answer.
        let spans =
            best_spans(&start, &end, self.options.max_answer_len, 2 * self.options.top_k + 10);
        let possible = |s: &Span| s.score > 0.0 && allowed[s.start] && allowed[s.end];
        (spans.into_iter().filter(possible).collect(), null)
    }

    /// Characters of the words from token `start` to token `end`.
    fn characters(encoding: &Encoding, span: &Span) -> (usize, usize) {
        let word = |i: usize| encoding.word(i).and_then(|w| encoding.word_span(w, CONTEXT));
        match (word(span.start), word(span.end)) {
            (Some(first), Some(last)) => (first.0, last.1),
            _ => (encoding.offsets()[span.start].0, encoding.offsets()[span.end].1),
        }
    }
}

/// The `k` best pairs start ≤ end of at most `longest` tokens, by the product of their probabilities.
fn best_spans(start: &[f32], end: &[f32], longest: usize, k: usize) -> Vec<Span> {
    let n = start.len();
    let pairs: Vec<(usize, usize)> =
        (0..n).flat_map(|s| (s..n.min(s + longest)).map(move |e| (s, e))).collect();
    let scores: Vec<f32> = pairs.iter().map(|&(s, e)| start[s] * end[e]).collect();
    largest(&scores, k)
        .into_iter()
        .map(|i| Span { start: pairs[i].0, end: pairs[i].1, score: scores[i] })
        .collect()
}

/// Adds `answer`; one that differs only in case from another adds to its score.
fn merge(answers: &mut Vec<Answer>, answer: Answer) {
    let folded = answer.answer.to_lowercase();
    match answers.iter_mut().find(|a| a.answer.to_lowercase() == folded) {
        Some(same) => same.score += answer.score,
        None => answers.push(answer),
    }
}

impl Task for Answering<'_> {
    type Input = Question;
    type Output = Vec<Answer>;

    fn prepare(&self, input: &Question) -> Result<Vec<Encoding>> {
        let bounds = [self.tokenizer.max_length(), self.positions];
        let limit = bounds.into_iter().flatten().fold(self.options.max_seq_len, usize::min);
        let stride = self.options.doc_stride.unwrap_or((limit / 2).min(128));
        self.tokenizer.encode_windows(&input.question, &input.context, limit, stride)
    }

    fn finish(&self, input: &Question, seen: &[Seen<'_>]) -> Result<Vec<Answer>> {
        let context: Vec<char> = input.context.chars().collect();
        let mut answers = Vec::new();
        let mut null = f32::INFINITY;
        for window in seen {
            let (start, end) = (window.output("start_logits")?, window.output("end_logits")?);
            finite("start and end logits", start.values)?;
            finite("start and end logits", end.values)?;
            let (spans, window_null) = self.spans(window.encoding, start.values, end.values);
            null = null.min(window_null);
            for span in spans {
                let (start, end) = Self::characters(window.encoding, &span);
                let answer = context.get(start..end).unwrap_or_default().iter().collect();
                merge(&mut answers, Answer { score: span.score, start, end, answer });
            }
        }
        if self.options.handle_impossible {
            answers.push(Answer { score: null, start: 0, end: 0, answer: String::new() });
        }
        answers.sort_by(|a, b| b.score.total_cmp(&a.score));
        answers.truncate(self.options.top_k);
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ForwardOutput, tokenizer::test_tokenizers::word_piece};

    /// Answers where the logits of token (window, index) are as given and all others 0.
    fn answers(
        options: AnswerOptions,
        context: &str,
        hot: &[(usize, usize, f32, f32)],
    ) -> Vec<Answer> {
        let tokenizer = word_piece(true);
        let answering = Answering { tokenizer: &tokenizer, options, positions: Some(512) };
        let input = Question { question: "cat".into(), context: context.into() };
        let encodings = answering.prepare(&input).unwrap();
        let rows: Vec<usize> = encodings.iter().map(Encoding::len).collect();
        let of = |name, pick: fn(&(usize, usize, f32, f32)) -> f32| {
            let mut values = vec![0.0; rows.iter().sum()];
            for h in hot {
                values[rows[..h.0].iter().sum::<usize>() + h.1] = pick(h);
            }
            ForwardOutput { name, rows: rows.clone(), per_position: true, width: 1, values }
        };
        let outputs = [of("start_logits", |h| h.2), of("end_logits", |h| h.3)];
        let seen: Vec<_> = encodings
            .iter()
            .enumerate()
            .map(|(index, encoding)| Seen { encoding, outputs: &outputs, index })
            .collect();
        answering.finish(&input, &seen).unwrap()
    }

    /// `[CLS] cat [SEP] the cat ##s sat . the [SEP]`
    const TEXT: &str = "The cats sat. The";

    #[test]
    fn the_best_span_widens_to_words() {
        // Starts at ##s, ends at sat; the question's cat is hotter and does not count.
        let hot = [(0, 5, 9.0, 0.0), (0, 6, 0.0, 9.0), (0, 1, 20.0, 20.0)];
        let got = answers(AnswerOptions::default(), TEXT, &hot);
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].start, got[0].end, got[0].answer.as_str()), (4, 12, "cats sat"));
        // Softmax over [CLS] and six context tokens; [cat ##s] to sat is the same answer and adds to it.
        let sum = 9f32.exp() + 6.0;
        let expected = (9f32.exp() / sum).powi(2) + 9f32.exp() / (sum * sum);
        assert!((got[0].score - expected).abs() < 1e-6, "{} {expected}", got[0].score);
    }

    #[test]
    fn no_answer_competes_when_asked() {
        let hot = [(0, 0, 9.0, 9.0), (0, 6, 5.0, 5.0)];
        let options = AnswerOptions { top_k: 2, handle_impossible: true, ..Default::default() };
        let got = answers(options, TEXT, &hot);
        assert_eq!((got[0].answer.as_str(), got[1].answer.as_str()), ("", "sat"));
        assert_eq!(answers(AnswerOptions::default(), TEXT, &hot)[0].answer, "sat");
    }

    #[test]
    fn answers_have_a_length() {
        let hot = [(0, 3, 9.0, 0.0), (0, 8, 0.0, 9.0), (0, 4, 0.0, 2.0)];
        let options = AnswerOptions { max_answer_len: 3, ..Default::default() };
        assert_eq!(answers(options, TEXT, &hot)[0].answer, "The cats");
    }

    #[test]
    fn windows_compete() {
        let options = AnswerOptions { max_seq_len: 7, doc_stride: Some(1), ..Default::default() };
        // Windows of three tokens: the cat ##s | ##s sat . | . cat
        let context = "The cats sat. Cat";
        let got = answers(options, context, &[(0, 3, 2.0, 2.0), (2, 4, 5.0, 5.0)]);
        assert_eq!((got[0].answer.as_str(), got[0].start), ("Cat", 14));
        assert!(answers(AnswerOptions::default(), "", &[]).is_empty());
    }

    #[test]
    fn characters_not_bytes() {
        let got = answers(AnswerOptions::default(), "é é the", &[(0, 5, 5.0, 5.0)]);
        assert_eq!((got[0].start, got[0].end, got[0].answer.as_str()), (4, 7, "the"));
    }
}
