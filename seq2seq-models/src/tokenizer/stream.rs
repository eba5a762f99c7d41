use super::{Tokenizer, clean_up};
use crate::Result;

/// Ids of a window after which its front is forgotten. Keeps a step's work independent of the length of the text.
const WINDOW: usize = 64;
/// Ids that stay as context when the front is forgotten: a decoder may treat the first token of a text differently.
const CONTEXT: usize = 8;

/// Text of ids that arrive one at a time, from [`Tokenizer::stream`].
///
/// Every piece is whole characters, and all pieces together are what decoding everything at once gives. Text that a
/// later id may still change (the bytes of an unfinished character, a space that punctuation may swallow) is held
/// back until it is certain.
///
/// ```
/// use seq2seq_models::Tokenizer;
///
/// # let folder = "../fixtures/gpt2_text";
/// let tokenizer = Tokenizer::from_folder(folder)?;
/// let (mut stream, mut text) = (tokenizer.stream(true), String::new());
/// for &id in tokenizer.encode("The cat sät.")?.ids() {
///     text += &stream.push(id)?; // to be shown at once
/// }
/// text += &stream.finish()?;
/// assert_eq!(text, "The cat sät.");
/// # Ok::<(), seq2seq_models::Error>(())
/// ```
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    skip_special_tokens: bool,
    /// The last ids, from where decoding starts anew each time.
    window: Vec<u32>,
    /// Bytes of the window's text that have gone on.
    given: usize,
    /// Text that cleaning may still change.
    unclean: String,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, skip_special_tokens: bool) -> Self {
        Self {
            tokenizer,
            skip_special_tokens,
            window: Vec::new(),
            given: 0,
            unclean: String::new(),
        }
    }

    /// Takes the next id and gives the text that is now certain, often none.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.window.push(id);
        // One bad byte spoils the whole run of byte tokens that it stands in, so a run waits for its end.
        let bytes = self.window.iter().rev().take_while(|&&id| self.tokenizer.is_byte(id)).count();
        let settled = &self.window[..self.window.len() - bytes];
        let text = self.tokenizer.decode_raw(settled, self.skip_special_tokens)?;
        // An unfinished character decodes to U+FFFD; so does a broken one, which goes on as soon as more follows.
        let certain = text.trim_end_matches('\u{FFFD}').len();
        let piece = text.get(self.given..certain).unwrap_or_default().to_owned();
        self.given += piece.len();
        if self.window.len() >= WINDOW && bytes == 0 && certain == text.len() {
            self.forget()?;
        }
        Ok(self.clean(piece))
    }

    /// The rest, when no more ids come.
    ///
    /// # Errors
    /// Those of [`Tokenizer::decode`].
    pub fn finish(mut self) -> Result<String> {
        let text = self.tokenizer.decode_raw(&self.window, self.skip_special_tokens)?;
        self.unclean.push_str(text.get(self.given..).unwrap_or_default());
        Ok(match self.tokenizer.cleans_up() {
            true => clean_up::clean_up(&self.unclean),
            false => self.unclean,
        })
    }

    /// Shortens the window to its last ids, all of whose text has gone on. Not when these have no text: the next id
    /// would be taken for the first of all.
    fn forget(&mut self) -> Result<()> {
        let start = self.window.len() - CONTEXT;
        let text = self.tokenizer.decode_raw(&self.window[start..], self.skip_special_tokens)?;
        if !text.is_empty() {
            self.window.drain(..start);
            self.given = text.len();
        }
        Ok(())
    }

    fn clean(&mut self, piece: String) -> String {
        if !self.tokenizer.cleans_up() {
            return piece;
        }
        self.unclean.push_str(&piece);
        let rest = self.unclean.split_off(clean_up::safe_cut(&self.unclean));
        clean_up::clean_up(&std::mem::replace(&mut self.unclean, rest))
    }
}
