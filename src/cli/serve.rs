//! `serve`: an HTTP server with OpenAI's interface.

use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use crate::cli::args::{
    CacheArgs, DeviceArgs, SpeculationArgs, TokenizerArgs, WeightsArgs, memory_bytes,
};
use crate::cli::device;
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::model_args::ModelArgs;
use crate::cli::output;
use crate::inference::{CacheMemory, EngineConfig, Recording};
use crate::model::ModelConfig;
use crate::model::dtype::Dtype;
use crate::serving::{ApiKeys, ServeConfig, ServeError, Server, Stopper};

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis serve --model ./SmolLM2-135M-Instruct
  darkhorse-genesis serve --model runs/mixed --host 0.0.0.0 --port 9000 --api-keys keys.txt
  darkhorse-genesis serve --model model.gguf --name small --max-sequences 32 --cache-memory 4GB

  curl http://127.0.0.1:8000/v1/chat/completions \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"What is 2 + 2?\"}], \"max_tokens\": 64}'";

/// Exit codes after a second Ctrl-C or SIGTERM, by the convention of shells.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;

/// Serve a model over HTTP, with OpenAI's interface
///
/// Ctrl-C or SIGTERM ends it when all answers are given, a second one at once.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    tokenizer: TokenizerArgs,
    /// Address or name of the interface to listen on; 0.0.0.0: all
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0: any free one
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    port: u16,
    /// File of keys, one per line, of which requests must give one [default: none is needed]
    #[arg(long, value_name = "FILE")]
    api_keys: Option<PathBuf>,
    /// Name of the model in requests and answers [default: the last part of its path]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Largest number of texts that are generated at once
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_sequences: u16,
    /// Largest number of texts that wait; with more, requests are refused with status 429
    #[arg(long, value_name = "N", default_value_t = 512)]
    queue: u16,
    /// Memory for the caches of all texts, as 4GB [default: a quarter of the machine's or device's memory, or 4GB if
    /// that is not known]
    #[arg(long, value_name = "MEMORY", value_parser = memory_bytes)]
    cache_memory: Option<u64>,
    #[command(flatten)]
    weights: WeightsArgs,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    speculative: SpeculationArgs,
}

/// Memory for caches if that of the machine is not known, in bytes.
const CACHE_BYTES: u64 = 4_000_000_000;
/// Share of the caches' memory for the beginnings of earlier prompts.
const SHARED: u64 = 4;

impl ServeArgs {
    /// Name of the model in requests.
    fn name(&self) -> Result<String, Failure> {
        let last = |path: &Path| {
            let path = path.canonicalize().ok()?;
            Some(path.file_name()?.to_string_lossy().into_owned())
        };
        let name = self.name.clone().or_else(|| last(self.model.path()));
        let name = name.unwrap_or_else(|| "model".into());
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(Failure::input(format!(
                "`--name` is {name:?}, expected a name without control characters"
            )));
        }
        Ok(name)
    }

    /// How sequences are batched, for this model.
    fn engine(&self, model: &ModelConfig) -> EngineConfig {
        let cache = self.cache.config();
        let known = || device::memory_bytes(self.device.device.as_ref()).map(|it| it / 4);
        let bytes = self.cache_memory.or_else(known).unwrap_or(CACHE_BYTES);
        let dtype = self.cache.dtype().unwrap_or(Dtype::F32);
        let memory = |bytes| CacheMemory::new(bytes, model, cache.page_len, dtype, Dtype::F32);
        let default = EngineConfig::default();
        let shared = memory(bytes).tokens_in(bytes / SHARED);
        EngineConfig {
            max_sequences: self.max_sequences.into(),
            cache,
            shared_prefix_tokens: shared.min(default.shared_prefix_tokens),
            memory: Some(memory(bytes - bytes / SHARED)),
            routes: Recording::On,
            ..default
        }
    }
}

/// Runs the command.
pub(crate) fn execute(args: &ServeArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    // files are opened before an address is taken
    let keys = args.api_keys.as_deref().map(ApiKeys::read);
    let stored = args.model.open()?;
    let stored = stored.with_tokenizer(args.tokenizer.tokenizer.as_deref())?;
    let device = args.device.open()?;
    let config = ServeConfig {
        host: args.host.clone(),
        port: args.port,
        keys: keys.transpose().or_input()?,
        name: args.name()?,
        engine: args.engine(&stored.experiment.model),
        queue: args.queue.into(),
        speculation: args.speculative.config().unwrap_or_default(),
        speculates: args.speculative.config().is_some(),
        ..ServeConfig::default()
    };
    let name = config.name.clone();
    let server = Server::bind(config).map_err(|error| {
        let address = format!("{}:{}", args.host, args.port);
        Failure::input(format!("cannot listen on {address}: {error}"))
    })?;
    let address = server.address()?;
    let is_loaded = Arc::new(AtomicBool::new(false));
    end_on_signals(server.stopper(), is_loaded.clone())?;
    let held = args.weights.held();
    let served = server.run(
        || Loaded::of_stored(stored, held, &device),
        || {
            is_loaded.store(true, Ordering::Relaxed);
            // who has closed the output does not read the address
            let _ = output::line(format_args!("{name} is served at http://{address}"));
        },
    );
    served.map_err(|error| match error {
        ServeError::Load(failure) => failure,
        ServeError::Model(error) => Failure::Input(error.into()),
        ServeError::Io(error) => error.into(),
        ServeError::Engine => Failure::Other(anyhow::anyhow!("the engine has ended")),
    })
}

/// The first signal ends the server when its answers are given, the second one and any before the model is loaded
/// ends the process.
#[cfg(unix)]
fn end_on_signals(stopper: Stopper, is_loaded: Arc<AtomicBool>) -> Result<(), Failure> {
    use signal_hook::consts::{SIGINT, SIGTERM};

    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).or_input()?;
    let listen = move || {
        let mut is_ending = false;
        for signal in signals.forever() {
            if is_ending || !is_loaded.load(Ordering::Relaxed) {
                exit(if signal == SIGTERM {
                    TERMINATED
                } else {
                    INTERRUPTED
                });
            }
            is_ending = true;
            eprintln!("ending when all answers are given; once more ends at once");
            stopper.stop();
        }
    };
    let listener = std::thread::Builder::new().name("signals".into());
    listener.spawn(listen).or_input().map(drop)
}

/// The first Ctrl-C ends the server when its answers are given, the second one and any before the model is loaded
/// ends the process.
#[cfg(not(unix))]
fn end_on_signals(stopper: Stopper, is_loaded: Arc<AtomicBool>) -> Result<(), Failure> {
    let is_ending = AtomicBool::new(false);
    let heard = move || {
        if is_ending.swap(true, Ordering::Relaxed) || !is_loaded.load(Ordering::Relaxed) {
            exit(INTERRUPTED);
        }
        eprintln!("ending when all answers are given; once more ends at once");
        stopper.stop();
    };
    ctrlc::set_handler(heard).or_input()
}
