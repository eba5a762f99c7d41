//! What PyTorch recorded of a pass over a fixture: targets, and the gradient of each parameter.

use safetensors::SafeTensors;
use seq2seq_models::Forward;
use std::collections::BTreeMap;

/// The values of a tensor of f32.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// `labels`, as they lie; negative ones are ignored.
pub(crate) fn labels(file: &SafeTensors<'_>) -> Vec<Option<u32>> {
    let labels = file.tensor("labels").unwrap();
    let ids = labels.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b));
    ids.map(|id| u32::try_from(id).ok()).collect()
}

/// `labels` `[B, longest]` as the targets of the rows that the model writes, without the padding behind them.
pub(crate) fn targets(file: &SafeTensors<'_>, input: &Forward) -> Vec<Option<u32>> {
    let longest = file.tensor("labels").unwrap().shape()[1];
    let rows = input.decoder_input_ids.as_ref().unwrap_or(&input.input_ids);
    let of_row = |(ids, row): (&[Option<u32>], &Vec<u32>)| ids[..row.len()].to_vec();
    labels(file).chunks(longest).zip(rows).flat_map(of_row).collect()
}

/// `gradient.<parameter>`, by the parameter.
pub(crate) fn gradients(file: &SafeTensors<'_>) -> BTreeMap<String, Vec<f32>> {
    let of = |(name, tensor): (&str, safetensors::tensor::TensorView<'_>)| {
        Some((name.strip_prefix("gradient.")?.into(), floats(tensor.data())))
    };
    file.iter().filter_map(of).collect()
}
