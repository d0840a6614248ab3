//! The task: rows of keys with their values, followed by all keys in another order.

use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_genesis::model::{CausalLm, Sequences};
use rand::{Rng, rngs::SmallRng, seq::SliceRandom};

const KEYS: i64 = 128;
const VALUES: i64 = 64;
/// Number of keys queried at once: few in many rows, or many in few.
const ASKED: usize = 2048;

/// Logits of new rows at the queried keys, and the right answers.
pub(crate) fn ask<B: Ops>(
    model: &CausalLm<B>,
    pairs: usize,
    rng: &mut SmallRng,
) -> (Tensor<B, 2>, Tensor<B, 1, Int>) {
    let rows = ASKED / pairs;
    let (mut tokens, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let mut keys: Vec<i64> = (0..KEYS).collect();
        keys.shuffle(rng);
        let mut planted: Vec<(i64, i64)> = keys[..pairs]
            .iter()
            .map(|&key| (key, KEYS + rng.random_range(0..VALUES)))
            .collect();
        tokens.extend(planted.iter().flat_map(|&(key, value)| [key, value]));
        planted.shuffle(rng);
        tokens.extend(planted.iter().map(|&(key, _)| key));
        answers.extend(planted.iter().map(|&(_, value)| value));
    }
    let device = Default::default();
    let tokens = TensorData::new(tokens, [rows, 3 * pairs]);
    let input = Sequences::plain(Tensor::from_data(tokens, &device));
    let logits = model.forward(&input).narrow(1, 2 * pairs, pairs);
    let (count, vocab) = (rows * pairs, (KEYS + VALUES) as usize);
    let answers = Tensor::from_data(TensorData::new(answers, [count]), &device);
    (logits.reshape([count, vocab]), answers)
}
