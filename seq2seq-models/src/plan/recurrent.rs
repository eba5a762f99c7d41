//! Recurrent encoder-decoders.

use seq2seq_core::Cell;

/// A recurrent encoder and decoder of as many layers.
///
/// Rows and states, with e the embedding of an id, s the state h of the decoder's last layer, o what is scored:
///
/// - the encoder reads e; both directions of a layer stand side by side, C wide, and are what the next layer reads and
///   what attention reads in the end, the memory;
/// - the decoder begins with what the encoder ended with ([`Bridge`]);
/// - [`RecurrentAttention`] says what a step of the decoder reads and how o comes of it; the scores are o Wᵀ + b.
#[derive(Debug, Clone, PartialEq)]
pub struct RecurrentPlan {
    /// Which equations.
    pub cell: Cell,
    /// L, of the encoder and of the decoder.
    pub layers: usize,
    /// Whether the encoder reads backwards too.
    pub bidirectional: bool,
    /// Ids of the encoder.
    pub source_vocab: usize,
    /// Ids of the decoder.
    pub target_vocab: usize,
    /// E, the width of embeddings.
    pub embedding: usize,
    /// Width of each direction of the encoder.
    pub encoder_width: usize,
    /// M, the width of the decoder.
    pub width: usize,
    /// How the decoder comes by the source.
    pub attention: RecurrentAttention,
    /// What a step reads beside its embedding: what the step before gave (Luong et al. 2015, "input feeding"), or, without
    /// attention, the encoder's last state (Cho et al. 2014) or z. In Bahdanau's decoder that is the context, and this is set.
    pub input_feeding: bool,
    /// How the decoder begins.
    pub bridge: Bridge,
    /// Z, where the model is a variational autoencoder (Bowman et al. 2016, "Generating sentences from a continuous space"):
    /// a Gaussian over points z, by the state h that the encoder's last layer ends with, is all that the decoder knows of the
    /// source. Its layers begin with dense layers of z, and what is fed is z.
    pub latent: Option<usize>,
    /// The rate at which training drops what each layer but the last gives to the next, as `nn.LSTM` does.
    pub dropout: f32,
}

/// How a recurrent decoder comes by the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecurrentAttention {
    /// By its first state alone: a fixed context vector (Sutskever et al. 2014); o = s.
    None,
    /// Bahdanau et al. 2015: the state before asks, by the additive score, and the context c is read beside e;
    /// o = tanh(W \[c; s\]).
    Bahdanau {
        /// A, the width of the score's hidden layer.
        width: usize,
    },
    /// Luong et al. 2015: the state after asks by s · memory; o = tanh(W \[c; s\]). Needs M = C.
    LuongDot,
    /// As above, by W s · memory.
    LuongGeneral,
    /// As above, by v · tanh(W \[s; memory\]), which is the additive score.
    LuongConcat {
        /// A
        width: usize,
    },
}

/// How a decoder's layer begins with what the same layer of the encoder ended with, all directions side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bridge {
    /// As it is. Needs M = C.
    Copy,
    /// h = tanh(W h + b), and in an LSTM c = W c + b. With a latent, of z in the place of both.
    Dense,
}

impl RecurrentAttention {
    /// Its name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bahdanau { .. } => "bahdanau",
            Self::LuongDot => "luong_dot",
            Self::LuongGeneral => "luong_general",
            Self::LuongConcat { .. } => "luong_concat",
        }
    }
}

impl RecurrentPlan {
    /// Directions of the encoder.
    pub fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// C, the width of the memory.
    pub fn memory(&self) -> usize {
        self.directions() * self.encoder_width
    }

    /// Columns of what the decoder is given of a source where there is no attention: C, or Z.
    pub fn given(&self) -> usize {
        self.latent.unwrap_or_else(|| self.memory())
    }

    /// Columns that a step of the decoder reads beside its embedding.
    pub fn fed(&self) -> usize {
        match (self.attention, self.input_feeding) {
            (RecurrentAttention::Bahdanau { .. }, _) => self.memory(),
            (RecurrentAttention::None, true) => self.given(),
            (_, true) => self.width,
            (_, false) => 0,
        }
    }

    /// Whether a step reads what the one before gave, so that a whole sequence cannot be read at once.
    pub(crate) fn is_sequential(&self) -> bool {
        match self.attention {
            RecurrentAttention::None => false,
            RecurrentAttention::Bahdanau { .. } => true,
            _ => self.input_feeding,
        }
    }

    /// Why no such model can be built, if so.
    pub(super) fn check(&self) -> Result<(), String> {
        let score = match self.attention {
            RecurrentAttention::Bahdanau { width } | RecurrentAttention::LuongConcat { width } => {
                width
            }
            _ => 1,
        };
        let sizes = [
            ("number of layers", self.layers),
            ("encoder's vocabulary", self.source_vocab),
            ("decoder's vocabulary", self.target_vocab),
            ("width of embeddings", self.embedding),
            ("width of the encoder", self.encoder_width),
            ("width of the decoder", self.width),
            ("width of the attention", score),
            ("size of the latent", self.latent.unwrap_or(1)),
        ];
        if let Some((what, _)) = sizes.iter().find(|(_, n)| *n == 0) {
            return Err(format!("the {what} is 0"));
        }
        if let Some((what, n)) = sizes.iter().find(|(_, n)| *n > 1 << 28) {
            return Err(format!("the {what} is {n}"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!("'dropout' is {}, expected 0 to below 1", self.dropout));
        }
        if self.latent.is_some() {
            return self.check_latent();
        }
        let (memory, width) = (self.memory(), self.width);
        if memory != width && self.bridge == Bridge::Copy {
            return Err(format!(
                "a decoder of {width} cannot begin with states of {memory}; they must be equal, or 'bridge' dense"
            ));
        }
        if memory != width && self.attention == RecurrentAttention::LuongDot {
            return Err(format!(
                "states of {width} cannot be multiplied with a memory of {memory}; use luong_general"
            ));
        }
        if matches!(self.attention, RecurrentAttention::Bahdanau { .. }) && !self.input_feeding {
            return Err(
                "a step of bahdanau reads the context; 'input_feeding' cannot be false".into()
            );
        }
        Ok(())
    }

    /// The decoder comes by the source by z alone.
    fn check_latent(&self) -> Result<(), String> {
        if self.attention != RecurrentAttention::None {
            return Err(format!(
                "'attention' {} would lead past the latent; a model with 'latent' has attention none",
                self.attention.name()
            ));
        }
        if self.bridge == Bridge::Copy {
            return Err("the decoder of a model with 'latent' begins with a layer of it; 'bridge' must be dense".into());
        }
        Ok(())
    }
}
