//! Compute backends of Darkhorse Genesis, and the operations that burn lacks.
//!
//! - [`select`]: the backend that the cargo features choose, as one type alias.
//! - [`Ops`]: a sub-trait of burn's `Backend`. Every method has a default in burn's own operations, so any backend
//!   joins with an empty `impl`; a backend overrides the methods that it can run faster.
//!
//! Each operation is a folder. Its `reference.rs` defines the operation and is written to be read. Faster forms are
//! tested against it, forward and backward: CPU forms by `parity` of the workspace's `tests/oracle`, GPU kernels by
//! `tests/selected`.

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

pub use awake::{awake, awake_gradients};
pub use ops::Ops;
