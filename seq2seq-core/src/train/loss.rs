//! Cross-entropy and its smoothing.

/// Label smoothing (Szegedy et al. 2016) in the two definitions that are in use, which are not equal (trap 62).
///
/// ```
/// use seq2seq_core::train::Smoothing;
///
/// // The weights of the target's -ln p and of the sum of everyone's, over 5 ids: one definition gives the target its share
/// // of e, the other shares e out among the others.
/// let near = |(a, b): (f64, f64), (c, d): (f64, f64)| (a - c).abs() < 1e-6 && (b - d).abs() < 1e-6;
/// assert!(near(Smoothing::Uniform(0.1).weights(5), (0.9, 0.02)));
/// assert!(near(Smoothing::Others(0.1).weights(5), (0.875, 0.025)));
/// assert_eq!(Smoothing::None.weights(5), (1.0, 0.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Smoothing {
    /// The negative log-likelihood of the target.
    #[default]
    None,
    /// (1 - e) nll + e mean(-ln p), the mean over all V ids: PyTorch and transformers.
    Uniform(f32),
    /// (1 - e - e') nll + e' Σ(-ln p), e' = e / (V - 1): fairseq.
    Others(f32),
}

impl Smoothing {
    /// The weights a of nll and b of Σ(-ln p) in the loss a nll + b Σ(-ln p), over `vocab` ids. Both definitions have
    /// a + b V = 1.
    pub fn weights(self, vocab: usize) -> (f64, f64) {
        match self {
            Self::None => (1.0, 0.0),
            Self::Uniform(e) => (1.0 - f64::from(e), f64::from(e) / vocab as f64),
            Self::Others(e) => {
                let each = f64::from(e) / (vocab.max(2) - 1) as f64;
                (1.0 - f64::from(e) - each, each)
            }
        }
    }

    /// e
    pub fn epsilon(self) -> f32 {
        match self {
            Self::None => 0.0,
            Self::Uniform(e) | Self::Others(e) => e,
        }
    }
}

/// The loss over the rows that have a target. Sums, so that those of several batches add up to that of all.
///
/// ```
/// use seq2seq_core::{Backend, HostTensor, reference::Reference, train::{Loss, Smoothing, TrainBackend}};
///
/// let b = Reference;
/// let mut all = Loss::default();
/// for (logits, targets) in [([0.0, 0.0, 9.0, 0.0], [Some(1), Some(0)]), ([0.0, 0.0, 3.0, 4.0], [None, Some(0)])] {
///     let logits = b.upload(&HostTensor::from_f32(vec![2, 2], &logits)?)?;
///     let (loss, _gradient) = b.cross_entropy(&logits, &targets, Smoothing::None)?;
///     all += loss;
/// }
/// // Equal logits choose the lower id, which was wrong; 9 against 0 was right, 3 against 4 wrong.
/// assert_eq!((all.tokens, all.correct), (3, 1));
/// let perplexity = (all.nll / all.tokens as f64).exp();
/// assert!((1.9..2.0).contains(&perplexity), "{perplexity}");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loss {
    /// Σ loss, smoothed.
    pub sum: f64,
    /// Σ negative log-likelihood of the targets; e to the power of its mean is the perplexity.
    pub nll: f64,
    /// Rows that have a target.
    pub tokens: usize,
    /// Rows whose target has the largest logit, the lowest id of several.
    pub correct: usize,
}

impl std::ops::AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.sum += other.sum;
        self.nll += other.nll;
        self.tokens += other.tokens;
        self.correct += other.correct;
    }
}
