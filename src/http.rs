//! Connections of an HTTP server: they are accepted until the server is stopped, and those that are open then are served
//! to their end.

use std::io;
use std::net::TcpListener as StdListener;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Time to wait when no connection can be accepted, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Bounds on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Largest head of a request, in bytes.
    pub(crate) head_bytes: usize,
    /// Time in which the head of a request must arrive.
    pub(crate) patience: Duration,
}

/// Ends a server, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Stopper {
    pub(crate) fn new(stop: watch::Sender<bool>) -> Self {
        Self(stop)
    }

    /// Makes the server accept no more connections and end when all its answers are given.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Serves connections on the calling thread until `stop` is true.
pub(crate) fn listen(
    listener: StdListener,
    router: Router,
    bounds: Bounds,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        serve(listener, router, bounds, stop).await;
        Ok(())
    })
}

/// Accepts connections until the server is stopped, then waits for those that are open.
async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let stops_too = stop.clone();
    loop {
        tokio::select! {
            _ = stop.wait_for(|stops| *stops) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, router.clone(), bounds, stops_too.clone()));
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
    bounds: Bounds,
    mut stop: watch::Receiver<bool>,
) {
    // a token should not wait for the next one
    let _ = socket.set_nodelay(true);
    let connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.patience)
        .max_buf_size(bounds.head_bytes)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
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
