//! A small model whose number of experts grows, trained step by step, for tests.

use burn::backend::Autodiff;
use burn_train::TrainStep;
use darkhorse_backends::select::Selected;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Uniform};
use serde_json::json;

use super::{MitosisConfig, Mode, Schedule, StressRule, inheritance};
use crate::data::PackedBatch;
use crate::domain::UNTAGGED;
use crate::model::{CausalLm, ModelConfig};
use crate::telemetry::MitosisRecord;
use crate::training::batch::MicroBatch;
use crate::training::{AdamW, Trainee, TrainingConfig};

pub(crate) type B = Autodiff<Selected>;

pub(crate) const EXPERTS: usize = 4;

pub(crate) fn model() -> ModelConfig {
    let config = json!({
        "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "intermediate_size": 8,
        "max_position_embeddings": 64, "layer_types": ["gqa"], "initializer_range": 0.2,
        "mixer": {"gqa": {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}},
        "rope": {}, "domains": {"mode": "off"},
        "moe": {
            "n_routed_experts": 2 * EXPERTS, "num_experts_per_tok": 2, "moe_intermediate_size": 8,
            "router": {"initial_experts": EXPERTS}
        }
    });
    serde_json::from_value(config).unwrap()
}

/// Rows in which a token mostly determines the next one.
fn rows(step: u64) -> PackedBatch {
    const ROWS: usize = 8;
    const SEQ: usize = 64;
    let mut rng = ChaCha8Rng::seed_from_u64(step);
    let any = Uniform::new(0i32, 32).unwrap();
    let mut ids = Vec::new();
    for _ in 0..ROWS {
        let mut id = any.sample(&mut rng);
        for _ in 0..SEQ {
            ids.push(id);
            let noise = any.sample(&mut rng);
            id = if noise < 4 { noise } else { (id * 5 + 7) % 32 };
        }
    }
    let tokens = ROWS * SEQ;
    PackedBatch {
        rows: ROWS,
        seq_len: SEQ,
        ids,
        segments: (0..tokens).map(|at| (at / SEQ) as i32).collect(),
        positions: (0..tokens).map(|at| (at % SEQ) as i32).collect(),
        tags: vec![UNTAGGED; tokens],
        domains: vec![0; tokens],
        counted: vec![true; tokens],
        bytes: vec![1; tokens],
        documents: vec![vec![0]; ROWS],
    }
}

pub(crate) fn schedule(at: &[u64]) -> MitosisConfig {
    MitosisConfig {
        mode: Mode::Schedule(Schedule { at: at.to_vec() }),
        hold_steps: 6,
        fade_steps: 6,
        moments: Default::default(),
    }
}

/// A run that executes the steps of the learner's loop.
pub(crate) struct Run {
    pub(crate) trainee: Trainee<B>,
    pub(crate) optimizer: AdamW<B>,
    pub(crate) step: u64,
    pub(crate) losses: Vec<f64>,
    pub(crate) events: Vec<MitosisRecord>,
}

impl Run {
    pub(crate) fn new(mitosis: Option<MitosisConfig>) -> Self {
        let config = TrainingConfig {
            steps: 400,
            mitosis,
            ..TrainingConfig::default()
        };
        let model = model();
        let domains = model.domains.clone();
        let model = CausalLm::<B>::init(&model, 7, &Default::default());
        Self {
            optimizer: AdamW::new(&config),
            trainee: Trainee::new(model, config, domains),
            step: 0,
            losses: Vec::new(),
            events: Vec::new(),
        }
    }

    pub(crate) fn steps(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step += 1;
            for batch in MicroBatch::of_step(self.step, vec![rows(self.step)], 0) {
                let output = self.trainee.step(batch);
                let mitosis = self.trainee.mitosis();
                let grads = output.grads;
                if mitosis.measures() {
                    let model = &self.trainee.model;
                    let squares = inheritance::gradients_by_expert(model, &grads);
                    mitosis.observe_gradients(squares);
                }
                let optimizer = &mut self.optimizer;
                self.trainee = self.trainee.clone().optimize(optimizer, 3e-3, grads);
                self.losses.push(output.item.get().losses.next_token);
                if let Some(grown) = mitosis.take_grown() {
                    let factor = mitosis.moments().factor();
                    let model = &self.trainee.model;
                    inheritance::inherit(&self.optimizer, model, &grown.changes, factor);
                    self.events.push(grown.record);
                }
            }
        }
    }

    /// Gate projections of the first routed layer's experts.
    pub(crate) fn experts(&self) -> Vec<Vec<f32>> {
        let mut found = Vec::new();
        let _ = self.trainee.model.clone().map_moe(|layer, moe| {
            if layer == 0 {
                let values = moe.experts.gate_proj.val().into_data();
                let values: Vec<f32> = values.iter::<f32>().collect();
                let size = values.len() / (2 * EXPERTS);
                found = values.chunks(size).map(<[f32]>::to_vec).collect();
            }
            moe
        });
        found
    }

    pub(crate) fn loads(&self) -> Vec<Vec<u64>> {
        self.trainee.ledger().report().loads
    }
}

/// A rule by which experts divide within a few steps.
pub(crate) fn eager() -> StressRule {
    StressRule {
        window: 5,
        threshold: 1.02,
        windows: 2,
        pause: 10,
        until: 0.7,
        ..StressRule::default()
    }
}
