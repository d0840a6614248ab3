//! Models known only by their configuration, without weights.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::cli::failure::{Failure, OrInput};
use crate::config::Experiment;
use crate::interop::ForeignModel;
use crate::interop::hugging_face::HfConfig;
use crate::stored::untrained;

/// The experiment of a run, or a default one around the model of a `config.json`, a GGUF file or a `.safetensors`
/// file.
pub(super) fn experiment(path: &Path) -> Result<Experiment, Failure> {
    let whole = ["gguf", "safetensors"];
    let is_whole = |extension: &OsStr| whole.iter().any(|it| extension == *it);
    if path.extension().is_some_and(is_whole) {
        return Ok(untrained(ForeignModel::open(path).or_input()?.config.model));
    }
    let inside = path.join("config.json");
    let file = if path.is_dir() { &inside } else { path };
    let text = fs::read_to_string(file).map_err(|error| {
        let file = file.display();
        Failure::input(format!(
            "{file}: {error}, expected a model's `config.json`, or its folder"
        ))
    })?;
    // only configurations of Hugging Face have a `model_type`
    let json: Option<Value> = serde_json::from_str(&text).ok();
    if json.is_some_and(|json| json.get("model_type").is_none()) {
        return Experiment::load(file).or_input();
    }
    let config = HfConfig::parse(file, &text).or_input()?;
    Ok(untrained(config.model))
}
