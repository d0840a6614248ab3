//! Names of tensors in llama.cpp and in Hugging Face, in one table for all architectures
//! (<https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/tensor_mapping.py>).

use super::gather::{Gather, MlaDims};
use crate::interop::hugging_face::{HfConfig, one_spelling};
use crate::model::rope::RotaryPairs;

/// Tensors outside of layers: Hugging Face's and llama.cpp's name, without the common suffix.
const OUTER: [(&str, &str); 3] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
];

/// Tensors of a layer, likewise.
const LAYER: [(&str, &str); 24] = [
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.q_a_proj", "attn_q_a"),
    ("self_attn.q_a_layernorm", "attn_q_a_norm"),
    ("self_attn.q_b_proj", "attn_q_b"),
    ("self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
    ("self_attn.kv_a_layernorm", "attn_kv_a_norm"),
    ("self_attn.kv_b_proj", "attn_kv_b"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate", "ffn_gate_inp"),
    ("mlp.shared_experts.gate_proj", "ffn_gate_shexp"),
    ("mlp.shared_experts.up_proj", "ffn_up_shexp"),
    ("mlp.shared_experts.down_proj", "ffn_down_shexp"),
    ("mlp.experts.gate_proj", "ffn_gate_exps"),
    ("mlp.experts.up_proj", "ffn_up_exps"),
    ("mlp.experts.down_proj", "ffn_down_exps"),
];

/// Tensors of a layer whose suffixes differ.
const WHOLE: [(&str, &str); 1] = [("mlp.gate.e_score_correction_bias", "exp_probs_b.bias")];

/// How a GGUF tensor relates to one or several of Hugging Face's.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    /// It is the whole tensor.
    One(String, Gather),
    /// It holds the tensor in a stack.
    Expert(String, usize),
    /// The tensor is split into two: keys first, then values.
    KeysAndValues([(String, Gather); 2]),
}

/// Names of a model's tensors in both formats.
#[derive(Debug)]
pub(super) struct Names<'a> {
    config: &'a HfConfig,
    /// Tensors that the family's architecture names differently.
    own: &'static [(&'static str, &'static str)],
    /// Whether the family's GGUF files rotate neighbouring rows of queries and keys, unlike Hugging Face's.
    has_neighbours: bool,
}

impl<'a> Names<'a> {
    pub(super) fn of(config: &'a HfConfig) -> Self {
        let gguf = config.family.profile().gguf;
        Self {
            config,
            own: gguf.map_or(&[], |gguf| gguf.names),
            has_neighbours: gguf.is_some_and(|it| it.pairs == RotaryPairs::Neighbours),
        }
    }

    /// Place of one of Hugging Face's tensors in a GGUF file; `None` if llama.cpp has no name for it.
    pub(super) fn theirs(&self, name: &str) -> Option<Place> {
        let name = one_spelling(name);
        let Some((layer, rest)) = of_layer(&name, "model.layers.") else {
            let (stem, end) = name.rsplit_once('.')?;
            let (_, gguf) = OUTER.iter().find(|(theirs, _)| *theirs == stem)?;
            return Some(Place::One(format!("{gguf}.{end}"), Gather::Same));
        };
        let within = |name: &str| format!("blk.{layer}.{name}");
        if let Some((_, gguf)) = WHOLE.iter().find(|(theirs, _)| *theirs == rest) {
            return Some(Place::One(within(gguf), Gather::Same));
        }
        let (stem, end) = rest.rsplit_once('.')?;
        if let Some(expert) = stem.strip_prefix("mlp.experts.") {
            let (index, projection) = expert.split_once('.')?;
            let gguf = self.gguf(&format!("mlp.experts.{projection}"))?;
            let name = within(&format!("{gguf}.{end}"));
            return Some(Place::Expert(name, index.parse().ok()?));
        }
        if let ("self_attn.kv_b_proj", Some(dims)) = (stem, MlaDims::of(&self.config.model)) {
            let parts = [
                ("attn_k_b", Gather::KeyB(dims)),
                ("attn_v_b", Gather::ValueB(dims)),
            ];
            let parts = parts.map(|(name, gather)| (within(&format!("{name}.{end}")), gather));
            return Some(Place::KeysAndValues(parts));
        }
        let gguf = self.gguf(stem)?;
        Some(Place::One(
            within(&format!("{gguf}.{end}")),
            self.gather(stem),
        ))
    }

