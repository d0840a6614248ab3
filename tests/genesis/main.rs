//! Results equal those of the published Genesis-152M package: every tensor in `tests/fixtures/genesis152m` within its
//! tolerance, and every id exactly.

mod blocks;
mod cli;
mod fixture;
mod generation;
mod model;
mod training;
