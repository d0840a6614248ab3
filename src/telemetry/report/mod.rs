//! HTML reports without network or scripts: `report.html` for a training run, `routes.html` for a study of its
//! routing, `receipt.html` for a conversion; and several runs over each other, for a server.

mod comparison;
mod conversion;
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
mod scores;
mod tiles;

#[cfg(test)]
mod sample;

pub use comparison::{Compared, render as render_comparison};
pub use conversion::{Change, Conversion, OverLayers, render as render_conversion};
pub(crate) use format::escape;
pub use page::{About, render, render_live};
pub use routes::render as render_routes;
pub use scores::{Measured, ScoreLine};
