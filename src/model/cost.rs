//! Cost of running a model, from its configuration alone: FLOPs per token and bytes.

use darkhorse_backends::quantized::BLOCK;

use super::cache::REVERSIBLE;
use super::config::{FeedForwardPlan, LayerPlan, ModelConfig};
use super::dtype::Dtype;
use super::mixer::spec::{MixerCost, RowFormat, Rows};
use super::saturating::{product, sum};

/// All methods expect a [validated](ModelConfig::validate) configuration, and panic where a section
/// that the layer plan names is missing.
impl ModelConfig {
    /// FLOPs per token of a forward pass over a whole sequence of `seq` tokens: two per active weight of a
    /// projection, plus causal attention, with MLA in its expanded form. MTP modules are not counted.
    pub fn flops_per_token(&self, seq: usize) -> u64 {
        let layers = self.mixer_costs().map(|mixer| mixer.whole_flops(seq));
        sum([self.projection_flops(), sum(layers)])
    }

    /// FLOPs per token of a training step: the forward pass plus twice its FLOPs for the backward pass, MTP modules
    /// included.
    pub fn training_flops_per_token(&self, seq: usize) -> u64 {
        let plan = self.mtp_plan();
        let block = self.visited(self.layer_parameters(plan));
        let joining = product([2, self.hidden_size, self.hidden_size]);
        let head = product([self.vocab_size, self.hidden_size]);
        let weights = sum([block.total() - block.norms, joining, head]);
        let attention = self.mixer_cost(plan).whole_flops(seq);
        let modules = sum([weights.saturating_mul(2), attention])
            .saturating_mul(self.num_nextn_predict_layers as u64);
        sum([self.flops_per_token(seq), modules]).saturating_mul(3)
    }

    /// FLOPs of decoding one token that attends to `context` positions, itself included, with MLA in its absorbed
    /// form.
    pub fn decoding_flops_per_token(&self, context: usize) -> u64 {
        let layers = self
            .mixer_costs()
            .map(|mixer| mixer.decoding_flops(context));
        sum([self.projection_flops(), sum(layers)])
    }

    /// Upper bound on the values cached per token, over all layers. Sliding-window layers drop positions outside the
    /// window.
    pub fn cache_values_per_token(&self) -> u64 {
        sum(self.mixer_costs().map(|mixer| mixer.row_values()))
    }

    /// Upper bound on the bytes cached per token, over all layers, with a cache of type `dtype`. MLA stores
    /// `num_hidden_layers * (kv_lora_rank + qk_rope_head_dim)` values, GQA
    /// `num_hidden_layers * 2 * num_key_value_heads * head_dim`. Rows in blocks are padded to whole blocks.
    pub fn cache_bytes_per_token(&self, dtype: Dtype) -> u64 {
        sum(self.mixer_costs().map(|mixer| row_bytes(&mixer, dtype)))
    }

    /// [`cache_bytes_per_token`](Self::cache_bytes_per_token) of the MTP modules, which read every token when they
    /// draft.
    pub fn draft_cache_bytes_per_token(&self, dtype: Dtype) -> u64 {
        let module = row_bytes(&self.mixer_cost(self.mtp_plan()), dtype);
        module.saturating_mul(self.num_nextn_predict_layers as u64)
    }

    /// Bytes cached for a sequence of `context` tokens, over all layers, with a cache of type `dtype`. A
    /// sliding-window layer keeps its window and [`REVERSIBLE`] more positions.
    pub fn cache_bytes(&self, context: usize, dtype: Dtype) -> u64 {
        sum(self.mixer_costs().map(|mixer| {
            let kept = mixer.window.map(|window| window + REVERSIBLE);
            let kept = kept.unwrap_or(context).min(context);
            row_bytes(&mixer, dtype).saturating_mul(kept as u64)
        }))
    }

    /// Upper bound on the cached bytes of a sequence that do not grow with its length: states of linear attention,
    /// last inputs of convolutions, and what undoing a short extension needs. Activations follow the format of
    /// `weights`.
    pub fn state_bytes(&self, weights: Dtype) -> u64 {
        sum(self.mixer_costs().map(|mixer| {
            let activations = weights.of_numbers().bytes(mixer.state.activations);
            sum([activations, Dtype::F32.bytes(mixer.state.f32)])
        }))
    }

    fn mixer_costs(&self) -> impl Iterator<Item = MixerCost> {
        self.plan().into_iter().map(|layer| self.mixer_cost(layer))
    }

    /// Bytes of all weights, MTP modules included.
    pub fn weight_bytes(&self, dtype: Dtype) -> u64 {
        self.bytes_of_weights(self.num_trained_params(), dtype)
    }

