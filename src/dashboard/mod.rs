//! Live pages of training runs over HTTP: the report of each run, renewed while its journal grows, and several runs over
//! each other.

mod pages;
mod watched;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use watched::{WatchError, Watched};

use crate::http::{Bounds, Stopper, listen};

/// Largest number of runs over each other: so many can be told apart.
pub const MOST_RUNS: usize = 8;

/// Bounds on the connections of readers.
const BOUNDS: Bounds = Bounds {
    head_bytes: 32 << 10,
    patience: Duration::from_secs(30),
};

/// A server of pages that listens.
#[derive(Debug)]
pub struct Dashboard {
    listener: TcpListener,
    runs: Vec<Watched>,
    stop: watch::Sender<bool>,
}

impl Dashboard {
    /// Listens. Connections are accepted once it runs.
    ///
    /// # Errors
    ///
    /// Unknown host, or an address that is in use or forbidden.
    ///
    /// # Panics
    ///
    /// Without runs, or with more than [`MOST_RUNS`].
    pub fn bind(host: &str, port: u16, runs: Vec<Watched>) -> io::Result<Self> {
        assert!((1..=MOST_RUNS).contains(&runs.len()), "{} runs", runs.len());
        let listener = TcpListener::bind((host, port))?;
        listener.set_nonblocking(true)?;
        let (stop, _) = watch::channel(false);
        Ok(Self {
            listener,
            runs,
            stop,
        })
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

    /// Serves the pages on the calling thread until it is stopped.
    ///
    /// # Errors
    ///
    /// The operating system refuses sockets.
    pub fn run(self) -> io::Result<()> {
        let stops = self.stop.subscribe();
        listen(
            self.listener,
            pages::router(Arc::new(self.runs)),
            BOUNDS,
            stops,
        )
    }
}
