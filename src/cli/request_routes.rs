//! `inference --routes`: writes the routes of one request.

use std::io::Write;
use std::path::Path;

use crate::cli::failure::Failure;
use crate::cli::whole_file::write_whole;
use crate::inference::{RequestRoutes, RouteLog, routed_layers};
use crate::model::ModelConfig;

/// Refuses a model without routers.
pub(crate) fn check(model: &ModelConfig) -> Result<(), Failure> {
    match routed_layers(model).next() {
        Some(_) => Ok(()),
        None => Err(Failure::input(
            "`--routes` needs a model with experts: this one is dense",
        )),
    }
}

/// Writes the routes of the tokens in `past`.
pub(crate) fn write(
    path: &Path,
    model: &ModelConfig,
    past: &[u32],
    routes: &RouteLog,
) -> Result<(), Failure> {
    let request = RequestRoutes::new(model, past, routes);
    write_whole(path, |file| {
        serde_json::to_writer(&mut *file, &request)?;
        writeln!(file)
    })
}
