//! Compares every implementation of an operation with its definition: the output and all gradients.
//!
//! The definition runs on burn-flex with burn's automatic differentiation. It is compared with the implementation for
//! burn-flex and with the default implementation on ndarray, both with hand-written backward passes.

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
