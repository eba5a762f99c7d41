//! The cache and the choice of ids, with one fault at a time.

use super::{Fault, Mutant, changed, ulp};
use seq2seq_core::reference::{self, Reference, Tensor};
use seq2seq_core::*;

/// The cache, and the first sequence of each hypothesis.
pub(crate) struct Cache {
    cache: reference::cache::KvCache,
    origins: Vec<usize>,
}

impl DecoderOps for Mutant {
    type KvCache = Cache;
    type Chosen = Picked;

    fn kv_cache(&self, spec: &CacheSpec) -> Result<Self::KvCache> {
        let more = if self.is(Fault::TooMuchRoom) { 1 } else { 0 };
        let cache = Reference.kv_cache(&CacheSpec { capacity: spec.capacity + more, ..*spec })?;
        Ok(Cache { cache, origins: (0..spec.sequences).collect() })
    }

    fn extend(&self, cache: &mut Self::KvCache, rows: &Ragged) -> Result<()> {
        Reference.extend(&mut cache.cache, rows)
    }

    fn attend_step(
        &self,
        qkv: &Tensor,
        rows: &Ragged,
        cache: &mut Self::KvCache,
        layer: usize,
        spec: &AttentionSpec,
        bias: Option<&Self::RelativeBias>,
    ) -> Result<Tensor> {
        let mut spec = spec.clone();
        if self.is(Fault::StepsUnrotated) {
            spec.rotary = None;
        }
        let y = Reference.attend_step(qkv, rows, &mut cache.cache, layer, &spec, bias)?;
        if self.is(Fault::StepOneUlp) { changed(&y, ulp) } else { Ok(y) }
    }

    fn reorder(&self, cache: &mut Self::KvCache, parents: &[usize]) -> Result<()> {
        let mut parents = parents.to_vec();
        let origin = |p: usize| cache.origins.get(p);
        match self.0 {
            Fault::SiblingsSwapped => {
                for i in 1..parents.len() {
                    if origin(parents[i]) == origin(parents[i - 1]) {
                        parents.swap(i, i - 1);
                    }
                }
            }
            Fault::ParentsSorted => parents.sort_unstable(),
            _ => {}
        }
        Reference.reorder(&mut cache.cache, &parents)?;
        cache.origins = parents.iter().map(|&p| cache.origins[p]).collect();
        Ok(())
    }

    fn top_k(
        &self,
        logits: &Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
    ) -> Result<TopK> {
        let order = match self.0 {
            Fault::RulesBeforeNormalising => ScoreOrder::RulesThenNormalise,
            _ => order,
        };
        let rules = if self.is(Fault::RulesForgotten) { &[] } else { rules };
        let mut top = Reference.top_k(logits, k, order, rules)?;
        match self.0 {
            Fault::HighIdsFirst => {
                for i in 1..top.ids.len() {
                    if i % k > 0 && top.scores[i] == top.scores[i - 1] {
                        top.ids.swap(i, i - 1);
                    }
                }
            }
            Fault::RawScores => {
                let raw = Reference.download(logits)?;
                for (i, id) in top.ids.iter().enumerate() {
                    top.scores[i] = raw[i / k * logits.width() + *id as usize];
                }
            }
            Fault::ChoiceUlpInBatches if logits.rows() > 1 => top.scores.iter_mut().for_each(ulp),
            _ => {}
        }
        Ok(top)
    }

    fn sample(
        &self,
        logits: &Tensor,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        uniforms: &[f32],
    ) -> Result<Sampled> {
        let mut warp = *warp;
        let mut uniforms = uniforms.to_vec();
        match self.0 {
            Fault::AnyTemperature => warp.temperature = 1.0,
            Fault::TopPForgotten => warp.top_p = 1.0,
            Fault::TypicalForgotten => warp.typical_p = 1.0,
            Fault::UniformMirrored => {
                let mirror = |u: &mut f32| *u = (1.0 - *u).min(1.0 - f32::EPSILON / 2.0);
                uniforms.iter_mut().filter(|u| (0.0..1.0).contains(*u)).for_each(mirror);
            }
            _ => {}
        }
        let rules = if self.is(Fault::RulesForgotten) { &[] } else { rules };
        let mut drawn = Reference.sample(logits, rules, &warp, &uniforms)?;
        if self.is(Fault::ScoreBeforeWarps) {
            let order = ScoreOrder::RulesThenNormalise;
            let all = Reference.top_k(logits, logits.width(), order, rules)?;
            for (n, id) in drawn.ids.iter().enumerate() {
                let row = n * all.k..(n + 1) * all.k;
                let rank = all.ids[row.clone()].iter().position(|i| i == id).unwrap_or(0);
                drawn.scores[n] = all.scores[row][rank];
            }
        }
        Ok(drawn)
    }

