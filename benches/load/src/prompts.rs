//! Prompts that share no beginning.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const WORDS: &str = "the of and to in a is that it was for on are as with they be at one have this from or had by \
    word but not what all were we when your can said there use an each which she do how their if will up other \
    about out many then them these so some her would make like him into time has look two more write go see number";

/// A text of `words` words; every `number` and `seed` has its own, from the first word on.
pub(crate) fn prompt(seed: u64, number: usize, words: usize) -> String {
    let mut rng =
        SmallRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9).wrapping_add(number as u64));
    let choices: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = format!("{}", rng.random_range(100_000..1_000_000));
    for _ in 1..words {
        text.push(' ');
        text.push_str(choices[rng.random_range(0..choices.len())]);
    }
    text
}
