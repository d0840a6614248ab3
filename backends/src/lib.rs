//! Where Darkhorse Genesis runs, and the few operations that burn lacks.
//!
//! - [`select`]: the backend that the cargo features chose, as one type alias.
//! - [`Ops`]: one sub-trait of burn's `Backend`. Every method has a default written in burn's own
//!   operations, so any backend joins with an empty `impl`; a backend overrides what it can do faster.
//!
//! Each operation is a folder: `reference.rs` is its definition, written for reading, and the oracle
//! that `parity` of the workspace's `tests/oracle` holds every faster form against, forward and gradients, and
//! `tests/selected` the kernels for GPUs.

pub mod adamw;
pub mod attention;
mod autodiff;
mod awake;
#[cfg(feature = "flex")]
pub mod bandwidth;
pub mod cross_entropy;
#[cfg(feature = "cubecl")]
mod cube;
pub mod experts;
pub mod feed_forward;
#[cfg(feature = "flex")]
mod flex;
pub mod forgetting;
pub mod heads;
mod joined;
pub mod largest;
pub mod latent;
pub mod linear;
pub mod linear_attention;
pub mod memory;
pub mod norm;
mod ops;
pub mod paged;
pub mod product;
pub mod quantized;
pub mod rope;
pub mod select;
pub mod short_conv;
pub mod swiglu;
pub mod top_k;
pub mod unit;
pub mod weight;

pub use awake::awake;
pub use ops::Ops;
