//! Parameter counts from the configuration alone, before anything is allocated.
//!
//! Only trained weights and biases count. `e_score_correction_bias` and the domain prior are saved with the module,
//! but receive no gradient and multiply no token, so they are left out. Arithmetic saturates: an absurd
//! configuration gives an absurd number instead of an overflow.

use serde::Serialize;

use darkhorse_backends::quantized::BLOCK;

use super::config::{FeedForwardPlan, LayerPlan, ModelConfig};
use super::mixer::spec::MixerCost;
use super::saturating::{product, sum};

/// Number of weights of each part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ParameterCount {
    /// The embedding table.
    pub embedding: u64,
    /// Projections of the sequence mixers.
    pub mixers: u64,
    /// Dense feed-forward layers.
    pub dense: u64,
    /// Routed experts.
    pub routed_experts: u64,
    /// Shared experts.
    pub shared_experts: u64,
    /// Expert centroids and other weights of the routers.
    pub routers: u64,
    /// Normalization weights.
    pub norms: u64,
    /// Test-time training after the last layer.
    pub metacognition: u64,
    /// The output projection; zero if it is the transposed embedding table.
    pub head: u64,
}

impl ParameterCount {
    /// Name and count of every part, in the order of the forward pass.
    pub fn parts(&self) -> [(&'static str, u64); 9] {
        [
            ("embedding", self.embedding),
            ("mixers", self.mixers),
            ("dense", self.dense),
            ("routed experts", self.routed_experts),
            ("shared experts", self.shared_experts),
            ("routers", self.routers),
            ("norms", self.norms),
            ("metacognition", self.metacognition),
            ("head", self.head),
        ]
    }

    /// Sum of all parts.
    pub fn total(&self) -> u64 {
        sum(self.parts().map(|(_, count)| count))
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            embedding: self.embedding.saturating_add(other.embedding),
            mixers: self.mixers.saturating_add(other.mixers),
            dense: self.dense.saturating_add(other.dense),
            routed_experts: self.routed_experts.saturating_add(other.routed_experts),
            shared_experts: self.shared_experts.saturating_add(other.shared_experts),
            routers: self.routers.saturating_add(other.routers),
            norms: self.norms.saturating_add(other.norms),
            metacognition: self.metacognition.saturating_add(other.metacognition),
            head: self.head.saturating_add(other.head),
        }
    }
}

/// All methods expect a [validated](ModelConfig::validate) configuration, and panic where a section
/// that the layer plan names is missing.
impl ModelConfig {
    /// Weights of the model by part, without MTP modules.
    pub fn parameters(&self) -> ParameterCount {
        let table = product([self.vocab_size, self.hidden_size]);
        let ends = ParameterCount {
            embedding: table,
            norms: self.hidden_size as u64,
            metacognition: self.metacognition_parameters(),
            head: if self.tie_word_embeddings { 0 } else { table },
            ..Default::default()
        };
        self.plan()
            .into_iter()
            .map(|layer| self.layer_parameters(layer))
            .fold(ends, ParameterCount::plus)
    }

    /// Active weights (those that a token multiplies with) by part: includes the head, even a tied one, and the
    /// visited routed experts; excludes the embedding table and MTP modules.
    pub fn active_parameters(&self) -> ParameterCount {
        ParameterCount {
            embedding: 0,
            metacognition: 0,
            head: product([self.vocab_size, self.hidden_size]),
            ..self.visited(self.parameters())
        }
    }

    /// Number of weights, without MTP modules.
    pub fn num_params(&self) -> u64 {
        self.parameters().total()
    }

    /// Number of active weights, without MTP modules.
    pub fn num_active_params(&self) -> u64 {
        self.active_parameters().total()
    }

    /// Number of active weights with the embedding table (a tied one counts once), as some publications count them.
    pub fn num_active_params_with_tables(&self) -> u64 {
        let embedding = product([self.vocab_size, self.hidden_size]);
        // a tied table is the head
        let more = if self.tie_word_embeddings {
            0
        } else {
            embedding
        };
        sum([self.num_active_params(), more])
    }

    /// Number of active weights without embedding table and head, as other publications count them.
    pub fn num_active_params_without_tables(&self) -> u64 {
        let active = self.active_parameters();
        active.total() - active.head
    }

