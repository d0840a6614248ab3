//! What the published package of Genesis-152M computes, this computes: every tensor of
//! `tests/fixtures/genesis152m` within its tolerance, and every id.

mod blocks;
mod cli;
mod fixture;
mod generation;
mod model;
mod training;
