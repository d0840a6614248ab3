//! Loss and routing of a model on held-out text.
//!
//! Training evaluates its validation text with it, as does every command that prints a loss.

use darkhorse_backends::Ops;

use super::error::RunError;
use super::feed::ValidFeed;
use super::scores::{Scores, record};
use super::stop::Stop;
use crate::data::{PADDING, Tags};
use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::domain::DomainConfig;
use crate::model::routing::{Route, Together};
use crate::telemetry::{EvalRecord, Record};
use crate::training::batch;

/// Number of passes over the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// Once, with the documents' tags.
    Tagged,
    /// One pass with the documents' tags, and one without them if that can change the routing.
    TaggedAndUntagged,
}

/// Settings of an evaluation.
#[derive(Debug, Clone)]
pub struct Evaluation<'a> {
    /// The text.
    pub text: &'a ValidFeed,
    /// How domains influence the router.
    pub domains: &'a DomainConfig,
    /// Passes over the text.
    pub passes: Passes,
    /// Optimizer steps that the model was trained for, for the record.
    pub step: u64,
    /// Stops the evaluation early.
    pub stop: Stop,
}

impl Evaluation<'_> {
    /// Measures a model. `None` without text, if no token of it counts, or if the evaluation is stopped.
    ///
    /// # Errors
    ///
    /// The text cannot be read, or the logits are not finite.
    pub fn measure<B, M, R>(
        &self,
        model: &CausalLm<B, M, R>,
    ) -> Result<Option<EvalRecord>, RunError>
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let Some(tagged) = self.pass(model, Tags::Given)? else {
            return Ok(None);
        };
        let is_wanted = self.passes == Passes::TaggedAndUntagged;
        let untagged = if is_wanted && tagged.is_tagged && !tagged.loads.is_empty() {
            self.pass(model, Tags::Dropped)?
        } else {
            None
        };
        if self.stop.is_asked() {
            return Ok(None);
        }
        Ok(record(self.step, &tagged, untagged.as_ref(), self.domains))
    }

    fn pass<B, M, R>(
        &self,
        model: &CausalLm<B, M, R>,
        tags: Tags,
    ) -> Result<Option<Scores>, RunError>
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let mut sum: Option<Scores> = None;
        for rows in self.text.pass(tags) {
            if self.stop.is_asked() {
                return Ok(None);
            }
            let scores = Scores::of(model, &rows?)?;
            match &mut sum {
                Some(sum) => sum.merge(&scores),
                None => sum = Some(scores),
            }
        }
        Ok(sum)
    }
}

/// Evaluates a model on a whole text. `None` without text, or if no token of it counts.
///
/// # Errors
///
/// The text cannot be read, or the logits are not finite.
pub fn evaluate<B, M, R>(
    model: &CausalLm<B, M, R>,
    text: &ValidFeed,
    domains: &DomainConfig,
    step: u64,
) -> Result<Option<EvalRecord>, RunError>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let evaluation = Evaluation {
        text,
        domains,
        passes: Passes::TaggedAndUntagged,
        step,
        stop: Stop::default(),
    };
    evaluation.measure(model)
}

/// Mean number of distinct experts per layer that the tokens at one position of all rows visit, as in a decoding step
/// of a batch. Only positions that every non-empty row has are counted. `None` without routed layers.
///
/// # Errors
///
/// The text cannot be read.
pub fn distinct_experts<B, M, R>(
    model: &CausalLm<B, M, R>,
    valid: &ValidFeed,
) -> Result<Option<f64>, RunError>
where
    B: Ops,
    M: TokenMixer<B>,
    R: Route<B>,
{
    let device = model.embed_tokens.device();
    let (mut distinct, mut groups) = (0, 0);
    for rows in valid.pass(Tags::Dropped) {
        let rows = rows?;
        let filled = rows.segments.chunks(rows.seq_len);
        let filled = filled.map(|row| row.iter().filter(|&&it| it != PADDING).count());
        let filled: Vec<usize> = filled.filter(|&tokens| tokens > 0).collect();
        let places = filled.iter().copied().min().unwrap_or(0);
        let together = Together {
            rho: 0.0,
            tokens: filled.len(),
        };
        let hidden = model.hidden(&batch::sequences(&rows, &device));
        for routing in hidden.routings {
            let [_, k] = routing.indices.dims();
            let indices: Vec<i64> = routing.indices.into_data().iter().collect();
            let of_rows = indices.chunks(rows.seq_len * k).take(filled.len());
            let chosen = of_rows.flat_map(|row| &row[..places * k]).copied();
            distinct += together.distinct(&chosen.collect::<Vec<_>>(), [k, routing.experts]);
            groups += places;
        }
    }
    Ok((groups > 0).then(|| distinct as f64 / groups as f64))
}

