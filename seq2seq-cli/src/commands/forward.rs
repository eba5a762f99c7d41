//! `forward`: ids in a safetensors file to a model's outputs in another.

use crate::{
    cli::{ForwardArgs, Global},
    failure::{Failure, Result},
    load,
    output::Output,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use seq2seq_models::{Forward, ForwardOutput};
use std::{fs, path::Path};

pub(super) fn run(global: &Global, args: &ForwardArgs) -> Result<()> {
    let bytes = fs::read(&args.input)
        .map_err(|e| Failure::input(format!("{}: {e}", args.input.display())))?;
    let in_file = |e: Failure| e.at(args.input.display());
    let file =
        SafeTensors::deserialize(&bytes).map_err(|e| in_file(Failure::input(e.to_string())))?;
    let (source, target) = layouts(&file).map_err(in_file)?;
    let request = request(&file, &source, target.as_ref()).map_err(in_file)?;
    let mut output = Output::open(Some(&args.output))?;
    let model = load::model(global)?;
    let results = model.forward(&request).map_err(|e| in_file(e.into()))?;
    let whole_decoder = model.plan().is_encoder_decoder();
    let padded: Vec<Padded> = results
        .iter()
        .map(|result| {
            let by_target = whole_decoder && result.name != "encoder_last_hidden_state";
            let layout = target.as_ref().filter(|_| by_target).unwrap_or(&source);
            pad(result, layout)
        })
        .collect();
    output.bytes(&serialize(&padded, &args.output)?)?;
    output.finish()
}

/// Where the tokens of a padded batch stand.
#[derive(Debug, PartialEq)]
struct Layout {
    /// Columns, padding included.
    width: usize,
    /// First token and number of tokens of each row.
    spans: Vec<(usize, usize)>,
}

/// The layouts of `input_ids` and, where there are any, `decoder_input_ids`.
fn layouts(file: &SafeTensors<'_>) -> Result<(Layout, Option<Layout>)> {
    let source = layout(file, "input_ids", "attention_mask")?
        .ok_or_else(|| Failure::input("there is no tensor input_ids"))?;
    let target = layout(file, "decoder_input_ids", "decoder_attention_mask")?;
    if target.as_ref().is_some_and(|t| t.spans.len() != source.spans.len()) {
        return Err(Failure::input(
            "input_ids and decoder_input_ids have different numbers of rows",
        ));
    }
    Ok((source, target))
}

fn layout(file: &SafeTensors<'_>, name: &str, mask: &str) -> Result<Option<Layout>> {
    let Some(ids) = Integers::read(file, name)? else { return Ok(None) };
    let mask_rows = match Integers::read(file, mask)? {
        None => Integers { values: vec![1; ids.values.len()], ..ids },
        Some(rows) if rows.shape == ids.shape => rows,
        Some(_) => return Err(Failure::input(format!("{mask} and {name} have different shapes"))),
    };
    let spans = (0..mask_rows.shape[0]).map(|i| {
        let row = mask_rows.row(i);
        let start = row.iter().position(|&m| m != 0).unwrap_or(0);
        let count = row.iter().filter(|&&m| m != 0).count();
        match row[start..start + count].iter().all(|&m| m != 0) {
            true => Ok((start, count)),
            false => Err(Failure::input(format!(
                "{mask}: row {i} has padding between tokens, not only around them"
            ))),
        }
    });
    Ok(Some(Layout { width: mask_rows.shape[1], spans: spans.collect::<Result<_>>()? }))
}

/// An integer tensor of two dimensions.
struct Integers {
    shape: [usize; 2],
    values: Vec<i64>,
}

impl Integers {
    /// `None` where there is no such tensor.
    fn read(file: &SafeTensors<'_>, name: &str) -> Result<Option<Self>> {
        let Ok(tensor) = file.tensor(name) else { return Ok(None) };
        let data = tensor.data();
        let values = match tensor.dtype() {
            Dtype::I64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
            Dtype::I32 => {
                data.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect()
            }
            Dtype::U8 | Dtype::BOOL => data.iter().map(|b| i64::from(*b)).collect(),
            other => {
                return Err(Failure::input(format!(
                    "{name} holds {other:?}; it must hold I64, I32, U8 or BOOL"
                )));
            }
        };
        match *tensor.shape() {
            [batch, length] => Ok(Some(Self { shape: [batch, length], values })),
            ref shape => Err(Failure::input(format!(
                "{name} has shape {shape:?}; it must be [batch, length]"
            ))),
        }
    }

    fn row(&self, i: usize) -> &[i64] {
        &self.values[i * self.shape[1]..(i + 1) * self.shape[1]]
    }
}

/// The tokens without their padding.
fn request(file: &SafeTensors<'_>, source: &Layout, target: Option<&Layout>) -> Result<Forward> {
    let rows = |name: &str, layout: &Layout| -> Result<Option<Vec<Vec<u32>>>> {
        let Some(all) = Integers::read(file, name)? else { return Ok(None) };
        if all.shape != [layout.spans.len(), layout.width] {
            return Err(Failure::input(format!(
                "{name} has another shape than the ids it belongs to"
            )));
        }
        let row = |(i, &(start, count)): (usize, &(usize, usize))| {
            let id = |&id: &i64| {
                u32::try_from(id).map_err(|_| Failure::input(format!("{name}: row {i} holds {id}")))
            };
            all.row(i)[start..start + count].iter().map(id).collect()
        };
        layout.spans.iter().enumerate().map(row).collect::<Result<_>>().map(Some)
    };
    Ok(Forward {
        input_ids: rows("input_ids", source)?.unwrap_or_default(),
        token_type_ids: rows("token_type_ids", source)?,
        decoder_input_ids: target.map(|t| rows("decoder_input_ids", t)).transpose()?.flatten(),
    })
}

/// A result with zeros at padding.
struct Padded {
    name: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn pad(result: &ForwardOutput, layout: &Layout) -> Padded {
    let batch = layout.spans.len();
    let width = result.width;
    if !result.per_position {
        let bytes = result.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        return Padded { name: result.name, shape: vec![batch, width], bytes };
    }
    let mut values = vec![0.0f32; batch * layout.width * width];
    let mut from = 0;
    for (i, (&(start, _), &rows)) in layout.spans.iter().zip(&result.rows).enumerate() {
        let to = (i * layout.width + start) * width;
        values[to..to + rows * width].copy_from_slice(&result.values[from..from + rows * width]);
        from += rows * width;
    }
    let mut shape = vec![batch, layout.width];
    if !matches!(result.name, "start_logits" | "end_logits") {
        shape.push(width);
    }
    Padded {
        name: result.name,
        shape,
        bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

fn serialize(results: &[Padded], path: &Path) -> Result<Vec<u8>> {
    let fail = |e: safetensors::SafeTensorError| Failure::Other(format!("{}: {e}", path.display()));
    let views = results
        .iter()
        .map(|r| {
            Ok((r.name, TensorView::new(Dtype::F32, r.shape.clone(), &r.bytes).map_err(fail)?))
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tensors: &[(&str, [usize; 2], &[i64])]) -> Vec<u8> {
        let data: Vec<Vec<u8>> =
            tensors.iter().map(|t| t.2.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
        let views = tensors.iter().zip(&data).map(|((name, shape, _), bytes)| {
            (*name, TensorView::new(Dtype::I64, shape.to_vec(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn read(tensors: &[(&str, [usize; 2], &[i64])]) -> Result<(Layout, Forward)> {
        let bytes = file(tensors);
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (source, target) = layouts(&file)?;
        let request = request(&file, &source, target.as_ref())?;
        Ok((source, request))
    }

    #[test]
    fn padding_on_either_side_is_taken_away_and_put_back() {
        let ids = ("input_ids", [3, 3], &[5, 6, 0, 0, 0, 7, 1, 2, 3][..]);
        let mask = ("attention_mask", [3, 3], &[1, 1, 0, 0, 0, 1, 1, 1, 1][..]);
        let (layout, request) = read(&[ids, mask]).unwrap();
        assert_eq!(request.input_ids, [vec![5, 6], vec![7], vec![1, 2, 3]]);
        let result = ForwardOutput {
            name: "start_logits",
            rows: vec![2, 1, 3],
            per_position: true,
            width: 1,
            values: vec![1., 2., 3., 4., 5., 6.],
        };
        let padded = pad(&result, &layout);
        assert_eq!(padded.shape, [3, 3]);
        let values: Vec<f32> =
            padded.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        assert_eq!(values, [1., 2., 0., 0., 0., 3., 4., 5., 6.]);
        assert_eq!(pad(&ForwardOutput { name: "logits", ..result }, &layout).shape, [3, 3, 1]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ids = ("input_ids", [1, 3], &[5, 6, 7][..]);
        for (tensors, says) in [
            (vec![("attention_mask", [1, 3], &[1, 1, 1][..])], "no tensor input_ids"),
            (vec![ids, ("attention_mask", [1, 3], &[1, 0, 1])], "padding between"),
            (vec![ids, ("attention_mask", [3, 1], &[1, 1, 1])], "different shapes"),
            (vec![ids, ("token_type_ids", [1, 2], &[0, 0])], "another shape"),
            (vec![("input_ids", [1, 1], &[-1])], "row 0 holds -1"),
            (vec![ids, ("decoder_input_ids", [2, 1], &[0, 0])], "different numbers of rows"),
        ] {
            let Err(Failure::Input(message)) = read(&tensors) else { panic!("{says}") };
            assert!(message.contains(says), "{message}");
        }
    }
}
