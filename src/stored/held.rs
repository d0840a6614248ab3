//! Formats in which a loaded model holds its matrices.

use darkhorse_backends::Ops;

use super::OpenError;
use crate::model::dtype::Dtype;
use crate::model::matrix::Quantization;
use crate::model::weights::Narrow;
use crate::model::{CausalLm, ModelConfig};

/// Sets the quantization that a model's weights are to be held in.
///
/// # Errors
///
/// [`OpenError::OtherBlocks`] if they are quantized in another format, [`OpenError::Model`] if rows are not whole
/// blocks.
pub fn held_as(mut model: ModelConfig, held: Option<Dtype>) -> Result<ModelConfig, OpenError> {
    let Some(wanted) = held else {
        return Ok(model);
    };
    if let Some(found) = model.quantization
        && Some(found) != wanted.quantization()
    {
        return Err(OpenError::OtherBlocks { found, wanted });
    }
    model.quantization = wanted.quantization();
    model.validate()?;
    Ok(model)
}

/// The narrower type that a model's matrices are to be held in, if there is one.
///
/// # Errors
///
/// [`OpenError::NoSuchType`] if the device lacks it.
pub fn narrow<B: Ops>(
    config: &ModelConfig,
    held: Option<Dtype>,
    device: &B::Device,
) -> Result<Option<Narrow>, OpenError> {
    let wanted = held.filter(|held| *held != Dtype::F32);
    let Some((wanted, dtype)) = wanted.and_then(|held| Some((held, held.tensor()?))) else {
        return Ok(None);
    };
    if !B::supports_dtype(device, dtype) {
        return Err(OpenError::NoSuchType { wanted });
    }
    let quantized = ModelConfig {
        quantization: Some(Quantization::Q8),
        ..config.clone()
    };
    let quantized = CausalLm::<B>::init(&quantized, 0, device);
    Ok(Some(Narrow::new(&quantized, dtype)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Int, Tensor, TensorData, Tolerance, bf16};
    use darkhorse_backends::select::{Selected, default_device};

    use super::*;
    use crate::config::Experiment;
    use crate::inference::{Generation, Limits};
    use crate::model::Sequences;
    use crate::model::weights::{self, InMemory, WeightSource};

    type B = Selected;

    /// Logits of a whole text, and of its last token after the others are in the cache.
    fn logits(model: &CausalLm<B>, config: &ModelConfig) -> [Tensor<B, 1>; 2] {
        let ids: Vec<u32> = (0..20).map(|at| 2 + at * 37 % 250).collect();
        let device = default_device();
        let data: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
        let input = Tensor::<B, 1, Int>::from_data(TensorData::from(&data[..]), &device);
        let whole = model.forward(&Sequences::plain(input.unsqueeze()));
        let mut generation = Generation::new(model, Limits::of(config), None);
        generation.read(&ids[..19]).unwrap();
        generation.read(&ids[19..]).unwrap();
        let last = Tensor::from_data(TensorData::from(generation.logits()), &device);
        [whole.flatten(0, 2), last]
    }

    #[test]
    fn matrices_in_bf16_compute_what_their_rounded_values_compute_in_f32() {
        let device = default_device();
        for preset in ["tiny", "mixtral-tiny", "genesis-tiny", "darkhorse-hybrid"] {
            let mut config = Experiment::preset(preset).unwrap().model;
            config.max_position_embeddings = 64;
            config.vocab_size = 256;
            let init = || CausalLm::<B>::init(&config, 0, &device);
            let tensors = weights::collect(&init()).into_iter();
            let tensors = tensors.map(|it| (it.name.clone(), it.read().unwrap()));
            let source = InMemory::new("memory", tensors);
            let narrow = narrow::<B>(&config, Some(Dtype::Bf16), &device);
            let narrow = narrow.unwrap().unwrap();
            let source = narrow.source(&source);

            let rounded = source.names().into_iter().map(|name| {
                let data = source.data(&name).unwrap();
                match source.held(&name) {
                    Some(_) => (name, data.convert::<bf16>().convert::<f32>()),
                    None => (name, data),
                }
            });
            let rounded = InMemory::new("memory", rounded);
            let expected = logits(&weights::load(init(), &rounded).unwrap(), &config);
            let held = weights::load(init(), &source).unwrap();
            for (found, expected) in logits(&held, &config).iter().zip(&expected) {
                let tolerance = Tolerance::absolute(1e-4);
                found
                    .to_data()
                    .assert_approx_eq::<f32>(&expected.to_data(), tolerance);
            }

            let sizes = weights::collect(&held).into_iter().map(|tensor| {
                let values = tensor.shape.iter().product::<usize>();
                [
                    values,
                    if tensor.dtype == DType::BF16 {
                        values
                    } else {
                        0
                    },
                ]
            });
            let [all, narrow] = sizes.fold([0; 2], |sum, it| [sum[0] + it[0], sum[1] + it[1]]);
            assert!(narrow * 10 > all * 9, "{preset}: {narrow} of {all}");
            assert_eq!(held.norm.weight.dtype(), DType::F32);
        }
    }

    #[test]
    fn blocks_do_not_become_another_format() {
        let mut config = Experiment::preset("tiny").unwrap().model;
        config.quantization = Some(Quantization::Q8);
        let refused = held_as(config.clone(), Some(Dtype::Bf16)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the weights are in blocks already, Q8, and cannot become bf16: leave `--weights` out"
        );
        assert_eq!(held_as(config.clone(), Some(Dtype::Q8)).unwrap(), config);
        assert_eq!(held_as(config.clone(), None).unwrap(), config);
    }
}
