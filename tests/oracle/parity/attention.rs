//! The operation `attention`.

use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use darkhorse_backends::Ops;
use darkhorse_backends::attention::{AttentionMask, AttentionOptions, reference};

use crate::support::{
    Differentiated, Flex, NdArray, Outcome, ROUGHLY, assert_close, integers, leaf, noise,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Documents {
    One,
    /// Several consecutive documents of different lengths.
    InARow,
    /// Every position is a document of its own.
    Singles,
    /// Two documents that alternate.
    Interleaved,
}

fn mask<B: AutodiffBackend>(documents: Documents, batch: usize, seq: usize) -> AttentionMask<B> {
    let number = |item: usize, position: usize| match documents {
        Documents::One => 0,
        Documents::InARow => (position + item) / (seq / 3 + 1) + 5,
        Documents::Singles => position,
        Documents::Interleaved => (position + item) % 2,
    };
    if documents == Documents::One {
        return AttentionMask::Causal;
    }
    let numbers: Vec<i64> = (0..batch)
        .flat_map(|item| (0..seq).map(move |position| number(item, position) as i64))
        .collect();
    AttentionMask::Documents(integers(&numbers, [batch, seq]))
}

#[derive(Debug, Clone, Copy)]
struct Case {
    batch: usize,
    seq: usize,
    heads: usize,
    dim: usize,
    value_dim: usize,
    documents: Documents,
    heads_first: bool,
    window: Option<usize>,
}

type Attend<B> = fn(
    Tensor<B, 4>,
    Tensor<B, 4>,
    Tensor<B, 4>,
    &AttentionMask<B>,
    AttentionOptions,
) -> Tensor<B, 4>;

fn attended<B: AutodiffBackend>(op: Attend<B>, case: Case) -> Outcome {
    let Case {
        batch,
        seq,
        heads,
        dim,
        value_dim,
        documents,
        heads_first,
        window,
    } = case;
    let leaf = |seed, dim| -> Tensor<B, 4> {
        if heads_first {
            leaf(&noise(seed, [batch, heads, seq, dim]))
        } else {
            leaf(&noise(seed, [batch, seq, heads, dim]))
        }
    };
    let leaves = [leaf(1, dim), leaf(2, dim), leaf(3, value_dim)];
    let [q, k, v] = leaves.clone().map(|leaf| {
        if heads_first {
            leaf.swap_dims(1, 2)
        } else {
            leaf
        }
    });
    let options = AttentionOptions { scale: 0.7, window };
    let mask = mask(documents, batch, seq);
    let output = op(q.mul_scalar(3.0), k, v, &mask, options);
    let output = if heads_first {
        output.swap_dims(1, 2)
    } else {
        output
    };
    let [q, k, v] = &leaves;
    Differentiated::new(output)
        .gradient("gradient of the query", q)
        .gradient("gradient of the key", k)
        .gradient("gradient of the value", v)
        .outcome()
}

fn hold(case: Case) {
    let name = format!("{case:?}");
    let expected = attended::<Flex>(reference::attention, case);
    assert_close(
        &name,
        &attended::<Flex>(Flex::causal_attention, case),
        &expected,
        2e-5,
    );
    assert_close(
        &name,
        &attended::<NdArray>(NdArray::causal_attention, case),
        &expected,
        ROUGHLY,
    );
}

const SMALL: Case = Case {
    batch: 2,
    seq: 65,
    heads: 3,
    dim: 20,
    value_dim: 20,
    documents: Documents::One,
    heads_first: false,
    window: None,
};

#[test]
fn every_length_is_causal() {
    for seq in [1, 2, 63, 64, 65, 130, 200] {
        hold(Case { seq, ..SMALL });
    }
}

#[test]
fn every_width_works_and_values_may_have_their_own() {
    for (dim, value_dim) in [(1, 1), (8, 40), (33, 16), (96, 64)] {
        hold(Case {
            dim,
            value_dim,
            ..SMALL
        });
    }
}

#[test]
fn documents_do_not_see_each_other() {
    for documents in [
        Documents::InARow,
        Documents::Singles,
        Documents::Interleaved,
    ] {
        for seq in [1, 63, 65, 200] {
            hold(Case {
                documents,
                seq,
                ..SMALL
            });
        }
    }
}

#[test]
fn heads_may_come_before_positions_in_memory() {
    for documents in [Documents::One, Documents::InARow] {
        hold(Case {
            heads_first: true,
            documents,
            ..SMALL
        });
    }
}

#[test]
fn a_key_head_may_serve_several_query_heads_in_place() {
    fn outcome<B: AutodiffBackend>(op: Attend<B>) -> Outcome {
        let query: Tensor<B, 4> = leaf(&noise(1, [2, 65, 6, 16]));
        let [key, value]: [Tensor<B, 4>; 2] = [2, 3].map(|seed| leaf(&noise(seed, [2, 65, 2, 16])));
        let [k, v] = [key.clone(), value.clone()].map(|tensor| {
            tensor
                .unsqueeze_dim::<5>(3)
                .expand([2, 65, 2, 3, 16])
                .reshape([2, 65, 6, 16])
        });
        let output = op(
            query.clone(),
            k,
            v,
            &AttentionMask::Causal,
            AttentionOptions::scaled(0.25),
        );
        Differentiated::new(output)
            .gradient("query", &query)
            .gradient("key", &key)
            .gradient("value", &value)
            .outcome()
    }
    let expected = outcome::<Flex>(reference::attention);
    assert_close(
        "shared heads",
        &outcome::<Flex>(Flex::causal_attention),
        &expected,
        2e-5,
    );
}

#[test]
fn later_tokens_change_nothing_before_them() {
    let output = |last: f32| {
        let mut data = noise(1, [1, 100, 2, 16]);
        data.as_mut_slice::<f32>().expect("f32")[99 * 32..].fill(last);
        let tensor = || leaf::<Flex, 4>(&data);
        let options = AttentionOptions::scaled(1.0);
        let mask = AttentionMask::Causal;
        let output = Flex::causal_attention(tensor(), tensor(), tensor(), &mask, options);
        output.narrow(1, 0, 99).into_data()
    };
    assert_eq!(output(0.0), output(1e3));
}

#[test]
fn a_window_ends_the_past_within_documents_too() {
    for documents in [
        Documents::One,
        Documents::InARow,
        Documents::Singles,
        Documents::Interleaved,
    ] {
        for window in [1, 2, 64, 65, 66, usize::MAX] {
            for seq in [1, 65, 200] {
                hold(Case {
                    documents,
                    seq,
                    window: Some(window),
                    ..SMALL
                });
            }
        }
    }
}

#[test]
fn a_window_of_w_sees_the_query_and_w_minus_one_positions_before_it() {
    let (seq, window) = (9, 3);
    let constant = |data| Tensor::<Flex, 1>::from_floats(data, &Default::default());
    let zero = || constant([0.0; 9]).reshape([1, seq, 1, 1]);
    let value = constant([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).reshape([1, seq, 1, 1]);
    let options = AttentionOptions {
        scale: 1.0,
        window: Some(window),
    };
    let mean = Flex::causal_attention(zero(), zero(), value, &AttentionMask::Causal, options);
    let expected = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    for (mean, expected) in mean.into_data().iter::<f32>().zip(expected) {
        assert!(
            (mean - expected).abs() < 1e-6,
            "{mean}, expected {expected}"
        );
    }
}
