/// The ids of one text or pair, and where each came from.
///
/// ```
/// use seq2seq_models::Tokenizer;
///
/// # let folder = "../fixtures/bert";
/// let tokenizer = Tokenizer::from_folder(folder)?;
/// let text = "Où est the cats?";
/// let encoding = tokenizer.encode(text)?;
/// assert_eq!(encoding.tokens()[0], "[CLS]");
/// assert!(encoding.is_special(0) && encoding.sequence_ids()[0].is_none());
///
/// // Where the token "cat" stands, and the word that it is part of: in characters, not bytes.
/// let cat = encoding.tokens().iter().position(|token| token == "cat").ok_or("no such token")?;
/// let at = |(start, end): (usize, usize)| text.chars().skip(start).take(end - start).collect::<String>();
/// assert_eq!((encoding.offsets()[cat], &at(encoding.offsets()[cat])[..]), ((11, 14), "cat"));
/// let word = encoding.word(cat).and_then(|word| encoding.word_span(word, 0)).ok_or("no word")?;
/// assert_eq!(at(word), "cats");
///
/// // Of a pair the second text has segment 1.
/// let pair = tokenizer.encode_pair("where?", "the cat")?;
/// assert_eq!((pair.type_ids()[0], pair.type_ids()[pair.len() - 1]), (0, 1));
/// assert_eq!(pair.sequence_ids()[pair.len() - 2], Some(1)); // "cat"; behind it is what ends the text
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Encoding(tokenizers::Encoding);

impl Encoding {
    pub(super) fn new(inner: tokenizers::Encoding) -> Self {
        Self(inner)
    }

    /// Token ids.
    pub fn ids(&self) -> &[u32] {
        self.0.get_ids()
    }

    /// 0 for the first text and its special tokens, 1 for the second where the model tells them apart.
    pub fn type_ids(&self) -> &[u32] {
        self.0.get_type_ids()
    }

    /// The tokens as the vocabulary spells them.
    pub fn tokens(&self) -> &[String] {
        self.0.get_tokens()
    }

    /// Where each token stands in its text: start and end, counted in characters (Unicode scalar values).
    pub fn offsets(&self) -> &[(usize, usize)] {
        self.0.get_offsets()
    }

    /// Whether token `i` was added around the text.
    pub fn is_special(&self, i: usize) -> bool {
        self.0.get_special_tokens_mask().get(i).is_some_and(|&m| m != 0)
    }

    /// For each token, which text it belongs to (0 or 1); `None` for added ones.
    pub fn sequence_ids(&self) -> Vec<Option<usize>> {
        self.0.get_sequence_ids()
    }

    /// The word that token `i` is part of, counted within its text.
    pub fn word(&self, i: usize) -> Option<u32> {
        self.0.get_word_ids().get(i).copied().flatten()
    }

    /// Start and end, in characters, of word `word` of text `sequence`.
    pub fn word_span(&self, word: u32, sequence: usize) -> Option<(usize, usize)> {
        self.0.word_to_chars(word, sequence)
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