    /// Hugging Face's name of a GGUF tensor; for a stack, without the expert's number.
    pub(super) fn ours(&self, name: &str) -> Option<(String, Gather)> {
        let Some((layer, rest)) = of_layer(name, "blk.") else {
            let (stem, end) = name.rsplit_once('.')?;
            let (theirs, _) = OUTER.iter().find(|(_, gguf)| *gguf == stem)?;
            return Some((format!("{theirs}.{end}"), Gather::Same));
        };
        let within = |name: &str| format!("model.layers.{layer}.{name}");
        if let Some((theirs, _)) = WHOLE.iter().find(|(_, gguf)| *gguf == rest) {
            return Some((within(theirs), Gather::Same));
        }
        let (stem, end) = rest.rsplit_once('.')?;
        if let Some(dims) = MlaDims::of(&self.config.model) {
            let gather = match stem {
                "attn_k_b" => Some(Gather::KeyB(dims)),
                "attn_v_b" => Some(Gather::ValueB(dims)),
                _ => None,
            };
            if let Some(gather) = gather {
                return Some((within(&format!("self_attn.kv_b_proj.{end}")), gather));
            }
        }
        let (theirs, _) = self.of_layers().find(|(_, gguf)| *gguf == stem)?;
        let name = within(&format!("{theirs}.{end}"));
        Some((name, self.gather(theirs)))
    }

    fn gguf(&self, stem: &str) -> Option<&'static str> {
        let mut names = self.of_layers();
        let found = names.find(|(theirs, _)| *theirs == stem);
        found.map(|(_, gguf)| *gguf)
    }

    /// Hugging Face's and llama.cpp's name of every tensor of a layer.
    fn of_layers(&self) -> impl Iterator<Item = &'static (&'static str, &'static str)> {
        let own = self.own;
        let is_usual = move |it: &&(&str, &str)| own.iter().all(|(theirs, _)| *theirs != it.0);
        own.iter().chain(LAYER.iter().filter(is_usual))
    }

    /// Order of a tensor's rows.
    fn gather(&self, stem: &str) -> Gather {
        let is_rotated = matches!(stem, "self_attn.q_proj" | "self_attn.k_proj");
        match &self.config.model.mixer.gqa {
            Some(gqa) if is_rotated && self.has_neighbours => Gather::Rotary {
                head_dim: gqa.head_dim,
            },
            _ => Gather::Same,
        }
    }
}

/// Number of a tensor's layer, and the rest of its name.
pub(super) fn of_layer<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (layer, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((layer.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn names_go_and_return() {
        for fixture in [
            "llama_tied",
            "mixtral",
            "deepseek_v3_plain",
            "deepseek_v3_noqlora",
            "deepseek_v2",
            "glm4_moe",
            "olmoe",
            "qwen2",
            "qwen3_moe",
        ] {
            let path = Path::new("tests/fixtures")
                .join(fixture)
                .join("config.json");
            let config = HfConfig::open(&path).unwrap();
            let names = Names::of(&config);
            for entry in config.family.entries(&config) {
                for name in entry.theirs.iter().filter(|_| entry.zeros.is_none()) {
                    match names.theirs(name).unwrap_or_else(|| panic!("{name}")) {
                        Place::One(gguf, gather) => {
                            assert_eq!(names.ours(&gguf), Some((name.clone(), gather)));
                        }
                        Place::Expert(gguf, index) => {
                            let (stack, _) = names.ours(&gguf).unwrap();
                            let number = format!(".experts.{index}.");
                            assert_eq!(stack.replace(".experts.", &number), *name);
                        }
                        Place::KeysAndValues(parts) => {
                            for (gguf, gather) in parts {
                                assert_eq!(names.ours(&gguf), Some((name.clone(), gather)));
                            }
                        }
                    }
                }
            }
            // a family's own name stands in place of the usual one
            for (_, usual) in LAYER.iter().filter(|(theirs, _)| {
                let own = names.own.iter();
                own.map(|(theirs, _)| theirs).any(|it| it == theirs)
            }) {
                assert_eq!(names.ours(&format!("blk.0.{usual}.weight")), None);
            }
            assert_eq!(names.theirs("model.layers.0.other.weight"), None);
            assert_eq!(names.ours("blk.0.other.weight"), None);
            assert_eq!(names.ours("rope_freqs.weight"), None);
        }
    }
}
