//! Compares every implementation of an operation with its definition (`parity/`), and a model on the selected backend
//! with the NdArray backend, for which this project has no kernels (`backends.rs`).
