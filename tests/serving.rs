//! The HTTP server over a real socket: what it answers does not depend on what else it answers, and nothing that is
//! sent to it breaks it.

// helpers of tests, which clippy does not know as such
#![allow(clippy::unwrap_used)]

mod support;

#[path = "serving/alone.rs"]
mod alone;
#[path = "serving/chats.rs"]
mod chats;
#[path = "serving/client.rs"]
mod client;
#[path = "serving/dashboard.rs"]
mod dashboard;
#[path = "serving/energy.rs"]
mod energy;
#[path = "serving/formats.rs"]
mod formats;
#[path = "serving/life.rs"]
mod life;
#[path = "serving/malformed.rs"]
mod malformed;
#[path = "serving/messages.rs"]
mod messages;
#[path = "serving/openapi.rs"]
mod openapi;
#[path = "serving/responses.rs"]
mod responses;
#[path = "serving/routes.rs"]
mod routes;
#[path = "serving/schema.rs"]
mod schema;
#[path = "serving/scores.rs"]
mod scores;
#[path = "serving/served.rs"]
mod served;
#[path = "serving/streams.rs"]
mod streams;
#[path = "serving/tools.rs"]
mod tools;
