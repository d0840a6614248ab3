//! Attention over pages against attention over the whole past in one tensor.

use burn::tensor::activation::softmax;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use darkhorse_backends::Ops;
use darkhorse_backends::attention::AttentionOptions;
use darkhorse_backends::paged::{self, Page, PageFormat, Past, Values};

use crate::support::{Flex, NdArray, Outcome, ROUGHLY, assert_close, constant, noise};

/// Heads, key heads, and widths of keys and values; if `latent`, values are the first `value_dim` columns of the keys.
#[derive(Debug, Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    value_dim: usize,
    latent: bool,
}

const GROUPED: Shape = Shape {
    heads: 6,
    kv_heads: 2,
    dim: 33,
    value_dim: 31,
    latent: false,
};
const LATENT: Shape = Shape {
    heads: 5,
    kv_heads: 1,
    dim: 48,
    value_dim: 32,
    latent: true,
};

/// Length of each sequence, and how many of its tokens are new.
type Sequences = &'static [(usize, usize)];

/// Pages of sequence `index` for at least `len` positions; `page_lens` repeats.
fn pages<B: Backend>(
    index: usize,
    len: usize,
    page_lens: &[usize],
    heads: usize,
    dim: usize,
) -> Vec<Page<B>> {
    let mut held = 0;
    let mut pages = Vec::new();
    while held < len {
        let page_len = page_lens[pages.len() % page_lens.len()];
        let seed = (1 + index * 100 + pages.len()) as u64 * 31 + dim as u64;
        pages.push(Page::Numbers(constant(&noise(
            seed,
            [page_len, heads, dim],
        ))));
        held += page_len;
    }
    pages
}

