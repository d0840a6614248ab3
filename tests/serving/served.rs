//! A server with a small model of random weights.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use darkhorse_backends::select::Selected;
use darkhorse_genesis::Model;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::inference::{EngineConfig, Recording};
use darkhorse_genesis::model::routing::domain::DomainMode;
use darkhorse_genesis::model::{CausalLm, ModelConfig};
use darkhorse_genesis::serving::{ServeConfig, ServeError, Server, Stopper};
use darkhorse_genesis::telemetry::energy::{Meters, Unmetered};
use darkhorse_genesis::tokenizer::Tokenizer;
use serde_json::Value;

use crate::client::{Answer, Connection};
use crate::support::byte_config;

pub(crate) type Ended = Result<(), ServeError<String>>;

/// A running server, which is stopped when it is dropped.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) stopper: Stopper,
    thread: Option<JoinHandle<Ended>>,
}

/// A model that reads bytes, with the given context.
pub(crate) fn config(context: usize) -> ModelConfig {
    ModelConfig {
        max_position_embeddings: context,
        initializer_range: 0.3,
        ..byte_config(DomainMode::Soft)
    }
}

/// The model with these settings; always the same one.
pub(crate) fn model(config: &ModelConfig) -> Model<Selected> {
    model_with(config, Tokenizer::bytes())
}

/// The model with another tokenizer.
fn model_with(config: &ModelConfig, tokenizer: Tokenizer) -> Model<Selected> {
    let experiment = Experiment {
        model: config.clone(),
        ..Experiment::preset("tiny").unwrap()
    };
    let network = CausalLm::init(config, 7, &Default::default());
    Model::new(network, experiment, tokenizer)
}

/// A tokenizer of bytes with a chat template of `tests/fixtures/`.
pub(crate) fn tokenizer_of_template(name: &str) -> Tokenizer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let source = std::fs::read_to_string(folder.join(name)).unwrap();
    Tokenizer::bytes().with_chat_template(&source).unwrap()
}

pub(crate) fn serve_config() -> ServeConfig {
    ServeConfig {
        port: 0,
        name: "small".into(),
        engine: EngineConfig {
            max_sequences: 8,
            prefill_chunk: 16,
            prefill_tokens: 40,
            routes: Recording::On,
            ..EngineConfig::default()
        },
        ..ServeConfig::default()
    }
}

impl Served {
    /// Starts a server and waits until it has its model.
    pub(crate) fn start(model: ModelConfig, config: ServeConfig) -> Self {
        Self::start_with(model, config, Tokenizer::bytes())
    }

    /// A server with the usual settings, this context, and a chat template of `tests/fixtures/`.
    pub(crate) fn of_template(context: usize, name: &str) -> Self {
        Self::start_with(config(context), serve_config(), tokenizer_of_template(name))
    }

    fn start_with(model: ModelConfig, config: ServeConfig, tokenizer: Tokenizer) -> Self {
        let (loaded, is_loaded) = channel();
        let served = Self::begin(
            config,
            move || Ok(model_with(&model, tokenizer)),
            move || {
                loaded.send(()).unwrap();
            },
        );
        is_loaded.recv().unwrap();
        served
    }

    /// As `start`, with these meters.
    pub(crate) fn with_meters(
        model: ModelConfig,
        config: ServeConfig,
        meters: Result<Meters, Unmetered>,
    ) -> Self {
        let (loaded, is_loaded) = channel();
        let server = Server::bind(config).unwrap().with_meters(meters);
        let served = Self::run(
            server,
            move || Ok(self::model(&model)),
            move || {
                loaded.send(()).unwrap();
            },
        );
        is_loaded.recv().unwrap();
        served
    }

    /// A server with the usual settings and this context.
    pub(crate) fn of_context(context: usize) -> Self {
        Self::start(config(context), serve_config())
    }

    /// Starts a server.
    pub(crate) fn begin(
        config: ServeConfig,
        load: impl FnOnce() -> Result<Model<Selected>, String> + Send + 'static,
        loaded: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self::run(Server::bind(config).unwrap(), load, loaded)
    }

    fn run(
        server: Server,
        load: impl FnOnce() -> Result<Model<Selected>, String> + Send + 'static,
        loaded: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self {
            address: server.address().unwrap(),
            stopper: server.stopper(),
            thread: Some(std::thread::spawn(move || server.run(load, loaded))),
        }
    }

    /// Stops the server and returns how it has ended.
    pub(crate) fn end(mut self) -> Ended {
        self.stopper.stop();
        self.ended()
    }

    /// Waits until the server has ended.
    pub(crate) fn ended(&mut self) -> Ended {
        self.thread.take().unwrap().join().unwrap()
    }

    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut connection = Connection::open(self.address);
        connection.send(method, path, headers, body);
        connection.answer()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], body.to_string().as_bytes())
    }

    pub(crate) fn complete(&self, body: &Value) -> Value {
        self.post("/v1/completions", body).ok()
    }

    /// Value of a metric with these labels, written as in the text.
    pub(crate) fn metric(&self, name_and_labels: &str) -> Option<f64> {
        let text = self.get("/metrics").body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name_and_labels));
        line.map(|value| value.trim().parse().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
