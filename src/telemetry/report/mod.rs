//! `report.html`: what a run was, did and cost, on one page that needs no network and no script; `routes.html`: where its
//! routers send tokens.

mod document;
mod figures;
mod format;
mod growth;
mod heat;
mod line;
mod maps;
mod page;
mod routes;
mod routes_tables;
mod tiles;

#[cfg(test)]
mod sample;

pub use page::{About, render};
pub use routes::render as render_routes;
