//! What all requests share.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde_json::Value;
use tokio::sync::Semaphore;

use super::config::ServeConfig;
use super::energy::Meter;
use super::error::ApiError;
use super::grammar::Grammars;
use super::loads::Loads;
use super::metrics::Metrics;
use super::traces::Traces;
use super::worker::Job;
use crate::inference::{CacheMemory, Limits, SamplingConfig, Speculation};
use crate::model::{FeedForwardPlan, ModelConfig};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::Template;

/// State of a server, before and after its model is loaded.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: ServeConfig,
    /// One permit per sequence that runs or waits.
    pub(super) room: Arc<Semaphore>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) loads: Arc<Loads>,
    pub(super) traces: Traces,
    pub(super) begun: Instant,
    ready: OnceLock<Arc<Ready>>,
}

/// The model as requests see it.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) name: String,
    /// Time of loading, in seconds since 1970.
    pub(super) created: u64,
    pub(super) tokenizer: Tokenizer,
    pub(super) template: Template,
    /// Ids that end a text, and ids that end a turn of a chat.
    pub(super) stop_ids: Vec<u32>,
    pub(super) turn_stop_ids: Vec<u32>,
    pub(super) limits: Limits,
    pub(super) memory: Option<CacheMemory>,
    pub(super) sampling: SamplingConfig,
    pub(super) speculation: Speculation,
    pub(super) speculates: bool,
    pub(super) can_draft: bool,
    pub(super) has_experts: bool,
    pub(super) model: ModelConfig,
    /// Made for the first answer that needs it.
    pub(super) grammars: OnceLock<Grammars>,
    /// Name of the backend.
    pub(super) backend: String,
    /// The energy meters, or the reason why there are none.
    pub(super) meter: Result<Arc<Meter>, String>,
    /// Where sequences are handed to the engine.
    pub(super) jobs: Sender<Job>,
}

impl State {
    pub(super) fn new(config: ServeConfig) -> Self {
        let room = config.engine.max_sequences + config.queue;
        Self {
            room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))),
            metrics: Arc::new(Metrics::new(&config.name)),
            loads: Arc::default(),
            traces: Traces::default(),
            begun: Instant::now(),
            ready: OnceLock::new(),
            config,
        }
    }

    /// Number of sequences that may run and wait.
    pub(super) fn capacity(&self) -> usize {
        self.config.engine.max_sequences + self.config.queue
    }

    /// The model is loaded.
    pub(super) fn set_ready(&self, ready: Ready) {
        // a server loads once
        let _ = self.ready.set(Arc::new(ready));
    }

    /// The loaded model.
    pub(super) fn ready(&self) -> Result<Arc<Ready>, ApiError> {
        self.ready.get().cloned().ok_or_else(ApiError::loading)
    }
}

impl Ready {
    /// Compiles grammars of answers. Call it beside the connections: the first call takes part of a second.
    pub(super) fn grammars(&self) -> Result<&Grammars, ApiError> {
        if let Some(made) = self.grammars.get() {
            return Ok(made);
        }
        let made = Grammars::new(&self.tokenizer, &self.turn_stop_ids)?;
        Ok(self.grammars.get_or_init(|| made))
    }

    /// Whether every layer with experts routes to this number of them per token. A router has one number for the batch.
    pub(super) fn routes_to(&self, experts: &Value) -> bool {
        let plan = self.model.plan().into_iter();
        let mut chosen = plan.filter_map(|layer| match layer.feed_forward {
            FeedForwardPlan::Moe(moe) => Some(moe.num_experts_per_tok),
            FeedForwardPlan::Dense(_) => None,
        });
        self.has_experts && chosen.all(|k| experts.as_u64() == Some(k as u64))
    }

    /// Texts of tokens as clients read them.
    pub(super) fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.tokenizer.token_text(id).unwrap_or_default()
    }

    /// The special tokens by their roles.
    pub(super) fn special_tokens(&self) -> BTreeMap<&'static str, String> {
        let tokenizer = &self.tokenizer;
        let roles = [
            ("bos_token", tokenizer.bos_id()),
            ("eos_token", tokenizer.eos_id()),
            ("pad_token", tokenizer.pad_id()),
        ];
        let named = roles.into_iter().filter_map(|(role, id)| {
            let token = tokenizer.token(id?)?;
            Some((role, token))
        });
        named.collect()
    }
}
