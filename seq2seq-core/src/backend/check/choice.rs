//! The choice of the next token.

use crate::{Beams, Error, LogitRule, Lookup, Result, Rows, Warp};

/// For [`DecoderOps::top_k`](crate::DecoderOps::top_k).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::backend::check;
///
/// let logits = tensor(2, 100)?;
/// check::top_k(&logits, 8, &[])?;
/// let error = check::top_k(&logits, 101, &[]).unwrap_err();
/// assert_eq!(error.to_string(), "top_k: k is 101, expected 1 to the 100 ids there are");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn top_k(logits: &impl Rows, k: usize, rule_lists: &[Vec<LogitRule>]) -> Result<()> {
    choose("top_k", logits, k, rule_lists)
}

fn choose(
    op: &'static str,
    logits: &impl Rows,
    k: usize,
    rule_lists: &[Vec<LogitRule>],
) -> Result<()> {
    if k == 0 || k > logits.width() {
        let reason = format!("k is {k}, expected 1 to the {} ids there are", logits.width());
        return Err(Error::invalid(op, reason));
    }
    rules(op, rule_lists, logits.rows(), logits.width())
}

/// For [`DecoderOps::sample`](crate::DecoderOps::sample).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Warp, backend::check};
///
/// let logits = tensor(2, 100)?;
/// check::sample(&logits, &[], &Warp::default(), &[0.0, 0.999])?;
/// assert!(check::sample(&logits, &[], &Warp::default(), &[0.0, 1.0]).is_err());
/// let error = check::sample(&logits, &[], &Warp { temperature: 0.0, ..Warp::default() }, &[0.0; 2]).unwrap_err();
/// assert_eq!(error.to_string(), "sample: temperature is 0, expected a number above 0");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn sample(
    logits: &impl Rows,
    rule_lists: &[Vec<LogitRule>],
    warp_spec: &Warp,
    uniforms: &[f32],
) -> Result<()> {
    const OP: &str = "sample";
    if logits.width() == 0 {
        return Err(Error::invalid(OP, "the logits have no columns"));
    }
    rules(OP, rule_lists, logits.rows(), logits.width())?;
    warp(OP, warp_spec)?;
    Error::expect(OP, "uniforms", logits.rows(), uniforms.len())?;
    match uniforms.iter().find(|u| !(0.0..1.0).contains(*u)) {
        None => Ok(()),
        Some(u) => Err(Error::invalid(OP, format!("uniform {u} is outside [0, 1)"))),
    }
}

/// For [`DecoderOps::sample_k`](crate::DecoderOps::sample_k).
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Warp, backend::check};
///
/// let logits = tensor(2, 100)?;
/// check::sample_k(&logits, 8, &[], &Warp::default(), &[1, 2])?;
/// let error = check::sample_k(&logits, 8, &[], &Warp::default(), &[1]).unwrap_err();
/// assert_eq!(error.to_string(), "sample_k: seeds is 1, expected 2");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn sample_k(
    logits: &impl Rows,
    k: usize,
    rule_lists: &[Vec<LogitRule>],
    warp_spec: &Warp,
    seeds: &[u64],
) -> Result<()> {
    const OP: &str = "sample_k";
    choose(OP, logits, k, rule_lists)?;
    warp(OP, warp_spec)?;
    Error::expect(OP, "seeds", logits.rows(), seeds.len())
}

/// The error of [`DecoderOps::sample`](crate::DecoderOps::sample) for a row that nothing can be drawn from:
/// its scores are all minus infinity, or one is NaN or plus infinity.
///
/// ```
/// use seq2seq_core::{Backend, DecoderOps, HostTensor, LogitRule, Warp, backend::check, reference::Reference};
///
/// let logits = Reference.upload(&HostTensor::from_f32(vec![1, 2], &[0.5, 1.5])?)?;
/// let drawn = Reference.sample(&logits, &[vec![LogitRule::Ban(vec![0, 1])]], &Warp::default(), &[0.5]);
/// assert_eq!(drawn, Err(check::nothing_to_draw(0)));
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn nothing_to_draw(row: usize) -> Error {
    let reason =
        format!("row {row} has no distribution: every id is banned, or a logit is NaN or infinite");
    Error::invalid("sample", reason)
}

