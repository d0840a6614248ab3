//! `report.html`: what a run was, did and cost, on one page that needs no network and no script.

mod figures;
mod format;
mod heat;
mod line;
mod page;

#[cfg(test)]
mod sample;

pub use page::{About, render};
