//! Output files of a study of routes.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::cli::failure::Failure;
use crate::cli::whole_file::write_whole;
use crate::study::{Observation, traces};
use crate::telemetry::{RouteStudy, report};

/// Refuses output paths that cannot be written to, before anything is read.
pub(super) fn check(out: Option<&Path>, trace: Option<&Path>) -> Result<(), Failure> {
    if let Some(out) = out {
        fs::create_dir_all(out)
            .map_err(|error| Failure::input(format!("`--out` {}: {error}", out.display())))?;
    }
    match trace {
        Some(path) if path.is_dir() => Err(Failure::input(format!(
            "`--trace` {} is a folder, expected a file to write",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Writes the study and its page. Returns the page's path.
pub(super) fn write_study(out: &Path, study: &RouteStudy) -> Result<PathBuf, Failure> {
    let json = serde_json::to_string_pretty(study)?;
    write_whole(&out.join("routes.json"), |file| writeln!(file, "{json}"))?;
    let page = out.join("routes.html");
    let html = report::render_routes(study);
    write_whole(&page, |file| file.write_all(html.as_bytes()))?;
    Ok(page)
}

pub(super) fn write_trace(path: &Path, observation: &Observation) -> Result<(), Failure> {
    write_whole(path, |file| {
        traces(observation).try_for_each(|trace| {
            serde_json::to_writer(&mut *file, &trace)?;
            writeln!(file)
        })
    })
}
