//! The operation `cross_entropy`.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Int, Tensor};
use darkhorse_backends::{Ops, cross_entropy};

use crate::support::{
    Differentiated, Flex, NdArray, Outcome, ROUGHLY, assert_close, draws, integers, leaf, noise,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Logits {
    RowMajor,
    ColumnMajor,
    /// Another tensor shares their memory while the gradient is computed.
    Held,
}

fn losses<B: AutodiffBackend>(
    op: impl Fn(Tensor<B, 2>, Tensor<B, 1, Int>) -> Tensor<B, 1>,
    [tokens, vocab]: [usize; 2],
    logits: Logits,
) -> Outcome {
    let shape = if logits == Logits::ColumnMajor {
        [vocab, tokens]
    } else {
        [tokens, vocab]
    };
    let leaf: Tensor<B, 2> = leaf(&noise(1, shape));
    let scaled = leaf.clone().mul_scalar(20.0);
    let scaled = if logits == Logits::ColumnMajor {
        scaled.transpose()
    } else {
        scaled
    };
    let held = (logits == Logits::Held).then(|| (scaled.clone(), scaled.clone().into_data()));
    let targets = integers(&draws(2, tokens, vocab), [tokens]);
    let outcome = Differentiated::new(op(scaled, targets))
        .gradient("gradient", &leaf)
        .outcome();
    if let Some((held, before)) = held {
        assert_eq!(
            held.into_data(),
            before,
            "the logits that others hold must not change"
        );
    }
    outcome
}

#[test]
fn cross_entropy_is_the_negative_log_likelihood() {
    for shape in [[1, 1], [1, 2], [65, 33], [64, 2048], [3, 32_768], [1000, 7]] {
        for logits in [Logits::RowMajor, Logits::ColumnMajor, Logits::Held] {
            let case = format!("{shape:?} {logits:?}");
            let expected = losses::<Flex>(cross_entropy::reference::cross_entropy, shape, logits);
            let flex = losses::<Flex>(Flex::cross_entropy, shape, logits);
            assert_close(&case, &flex, &expected, 5e-5);
            let default = losses::<NdArray>(NdArray::cross_entropy, shape, logits);
            assert_close(&case, &default, &expected, ROUGHLY);
        }
    }
}

#[test]
fn a_mean_over_tokens_gives_every_token_its_share() {
    fn gradient(op: fn(Tensor<Flex, 2>, Tensor<Flex, 1, Int>) -> Tensor<Flex, 1>) -> Outcome {
        let logits: Tensor<Flex, 2> = leaf(&noise(1, [65, 33]));
        let targets = integers(&draws(2, 65, 33), [65]);
        let loss = op(logits.clone(), targets).mean();
        let grad = logits
            .grad(&loss.backward())
            .expect("a gradient")
            .into_data();
        Outcome(vec![("gradient", grad)])
    }
    let expected = gradient(cross_entropy::reference::cross_entropy);
    assert_close("mean", &gradient(Flex::cross_entropy), &expected, 1e-8);
}

#[test]
fn logits_of_any_size_give_finite_losses() {
    let logits: Tensor<Flex, 2> = leaf(&noise(1, [4, 100])).mul_scalar(1e4);
    let losses = Flex::cross_entropy(logits, integers(&[0, 1, 2, 3], [4]));
    assert!(losses.into_data().iter::<f32>().all(f32::is_finite));
}
