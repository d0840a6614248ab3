//! Formats of other programs: reading their checkpoints, and writing ours for them.
//!
//! [`ForeignModel::open`] opens every format. A format is a [`TensorSource`] with Hugging Face's names and an
//! [`HfConfig`](hugging_face::HfConfig). [`Incoming`] turns it into weights that our models load, [`Outgoing`] turns
//! our weights into it, one tensor at a time. Both follow the [`Entry`]s of the model's [`Family`].

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
