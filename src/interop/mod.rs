//! Other people's formats: their checkpoints in, ours out.
//!
//! A format is a [`TensorSource`] with Hugging Face's names and a [`HfConfig`](hugging_face::HfConfig):
//! [`Incoming`] turns it into weights that a model here loads, [`Outgoing`] turns weights into it. Names are
//! known in one place, `names`; tensors go through one at a time.

mod dtype;
mod error;
mod family;
pub mod genesis;
pub mod gguf;
pub mod hugging_face;
mod incoming;
mod layout;
mod names;
mod new_folder;
mod open;
mod origin;
pub mod ot;
mod outgoing;
pub mod qwen3_next;
mod tensor;
#[cfg(test)]
mod tests;

pub use dtype::weights_dtype;
pub use error::InteropError;
pub use family::{Extras, hf_config, model_config};
pub use incoming::Incoming;
pub use open::{ForeignModel, ForeignTokenizer};
pub use origin::{Begun, Origin};
pub use outgoing::{Outgoing, OutgoingOptions};
pub use tensor::{RawTensor, TensorInfo, TensorSource};