    /// Number of weights that stay unquantized when matrices are in blocks, MTP modules included: embedding table,
    /// norms, routers, biases, and matrices whose rows or heads are not whole blocks.
    pub fn num_unquantized_params(&self) -> u64 {
        let hidden = self.hidden_size;
        let modules = self.num_nextn_predict_layers;
        let layers = self
            .plan()
            .into_iter()
            .chain(vec![self.mtp_plan(); modules]);
        let of_layers = sum(layers.map(|plan| {
            let count = self.layer_parameters(plan);
            let feed_forward = match plan.feed_forward {
                FeedForwardPlan::Dense(width) => self.dense_biases(width),
                FeedForwardPlan::Moe(moe) if has_blocks(moe.shared_width()) => 0,
                // the matrix back to the residual stream has rows of whole blocks
                FeedForwardPlan::Moe(moe) => product([2, hidden, moe.shared_width()]),
            };
            let mixer = self.mixer_cost(plan).unquantized();
            sum([count.norms, count.routers, mixer, feed_forward])
        }));
        let whole = self.parameters();
        let head = if has_blocks(self.vocab_size) {
            0
        } else {
            whole.head
        };
        let norms = product([1 + 3 * modules, hidden]);
        let metacognition = self.metacognition_parameters() - self.metacognition_in_blocks();
        sum([whole.embedding, head, norms, of_layers, metacognition])
    }

    /// Number of weights of the MTP modules, which share the main model's embedding and head.
    pub fn num_mtp_params(&self) -> u64 {
        let block = self.layer_parameters(self.mtp_plan()).total();
        let joining = product([2, self.hidden_size, self.hidden_size]);
        let norms = product([3, self.hidden_size]);
        sum([block, joining, norms]).saturating_mul(self.num_nextn_predict_layers as u64)
    }

    /// Number of trained weights, MTP modules included.
    pub fn num_trained_params(&self) -> u64 {
        sum([self.num_params(), self.num_mtp_params()])
    }

    /// Number of weights of routed experts, MTP modules included: the part that expert parallelism shards.
    pub fn num_routed_params(&self) -> u64 {
        let module = self.layer_parameters(self.mtp_plan()).routed_experts;
        let modules = module.saturating_mul(self.num_nextn_predict_layers as u64);
        sum([self.parameters().routed_experts, modules])
    }

    /// Weights of one layer.
    pub(super) fn layer_parameters(&self, plan: LayerPlan<'_>) -> ParameterCount {
        let hidden = self.hidden_size;
        let mixer = self.mixer_cost(plan);
        let mut count = ParameterCount {
            mixers: mixer.weights(),
            norms: sum([mixer.norms, product([2, hidden])]),
            ..Default::default()
        };
        match plan.feed_forward {
            FeedForwardPlan::Dense(width) => {
                count.dense = sum([product([3, hidden, width]), self.dense_biases(width)]);
            }
            FeedForwardPlan::Moe(moe) => {
                let expert = product([3, hidden, moe.moe_intermediate_size]);
                count.routed_experts = expert.saturating_mul(moe.n_routed_experts as u64);
                count.shared_experts = product([3, hidden, moe.shared_width()]);
                let gate = if moe.shared_expert_gate { hidden } else { 0 };
                let similarity = &moe.router.similarity;
                count.routers = sum([
                    product([similarity.centroid_size(hidden), moe.slots()]),
                    similarity.num_params(hidden),
                    moe.router_vectors(),
                    gate as u64,
                ]);
            }
        }
        count
    }

    /// `count` with only the routed experts that a token visits.
    pub(super) fn visited(&self, count: ParameterCount) -> ParameterCount {
        let routed_experts = match &self.moe {
            Some(moe) => {
                let expert = count.routed_experts / moe.n_routed_experts as u64;
                (expert as f64 * moe.visited_experts()).round() as u64
            }
            None => 0,
        };
        ParameterCount {
            routed_experts,
            ..count
        }
    }

    /// Weights of test-time training, which neither training nor decoding uses.
    fn metacognition_parameters(&self) -> u64 {
        let Some(ttt) = &self.ttt else { return 0 };
        let hidden = self.hidden_size;
        let half = hidden / 2;
        let squares = product([7, hidden, hidden]);
        let low_rank = product([2, hidden, ttt.rank]);
        let confidence = sum([product([2, hidden, half]), product([2, half]), 1]);
        let vectors = product([4, hidden]);
        sum([
            squares,
            low_rank,
            vectors,
            confidence,
            product([2, hidden, hidden]),
        ])
    }

    /// Those of [`metacognition_parameters`](Self::metacognition_parameters) that can be quantized in blocks.
    fn metacognition_in_blocks(&self) -> u64 {
        if self.ttt.is_none() {
            return 0;
        }
        let hidden = self.hidden_size;
        let half = hidden / 2;
        let confidence = if has_blocks(half) {
            product([2, hidden, half])
        } else {
            0
        };
        // five projections of the layer, the model of itself, and the reflection on both
        sum([product([8, hidden, hidden]), confidence])
    }

    /// Cost of a layer's mixer.
    pub(super) fn mixer_cost(&self, plan: LayerPlan<'_>) -> MixerCost {
        self.mixer.of(plan.mixer).cost(self.hidden_size)
    }

    fn dense_biases(&self, width: usize) -> u64 {
        if self.mlp_bias {
            sum([width, width, self.hidden_size].map(|bias| bias as u64))
        } else {
            0
        }
    }
}

