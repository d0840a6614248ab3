//! Holds a model on the selected backend against the NdArray backend, for which this project has no kernels: see
//! `backends.rs`.
