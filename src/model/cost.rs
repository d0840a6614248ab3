//! What running a model costs, from the configuration alone: FLOPs per token and bytes.

use serde::Serialize;

use super::config::{FeedForwardPlan, LayerPlan, ModelConfig};
use super::count::{product, sum};
use super::matrix::Quantization;
use super::mixer::MixerKind;
use super::mixer::gqa::GqaConfig;
use super::mixer::mla::MlaConfig;

/// Number format of stored values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 4 bytes.
    F32,
    /// 2 bytes.
    Bf16,
    /// 8 bits, and 2 bytes of scale for each 32 values (GGUF's `Q8_0`).
    Q8,
    /// 4 bits, and 2 bytes of scale for each 32 values (GGUF's `Q4_0`).
    Q4,
}

impl Dtype {
    /// All formats, largest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Q8, Self::Q4];

    /// Format of matrices that are held in blocks, or as numbers.
    pub fn held_as(quantization: Option<Quantization>) -> Self {
        match quantization {
            None => Self::F32,
            Some(Quantization::Q8) => Self::Q8,
            Some(Quantization::Q4) => Self::Q4,
        }
    }

    /// Format of the weights that are numbers where matrices have this one.
    fn of_numbers(self) -> Self {
        match self {
            Self::Q8 | Self::Q4 => Self::F32,
            dtype => dtype,
        }
    }

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        }
    }

    /// Bytes that `values` numbers take.
    pub fn bytes(self, values: u64) -> u64 {
        let block_bytes = match self {
            Self::F32 => 128,
            Self::Bf16 => 64,
            Self::Q8 => 34,
            Self::Q4 => 18,
        };
        let blocks = (values / 32).saturating_mul(block_bytes);
        blocks.saturating_add((values % 32 * block_bytes).div_ceil(32))
    }

    /// Bytes of AdamW's two f32 moments of `weights`, and of their f32 master copy where they are not f32.
    pub fn optimizer_bytes(self, weights: u64) -> u64 {
        let numbers = if self == Self::F32 { 2 } else { 3 };
        Self::F32.bytes(weights.saturating_mul(numbers))
    }
}

/// All methods expect a [validated](ModelConfig::validate) configuration, and panic where a section
/// that the layer plan names is missing.
impl ModelConfig {
    /// FLOPs of the forward pass over a whole sequence of `seq` tokens, per token: two per active weight
    /// of a projection, and causal attention in MLA's expanded form. MTP modules are not run.
    pub fn flops_per_token(&self, seq: usize) -> u64 {
        let layers = self.plan().into_iter();
        let layers = layers.map(|layer| self.attention_flops(layer.mixer, seq));
        sum([self.projection_flops(), sum(layers)])
    }

    /// FLOPs of a training step per token: forward, and twice that backward; MTP modules included.
    pub fn training_flops_per_token(&self, seq: usize) -> u64 {
        let plan = self.mtp_plan();
        let block = self.visited(self.layer_parameters(plan));
        let joining = product([2, self.hidden_size, self.hidden_size]);
        let head = product([self.vocab_size, self.hidden_size]);
        let weights = sum([block.total() - block.norms, joining, head]);
        let attention = self.attention_flops(plan.mixer, seq);
        let modules = sum([weights.saturating_mul(2), attention])
            .saturating_mul(self.num_nextn_predict_layers as u64);
        sum([self.flops_per_token(seq), modules]).saturating_mul(3)
    }

    /// FLOPs of decoding one token that sees `context` positions, itself included, in MLA's absorbed form.
    pub fn decoding_flops_per_token(&self, context: usize) -> u64 {
        let layers = self.plan().into_iter().map(|layer| match layer.mixer {
            MixerKind::Mla => {
                let mla = self.expect_mla();
                let width = 2 * mla.kv_lora_rank + mla.qk_rope_head_dim;
                product([2, mla.num_attention_heads, width, context])
            }
            MixerKind::Gqa => {
                let gqa = self.expect_gqa();
                let seen = gqa.sliding_window.unwrap_or(context).min(context);
                product([4, gqa.num_attention_heads, gqa.head_dim, seen])
            }
            MixerKind::Gla => self.state_flops(),
            MixerKind::Fox => {
                let fox = self.expect_fox();
                product([4, fox.num_attention_heads, fox.head_dim, context])
            }
            MixerKind::GatedAttention => {
                let gated = self.expect_gated_attention();
                product([4, gated.num_attention_heads, gated.head_dim, context])
            }
        });
        sum([self.projection_flops(), sum(layers)])
    }

