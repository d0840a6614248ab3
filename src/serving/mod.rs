//! An HTTP server with OpenAI's interface and Anthropic's for conversations, and what they lack: the experts of every
//! token, and load by expert.
//!
//! A request takes this way: `router.rs` checks its key; the file of its endpoint (`completions.rs`, `chat.rs`,
//! `responses.rs`, `messages.rs`, ...) reads its fields and renders the answer; `submission.rs` queues its sequences,
//! or refuses them with 429; `worker.rs`, the one thread that owns model and [`Engine`](crate::inference::Engine), runs
//! them in the batch; `output.rs` turns their tokens into text up to a stop string; `energy.rs` reads the
//! meters beside the engine and deals out joules to the sequences. A client that disconnects drops the receiver of its
//! updates, which ends its sequences. A request may prescribe the form of its answer (`format.rs`),
//! which `grammar.rs` turns into a mask over the tokens; and it may offer tools (`tools.rs`), whose calls `speech.rs`
//! finds in the answer. `turn.rs` has what all interfaces for conversations share.

mod access;
mod answer;
mod blocks;
mod call_form;
mod chat;
mod completions;
mod config;
mod energy;
mod energy_metrics;
mod error;
mod events;
mod fields;
mod format;
mod grammar;
mod items;
mod live;
mod loads;
mod message_input;
mod messages;
mod metrics;
mod models;
mod openapi;
mod options;
mod output;
mod page;
mod power;
mod response_input;
mod responses;
mod router;
mod said;
mod server;
mod speech;
mod state;
mod submission;
mod tokenize;
mod tools;
mod traces;
mod turn;
mod worker;

pub use crate::http::Stopper;
pub use access::{ApiKeys, KeysError};
pub use config::ServeConfig;
pub use server::{ServeError, Server};