    /// Bytes of `weights` of the model's weights, all unquantized ones among them.
    pub fn bytes_of_weights(&self, weights: u64, dtype: Dtype) -> u64 {
        let numbers = self.num_unquantized_params().min(weights);
        sum([
            dtype.of_numbers().bytes(numbers),
            dtype.bytes(weights - numbers),
        ])
    }

    /// Bytes of the weights that a pass over `tokens` reads, with the expected number of distinct routed experts
    /// under uniform, independent routing.
    pub fn weight_bytes_read(&self, tokens: usize, dtype: Dtype) -> u64 {
        let active = self.active_parameters();
        let (all, chosen) = (self.parameters().routed_experts, active.routed_experts);
        let unvisited = match all {
            0 => 0.0,
            all => (1.0 - chosen as f64 / all as f64).powi(tokens as i32),
        };
        let visited = (all as f64 * (1.0 - unvisited)) as u64;
        let weights = active.total() - chosen + visited;
        let table = product([self.vocab_size, self.hidden_size]);
        // a tied table is the head, and multiplied with
        let unread = if self.tie_word_embeddings { 0 } else { table };
        let numbers = self.num_unquantized_params() - unread;
        sum([
            dtype.of_numbers().bytes(numbers),
            dtype.bytes(weights - numbers),
        ])
    }

    /// Bytes of AdamW's state for all weights, MTP modules included.
    pub fn optimizer_bytes(&self, dtype: Dtype) -> u64 {
        dtype.optimizer_bytes(self.num_trained_params())
    }

    /// Estimated number of values per token that the backward pass keeps: inputs and outputs of projections,
    /// normalizations and activations. Attention scores and temporaries are not counted; training `tiny` on the CPU
    /// takes 1.3 times this.
    pub fn activation_values_per_token(&self) -> u64 {
        let depths = self.num_nextn_predict_layers;
        let layers = self
            .plan()
            .into_iter()
            .map(|layer| self.layer_activations(layer));
        let module = self.layer_activations(self.mtp_plan());
        let logits = product([3, self.vocab_size, 1 + depths]);
        sum([sum(layers), module.saturating_mul(depths as u64), logits])
    }

    fn layer_activations(&self, plan: LayerPlan<'_>) -> u64 {
        let residual = product([6, self.hidden_size]);
        let mixer = self.mixer_cost(plan).activations;
        let feed_forward = match plan.feed_forward {
            FeedForwardPlan::Dense(width) => product([4, width]),
            FeedForwardPlan::Moe(moe) => {
                let sent = product([2, moe.num_experts_per_tok, self.hidden_size]);
                let visited = moe.num_experts_per_tok * moe.moe_intermediate_size;
                let inner = product([4, visited + moe.shared_width()]);
                sum([sent, inner, product([3, moe.n_routed_experts])])
            }
        };
        sum([residual, mixer, feed_forward])
    }

    fn projection_flops(&self) -> u64 {
        let active = self.active_parameters();
        (active.total() - active.norms).saturating_mul(2)
    }
}

