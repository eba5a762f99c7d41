//! The families that are measured, and one run of each.
use anyhow::{Result, ensure};
use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{bert, t5};
use serde::Deserialize;
use std::path::Path;

enum Model {
    Bert(bert::BertModel),
    T5(Box<t5::T5ForConditionalGeneration>),
}

/// A model and its input.
pub struct Loaded {
    model: Model,
    /// `[B, S]`
    ids: Tensor,
    new: usize,
}

#[derive(Deserialize)]
struct Family {
    model_type: String,
}

impl Loaded {
    /// `None` where the family is not measured.
    pub fn from_folder(folder: &Path, ids: &[Vec<u32>], new: usize) -> Result<Option<Self>> {
        let config = std::fs::read_to_string(folder.join("config.json"))?;
        // SAFETY: the checkpoint is not written to while the comparison runs.
        let weights = || unsafe {
            let file = folder.join("model.safetensors");
            VarBuilder::from_mmaped_safetensors(&[file], DType::F32, &Device::Cpu)
        };
        let model = match serde_json::from_str::<Family>(&config)?.model_type.as_str() {
            "bert" => Model::Bert(bert::BertModel::load(weights()?, &serde_json::from_str(&config)?)?),
            "t5" => {
                let config = serde_json::from_str(&config)?;
                Model::T5(Box::new(t5::T5ForConditionalGeneration::load(weights()?, &config)?))
            }
            _ => return Ok(None),
        };
        let shape = (ids.len(), ids[0].len());
        let ids = Tensor::from_vec(ids.concat(), shape, &Device::Cpu)?;
        Ok(Some(Self { model, ids, new }))
    }

    pub fn run(&mut self) -> Result<()> {
        let (batch, source) = self.ids.dims2()?;
        match &mut self.model {
            Model::Bert(model) => {
                let hidden = model.forward(&self.ids, &self.ids.zeros_like()?, None)?;
                ensure!(hidden.dims()[..2] == [batch, source], "shape {:?}", hidden.shape());
            }
            Model::T5(model) => {
                model.clear_kv_cache();
                let memory = model.encode(&self.ids)?;
                let mut next = Tensor::zeros((batch, 1), DType::U32, &Device::Cpu)?;
                for _ in 0..self.new {
                    let logits = model.decode(&next, &memory)?;
                    let logits = if logits.rank() == 3 { logits.i((.., 0))? } else { logits };
                    next = logits.argmax(1)?.unsqueeze(1)?;
                }
                ensure!(next.dims2()? == (batch, 1), "shape {:?}", next.shape());
            }
        }
        Ok(())
    }
}