    /// Numbers that decoding keeps of every token, at most: a sliding window forgets those before it.
    pub fn cache_values_per_token(&self) -> u64 {
        let layers = self.plan().into_iter();
        sum(layers.map(|layer| sum(self.cached_rows(layer.mixer))))
    }

    /// Widths of the rows that a layer keeps of every token.
    fn cached_rows(&self, mixer: MixerKind) -> Vec<u64> {
        let heads = |count: usize, dim: usize| vec![dim as u64; count];
        match mixer {
            MixerKind::Mla => {
                let mla = self.expect_mla();
                vec![(mla.kv_lora_rank + mla.qk_rope_head_dim) as u64]
            }
            MixerKind::Gqa => {
                let gqa = self.expect_gqa();
                heads(2 * gqa.num_key_value_heads, gqa.head_dim)
            }
            MixerKind::Gla => Vec::new(),
            MixerKind::Fox => {
                let fox = self.expect_fox();
                let mut rows = heads(
                    fox.num_key_value_heads + fox.num_attention_heads,
                    fox.head_dim,
                );
                rows.push(fox.num_attention_heads as u64);
                rows
            }
            MixerKind::GatedAttention => {
                let gated = self.expect_gated_attention();
                heads(2 * gated.num_key_value_heads, gated.head_dim)
            }
        }
    }

    /// Numbers that decoding keeps of a sequence whatever its length: the states of linear attentions and
    /// the last inputs of their convolutions.
    pub fn state_values(&self) -> u64 {
        sum(self.plan().into_iter().map(|layer| match layer.mixer {
            MixerKind::Gla => {
                let gla = self.expect_gla();
                let state = product([gla.num_heads, gla.key_head_dim, gla.value_head_dim]);
                let [query, key, value, _] = gla.widths();
                let tails = product([query + key + value, gla.conv_kernel_size - 1]);
                state.saturating_add(tails)
            }
            MixerKind::Mla | MixerKind::Gqa | MixerKind::Fox | MixerKind::GatedAttention => 0,
        }))
    }

    /// Reading and writing the state of a linear attention, per token.
    fn state_flops(&self) -> u64 {
        let gla = self.expect_gla();
        product([5, gla.num_heads, gla.key_head_dim, gla.value_head_dim])
    }

    /// Bytes that decoding keeps of every token: with MLA throughout,
    /// `num_hidden_layers * (kv_lora_rank + qk_rope_head_dim)` numbers, with GQA
    /// `num_hidden_layers * 2 * num_key_value_heads * head_dim`. In blocks, every row is made of whole ones, and only
    /// what lies in pages is in blocks: keys, values and latents of these two.
    pub fn cache_bytes_per_token(&self, dtype: Dtype) -> u64 {
        let layers = self.plan().into_iter().map(|layer| {
            let rows = self.cached_rows(layer.mixer).into_iter();
            match (dtype, layer.mixer) {
                (Dtype::Q8 | Dtype::Q4, MixerKind::Mla | MixerKind::Gqa) => {
                    sum(rows.map(|row| dtype.bytes(row.next_multiple_of(32))))
                }
                _ => dtype.of_numbers().bytes(sum(rows)),
            }
        });
        sum(layers)
    }

    /// Bytes of all weights, MTP modules included.
    pub fn weight_bytes(&self, dtype: Dtype) -> u64 {
        self.bytes_of_weights(self.num_trained_params(), dtype)
    }

    /// Bytes of so many of the weights, among them all that are numbers whatever the matrices are.
    pub fn bytes_of_weights(&self, weights: u64, dtype: Dtype) -> u64 {
        let numbers = self.num_unquantized_params().min(weights);
        sum([
            dtype.of_numbers().bytes(numbers),
            dtype.bytes(weights - numbers),
        ])
    }

