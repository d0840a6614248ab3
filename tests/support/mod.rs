//! Models and text that are small enough to train in every test, with every component of large models.

// each test file uses what it needs
#![allow(dead_code)]

use std::sync::Arc;

use darkhorse_genesis::data::{
    Corpus, Document, Origin, PackedBatch, Position, Stream, StreamConfig,
};
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::model::ModelConfig;
use darkhorse_genesis::model::mixer::MixerKind;
use darkhorse_genesis::model::mixer::gqa::GqaConfig;
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::tokenizer::Tokenizer;

/// A model of three layers, the first one dense, with twenty experts and one MTP module.
pub(crate) fn small_config(mode: DomainMode) -> ModelConfig {
    let mut config: ModelConfig = serde_json::from_value(serde_json::json!({
        "vocab_size": 97,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "intermediate_size": 48,
        "first_k_dense_replace": 1,
        "mixer": {"mla": {
            "num_attention_heads": 2, "q_lora_rank": 24, "kv_lora_rank": 16,
            "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 12
        }},
        "rope": {"rope_theta": 10000.0, "rope_scaling": {
            "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
            "mscale": 1.0, "mscale_all_dim": 1.0
        }},
        "moe": {
            "n_routed_experts": 20, "num_experts_per_tok": 2,
            "moe_intermediate_size": 16, "n_shared_experts": 1
        },
        "num_nextn_predict_layers": 1,
        "max_position_embeddings": 128,
        "initializer_range": 0.3
    }))
    .expect("the configuration is complete");
    config.domains.mode = mode;
    config.validate().expect("the configuration is valid");
    config
}

/// [`small_config`] with one mixer in every layer.
pub(crate) fn mixer_config(kind: MixerKind, mode: DomainMode) -> ModelConfig {
    let mut config = small_config(mode);
    config.layer_types = vec![kind];
    let (hybrid, recurrent) = (hybrid_config(mode).mixer, recurrent_config(mode).mixer);
    match kind {
        MixerKind::Mla => {}
        MixerKind::Gqa => config.mixer.gqa = hybrid.gqa,
        MixerKind::Gla => config.mixer.gla = recurrent.gla,
        MixerKind::Fox => config.mixer.fox = recurrent.fox,
        MixerKind::GatedAttention => {
            let gated = serde_json::json!({
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "rotary_dim": 4
            });
            let gated = serde_json::from_value(gated).expect("the configuration is complete");
            config.mixer.gated_attention = Some(gated);
        }
    }
    config.validate().expect("the configuration is valid");
    config
}

/// [`small_config`] with grouped-query attention over a short window in every other layer.
pub(crate) fn hybrid_config(mode: DomainMode) -> ModelConfig {
    let mut config = small_config(mode);
    config.layer_types = vec![MixerKind::Gqa, MixerKind::Mla];
    config.mixer.gqa = Some(GqaConfig {
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        attention_bias: true,
        sliding_window: Some(6),
        ..GqaConfig::default()
    });
    config.mlp_bias = true;
    config.validate().expect("the configuration is valid");
    config
}

/// [`small_config`] with gated linear attention (delta rule), forgetting attention and latent attention.
pub(crate) fn recurrent_config(mode: DomainMode) -> ModelConfig {
    let mut config = small_config(mode);
    config.layer_types = vec![MixerKind::Gla, MixerKind::Fox, MixerKind::Mla];
    config.num_hidden_layers = config.num_hidden_layers.max(3);
    let gla = serde_json::json!({
        "num_heads": 4, "num_query_heads": 2, "num_key_heads": 2, "num_value_heads": 4,
        "key_head_dim": 8, "value_head_dim": 6, "rule": "delta"
    });
    config.mixer.gla = Some(serde_json::from_value(gla).expect("the configuration is complete"));
    let fox = serde_json::json!({
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8
    });
    config.mixer.fox = Some(serde_json::from_value(fox).expect("the configuration is complete"));
    config.validate().expect("the configuration is valid");
    config
}

/// [`small_config`] for byte tokens.
pub(crate) fn byte_config(mode: DomainMode) -> ModelConfig {
    ModelConfig {
        vocab_size: Tokenizer::bytes().vocab_size(),
        initializer_range: 0.05,
        ..small_config(mode)
    }
}

/// Documents of every domain with unequal lengths, a few hundred tokens in total.
pub(crate) fn corpus() -> Arc<Corpus> {
    let document = |number: usize| {
        let domain = Domain::ALL[number % Domain::COUNT];
        let words = [
            "sum", "loop", "force", "market", "clause", "council", "cell", "proof", "moon",
        ];
        let text: Vec<&str> = (0..5 + number * 7 % 23)
            .map(|word| words[(number * 5 + word * word) % words.len()])
            .collect();
        Ok(Document {
            text: format!("{domain} {}", text.join(" ")),
            conversation: None,
            domain: Some(domain),
            origin: Origin {
                file: Arc::from(std::path::Path::new("documents.jsonl")),
                line: number as u64 + 1,
            },
        })
    };
    let corpus = Corpus::in_memory((0..80).map(document), &Tokenizer::bytes());
    Arc::new(corpus.expect("the documents are sound"))
}

/// A stream over [`corpus`].
pub(crate) fn stream(rows: usize, seq_len: usize, seed: u64) -> Stream {
    let config = StreamConfig {
        seq_len,
        rows,
        mix: Default::default(),
        domain_dropout: 0.3,
        domain_token: true,
        seed,
    };
    Stream::new(corpus(), config, Position::default()).expect("the corpus fills a row")
}

/// Successive batches.
pub(crate) fn batches(rows: usize, seq_len: usize, count: usize) -> Vec<PackedBatch> {
    let mut stream = stream(rows, seq_len, 11);
    (0..count)
        .map(|_| stream.next_batch().expect("the corpus is in memory"))
        .collect()
}