/// For [`DecoderOps::choose`](crate::DecoderOps::choose) of [`Beams`]: the number of sources.
///
/// ```
/// # use seq2seq_core::{Backend, HostTensor, reference::Reference};
/// # let tensor = |rows, width| Reference.upload(&HostTensor::from_f32(vec![rows, width], &vec![0.0; rows * width])?);
/// use seq2seq_core::{Beams, ScoreOrder, backend::check};
///
/// let logits = tensor(6, 100)?;
/// let beams = Beams {
///     width: 3, k: 6, keep: 6, order: ScoreOrder::NormaliseThenRules, scores: &[-1.5; 6], endings: &[1],
/// };
/// assert_eq!(check::beams(&logits, &[], &beams)?, 2);
/// let error = check::beams(&logits, &[], &Beams { width: 4, ..beams }).unwrap_err();
/// assert_eq!(error.to_string(), "choose: 6 rows are no multiple of 4 hypotheses a source");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn beams(
    logits: &impl Rows,
    rule_lists: &[Vec<LogitRule>],
    beams: &Beams<'_>,
) -> Result<usize> {
    const OP: &str = "choose";
    let &Beams { width, k, keep, scores, .. } = beams;
    choose(OP, logits, k, rule_lists)?;
    Error::expect(OP, "scores", logits.rows(), scores.len())?;
    if width == 0 || !logits.rows().is_multiple_of(width) {
        let rows = logits.rows();
        let reason = format!("{rows} rows are no multiple of {width} hypotheses a source");
        return Err(Error::invalid(OP, reason));
    }
    if keep < width {
        let reason = format!("{keep} continuations for {width} hypotheses to go on");
        return Err(Error::invalid(OP, reason));
    }
    Ok(logits.rows() / width)
}

/// For [`DecoderOps::embed_chosen`](crate::DecoderOps::embed_chosen) of ids that are not known, from the rows and width of their table,
/// and how many of them there are and of how many they were chosen; `shape` gives rows and width of the other tables: N and M.
///
/// ```
/// use seq2seq_core::{Lookup, backend::check};
///
/// // Four ids of a vocabulary of 100, beside positions; a table is its shape here.
/// let positions = [512, 64];
/// let others = [Lookup { table: &positions, ids: &[7, 7, 3, 9], scale: 1.0 }];
/// assert_eq!(check::embed_chosen([100, 64], [4, 100], &others, |&table| table)?, [4, 64]);
/// let error = check::embed_chosen([99, 64], [4, 100], &others, |&table| table).unwrap_err();
/// assert_eq!(error.to_string(), "embed_chosen: ids chosen of 100 for a table of 99 rows");
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn embed_chosen<E>(
    [limit, width]: [usize; 2],
    [rows, vocab]: [usize; 2],
    others: &[Lookup<'_, E>],
    shape: impl Fn(&E) -> [usize; 2],
) -> Result<[usize; 2]> {
    const OP: &str = "embed_chosen";
    if vocab > limit {
        let reason = format!("ids chosen of {vocab} for a table of {limit} rows");
        return Err(Error::invalid(OP, reason));
    }
    if !others.is_empty() {
        let [n, m] = super::embed(others, shape)?;
        Error::expect(OP, "ids of a lookup", rows, n)?;
        Error::expect(OP, "width of a table", width, m)?;
    }
    Ok([rows, width])
}

fn warp(op: &'static str, w: &Warp) -> Result<()> {
    let check = |name: &str, value: f32, good: bool, expected: &str| match good {
        true => Ok(()),
        false => Err(Error::invalid(op, format!("{name} is {value}, expected {expected}"))),
    };
    let t = w.temperature;
    if w.min_keep == 0 {
        return Err(Error::invalid(op, "min_keep is 0, expected at least 1"));
    }
    check("temperature", t, t > 0.0 && t.is_finite(), "a number above 0")?;
    check("top_p", w.top_p, (0.0..=1.0).contains(&w.top_p), "0 to 1")?;
    check("min_p", w.min_p, (0.0..=1.0).contains(&w.min_p), "0 to 1")?;
    check("typical_p", w.typical_p, w.typical_p > 0.0 && w.typical_p <= 1.0, "above 0, up to 1")?;
    let cutoff = 0.0..1.0;
    check(
        "epsilon_cutoff",
        w.epsilon_cutoff,
        cutoff.contains(&w.epsilon_cutoff),
        "0 up to below 1",
    )?;
    check("eta_cutoff", w.eta_cutoff, cutoff.contains(&w.eta_cutoff), "0 up to below 1")
}

/// Per-row rules: one list a row, or none at all.
///
/// ```
/// use seq2seq_core::{LogitRule, backend::check};
///
/// let lists = [vec![LogitRule::Ban(vec![3])], vec![]];
/// check::rules("top_k", &lists, 2, 100)?;
/// check::rules("top_k", &[], 2, 100)?; // none for any row
/// let error = check::rules("top_k", &lists, 3, 100).unwrap_err();
/// assert_eq!(error.to_string(), "top_k: lists of rules is 2, expected 3");
/// assert!(check::rules("top_k", &lists, 2, 3).is_err()); // there is no id 3
/// # Ok::<(), seq2seq_core::Error>(())
/// ```
pub fn rules(op: &'static str, rules: &[Vec<LogitRule>], rows: usize, vocab: usize) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    Error::expect(op, "lists of rules", rows, rules.len())?;
    for rule in rules.iter().flatten() {
        Error::check_range(op, "token id", rule.ids().map(|id| id as usize), vocab)?;
        if let LogitRule::Penalise { penalty, .. } = rule
            && !(*penalty > 0.0 && penalty.is_finite())
        {
            let reason = format!("penalty is {penalty}, expected a number above 0");
            return Err(Error::invalid(op, reason));
        }
    }
    Ok(())
}
