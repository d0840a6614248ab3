//! Which family of another format a model here belongs to, and the other way round.

mod reading;
mod writing;

pub use reading::model_config;
pub use writing::{Extras, hf_config};
