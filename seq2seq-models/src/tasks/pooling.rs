use super::View;
use crate::{Error, Result};
use serde_json::Value;

/// How the rows of a text become one, as the sentence-transformers module of that name does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolingMode {
    /// The first row.
    Cls,
    /// The largest value of each column.
    Max,
    /// The mean of each column.
    Mean,
    /// The sum over the square root of the length.
    MeanSqrtLen,
    /// The mean weighted 1, 2, 3, …
    WeightedMean,
    /// The last row.
    LastToken,
}

impl PoolingMode {
    /// The names in `pooling_mode`, and the switches that older files have instead.
    const NAMES: [(&'static str, &'static str, Self); 6] = [
        ("cls", "pooling_mode_cls_token", Self::Cls),
        ("max", "pooling_mode_max_tokens", Self::Max),
        ("mean", "pooling_mode_mean_tokens", Self::Mean),
        ("mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens", Self::MeanSqrtLen),
        ("weightedmean", "pooling_mode_weightedmean_tokens", Self::WeightedMean),
        ("lasttoken", "pooling_mode_lasttoken", Self::LastToken),
    ];

    fn pool(self, rows: View<'_>) -> Vec<f32> {
        let n = rows.values.len() / rows.width.max(1);
        let weighted = |weight: fn(usize) -> f32, divisor: f32| {
            let mut sum = vec![0.0f32; rows.width];
            for (i, row) in rows.rows().enumerate() {
                let w = weight(i);
                sum.iter_mut().zip(row).for_each(|(s, x)| *s += w * x);
            }
            sum.iter_mut().for_each(|s| *s /= divisor);
            sum
        };
        let n32 = n as f32;
        match self {
            Self::Cls => rows.values[..rows.width].to_vec(),
            Self::LastToken => rows.values[(n - 1) * rows.width..].to_vec(),
            Self::Mean => weighted(|_| 1.0, n32),
            Self::MeanSqrtLen => weighted(|_| 1.0, n32.sqrt()),
            Self::WeightedMean => weighted(|i| (i + 1) as f32, n32 * (n32 + 1.0) / 2.0),
            Self::Max => rows.rows().fold(vec![f32::NEG_INFINITY; rows.width], |mut max, row| {
                max.iter_mut().zip(row).for_each(|(m, x)| *m = m.max(*x));
                max
            }),
        }
    }
}

/// One or several modes, whose results are laid side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pooling(pub Vec<PoolingMode>);

impl Pooling {
    /// From the configuration of a Pooling module: `pooling_mode`, or the older `pooling_mode_*` switches. Fails where it
    /// names a mode that there is not.
    pub(super) fn from_config(config: &Value) -> Result<Self> {
        let by_name = |name: &Value| {
            PoolingMode::NAMES.iter().find(|m| name == m.0).map(|m| m.2).ok_or_else(|| {
                let known = PoolingMode::NAMES.map(|m| m.0).join(", ");
                Error::Input(format!("pooling_mode {name} is not one of {known}"))
            })
        };
        let modes = match &config["pooling_mode"] {
            Value::Null => {
                let on = |key: &str| config[key].as_bool().unwrap_or(false);
                PoolingMode::NAMES.iter().filter(|m| on(m.1)).map(|m| m.2).collect()
            }
            Value::Array(names) => names.iter().map(by_name).collect::<Result<_>>()?,
            name => vec![by_name(name)?],
        };
        Ok(Self(if modes.is_empty() { vec![PoolingMode::Mean] } else { modes }))
    }

    /// `[T, M]` to `[modes · M]`.
    ///
    /// # Errors
    /// For no rows.
    pub fn apply(&self, rows: View<'_>) -> Result<Vec<f32>> {
        if rows.values.is_empty() {
            return Err(Error::Input("there are no tokens to pool".into()));
        }
        Ok(self.0.iter().flat_map(|mode| mode.pool(rows)).collect())
    }
}

/// x / max(|x|, 1e-12), as `torch.nn.functional.normalize`.
pub(super) fn normalize(x: &mut [f32]) {
    let norm = x.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
    x.iter_mut().for_each(|v| *v /= norm);
}

#[cfg(test)]
mod tests {
    use super::*;
    use PoolingMode::*;
    use serde_json::json;

    #[test]
    fn modes_pool_as_named() {
        let rows = View { values: &[1., -4., 3., 0., 2., 1.], width: 2 };
        for (mode, expected) in [
            (Cls, [1., -4.]),
            (LastToken, [2., 1.]),
            (Max, [3., 1.]),
            (Mean, [2., -1.]),
            (WeightedMean, [13. / 6., -1. / 6.]),
            (MeanSqrtLen, [6. / 3f32.sqrt(), -3. / 3f32.sqrt()]),
        ] {
            assert_eq!(Pooling(vec![mode]).apply(rows).unwrap(), expected, "{mode:?}");
        }
        assert_eq!(Pooling(vec![Cls, Mean]).apply(rows).unwrap(), [1., -4., 2., -1.]);
        assert!(Pooling(vec![Cls]).apply(View { values: &[], width: 2 }).is_err());
    }

    #[test]
    fn configurations_old_and_new() {
        let of = |c| Pooling::from_config(&c).unwrap().0;
        assert_eq!(
            of(json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true})),
            [Cls, Mean]
        );
        assert_eq!(
            of(json!({"pooling_mode": "lasttoken", "pooling_mode_cls_token": true})),
            [LastToken]
        );
        assert_eq!(of(json!({"pooling_mode": ["max", "weightedmean"]})), [Max, WeightedMean]);
        assert_eq!(of(json!({})), [Mean]);
        assert!(Pooling::from_config(&json!({"pooling_mode": "median"})).is_err());
    }

    #[test]
    fn normalising_keeps_zero() {
        let mut x = [3., 4.];
        normalize(&mut x);
        assert_eq!(x, [0.6, 0.8]);
        let mut zero = [0., 0.];
        normalize(&mut zero);
        assert_eq!(zero, [0., 0.]);
    }
}