/// Runs `attend` on a batch of all sequences.
fn run<B: Backend>(
    shape: Shape,
    sequences: &[(usize, usize)],
    page_lens: &[usize],
    attend: impl Fn(Tensor<B, 3>, &[Past<'_, B>]) -> Tensor<B, 3>,
) -> TensorData {
    let tokens = sequences.iter().map(|(_, new)| new).sum();
    let query = constant(&noise(5, [tokens, shape.heads, shape.dim]));
    let of = |dim| {
        let each = sequences.iter().enumerate();
        each.map(|(index, (len, _))| pages::<B>(index, *len, page_lens, shape.kv_heads, dim))
            .collect::<Vec<_>>()
    };
    let (keys, values) = (of(shape.dim), of(shape.value_dim));
    let pasts: Vec<_> = (0..sequences.len())
        .map(|index| Past {
            keys: &keys[index],
            values: if shape.latent {
                Values::FirstOfKeys(shape.value_dim)
            } else {
                Values::Pages(&values[index])
            },
            len: sequences[index].0,
            new: sequences[index].1,
        })
        .collect();
    attend(query, &pasts).into_data().convert_dtype(DType::F32)
}

/// The definition: softmax over all scores of a position at once.
fn at_once<B: Backend>(
    query: Tensor<B, 3>,
    pasts: &[Past<'_, B>],
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let [_, heads, dim] = query.dims();
    let mut row = 0;
    let mut outputs = Vec::new();
    for past in pasts {
        let all = |pages: &[Page<B>]| Tensor::cat(pages.iter().map(Page::numbers).collect(), 0);
        let keys = all(past.keys);
        let values = match past.values {
            Values::Pages(pages) => all(pages),
            Values::FirstOfKeys(dim) => keys.clone().narrow(2, 0, dim),
            Values::Expanded(_) => unreachable!("see `expanded.rs`"),
        };
        let [_, kv_heads, value_dim] = values.dims();
        for new in 0..past.new {
            let end = past.len - past.new + new + 1;
            let start = end.saturating_sub(options.window.unwrap_or(end));
            for head in 0..heads {
                let of = |tensor: &Tensor<B, 3>, dim| {
                    let own = head / (heads / kv_heads);
                    tensor
                        .clone()
                        .slice([start..end, own..own + 1, 0..dim])
                        .reshape([end - start, dim])
                };
                let query = query
                    .clone()
                    .slice([row..row + 1, head..head + 1, 0..dim])
                    .reshape([1, dim]);
                let scores = query.matmul(of(&keys, dim).transpose());
                let weights = softmax(scores.mul_scalar(options.scale), 1);
                outputs.push(weights.matmul(of(&values, value_dim)));
            }
            row += 1;
        }
    }
    let [_, value_dim] = outputs[0].dims();
    Tensor::cat(outputs, 0).reshape([row, heads, value_dim])
}

fn assert_parity(shape: Shape, sequences: Sequences, page_lens: &[usize], window: Option<usize>) {
    let options = AttentionOptions { scale: 0.3, window };
    let case = format!("{shape:?}, {sequences:?}, pages of {page_lens:?}, {window:?}");
    let outcome = |data| Outcome(vec![("output", data)]);
    let expected = run::<burn_flex::Flex>(shape, sequences, page_lens, |query, pasts| {
        at_once(query, pasts, options)
    });
    let expected = outcome(expected);
    let fast = run::<Flex>(shape, sequences, page_lens, |query, pasts| {
        Flex::paged_attention(query, pasts, options)
    });
    assert_close(&case, &outcome(fast), &expected, 2e-5);
    let definition = run::<burn_flex::Flex>(shape, sequences, page_lens, |query, pasts| {
        paged::reference::paged_attention(query, pasts, options)
    });
    assert_close(&case, &outcome(definition), &expected, 2e-5);
    let default = run::<NdArray>(shape, sequences, page_lens, |query, pasts| {
        NdArray::paged_attention(query, pasts, options)
    });
    assert_close(&case, &outcome(default), &expected, ROUGHLY);
}

#[test]
fn pages_of_any_length_hold_one_past() {
    for shape in [GROUPED, LATENT] {
        assert_parity(shape, &[(1, 1)], &[1], None);
        assert_parity(shape, &[(33, 1)], &[7], None);
        assert_parity(shape, &[(65, 7)], &[31, 5, 64], None);
        assert_parity(shape, &[(600, 3)], &[100], None);
        assert_parity(shape, &[(300, 300)], &[65], None);
    }
}

#[test]
fn sequences_of_unequal_length_are_computed_together() {
    for shape in [GROUPED, LATENT] {
        assert_parity(shape, &[(5, 1), (280, 7), (33, 33), (1, 1)], &[16], None);
    }
}

#[test]
fn a_window_hides_what_lies_further_back() {
    for shape in [GROUPED, LATENT] {
        for window in [1, 5, 64, 257, 1000] {
            assert_parity(shape, &[(600, 7), (3, 2)], &[33], Some(window));
        }
    }
}

#[test]
fn pages_may_be_of_two_bytes_an_element() {
    let options = AttentionOptions::scaled(0.3);
    for dtype in [DType::BF16, DType::F16] {
        let attend = |narrow: bool| {
            run::<burn_flex::Flex>(LATENT, &[(70, 3)], &[32], |query, pasts| {
                let keys = pasts[0].keys.iter();
                let keys: Vec<_> = keys
                    .map(|page| Page::Numbers(page.numbers().cast(dtype)))
                    .collect();
                let widened: Vec<_> = keys
                    .iter()
                    .map(|page| Page::Numbers(page.numbers()))
                    .collect();
                let past = Past {
                    keys: if narrow { &keys } else { &widened },
                    ..pasts[0].clone()
                };
                burn_flex::Flex::paged_attention(query, &[past], options)
            })
        };
        assert_eq!(attend(true), attend(false), "{dtype:?}");
    }
}

/// Dequantized values of a page of zeros after rows were written into it.
fn written<B: Ops>(
    format: PageFormat,
    write: impl Fn(Page<B>, usize, Tensor<B, 3>) -> Page<B>,
) -> TensorData {
    let device = Default::default();
    let rows = constant::<B, 3>(&noise(2, [2, 6, 45])).swap_dims(0, 1);
    let page = Page::zeros([9, 2, 45], format, &device);
    let page = write(page, 0, rows.clone().mul_scalar(3.0).narrow(0, 0, 5));
    let page = write(page, 3, rows.narrow(0, 1, 4));
    assert_eq!(page.dims(), [9, 2, 45]);
    page.numbers().into_data().convert_dtype(DType::F32)
}

#[test]
fn rows_are_written_where_they_belong_and_in_the_format_of_the_page() {
    type F = burn_flex::Flex;
    let f32 = PageFormat::Numbers(DType::F32);
    for format in [
        f32,
        PageFormat::Numbers(DType::BF16),
        PageFormat::Numbers(DType::F16),
        PageFormat::EightBits,
    ] {
        let expected = written::<F>(format, paged::reference::write_rows);
        assert_eq!(written::<F>(format, F::write_rows), expected, "{format:?}");
        assert_eq!(written::<Flex>(format, Flex::write_rows), expected);
    }
    let expected = written::<F>(f32, paged::reference::write_rows);
    assert_eq!(written::<NdArray>(f32, NdArray::write_rows), expected);
    let blocks = written::<NdArray>(PageFormat::EightBits, NdArray::write_rows);
    let outcome = |data| Outcome(vec![("page", data)]);
    assert_close("in blocks", &outcome(blocks), &outcome(expected), 0.013);
}

/// The error is at most half a step, `max|x| / 254` per block, plus the rounding of the scale.
#[test]
fn a_row_in_blocks_comes_back_within_half_a_step() {
    type F = burn_flex::Flex;
    let [exact, rounded] = [PageFormat::Numbers(DType::F32), PageFormat::EightBits]
        .map(|format| written::<F>(format, F::write_rows).to_vec::<f32>().unwrap());
    let mut apart = false;
    for (exact, rounded) in exact.chunks(45).zip(rounded.chunks(45)) {
        for (exact, rounded) in exact.chunks(32).zip(rounded.chunks(32)) {
            let most = exact.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            for (exact, rounded) in exact.iter().zip(rounded) {
                assert!((exact - rounded).abs() <= most * (0.5 / 127.0 + 2e-4));
                apart |= exact != rounded;
            }
        }
    }
    assert!(apart);
}

#[test]
fn pages_in_blocks_give_what_the_numbers_that_they_stand_for_give() {
    type F = burn_flex::Flex;
    let options = AttentionOptions {
        scale: 0.3,
        window: Some(500),
    };
    for shape in [GROUPED, LATENT] {
        let outcomes = [false, true].map(|widened| {
            run::<F>(shape, &[(700, 9), (40, 1)], &[100], |query, pasts| {
                let in_blocks = |pages: &[Page<F>]| -> Vec<Page<F>> {
                    let pages = pages.iter().map(|page| {
                        let rows = page.numbers();
                        let blocks =
                            Page::zeros(rows.dims(), PageFormat::EightBits, &rows.device());
                        let blocks = F::write_rows(blocks, 0, rows);
                        if widened {
                            Page::Numbers(blocks.numbers())
                        } else {
                            blocks
                        }
                    });
                    pages.collect()
                };
                let pages: Vec<_> = pasts
                    .iter()
                    .map(|past| match past.values {
                        Values::Pages(values) => [in_blocks(past.keys), in_blocks(values)],
                        _ => [in_blocks(past.keys), Vec::new()],
                    })
                    .collect();
                let pasts: Vec<_> = pasts
                    .iter()
                    .zip(&pages)
                    .map(|(past, [keys, values])| Past {
                        keys,
                        values: match past.values {
                            Values::Pages(_) => Values::Pages(values),
                            _ => past.values.clone(),
                        },
                        ..past.clone()
                    })
                    .collect();
                let fast = F::paged_attention(query.clone(), &pasts, options);
                let definition = paged::reference::paged_attention(query, &pasts, options);
                let outcome = |data: Tensor<F, 3>| Outcome(vec![("output", data.into_data())]);
                assert_close("fast", &outcome(fast.clone()), &outcome(definition), 2e-5);
                fast
            })
        });
        assert_eq!(outcomes[0], outcomes[1], "{shape:?}");
    }
}

#[test]
fn a_page_that_others_hold_does_not_change() {
    type F = burn_flex::Flex;
    for format in [PageFormat::Numbers(DType::F32), PageFormat::EightBits] {
        let page = Page::<F>::zeros([4, 1, 3], format, &Default::default());
        let rows: Tensor<F, 3> = constant(&noise(2, [1, 1, 3]));
        let held = page.clone();
        let written = F::write_rows(page, 2, rows);
        let zeros = |page: &Page<F>| page.numbers().into_data().iter::<f32>().all(|x| x == 0.0);
        assert!(zeros(&held) && !zeros(&written), "{format:?}");
    }
}
