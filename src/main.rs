//! `darkhorse-genesis`: trains and runs Mixture-of-Experts language models from the command line.

use std::process::ExitCode;

#[cfg(not(any(
    feature = "flex",
    feature = "wgpu",
    feature = "vulkan",
    feature = "metal",
    feature = "cuda",
    feature = "tch"
)))]
compile_error!(
    "the binary needs a backend: build with one of the features flex, wgpu, vulkan, metal, cuda, tch"
);

fn main() -> ExitCode {
    darkhorse_genesis::cli::main()
}
