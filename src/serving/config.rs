//! Settings of a server.

use std::time::Duration;

use super::access::ApiKeys;
use crate::inference::{EngineConfig, SamplingConfig, Speculation};

/// Settings of a [`Server`](super::Server).
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Name or address of the interface to listen on.
    pub host: String,
    /// Port; 0: any free one.
    pub port: u16,
    /// Keys of which requests must give one; absent: none is needed.
    pub keys: Option<ApiKeys>,
    /// Name of the model in requests and answers.
    pub name: String,
    /// How sequences are batched.
    pub engine: EngineConfig,
    /// Number of sequences that may wait; with more, requests are refused with 429.
    pub queue: usize,
    /// Speculative decoding of requests that ask for it, and of all others if `speculates`.
    pub speculation: Speculation,
    /// Whether requests that do not say otherwise use speculative decoding.
    pub speculates: bool,
    /// Sampling of requests, where they and the model's files do not say otherwise.
    pub sampling: SamplingConfig,
    /// Largest body of a request, in bytes.
    pub body_bytes: usize,
    /// Largest head of a request, in bytes.
    pub head_bytes: usize,
    /// Time in which the head of a request, and its body, must arrive.
    pub patience: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8000,
            keys: None,
            name: "model".into(),
            engine: EngineConfig::default(),
            queue: 512,
            speculation: Speculation::default(),
            speculates: false,
            // OpenAI's defaults
            sampling: SamplingConfig {
                temperature: 1.0,
                top_k: 0,
                top_p: 1.0,
                ..SamplingConfig::default()
            },
            body_bytes: 16 << 20,
            head_bytes: 32 << 10,
            patience: Duration::from_secs(30),
        }
    }
}
