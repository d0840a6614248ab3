//! Writes one of our models as a checkpoint of the package, one tensor in memory at a time.

use std::path::Path;

use safetensors::Dtype;
use serde_json::json;

use super::config::GenesisConfig;
use super::{CONFIG_KEY, InteropError, described};
use crate::interop::hugging_face::{malformed, write_file};
use crate::interop::new_folder::NewFolder;
use crate::interop::{Outgoing, OutgoingOptions};
use crate::model::ModelConfig;
use crate::model::weights::WeightSource;

/// Name of the file while it is incomplete.
const FILE: &str = "model.safetensors";

/// Writes a checkpoint that the package can load; `dtype` defaults to the weights' element type.
///
/// # Errors
///
/// The model is not of this family (the error tells the difference), the file exists, or reading or writing fails.
pub fn write(
    target: &Path,
    weights: &dyn WeightSource,
    model: &ModelConfig,
    dtype: Option<Dtype>,
) -> Result<(), InteropError> {
    if target.symlink_metadata().is_ok() {
        return Err(malformed(target, "a file that exists", "no such file"));
    }
    let config = GenesisConfig::of(model, weights.path())?;
    let options = OutgoingOptions {
        dtype,
        ..Default::default()
    };
    let tensors = Outgoing::new(weights, &described(model.clone()), options)?;
    let folder = NewFolder::beside(target)?;
    let metadata = json!({ CONFIG_KEY: json!(config).to_string() });
    write_file(&folder.path().join(FILE), &tensors, &metadata, target)?;
    folder.move_out(std::iter::once((FILE, target.to_path_buf())))
}
