//! Every form of an operation against its definition: the output and every gradient.
//!
//! The definition runs on burn-flex under burn's own automatic differentiation. Held against it are the
//! forms for burn-flex and, on ndarray, the defaults, both with their hand-written backward passes.

// helpers of tests, which clippy does not know as such
#![allow(clippy::unwrap_used)]
// definitions, on CPUs
#![allow(clippy::disallowed_methods)]

mod attention;
mod cross_entropy;
mod determinism;
mod expanded;
mod experts;
mod feed_forward;
mod forgetting;
mod latent;
mod linear_attention;
mod paged;
mod quantized;
mod row_invariance;
mod rows;
mod steps;
mod support;
mod updates;
