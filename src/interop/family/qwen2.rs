//! Qwen2 and Qwen2.5: grouped-query attention with biases on queries, keys and values, dense
//! (<https://arxiv.org/abs/2407.10671>).

use serde_json::Value;

use super::{Family, Gguf, Profile};
use crate::interop::InteropError;
use crate::interop::hugging_face::{ConfigKeys, HeadDefaults, HfConfig};
use crate::model::ModelConfig;
use crate::model::mixer::gqa::Biased;
use crate::model::rope::RotaryPairs;

#[derive(Debug)]
pub(super) struct Qwen2;

impl Family for Qwen2 {
    fn profile(&self) -> Profile {
        Profile {
            name: "Qwen2",
            model_type: "qwen2",
            architecture: "Qwen2ForCausalLM",
            max_position_embeddings: 32_768,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            bos_eos: (None, None),
            tie_word_embeddings: false,
            gguf: Some(Gguf {
                architecture: "qwen2",
                pairs: RotaryPairs::Halves,
                keys: &[],
                names: &[],
                optional: &[],
            }),
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        let model = &mut config.model;
        let heads = HeadDefaults {
            key_value: Some(32),
            dim: None,
        };
        let layers = model.num_hidden_layers;
        let gqa = keys.grouped_query(model, heads)?;
        (gqa.attention_bias, gqa.biased) = (true, Biased::Inputs);
        sliding_window(keys, &mut gqa.sliding_window, layers)
    }
}

/// The sliding window of Qwen's dense models: if `use_sliding_window` is set, layers from `max_window_layers` on have
/// it. Supported are models in which all layers have it, or none.
pub(super) fn sliding_window(
    keys: &mut ConfigKeys<'_>,
    window: &mut Option<usize>,
    layers: usize,
) -> Result<(), InteropError> {
    let is_used = window_in_use(keys, window)?;
    let Some(fields) = keys.reading() else {
        keys.writes("max_window_layers", if is_used { 0 } else { layers });
        return Ok(());
    };
    let wide = match fields.value("layer_types").and_then(Value::as_array) {
        Some(kinds) => kinds.iter().filter(|it| *it == "full_attention").count(),
        None => fields.count_or("max_window_layers", 28)?.min(layers),
    };
    if is_used && (1..layers).contains(&wide) {
        let expected =
            format!("0 or {layers}: layers with a window and layers without go not together here");
        return Err(fields.error("max_window_layers", expected));
    }
    if wide > 0 {
        *window = None;
    }
    Ok(())
}

/// Removes the biases of the attention's projections.
pub(super) fn without_biases(model: &mut ModelConfig) {
    if let Some(gqa) = &mut model.mixer.gqa {
        gqa.attention_bias = false;
    }
}

/// Reads the window that `use_sliding_window` turns on, and returns whether it is on.
pub(super) fn window_in_use(
    keys: &mut ConfigKeys<'_>,
    window: &mut Option<usize>,
) -> Result<bool, InteropError> {
    let mut is_used = window.is_some();
    keys.flag_or("use_sliding_window", &mut is_used, false)?;
    keys.optional("sliding_window", window, Some(4096))?;
    if !is_used {
        *window = None;
    }
    Ok(window.is_some())
}
