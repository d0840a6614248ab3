//! Results are equal bit for bit from run to run and on any number of threads.

use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::{AttentionMask, AttentionOptions};
use darkhorse_backends::experts::Projections;

use crate::support::{Differentiated, Flex, draws, integers, leaf, noise};

/// Output and gradients of a block that uses every operation.
fn step() -> Vec<(&'static str, TensorData)> {
    let (batch, seq, heads, hidden, experts, width) = (3, 150, 2, 64, 6, 48);
    let tokens = batch * seq;
    let matrix = |seed, shape: [usize; 2]| leaf::<Flex, 2>(&noise(seed, shape));
    let x = matrix(1, [tokens, hidden]);
    let scale: Tensor<Flex, 1> = leaf(&noise(2, [hidden]));
    let projection = matrix(3, [hidden, hidden]);
    let [gate, up]: [Tensor<Flex, 3>; 2] =
        [4, 5].map(|seed| leaf(&noise(seed, [experts, hidden, width])));
    let down: Tensor<Flex, 3> = leaf(&noise(6, [experts, width, hidden]));
    let weights = matrix(7, [tokens, 2]);
    let head = matrix(8, [hidden, 300]);

    let normalized = Flex::rms_norm(x.clone(), scale.clone(), 1e-6);
    let query = Flex::project(normalized.clone(), projection.clone());
    let by_head = |tensor: Tensor<Flex, 2>| tensor.reshape([batch, seq, heads, hidden / heads]);
    let mixed = Flex::causal_attention(
        by_head(query.clone()),
        by_head(normalized),
        by_head(query),
        &AttentionMask::Causal,
        AttentionOptions::scaled(0.2),
    );
    let mixed = mixed.reshape([tokens, hidden]);
    // on average, one choice in seven names no expert
    let indices = integers(&draws(9, tokens * 2, experts + 1), [tokens, 2]);
    let projections = Projections {
        gate: gate.clone(),
        up: up.clone(),
        down: down.clone(),
    };
    let fed = Flex::experts(
        Flex::swiglu(mixed.clone(), mixed),
        projections,
        indices,
        weights.clone(),
    );
    let logits = Flex::project(fed, head.clone());
    let losses = Flex::cross_entropy(logits, integers(&draws(10, tokens, 300), [tokens]));
    Differentiated::new(losses)
        .gradient("x", &x)
        .gradient("scale", &scale)
        .gradient("projection", &projection)
        .gradient("gate", &gate)
        .gradient("up", &up)
        .gradient("down", &down)
        .gradient("weights", &weights)
        .gradient("head", &head)
        .outcome()
        .0
}

#[test]
fn every_run_gives_the_same_bits_on_any_number_of_threads() {
    let first = step();
    for threads in [1, 2, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        let again = pool.install(step);
        for ((name, first), (_, again)) in first.iter().zip(&again) {
            assert!(
                first.bytes == again.bytes,
                "{name} differs on {threads} threads"
            );
        }
    }
}
