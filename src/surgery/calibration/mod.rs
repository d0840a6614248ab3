//! The receipt of a conversion from a dense model to one with experts.

mod page;
mod receipt;
mod speed;

pub use receipt::{Carving, Mode, Parameters, Receipt, Recovery};
pub use speed::Speed;
