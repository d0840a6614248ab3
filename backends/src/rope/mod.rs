//! Rotary position embedding (Su et al., <https://arxiv.org/abs/2104.09864>), interleaved pairs.

pub mod reference;
