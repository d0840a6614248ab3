//! Which GGUF tensors a model has, and from which Hugging Face tensors they come.
//!
//! One table for both ways: the writer looks up the checkpoint's names in it, the reader offers
//! them. It knows no bytes. Names are those of llama.cpp's architectures `deepseek2` and `llama`
//! (<https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/constants.py>). Layers of
//! multi-token prediction are not part of it.

use super::config::{Attention, Experts, Family, Layout};
use super::entry::{Entry, Origin};
use super::gather::Gather;

impl Layout {
    /// Entries that belong to no layer.
    pub(super) fn outer_entries(&self) -> Vec<Entry> {
        let embedding = [self.vocab_size, self.hidden_size];
        let entry = |name: &str, origin: &str, shape: &[usize]| {
            Entry::same(name.to_owned(), origin.to_owned(), shape)
        };
        let mut entries = vec![
            entry("token_embd.weight", "model.embed_tokens.weight", &embedding),
            entry("output_norm.weight", "model.norm.weight", &embedding[1..]),
        ];
        if !self.tie_word_embeddings {
            entries.push(entry("output.weight", "lm_head.weight", &embedding));
        }
        entries
    }

    /// Entries of layer `layer`.
    pub(super) fn layer_entries(&self, layer: usize) -> Vec<Entry> {
        let hidden = self.hidden_size;
        let names = Names {
            gguf: format!("blk.{layer}."),
            hf: format!("model.layers.{layer}."),
        };
        let mut entries = vec![
            names.same("attn_norm.weight", "input_layernorm.weight", &[hidden]),
            names.same(
                "ffn_norm.weight",
                "post_attention_layernorm.weight",
                &[hidden],
            ),
        ];
        self.attention_entries(&names, &mut entries);
        match &self.experts {
            Some(experts) if layer >= experts.first_layer => {
                self.expert_entries(&names, experts, &mut entries)
            }
            _ => names.mlp(
                "",
                "mlp.",
                hidden,
                self.intermediate_size,
                self.mlp_bias,
                &mut entries,
            ),
        }
        entries
    }

    fn attention_entries(&self, names: &Names, entries: &mut Vec<Entry>) {
        let (hidden, heads) = (self.hidden_size, self.num_attention_heads);
        match self.attention {
            Attention::Mla { q_lora_rank, dims } => {
                let rank = dims.kv_lora_rank;
                let query_rows = heads * (dims.qk_nope_head_dim + dims.qk_rope_head_dim);
                match q_lora_rank {
                    None => entries.push(names.same(
                        "attn_q.weight",
                        "self_attn.q_proj.weight",
                        &[query_rows, hidden],
                    )),
                    Some(q_rank) => entries.extend([
                        names.same(
                            "attn_q_a.weight",
                            "self_attn.q_a_proj.weight",
                            &[q_rank, hidden],
                        ),
                        names.same(
                            "attn_q_a_norm.weight",
                            "self_attn.q_a_layernorm.weight",
                            &[q_rank],
                        ),
                        names.same(
                            "attn_q_b.weight",
                            "self_attn.q_b_proj.weight",
                            &[query_rows, q_rank],
                        ),
                    ]),
                }
                let kv_a = [rank + dims.qk_rope_head_dim, hidden];
                let kv_b = vec![heads * (dims.qk_nope_head_dim + dims.v_head_dim), rank];
                let kv_b = Origin::Tensor(format!("{}self_attn.kv_b_proj.weight", names.hf), kv_b);
                entries.extend([
                    names.same(
                        "attn_kv_a_mqa.weight",
                        "self_attn.kv_a_proj_with_mqa.weight",
                        &kv_a,
                    ),
                    names.same(
                        "attn_kv_a_norm.weight",
                        "self_attn.kv_a_layernorm.weight",
                        &[rank],
                    ),
                    Entry {
                        name: format!("{}attn_k_b.weight", names.gguf),
                        shape: vec![heads, rank, dims.qk_nope_head_dim],
                        gather: Gather::KeyB(dims),
                        origin: kv_b.clone(),
                    },
                    Entry {
                        name: format!("{}attn_v_b.weight", names.gguf),
                        shape: vec![heads, dims.v_head_dim, rank],
                        gather: Gather::ValueB(dims),
                        origin: kv_b,
                    },
                    names.same(
                        "attn_output.weight",
                        "self_attn.o_proj.weight",
                        &[hidden, heads * dims.v_head_dim],
                    ),
                ]);
            }
            Attention::Gqa {
                num_key_value_heads,
                head_dim,
                bias,
            } => {
                let (rows, kv_rows) = (heads * head_dim, num_key_value_heads * head_dim);
                let rotary = Gather::Rotary { head_dim };
                for (name, origin, shape, gather) in [
                    ("attn_q", "self_attn.q_proj", [rows, hidden], rotary),
                    ("attn_k", "self_attn.k_proj", [kv_rows, hidden], rotary),
                    (
                        "attn_v",
                        "self_attn.v_proj",
                        [kv_rows, hidden],
                        Gather::Same,
                    ),
                    (
                        "attn_output",
                        "self_attn.o_proj",
                        [hidden, rows],
                        Gather::Same,
                    ),
                ] {
                    names.linear(name, origin, shape, bias, gather, entries);
                }
            }
        }
    }