/// Bytes that a layer caches per token.
fn row_bytes(mixer: &MixerCost, dtype: Dtype) -> u64 {
    sum(mixer.rows.iter().map(|rows| {
        let &Rows {
            heads,
            width,
            format,
        } = rows;
        match (format, dtype) {
            (RowFormat::F32, _) => Dtype::F32.bytes(product([heads, width])),
            (RowFormat::AsAsked, Dtype::Q8 | Dtype::Q4) => {
                let row = dtype.bytes(width.next_multiple_of(BLOCK) as u64);
                row.saturating_mul(heads as u64)
            }
            (RowFormat::AsAsked, _) => dtype.bytes(product([heads, width])),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mixer::MixerKind;
    use crate::model::mixer::gqa::GqaConfig;

    fn dense() -> ModelConfig {
        let json = r#"{
            "vocab_size": 10, "hidden_size": 4, "num_hidden_layers": 2, "intermediate_size": 6,
            "max_position_embeddings": 64,
            "mixer": {"mla": {
                "num_attention_heads": 2, "kv_lora_rank": 3,
                "qk_nope_head_dim": 5, "qk_rope_head_dim": 2, "v_head_dim": 5
            }},
            "rope": {}
        }"#;
        serde_json::from_str(json).unwrap()
    }

    /// `q_proj`, `kv_a_proj_with_mqa`, `kv_b_proj`, `o_proj` and the feed-forward of a layer.
    const LAYER: u64 = 4 * 14 + 4 * 5 + 3 * 20 + 10 * 4 + 3 * 4 * 6;

    #[test]
    fn a_forward_pass_is_two_flops_per_weight_and_attention_over_half_the_sequence() {
        let attention = 2 * (7 + 5) * 2 * (1 + 2 + 3 + 4) / 4;
        let expected = 2 * (2 * LAYER + 40) + 2 * attention;
        assert_eq!(dense().flops_per_token(4), expected);
    }

    #[test]
    fn training_is_three_forward_passes_with_the_mtp_modules_in_them() {
        let mut config = dense();
        assert_eq!(
            config.training_flops_per_token(4),
            3 * config.flops_per_token(4)
        );
        config.num_nextn_predict_layers = 2;
        let module = 2 * (LAYER + 40 + 2 * 16) + 2 * (7 + 5) * 5;
        assert_eq!(
            config.training_flops_per_token(4),
            3 * (config.flops_per_token(4) + 2 * module)
        );
    }

    #[test]
    fn decoding_attends_to_latents() {
        let expected = 2 * (2 * LAYER + 40) + 2 * (2 * 2 * (3 + 3 + 2) * 9);
        assert_eq!(dense().decoding_flops_per_token(9), expected);
    }

    #[test]
    fn the_cache_holds_latent_and_rotary_key_of_every_layer() {
        assert_eq!(dense().cache_bytes_per_token(Dtype::Bf16), 2 * (3 + 2) * 2);
    }

    #[test]
    fn a_cache_in_blocks_has_whole_ones_in_every_row() {
        assert_eq!(dense().cache_bytes_per_token(Dtype::Q8), 2 * 34);
        let config = grouped(None);
        assert_eq!(config.cache_bytes_per_token(Dtype::Q8), 2 * 2 * 2 * 34);
    }

    fn grouped(sliding_window: Option<usize>) -> ModelConfig {
        let mut config = dense();
        config.layer_types = vec![MixerKind::Gqa];
        config.mixer.gqa = Some(GqaConfig {
            num_attention_heads: 6,
            num_key_value_heads: 2,
            head_dim: 4,
            sliding_window,
            ..GqaConfig::default()
        });
        config
    }

    #[test]
    fn a_window_keeps_what_it_sees_and_what_can_be_taken_back() {
        let row = 2 * 2 * 2 * 4 * 4;
        let kept = |context| grouped(Some(3)).cache_bytes(context, Dtype::F32);
        assert_eq!(kept(19), 19 * row);
        assert_eq!(kept(20), 19 * row);
        assert_eq!(grouped(None).cache_bytes(20, Dtype::F32), 20 * row);
    }

    #[test]
    fn grouped_queries_keep_keys_and_values_of_the_few_heads() {
        let config = grouped(None);
        assert_eq!(config.cache_values_per_token(), 2 * 2 * 2 * 4);
        assert_eq!(config.cache_bytes_per_token(Dtype::F32), 4 * 32);
        assert!(config.activation_values_per_token() > 0);
    }

    #[test]
    fn a_window_limits_what_attention_costs() {
        let layer = 4 * (2 * 6 + 2 * 2) * 4 + 3 * 4 * 6;
        let projections = 2 * (2 * layer + 40);
        let attention = |pairs: u64| 2 * pairs * 4 * 6 * 4;
        // five queries see 1 to 5 positions, or three at most
        let per_token = |window| grouped(window).flops_per_token(5);
        assert_eq!(per_token(None), projections + attention(15) / 5);
        assert_eq!(per_token(Some(5)), per_token(None));
        let seen = 1 + 2 + 3 + 3 + 3;
        // two layers, each rounded down
        assert_eq!(
            per_token(Some(3)),
            projections + 2 * (attention(seen) / 2 / 5)
        );
        let decoding = |window| grouped(window).decoding_flops_per_token(9);
        assert_eq!(decoding(None), projections + attention(9));
        assert_eq!(decoding(Some(3)), projections + attention(3));
    }

    #[test]
    fn blocks_of_32_carry_their_scale() {
        let bytes = Dtype::ALL.map(|dtype| dtype.bytes(64));
        assert_eq!(bytes, [256, 128, 128, 68, 36]);
        assert_eq!(Dtype::F32.bytes(3), 12);
        assert_eq!(Dtype::F32.bytes(u64::MAX), u64::MAX);
    }

    #[test]
    fn master_weights_exist_only_beside_narrower_ones() {
        let config = dense();
        let weights = config.weight_bytes(Dtype::F32);
        assert_eq!(config.optimizer_bytes(Dtype::F32), 2 * weights);
        assert_eq!(config.optimizer_bytes(Dtype::Bf16), 3 * weights);
    }
}
