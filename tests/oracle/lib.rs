//! Holds every form of an operation against its definition, `parity/`, and a model on the selected backend against the
//! NdArray backend, for which this project has no kernels, `backends.rs`.
