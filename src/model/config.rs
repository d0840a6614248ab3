//! Configuration of a model.

use darkhorse_backends::quantized::BLOCK;
use serde::{Deserialize, Serialize};

use super::error::{MAX_LAYERS, MAX_SIZE, ModelConfigError};
use super::feed_forward::moe::MoeConfig;
use super::feed_forward::selective::SelectiveConfig;
use super::matrix::Quantization;
use super::mixer::{MixerConfig, MixerKind};
use super::mup::MupConfig;
use super::norm::NormWeight;
use super::rope::RopeConfig;
use super::routing::domain::DomainConfig;
use super::ttt::TttConfig;

/// Configuration of a [`CausalLm`](super::CausalLm). Fields are named as in Hugging Face's DeepSeek-V3; mixers,
/// rotary positions, experts and domains have their own sections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Number of token ids in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of decoder layers, without MTP modules.
    pub num_hidden_layers: usize,
    /// Width of the dense feed-forward layers.
    pub intermediate_size: usize,
    /// Whether the projections of the dense feed-forward layers have a bias.
    #[serde(default)]
    pub mlp_bias: bool,
    /// Number of leading layers with a dense feed-forward; the others use experts.
    #[serde(default)]
    pub first_k_dense_replace: usize,
    /// Further layers with a dense feed-forward, by index from 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mlp_only_layers: Vec<usize>,
    /// Type of sequence mixer of each layer; a shorter list is repeated.
    #[serde(default = "defaults::layer_types")]
    pub layer_types: Vec<MixerKind>,
    /// Configuration of the mixers that `layer_types` names.
    pub mixer: MixerConfig,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// Mixture of experts; absent in a dense model.
    #[serde(default)]
    pub moe: Option<MoeConfig>,
    /// How a document's domain influences the router.
    #[serde(default)]
    pub domains: DomainConfig,
    /// Number of multi-token prediction modules.
    #[serde(default)]
    pub num_nextn_predict_layers: usize,
    /// Longest context in tokens.
    pub max_position_embeddings: usize,
    /// Epsilon of every RMSNorm, added to the mean square.
    #[serde(default = "defaults::rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Whether the head is the transposed embedding table.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Quantization of projections and experts; absent: floating point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// Standard deviation of initial weights.
    #[serde(default = "defaults::initializer_range")]
    pub initializer_range: f64,
    /// Standard deviation of the initial embedding table; absent: `initializer_range`. The first normalization
    /// divides by the size of its input, so a small deviation gives large gradients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding_initializer_range: Option<f64>,
    /// Whether initial projections into the residual stream are scaled down by `1 / sqrt(2 * num_hidden_layers)`.
    #[serde(default = "defaults::depth_scaled_init")]
    pub depth_scaled_init: bool,
    /// Parametrization of the weights of the layers' norms.
    #[serde(default)]
    pub norm_weight: NormWeight,
    /// Width-independent hyperparameters (µP); absent: not used.
    #[serde(default)]
    pub mup: Option<MupConfig>,
    /// Activation sparsity of the dense feed-forward layers; absent: all activations are kept.
    #[serde(default)]
    pub selective: Option<SelectiveConfig>,
    /// Test-time training after the last layer; absent: none.
    #[serde(default)]
    pub ttt: Option<TttConfig>,
}

mod defaults {
    use super::MixerKind;

    pub(super) fn layer_types() -> Vec<MixerKind> {
        vec![MixerKind::Mla]
    }

    pub(super) fn rms_norm_eps() -> f64 {
        1e-6
    }

    pub(super) fn initializer_range() -> f64 {
        0.02
    }

    pub(super) fn depth_scaled_init() -> bool {
        true
    }
}

/// The feed-forward of one layer of the plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FeedForwardPlan<'a> {
    /// A dense SwiGLU of this width.
    Dense(usize),
    /// Routed and shared experts with this configuration.
    Moe(&'a MoeConfig),
}

/// Mixer and feed-forward of one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerPlan<'a> {
    /// The sequence mixer.
    pub mixer: MixerKind,
    /// The feed-forward.
    pub feed_forward: FeedForwardPlan<'a>,
}

