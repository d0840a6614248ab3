//! Other people's formats: their checkpoints in, ours out.
//!
//! [`ForeignModel::open`] opens them all. A format is a [`TensorSource`] with Hugging Face's names and a
//! [`HfConfig`](hugging_face::HfConfig): [`Incoming`] turns it into weights that a model here loads, [`Outgoing`] turns
//! weights into it, one tensor at a time. Both follow the [`Entry`]s of the model's [`Family`].

mod dtype;
mod entry;
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
mod tensor;
#[cfg(test)]
mod tests;

pub use dtype::weights_dtype;
pub use entry::{Entry, Rows, Take, Turn};
pub use error::InteropError;
pub use family::{Extras, Family, Gguf, Profile, hf_config};
pub use incoming::Incoming;
pub use open::{ForeignModel, ForeignTokenizer};
pub use origin::{Begun, Origin};
pub use outgoing::{Outgoing, OutgoingOptions};
pub use tensor::{RawTensor, TensorInfo, TensorSource};
