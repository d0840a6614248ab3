//! Promises of serving, checked at a length that tests are too short for.
//!
//! ```text
//! cargo bench --bench serving -- cache RUN                what the format of the cache changes, on validation texts
//! cargo bench --bench serving -- long-prompt [TOKENS]     peak memory of a prompt that fills the context
//! cargo bench --bench serving -- requests [COUNT]         requests that come, go, are cancelled and time out
//! cargo bench --bench serving -- drafts RUN [PROMPTS]     the same ids with and without drafts; how many are accepted
//! cargo bench --bench serving -- repeats RUN              drafts on text that repeats itself: acceptance and speed
//! ```
//!
//! `RUN` is a trained run, such as `cargo run --release --example train` makes. A broken promise ends the program
//! with an error.

mod cache;
mod drafts;
mod long_prompt;
mod memory;
mod requests;
mod run;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome {
    let arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["cache", run] => cache::formats(&run::Trained::open(run)?),
        ["long-prompt"] => long_prompt::peak_memory(131_072),
        ["long-prompt", tokens] => long_prompt::peak_memory(tokens.parse()?),
        ["requests"] => requests::at_random(500),
        ["requests", count] => requests::at_random(count.parse()?),
        ["drafts", run] => drafts::change_nothing(&run::Trained::open(run)?, 1000),
        ["drafts", run, count] => drafts::change_nothing(&run::Trained::open(run)?, count.parse()?),
        ["repeats", run] => drafts::on_repeats(&run::Trained::open(run)?),
        _ => {
            println!("say what to measure: the first lines of benches/serving/main.rs list it");
            Ok(())
        }
    }
}
