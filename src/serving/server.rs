//! Connections, and the life of a server: it listens, loads the model, serves, and ends when what runs is finished.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;

use burn::tensor::backend::DeviceOps;
use darkhorse_backends::Ops;
use tokio::sync::watch;

use super::answer::seconds_since_1970;
use super::config::ServeConfig;
use super::energy::Meter;
use super::router::router;
use super::state::{Ready, State};
use super::worker::{Job, Reports, work};
use crate::http::{Bounds, Stopper, listen};
use crate::inference::Limits;
use crate::model::{CausalLm, FeedForwardPlan};
use crate::stored::{Model, OpenError};
use crate::telemetry::energy::{Meters, Scope, Unmetered};

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    config: ServeConfig,
    /// Energy meters; absent: those of the machine.
    meters: Option<Result<Meters, Unmetered>>,
    stop: watch::Sender<bool>,
}

/// Why a server cannot run, or ended. `E` is the error of loading its model.
#[derive(Debug, thiserror::Error)]
pub enum ServeError<E> {
    /// The model cannot be loaded.
    #[error(transparent)]
    Load(E),
    /// The model has no tokenizer, or its chat template cannot be read.
    #[error(transparent)]
    Model(OpenError),
    /// The operating system refuses sockets or threads.
    #[error("cannot serve: {0}")]
    Io(#[from] io::Error),
    /// The engine has ended by a bug, which was reported.
    #[error("the engine has ended")]
    Engine,
}

impl Server {
    /// Listens. Connections are accepted once it runs.
    ///
    /// # Errors
    ///
    /// Unknown host, or an address that is in use or forbidden.
    pub fn bind(config: ServeConfig) -> io::Result<Self> {
        let listener = TcpListener::bind((config.host.as_str(), config.port))?;
        listener.set_nonblocking(true)?;
        let (stop, _) = watch::channel(false);
        Ok(Self {
            listener,
            config,
            meters: None,
            stop,
        })
    }

    /// Measures energy with these meters, or not at all, instead of with those of the machine.
    pub fn with_meters(self, meters: Result<Meters, Unmetered>) -> Self {
        Self {
            meters: Some(meters),
            ..self
        }
    }

    /// Its address.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A handle to end it by.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(self.stop.clone())
    }

    /// Loads the model and serves it until the server is stopped; requests before that are refused with 503. The model
    /// runs on the calling thread, connections on another. `loaded` is called when the model is there.
    ///
    /// # Errors
    ///
    /// [`ServeError`].
    pub fn run<B: Ops, E>(
        self,
        load: impl FnOnce() -> Result<Model<B>, E>,
        loaded: impl FnOnce(),
    ) -> Result<(), ServeError<E>>
    where
        CausalLm<B>: Sync,
    {
        let Self {
            listener,
            config,
            meters,
            stop,
        } = self;
        let state = Arc::new(State::new(config));
        thread::scope(|scope| {
            let (router, stops) = (router(state.clone()), stop.subscribe());
            let bounds = Bounds {
                head_bytes: state.config.head_bytes,
                patience: state.config.patience,
            };
            let connections = thread::Builder::new().name("connections".into());
            let connections =
                connections.spawn_scoped(scope, move || listen(listener, router, bounds, stops))?;
            let ended = catch_unwind(AssertUnwindSafe(|| {
                serve_model(state, meters, load, loaded)
            }));
            // without an engine there is nothing to serve
            stop.send_replace(true);
            let served = connections.join().unwrap_or(Ok(()));
            ended.unwrap_or(Err(ServeError::Engine))?;
            Ok(served?)
        })
    }
}

/// Loads the model, and runs the engine until no more requests can come.
fn serve_model<B: Ops, E>(
    state: Arc<State>,
    meters: Option<Result<Meters, Unmetered>>,
    load: impl FnOnce() -> Result<Model<B>, E>,
    loaded: impl FnOnce(),
) -> Result<(), ServeError<E>>
where
    CausalLm<B>: Sync,
{
    let model = load().map_err(ServeError::Load)?;
    let (jobs, mut received) = channel::<Job>();
    let config = state.config.engine;
    let limits = Limits::of(model.config());
    let tokenizer = model.tokenizer().map_err(ServeError::Model)?.clone();
    let template = model.template().map_err(ServeError::Model)?;
    let stop_ids = model.stop_ids();
    let turns = [template.stop_ids(&tokenizer), stop_ids.clone()].concat();
    let plan = model.config().plan();
    let device = model.causal_lm().embed_tokens.device();
    let backend = B::name(&device);
    let meters = meters.unwrap_or_else(|| {
        let scope = Scope::of_backend(&backend, Some(device.id().index_id.into()));
        Meters::of_machine(&scope).map(|(meters, _)| meters)
    });
    let meter = match meters {
        Ok(meters) => Ok(Arc::new(Meter::start(meters)?)),
        Err(missing) => Err(missing.to_string()),
    };
    let reports = Reports {
        metrics: state.metrics.clone(),
        loads: state.loads.clone(),
        meter: meter.as_ref().ok().cloned(),
    };
    let routes =
        |layer: &crate::model::LayerPlan<'_>| matches!(layer.feed_forward, FeedForwardPlan::Moe(_));
    state.set_ready(Ready {
        name: state.config.name.clone(),
        created: seconds_since_1970(),
        template,
        tokenizer,
        stop_ids,
        turn_stop_ids: turns,
        limits,
        memory: config.memory,
        sampling: model.sampling(state.config.sampling.clone()),
        speculation: state.config.speculation,
        speculates: state.config.speculates,
        can_draft: !model.causal_lm().mtp.is_empty(),
        has_experts: plan.iter().any(routes),
        model: model.config().clone(),
        grammars: OnceLock::new(),
        backend,
        meter,
        jobs,
    });
    drop(state);
    loaded();
    work(model.causal_lm(), limits, config, &mut received, reports);
    Ok(())
}