impl ModelConfig {
    /// Mixer and feed-forward of every decoder layer, first layer first.
    pub fn plan(&self) -> Vec<LayerPlan<'_>> {
        let mut is_dense = vec![false; self.num_hidden_layers];
        is_dense[..self.first_k_dense_replace.min(self.num_hidden_layers)].fill(true);
        for &layer in &self.mlp_only_layers {
            if let Some(place) = is_dense.get_mut(layer) {
                *place = true;
            }
        }
        let layers = is_dense.into_iter().enumerate();
        let plan = layers.map(|(layer, is_dense)| LayerPlan {
            mixer: self.layer_types[layer % self.layer_types.len()],
            feed_forward: match &self.moe {
                Some(moe) if !is_dense => FeedForwardPlan::Moe(moe),
                _ => FeedForwardPlan::Dense(self.intermediate_size),
            },
        });
        plan.collect()
    }

    /// Mixer and feed-forward of an MTP module: those of the last layer, with experts if the model has any.
    pub fn mtp_plan(&self) -> LayerPlan<'_> {
        LayerPlan {
            mixer: self.layer_types[(self.num_hidden_layers - 1) % self.layer_types.len()],
            feed_forward: match &self.moe {
                Some(moe) => FeedForwardPlan::Moe(moe),
                None => FeedForwardPlan::Dense(self.intermediate_size),
            },
        }
    }

    /// Number of rotated dimensions per head, equal in all layers with rotary positions; 0 if no layer has them.
    ///
    /// # Panics
    ///
    /// If the configuration is not [valid](Self::validate).
    pub fn rope_dim(&self) -> usize {
        let kinds = self.layer_types.iter();
        let rotated = kinds.filter_map(|kind| self.mixer.of(*kind).rotated());
        rotated.map(|rotated| rotated.dims).max().unwrap_or(0)
    }

    /// Factor on the states before the head.
    pub fn logit_scale(&self) -> f64 {
        match &self.mup {
            Some(mup) => mup.output_mult / mup.width_multiplier(self.hidden_size),
            None => 1.0,
        }
    }

    /// Checks every field and the relations between fields, sections included.
    ///
    /// # Errors
    ///
    /// The first field, by its full path, that is out of range or does not fit another.
    pub fn validate(&self) -> Result<(), ModelConfigError> {
        let positive = [
            ("vocab_size", self.vocab_size, MAX_SIZE),
            ("hidden_size", self.hidden_size, MAX_SIZE),
            ("num_hidden_layers", self.num_hidden_layers, MAX_LAYERS),
            ("intermediate_size", self.intermediate_size, MAX_SIZE),
            (
                "max_position_embeddings",
                self.max_position_embeddings,
                u32::MAX as usize,
            ),
            ("layer_types.len()", self.layer_types.len(), MAX_LAYERS),
        ];
        for (field, value, most) in positive {
            ModelConfigError::in_range(field, value, 1, most)?;
        }
        let modules = self.num_nextn_predict_layers;
        ModelConfigError::in_range("num_nextn_predict_layers", modules, 0, MAX_LAYERS)?;
        ModelConfigError::in_range(
            "first_k_dense_replace",
            self.first_k_dense_replace,
            0,
            self.num_hidden_layers,
        )?;
        let dense = self.mlp_only_layers.len();
        ModelConfigError::in_range("mlp_only_layers.len()", dense, 0, self.num_hidden_layers)?;
        for &layer in &self.mlp_only_layers {
            ModelConfigError::in_range("mlp_only_layers", layer, 0, self.num_hidden_layers - 1)?;
        }
        ModelConfigError::positive("rms_norm_eps", self.rms_norm_eps)?;
        ModelConfigError::positive("initializer_range", self.initializer_range)?;
        if let Some(deviation) = self.embedding_initializer_range {
            ModelConfigError::positive("embedding_initializer_range", deviation)?;
        }
        self.mixer.validate(&self.layer_types)?;
        if let Some(mup) = &self.mup {
            mup.validate().map_err(|error| error.within("mup"))?;
        }
        if let Some(selective) = &self.selective {
            selective
                .validate()
                .map_err(|error| error.within("selective"))?;
        }
        if let Some(ttt) = &self.ttt {
            ttt.validate().map_err(|error| error.within("ttt"))?;
        }
        self.rope.validate()?;
        if let Some(moe) = &self.moe {
            moe.validate().map_err(|error| error.within("moe"))?;
            self.domains
                .validate(moe)
                .map_err(|error| error.within("domains"))?;
        }
        match self.quantization {
            Some(_) => self.check_blocks(),
            None => Ok(()),
        }
    }

    /// Checks that the rows of quantized matrices are whole blocks. The head and `kv_a_proj` stay unquantized if
    /// their width is not a multiple of 32, so they are not checked.
    fn check_blocks(&self) -> Result<(), ModelConfigError> {
        let mut widths = vec![
            ("hidden_size".to_owned(), self.hidden_size),
            ("intermediate_size".to_owned(), self.intermediate_size),
        ];
        if let Some(moe) = &self.moe {
            let field = "moe.moe_intermediate_size".to_owned();
            widths.push((field, moe.moe_intermediate_size));
        }
        for kind in &self.layer_types {
            widths.extend(self.mixer.block_widths(*kind));
        }
        let broken = widths
            .into_iter()
            .find(|(_, width)| !width.is_multiple_of(BLOCK));
        match broken {
            Some((field, value)) => Err(ModelConfigError::NotInBlocks {
                field,
                value,
                of: BLOCK,
            }),
            None => Ok(()),
        }
    }
}