    fn expert_entries(&self, names: &Names, experts: &Experts, entries: &mut Vec<Entry>) {
        let (hidden, width) = (self.hidden_size, experts.intermediate_size);
        let (mlp, parts) = match self.family {
            Family::Mixtral => (
                "block_sparse_moe.",
                [".w1.weight", ".w3.weight", ".w2.weight"],
            ),
            _ => (
                "mlp.",
                [".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"],
            ),
        };
        entries.push(names.same(
            "ffn_gate_inp.weight",
            &format!("{mlp}gate.weight"),
            &[experts.count, hidden],
        ));
        if self.family == Family::DeepseekV3 {
            entries.push(names.same(
                "exp_probs_b.bias",
                "mlp.gate.e_score_correction_bias",
                &[experts.count],
            ));
        }
        let stacked = [
            "ffn_gate_exps.weight",
            "ffn_up_exps.weight",
            "ffn_down_exps.weight",
        ];
        let shapes = [[width, hidden], [width, hidden], [hidden, width]];
        for ((name, after), [rows, columns]) in stacked.into_iter().zip(parts).zip(shapes) {
            entries.push(Entry {
                name: format!("{}{name}", names.gguf),
                shape: vec![experts.count, rows, columns],
                gather: Gather::Same,
                origin: Origin::Experts {
                    before: format!("{}{mlp}experts.", names.hf),
                    after,
                },
            });
        }
        if let Some(shared) = experts.shared_size {
            names.mlp(
                "_shexp",
                "mlp.shared_experts.",
                hidden,
                shared,
                false,
                entries,
            );
        }
    }
}

/// What the names of a layer's tensors start with.
struct Names {
    gguf: String,
    hf: String,
}

impl Names {
    fn same(&self, name: &str, origin: &str, shape: &[usize]) -> Entry {
        Entry::same(
            format!("{}{name}", self.gguf),
            format!("{}{origin}", self.hf),
            shape,
        )
    }

    /// A weight and, with `bias`, the bias of its rows.
    fn linear(
        &self,
        name: &str,
        origin: &str,
        shape: [usize; 2],
        bias: bool,
        gather: Gather,
        entries: &mut Vec<Entry>,
    ) {
        let weight = self.same(
            &format!("{name}.weight"),
            &format!("{origin}.weight"),
            &shape,
        );
        entries.push(Entry { gather, ..weight });
        if bias {
            let bias = self.same(
                &format!("{name}.bias"),
                &format!("{origin}.bias"),
                &shape[..1],
            );
            entries.push(Entry { gather, ..bias });
        }
    }

    fn mlp(
        &self,
        suffix: &str,
        origin: &str,
        hidden: usize,
        width: usize,
        bias: bool,
        entries: &mut Vec<Entry>,
    ) {
        for (part, shape) in [
            ("gate", [width, hidden]),
            ("up", [width, hidden]),
            ("down", [hidden, width]),
        ] {
            let (name, origin) = (
                format!("ffn_{part}{suffix}"),
                format!("{origin}{part}_proj"),
            );
            self.linear(&name, &origin, shape, bias, Gather::Same, entries);
        }
    }
}
