//! `seq2seq forward`.

use crate::support::{fixture, model, run};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::Path;

fn forward(name: &str, input: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.safetensors");
    let [input, output_name] = [input, &output].map(|p| p.display().to_string());
    let args = ["forward".into(), "--input".into(), input, "--output".into(), output_name];
    assert_eq!(run([&args[..], &model(name)].concat()).ok(), "");
    std::fs::read(output).unwrap()
}

fn floats(tensor: &TensorView<'_>) -> Vec<f32> {
    assert_eq!(tensor.dtype(), Dtype::F32);
    tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn assert_close(got: &TensorView<'_>, expected: &TensorView<'_>, at: &str) {
    assert_eq!(got.shape(), expected.shape(), "{at}");
    let (got, expected) = (floats(got), floats(expected));
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    let off = got.iter().zip(&expected).map(|(g, e)| (g - e).abs()).fold(0.0, f32::max);
    assert!(off <= 1e-4 * largest, "{at}: off by {off} of {largest}");
}

#[test]
fn outputs_are_those_of_transformers() {
    for name in [
        "bert",
        "bert_question_answering",
        "bert_sequence_classification",
        "roberta_masked_lm",
        "distilbert_token_classification",
        "gpt2",
        "llama_yarn",
        "t5_v1_1",
        "bart_base",
        "bart_sequence_classification",
        "marian_shared",
        "t5_encoder",
    ] {
        let input = fixture(name).join("forward.safetensors");
        let expected_bytes = std::fs::read(&input).unwrap();
        let expected = SafeTensors::deserialize(&expected_bytes).unwrap();
        let got_bytes = forward(name, &input);
        let got = SafeTensors::deserialize(&got_bytes).unwrap();
        let wanted: Vec<_> =
            expected.names().into_iter().filter_map(|n| n.strip_prefix("expected.")).collect();
        assert!(!wanted.is_empty());
        for output in wanted {
            let tensor = got
                .tensor(output)
                .unwrap_or_else(|_| panic!("{name}: no {output} in {:?}", got.names()));
            assert_close(
                &tensor,
                &expected.tensor(&format!("expected.{output}")).unwrap(),
                &format!("{name} {output}"),
            );
        }
    }
}

/// The batch with its padding moved to the left.
fn turned(bytes: &[u8]) -> Vec<u8> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let values = |name: &str| -> Vec<i64> {
        file.tensor(name)
            .unwrap()
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b))
            .collect()
    };
    let shape = file.tensor("input_ids").unwrap().shape().to_vec();
    let (mut ids, mut mask) = (values("input_ids"), values("attention_mask"));
    for (ids, mask) in ids.chunks_mut(shape[1]).zip(mask.chunks_mut(shape[1])) {
        let padding = mask.iter().filter(|&&m| m == 0).count();
        ids.rotate_right(padding);
        mask.rotate_right(padding);
    }
    let data = [ids, mask].map(|v| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    let view = |i: usize| TensorView::new(Dtype::I64, shape.clone(), &data[i]).unwrap();
    safetensors::serialize([("input_ids", view(0)), ("attention_mask", view(1))], None).unwrap()
}

#[test]
fn padding_on_the_left_gives_the_same_rows() {
    let name = "roberta";
    let path = fixture(name).join("forward.safetensors");
    let right_bytes = std::fs::read(&path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("left.safetensors");
    std::fs::write(&left, turned(&right_bytes)).unwrap();
    let (a, b) = (forward(name, &path), forward(name, &left));
    let (a, b) = (SafeTensors::deserialize(&a).unwrap(), SafeTensors::deserialize(&b).unwrap());
    let (a, b) = (a.tensor("last_hidden_state").unwrap(), b.tensor("last_hidden_state").unwrap());
    let [batch, length, width] = *a.shape() else { panic!() };
    let (a, b) = (floats(&a), floats(&b));
    let mask = SafeTensors::deserialize(&right_bytes).unwrap();
    let mask = mask.tensor("attention_mask").unwrap().data().as_chunks::<8>().0.to_vec();
    for row in 0..batch {
        let used = mask[row * length..(row + 1) * length].iter().filter(|m| **m != [0; 8]).count();
        let at = |from: usize| (row * length + from) * width..(row * length + from + used) * width;
        assert_eq!(a[at(0)], b[at(length - used)]);
        let padding = &b[row * length * width..(row * length + length - used) * width];
        assert!(padding.iter().all(|&x| x == 0.0));
    }
}