    fn sample_k(
        &self,
        logits: &Tensor,
        k: usize,
        order: ScoreOrder,
        rules: &[Vec<LogitRule>],
        warp: &Warp,
        seeds: &[u64],
    ) -> Result<TopK> {
        let order = match self.0 {
            Fault::RulesBeforeNormalising => ScoreOrder::RulesThenNormalise,
            _ => order,
        };
        let mut warp = *warp;
        match self.0 {
            Fault::NoiseForgotten => warp.temperature /= 1e6,
            Fault::MinKeepForgotten if warp.min_keep > 0 => warp.min_keep = 1,
            _ => {}
        }
        let mut seeds = seeds.to_vec();
        if self.is(Fault::NoiseShared) {
            let first = seeds.first().copied().unwrap_or_default();
            seeds.fill(first);
        }
        let rules = if self.is(Fault::RulesForgotten) { &[] } else { rules };
        let mut drawn = Reference.sample_k(logits, k, order, rules, &warp, &seeds)?;
        for (i, (id, score)) in drawn.ids.iter().zip(&mut drawn.scores).enumerate() {
            match self.0 {
                Fault::NoiseForgotten => *score /= 1e6,
                Fault::NoiseInScores => *score += noise::gumbel(seeds[i / k], *id) as f32,
                Fault::ChoiceUlpInBatches if logits.rows() > 1 => ulp(score),
                _ => {}
            }
        }
        if self.is(Fault::DroppedUnsorted) {
            for i in 1..drawn.ids.len() {
                if i % k > 0 && drawn.scores[i - 1] == f32::NEG_INFINITY {
                    drawn.ids.swap(i, i - 1);
                }
            }
        }
        Ok(drawn)
    }

    fn choose(&self, logits: &Tensor, rules: &[Vec<LogitRule>], pick: &Pick<'_>) -> Result<Picked> {
        let pick = if self.is(Fault::PickForgotten) { &Pick::Best } else { pick };
        if let Pick::Beams(beams) = pick
            && self.is(Fault::EndingsForgotten)
        {
            let pick = Pick::Beams(Beams { endings: &[], ..*beams });
            return pick.at_once(&Reference, logits, rules);
        }
        if let Pick::Beams(beams) = pick
            && self.is(Fault::LastOfEqualsFirst)
        {
            let mut picked = pick.at_once(&Reference, logits, rules)?;
            if let Some(next) = &mut picked.continued {
                let score = |row: usize, id: u32| {
                    let at = (row * beams.k..).find(|&at| picked.ids[at] == id).unwrap();
                    picked.scores[at] + beams.scores[row]
                };
                for i in 1..next.ids.len() {
                    let [a, b] = [i - 1, i].map(|i| score(next.parents[i], next.ids[i]));
                    if a == b && i % beams.width > 0 {
                        next.ids.swap(i, i - 1);
                        next.parents.swap(i, i - 1);
                    }
                }
            }
            return Ok(picked);
        }
        match pick.at_once(self, logits, rules) {
            Err(_) if self.is(Fault::DrawnNothing) => {
                let rows = logits.rows();
                Ok(Sampled { ids: vec![0; rows], scores: vec![f32::NAN; rows] }.into())
            }
            chosen => chosen,
        }
    }

    fn chosen(&self, chosen: &Picked) -> Result<Picked> {
        Ok(chosen.clone())
    }

    fn embed_chosen(
        &self,
        table: (&Self::Embedding, f32),
        chosen: &Picked,
        others: &[Lookup<'_, Self::Embedding>],
    ) -> Result<Tensor> {
        let others = if self.is(Fault::OthersForgotten) { &[] } else { others };
        Reference.embed_chosen(table, chosen, others)
    }

    fn reorder_chosen(&self, cache: &mut Self::KvCache, chosen: &Picked) -> Result<()> {
        match chosen.parents() {
            Some(parents) if !self.is(Fault::ParentsForgotten) => self.reorder(cache, parents),
            _ => Ok(()),
        }
    }

    fn gather_chosen(&self, x: &Tensor, chosen: &Picked) -> Result<Option<Tensor>> {
        if self.is(Fault::ParentsForgotten) {
            return self.gather_rows(x, &(0..x.rows()).collect::<Vec<_>>()).map(Some);
        }
        Reference.gather_chosen(x, chosen)
    }
}