/// Whether a matrix with rows of this width can be quantized in blocks.
fn has_blocks(width: usize) -> bool {
    width.is_multiple_of(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TAGS;
    use crate::model::CausalLm;
    use crate::model::feed_forward::moe::MoeConfig;
    use crate::model::mixer::MixerKind;
    use crate::model::mixer::gqa::{Biased, GqaConfig, NormOver};
    use crate::model::routing::domain::DomainMode;
    use burn::module::Module;
    use darkhorse_backends::select::Selected;

    fn odd() -> ModelConfig {
        let json = r#"{
            "vocab_size": 37, "hidden_size": 12, "num_hidden_layers": 3, "intermediate_size": 17,
            "first_k_dense_replace": 1, "max_position_embeddings": 64, "num_nextn_predict_layers": 2,
            "mixer": {"mla": {
                "num_attention_heads": 3, "q_lora_rank": 5, "kv_lora_rank": 7,
                "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 3
            }},
            "rope": {},
            "moe": {
                "n_routed_experts": 11, "num_experts_per_tok": 3,
                "moe_intermediate_size": 5, "n_shared_experts": 2
            }
        }"#;
        serde_json::from_str(json).unwrap()
    }

    fn moe(config: &mut ModelConfig) -> &mut MoeConfig {
        config.moe.as_mut().unwrap()
    }

    /// Number of values that the built module holds beside weights.
    fn kept_beside(config: &ModelConfig) -> u64 {
        let Some(moe) = &config.moe else { return 0 };
        let layers = config.num_hidden_layers - config.first_k_dense_replace;
        let layers = layers - config.mlp_only_layers.len();
        let routers = layers + config.num_nextn_predict_layers;
        let prior = usize::from(config.domains.mode != DomainMode::Off) * TAGS;
        ((routers + prior) * moe.n_routed_experts) as u64
    }

    fn assert_counts_what_is_built(config: &ModelConfig) {
        config.validate().unwrap();
        let model = CausalLm::<Selected>::init(config, 0, &Default::default());
        let counted = config.num_params() + config.num_mtp_params() + kept_beside(config);
        assert_eq!(counted, model.num_params() as u64, "{config:#?}");
    }

    #[test]
    fn counts_are_those_of_the_built_module() {
        assert_counts_what_is_built(&odd());
    }

    #[test]
    fn counts_hold_without_query_latent_shared_experts_domains_and_mtp() {
        let mut config = odd();
        config.mixer.mla.as_mut().unwrap().q_lora_rank = None;
        moe(&mut config).n_shared_experts = 0;
        config.domains.mode = DomainMode::Off;
        config.num_nextn_predict_layers = 0;
        config.first_k_dense_replace = 0;
        assert_counts_what_is_built(&config);
    }

    #[test]
    fn counts_hold_for_a_dense_model_with_a_tied_head() {
        let mut config = odd();
        config.moe = None;
        config.first_k_dense_replace = 3;
        config.tie_word_embeddings = true;
        assert_counts_what_is_built(&config);
        assert_eq!(config.num_active_params(), config.num_params());
    }

    #[test]
    fn counts_hold_for_grouped_queries_with_and_without_biases() {
        let mut config = odd();
        config.layer_types = vec![MixerKind::Gqa];
        config.mixer.gqa = Some(GqaConfig {
            num_attention_heads: 6,
            num_key_value_heads: 2,
            head_dim: 4,
            ..GqaConfig::default()
        });
        assert_counts_what_is_built(&config);
        config.mlp_bias = true;
        let gqa = config.mixer.gqa.as_mut().unwrap();
        gqa.attention_bias = true;
        assert_counts_what_is_built(&config);
        let gqa = config.mixer.gqa.as_mut().unwrap();
        (gqa.biased, gqa.qk_norm) = (Biased::Inputs, true);
        assert_counts_what_is_built(&config);
        config.mixer.gqa.as_mut().unwrap().qk_norm_over = NormOver::Heads;
        assert_counts_what_is_built(&config);
        config.mlp_only_layers = vec![2];
        assert_counts_what_is_built(&config);
    }

    #[test]
    fn routed_parameters_are_those_of_every_layer_that_routes() {
        assert_eq!(odd().num_routed_params(), (2 + 2) * 11 * 3 * 12 * 5);
    }

    #[test]
    fn active_parameters_are_all_but_the_table_and_the_experts_not_visited() {
        let config = odd();
        let idle = 2 * (11 - 3) * 3 * 12 * 5;
        let table = 37 * 12;
        let (all, active) = (config.num_params(), config.num_active_params());
        assert_eq!(all - active, idle + table);
        assert_eq!(config.num_active_params_with_tables(), active + table);
        assert_eq!(config.num_active_params_without_tables(), active - table);
        let tied = ModelConfig {
            tie_word_embeddings: true,
            ..config
        };
        assert_eq!(tied.num_active_params_with_tables(), active);
        assert_eq!(tied.num_active_params_without_tables(), active - table);
    }
}