    /// Bytes of the weights that a pass over `tokens` multiplies with: of the routed experts those that
    /// balanced, independent choices visit on average.
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

    /// Bytes of what AdamW keeps of all weights, MTP modules included.
    pub fn optimizer_bytes(&self, dtype: Dtype) -> u64 {
        dtype.optimizer_bytes(self.num_trained_params())
    }

    /// Estimate of the numbers that the backward pass keeps of every token: what enters and leaves
    /// projections, normalizations and activations. Attention scores and temporaries are not counted:
    /// training `tiny` on the CPU takes 1.3 times as much.
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
        let mixer = match plan.mixer {
            MixerKind::Mla => {
                let mla = self.expect_mla();
                let heads = mla.num_attention_heads;
                // queries and keys, each projected, rotated and joined; values and outputs
                let query_key = product([6, heads, mla.qk_head_dim()]);
                let value = product([3, heads, mla.v_head_dim]);
                let latents = product([2, mla.q_lora_rank.unwrap_or(0) + mla.kv_lora_rank]);
                sum([query_key, value, latents])
            }
            MixerKind::Gqa => {
                let gqa = self.expect_gqa();
                // queries and keys projected and rotated, values projected
                let query = product([2, gqa.num_attention_heads, gqa.head_dim]);
                let key_value = product([3, gqa.num_key_value_heads, gqa.head_dim]);
                // keys and values repeated, and outputs
                let repeated = product([3, gqa.num_attention_heads, gqa.head_dim]);
                sum([query, key_value, repeated])
            }
            MixerKind::Gla => {
                let gla = self.expect_gla();
                let [query, key, value, output] = gla.widths();
                // projected and convolved; keys and values for every state; outputs, gated and not
                let inner = product([4, query + key + value]);
                let shared = product([2, gla.num_heads, gla.key_head_dim]);
                sum([inner, shared, product([6, output])])
            }
            MixerKind::Fox => {
                let fox = self.expect_fox();
                product([12, fox.num_attention_heads, fox.head_dim])
            }
            MixerKind::GatedAttention => {
                let gated = self.expect_gated_attention();
                product([14, gated.num_attention_heads, gated.head_dim])
            }
        };
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

    /// Attention of a whole sequence, per token.
    fn attention_flops(&self, mixer: MixerKind, seq: usize) -> u64 {
        match mixer {
            MixerKind::Mla => expanded_attention_flops(self.expect_mla(), seq),
            MixerKind::Gqa => grouped_attention_flops(self.expect_gqa(), seq),
            MixerKind::Gla => self.state_flops(),
            MixerKind::Fox => {
                let fox = self.expect_fox();
                let width = 2 * fox.head_dim;
                product([fox.num_attention_heads, width, seq.saturating_add(1)])
            }
            MixerKind::GatedAttention => {
                let gated = self.expect_gated_attention();
                let width = 2 * gated.head_dim;
                product([gated.num_attention_heads, width, seq.saturating_add(1)])
            }
        }
    }

    fn projection_flops(&self) -> u64 {
        let active = self.active_parameters();
        (active.total() - active.norms).saturating_mul(2)
    }
}

/// Scores and sums of values of a token, over the `(seq + 1) / 2` positions that it sees on average.
fn expanded_attention_flops(mla: &MlaConfig, seq: usize) -> u64 {
    let width = mla.qk_head_dim() + mla.v_head_dim;
    product([mla.num_attention_heads, width, seq.saturating_add(1)])
}

/// The same, over the positions of the window: `seen` of them once there are as many, fewer before.
fn grouped_attention_flops(gqa: &GqaConfig, seq: usize) -> u64 {
    let seen = gqa.sliding_window.unwrap_or(seq).min(seq);
    let all = product([2, gqa.num_attention_heads, gqa.head_dim, seen])
        .saturating_mul((seq - seen).saturating_add(seq).saturating_add(1) as u64);
    all / seq.max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

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
            attention_bias: false,
            sliding_window,
        });
        config
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
        assert_eq!(bytes, [256, 128, 68, 36]);
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
