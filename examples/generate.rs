//! Opens a model of any format and continues a prompt: `cargo run --release --example generate -- MODEL PROMPT`.

use std::error::Error;
use std::process::ExitCode;

use darkhorse_genesis::Model;
use darkhorse_genesis::backends::select::{Selected, default_device};

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, prompt] = &arguments[..] else {
        return Err("usage: cargo run --release --example generate -- MODEL PROMPT".into());
    };
    let model = Model::<Selected>::open(path, &default_device())?;
    let mut options = model.options();
    options.max_tokens = 64;
    println!("{prompt}{}", model.generate(prompt, &options)?);
    Ok(())
}
