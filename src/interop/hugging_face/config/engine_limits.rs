//! What other engines make of a `deepseek_v3` configuration that is valid in itself.

use super::{DeepseekV3Config, HfRopeScaling, LATENT_NORM_EPS, RopeLayout};

/// What an engine would refuse or compute differently, one line each.
pub(super) fn engine_limits(config: &DeepseekV3Config) -> Vec<String> {
    // the layer counts by which llama.cpp knows the models without a query latent
    let lite = matches!(config.decoder.num_hidden_layers, 26 | 27)
        || (config.decoder.num_hidden_layers, config.decoder.vocab_size) == (48, 128_256);
    let two_temperatures = match &config.decoder.rope.scaling {
        Some(HfRopeScaling::Yarn(yarn)) => yarn.mscale != yarn.mscale_all_dim,
        _ => false,
    };
    let other_betas = match &config.decoder.rope.scaling {
        Some(HfRopeScaling::Yarn(yarn)) => (yarn.beta_fast, yarn.beta_slow) != (32.0, 1.0),
        _ => false,
    };
    let limits = [
        (
            config.rope_layout == RopeLayout::HalfSplit,
            "`rope_interleave` is false: vLLM, SGLang and llama.cpp rotate neighbours all the same",
        ),
        (
            config.decoder.rms_norm_eps != LATENT_NORM_EPS,
            "`rms_norm_eps` is not 1e-6: transformers keeps 1e-6 in the norms of the latents, vLLM and llama.cpp do not",
        ),
        (
            config.attention_bias,
            "`attention_bias` is true: vLLM and llama.cpp have no biases in this family",
        ),
        (
            config.q_lora_rank.is_none() && !lite,
            "`q_lora_rank` is null: llama.cpp loads that only with 26 or 27 layers",
        ),
        (
            config.num_nextn_predict_layers > 1,
            "`num_nextn_predict_layers` is above 1: SGLang refuses that",
        ),
        (
            two_temperatures,
            "`mscale` differs from `mscale_all_dim`: GGUF has one number for both",
        ),
        (
            other_betas,
            "`beta_fast` and `beta_slow` are not 32 and 1: llama.cpp takes these unless told by `--yarn-beta-fast` and `--yarn-beta-slow`",
        ),
    ];
    let holding = limits.into_iter().filter(|(holds, _)| *holds);
    holding.map(|(_, text)| text.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{HfConfig, HfRopeScaling, RopeLayout};
    use crate::interop::hugging_face::FIXTURES;

    #[test]
    fn every_limit_is_told_by_itself() {
        let path = Path::new(FIXTURES).join("deepseek_v3_yarn/config.json");
        let original = HfConfig::open(&path).unwrap();
        assert_eq!(original.engine_limits(), [""; 0]);
        let told = |change: fn(&mut super::DeepseekV3Config)| {
            let mut changed = original.clone();
            match &mut changed {
                HfConfig::DeepseekV3(config) => change(config),
                other => panic!("{other:?}"),
            }
            changed.engine_limits().join(" ")
        };
        assert!(told(|config| config.rope_layout = RopeLayout::HalfSplit).contains("`rope_inter"));
        assert!(told(|config| config.decoder.rms_norm_eps = 1e-5).contains("`rms_norm_eps`"));
        assert!(told(|config| config.attention_bias = true).contains("`attention_bias`"));
        assert!(told(|config| config.q_lora_rank = None).contains("`q_lora_rank`"));
        assert!(told(|config| config.num_nextn_predict_layers = 2).contains("`num_nextn"));
        let lite = told(|config| {
            config.q_lora_rank = None;
            config.decoder.num_hidden_layers = 27;
        });
        assert_eq!(lite, "");
        let scaling = told(|config| {
            if let Some(HfRopeScaling::Yarn(yarn)) = &mut config.decoder.rope.scaling {
                yarn.mscale = Some(0.7);
            }
        });
        assert!(scaling.contains("`mscale`"));
        let betas = told(|config| {
            if let Some(HfRopeScaling::Yarn(yarn)) = &mut config.decoder.rope.scaling {
                yarn.beta_slow = 0.5;
            }
        });
        assert!(betas.contains("--yarn-beta-slow"), "{betas}");
    }
}
