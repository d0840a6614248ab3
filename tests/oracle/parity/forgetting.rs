//! Forgetting attention, and the mask of the largest entries.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::attention::AttentionMask;
use darkhorse_backends::forgetting::{Forgetting, reference};
use darkhorse_backends::{Ops, largest};

use crate::support::{Differentiated, Flex, NdArray, Outcome, assert_close, integers, leaf, noise};

#[derive(Debug, Clone, Copy)]
struct Sizes {
    new: usize,
    seq: usize,
    heads: usize,
    key_heads: usize,
}

fn outcome<B: AutodiffBackend>(
    sizes: Sizes,
    attend: impl Fn(Forgetting<B>) -> Tensor<B, 4>,
) -> Outcome {
    let Sizes {
        new,
        seq,
        heads,
        key_heads,
    } = sizes;
    let mut kept: Vec<f32> = noise(4, [2, seq, heads]).iter::<f32>().collect();
    kept.iter_mut()
        .for_each(|gate| *gate = -0.3 * (*gate + 1.0));
    for at in heads..kept.len() {
        if at % (seq * heads) >= heads {
            kept[at] += kept[at - heads];
        }
    }
    let input = Forgetting {
        query: leaf(&noise(1, [2, new, heads, 6])),
        key: leaf(&noise(2, [2, seq, key_heads, 6])),
        value: leaf(&noise(3, [2, seq, heads, 5])),
        kept: leaf(&TensorData::new(kept, [2, seq, heads])),
    };
    Differentiated::new(attend(input.clone()))
        .gradient("query", &input.query)
        .gradient("key", &input.key)
        .gradient("value", &input.value)
        .gradient("gates", &input.kept)
        .outcome()
}

#[test]
fn forgetting_attention_decays_scores_by_the_gates_between() {
    for (new, seq) in [
        (1, 1),
        (63, 63),
        (65, 65),
        (200, 200),
        (1, 70),
        (7, 70),
        (65, 150),
    ] {
        for (heads, key_heads) in [(1, 1), (4, 2), (3, 1)] {
            let sizes = Sizes {
                new,
                seq,
                heads,
                key_heads,
            };
            let causal = AttentionMask::Causal;
            let expected = outcome::<Flex>(sizes, |input| {
                reference::forgetting_attention(input, &causal, 0.4)
            });
            let flex = outcome::<Flex>(sizes, |input| {
                Flex::forgetting_attention(input, &causal, 0.4)
            });
            assert_close(&format!("{sizes:?}"), &flex, &expected, 2e-5);
            let causal = AttentionMask::Causal;
            let default = outcome::<NdArray>(sizes, |input| {
                NdArray::forgetting_attention(input, &causal, 0.4)
            });
            assert_close(&format!("ndarray, {sizes:?}"), &default, &expected, 1e-4);
        }
    }
}

#[test]
fn forgetting_attention_stays_within_documents() {
    let numbers: Vec<i64> = (0..2 * 90).map(|at| at / 40).collect();
    let sizes = Sizes {
        new: 90,
        seq: 90,
        heads: 4,
        key_heads: 2,
    };
    let mask = AttentionMask::Documents(integers(&numbers, [2, 90]));
    let expected = outcome::<Flex>(sizes, |input| {
        reference::forgetting_attention(input, &mask, 0.4)
    });
    let flex = outcome::<Flex>(sizes, |input| Flex::forgetting_attention(input, &mask, 0.4));
    assert_close("documents", &flex, &expected, 2e-5);
}

#[test]
fn the_largest_entries_of_a_row_are_kept_and_ties_with_them() {
    for (width, k) in [(1, 1), (8, 1), (8, 8), (120, 102), (1440, 1224)] {
        let scores: Tensor<Flex, 2> = leaf(&noise(7, [33, width]));
        let expected = largest::reference::largest(scores.clone(), k).into_data();
        let got = Flex::largest(scores, k).into_data();
        assert_eq!(got, expected, "{k} of {width}");
        let ones = got.iter::<f32>().filter(|it| *it == 1.0).count();
        assert_eq!(ones, 33 * k);
    }
    let tied = TensorData::new(vec![2f32, 1.0, 2.0, 2.0], [1, 4]);
    let kept = Flex::largest(leaf(&tied), 2).into_data();
    assert_eq!(kept.iter::<f32>().collect::<Vec<_>>(), [1.0, 0.0, 1.0, 1.0]);
}
