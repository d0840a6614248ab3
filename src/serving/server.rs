//! Connections, and the life of a server: it listens, loads the model, serves, and ends when what runs is finished.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use axum::Router;
use burn::tensor::backend::DeviceOps;
use darkhorse_backends::Ops;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::answer::seconds_since_1970;
use super::config::ServeConfig;
use super::energy::Meter;
use super::router::router;
use super::state::{Ready, State};
use super::worker::{Job, Reports, work};
use crate::inference::Limits;
use crate::model::{CausalLm, FeedForwardPlan};
use crate::stored::{Model, OpenError};
use crate::telemetry::energy::{Meters, Scope, Unmetered};

/// Time to wait when no connection can be accepted, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    config: ServeConfig,
    /// Energy meters; absent: those of the machine.
    meters: Option<Result<Meters, Unmetered>>,
    stop: watch::Sender<bool>,
}

/// Ends a server, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    /// Makes the server accept no more connections and end when all its answers are given.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
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
        let listener = StdListener::bind((config.host.as_str(), config.port))?;
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
        Stopper(self.stop.clone())
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
            let (own, stops) = (state.clone(), stop.subscribe());
            let connections = thread::Builder::new().name("connections".into());
            let connections =
                connections.spawn_scoped(scope, move || listen(listener, own, stops))?;
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

/// Serves connections until the server is stopped.
fn listen(
    listener: StdListener,
    state: Arc<State>,
    stops: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        serve(listener, state, stops).await;
        Ok(())
    })
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

/// Accepts connections until the server is stopped, then waits for those that are open.
async fn serve(listener: TcpListener, state: Arc<State>, mut stop: watch::Receiver<bool>) {
    let router = router(state.clone());
    let mut connections = JoinSet::new();
    let stops_too = stop.clone();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stops| *stops) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    let connection = connection(socket, router.clone(), state.clone(), stops_too.clone());
                    connections.spawn(connection);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection.
async fn connection(
    socket: TcpStream,
    router: Router,
    state: Arc<State>,
    mut stop: watch::Receiver<bool>,
) {
    // a token should not wait for the next one
    let _ = socket.set_nodelay(true);
    let config = &state.config;
    let service = TowerToHyperService::new(router);
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.patience)
        .max_buf_size(config.head_bytes)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = std::pin::pin!(connection);
    // a connection that breaks concerns its client alone
    let is_open = tokio::select! {
        _ = connection.as_mut() => false,
        _ = stop.wait_for(|stops| *stops) => true,
    };
    if is_open {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