/// Whether the journal has an evaluation of this step.
pub(super) fn has_evaluation(records: &[Record], step: u64) -> bool {
    let mut records = records.iter();
    records.any(
        |record| matches!(record, Record::Eval(found) if found.step == step && found.is_measured()),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use darkhorse_backends::select::Selected;
    use serde_json::json;

    use super::*;
    use crate::data::{Corpus, Document};
    use crate::model::ModelConfig;
    use crate::tokenizer::Tokenizer;

    /// A model with every mixer that attends within documents, and with experts.
    fn config() -> ModelConfig {
        let config = json!({
            "vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 4, "intermediate_size": 24,
            "max_position_embeddings": 64, "initializer_range": 0.3, "rope": {}, "domains": {"mode": "off"},
            "layer_types": ["gqa", "fox", "gla", "mla"],
            "mixer": {
                "gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8},
                "fox": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "conv_kernel_size": 4},
                "gla": {
                    "num_heads": 2, "num_query_heads": 2, "num_key_heads": 2, "num_value_heads": 2,
                    "key_head_dim": 8, "value_head_dim": 8, "conv_kernel_size": 4, "rule": "delta"
                },
                "mla": {
                    "num_attention_heads": 2, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
                    "v_head_dim": 8
                }
            },
            "moe": {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "router": {}}
        });
        let config: ModelConfig = serde_json::from_value(config).expect("it is complete");
        config.validate().expect("it is valid");
        config
    }

    fn text(documents: &[String], rows: usize, seq_len: usize) -> ValidFeed {
        let documents = documents
            .iter()
            .map(|text| Ok(Document::from(text.as_str())));
        let corpus = Corpus::in_memory(documents, &Tokenizer::bytes()).expect("it is text");
        ValidFeed {
            corpus: Some(Arc::new(corpus)),
            rows,
            seq_len,
            batches: 0,
        }
    }

    /// Sum of nats and number of tokens of a text.
    fn nats(model: &CausalLm<Selected>, text: &ValidFeed) -> (f64, u64) {
        let found = evaluate(model, text, &config().domains, 0).expect("it can be measured");
        let found = found.expect("it has tokens");
        let tokens = found.domains.iter().map(|of| of.tokens).sum();
        (found.loss * tokens as f64, tokens)
    }

    #[test]
    fn documents_measure_the_same_in_packed_rows_as_each_alone() {
        const SEQ: usize = 40;
        let model = CausalLm::<Selected>::init(&config(), 3, &Default::default());
        let lengths = [5, 31, 17, 38, 2, 24, 90, 11, 33, 8, 1, 29];
        let letter = |length: usize, at: usize| char::from(b'a' + (at * at + length) as u8 % 23);
        let text_of = |length: usize| (0..length).map(|at| letter(length, at)).collect();
        let documents: Vec<String> = lengths.map(text_of).into();
        let alone = documents
            .iter()
            .map(|one| nats(&model, &text(std::slice::from_ref(one), 1, SEQ)));
        let alone = alone.fold((0.0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        for rows in [1, 3, 8] {
            let packed = nats(&model, &text(&documents, rows, SEQ));
            assert_eq!(packed.1, alone.1);
            let (packed, alone) = (packed.0 / packed.1 as f64, alone.0 / alone.1 as f64);
            assert!(
                (packed - alone).abs() < 1e-5,
                "{packed} packed, {alone} alone"
            );
        }
    }
}
