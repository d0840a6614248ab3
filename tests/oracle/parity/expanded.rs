//! Attention over pages of latents that are expanded to keys and values, against attention over stored keys and values.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use darkhorse_backends::attention::AttentionOptions;
use darkhorse_backends::latent::reference::by_head;
use darkhorse_backends::paged::{self, Expansion, Page, PageFormat, Past, Values};
use darkhorse_backends::quantized::{Bits, Quantized};
use darkhorse_backends::weight::Weight;
use darkhorse_backends::{Ops, latent};

use crate::support::{Flex, NdArray, Outcome, ROUGHLY, assert_close, constant, noise};

const HEADS: usize = 3;
const RANK: usize = 40;
const NOPE: usize = 32;
const ROPE: usize = 6;
const VALUE: usize = 64;

/// Storage of the expansion's weights.
#[derive(Debug, Clone, Copy)]
enum Held {
    Numbers(DType),
    Blocks(Bits),
}

fn weight<B: Backend>(held: Held) -> Weight<B, 2> {
    let numbers = constant(&noise(1, [RANK, HEADS * (NOPE + VALUE)]));
    match held {
        Held::Numbers(dtype) => Weight::Dense(numbers.cast(dtype)),
        Held::Blocks(bits) => Weight::Blocks(Quantized::quantize(numbers, bits).unwrap()),
    }
}

fn pages<B: Ops>(index: usize, len: usize, format: PageFormat) -> Vec<Page<B>> {
    let page = |page: usize| {
        let rows: Tensor<B, 3> =
            constant(&noise((100 * index + page) as u64, [90, 1, RANK + ROPE]));
        B::write_rows(Page::zeros(rows.dims(), format, &rows.device()), 0, rows)
    };
    (0..len.div_ceil(90)).map(page).collect()
}

type Attend<B> = fn(Tensor<B, 3>, &[Past<'_, B>], AttentionOptions) -> Tensor<B, 3>;

/// Runs `attend` on sequences given as (positions, new tokens).
fn run<B: Ops>(
    sequences: &[(usize, usize)],
    format: PageFormat,
    held: Held,
    options: AttentionOptions,
    attend: Attend<B>,
) -> Outcome {
    let tokens = sequences.iter().map(|(_, new)| new).sum();
    let query = constant(&noise(5, [tokens, HEADS, NOPE + ROPE]));
    let expansion = Expansion {
        weight: weight(held),
        value_dim: VALUE,
    };
    let each = sequences.iter().enumerate();
    let pages: Vec<_> = each
        .map(|(index, (len, _))| pages::<B>(index, *len, format))
        .collect();
    let pasts: Vec<_> = sequences
        .iter()
        .zip(&pages)
        .map(|(&(len, new), keys)| Past {
            keys,
            values: Values::Expanded(&expansion),
            len,
            new,
        })
        .collect();
    let output: TensorData = attend(query, &pasts, options).into_data();
    Outcome(vec![("output", output.convert_dtype(DType::F32))])
}

/// Attention over pages of expanded keys and values of every head.
fn written_out<B: Ops>(
    query: Tensor<B, 3>,
    pasts: &[Past<'_, B>],
    options: AttentionOptions,
) -> Tensor<B, 3> {
    let made: Vec<_> = pasts
        .iter()
        .map(|past| {
            let Values::Expanded(expansion) = past.values else {
                unreachable!("they are to be expanded");
            };
            let folded = by_head(expansion.weight.clone().numbers().cast(DType::F32), HEADS);
            let pages = past.keys.iter().map(|page| {
                let rows = page.numbers().swap_dims(0, 1);
                let [_, len, _] = rows.dims();
                let made = rows
                    .clone()
                    .narrow(2, 0, RANK)
                    .repeat_dim(0, HEADS)
                    .matmul(folded.clone());
                let rope = rows.narrow(2, RANK, ROPE).expand([HEADS, len, ROPE]);
                let key = Tensor::cat(vec![made.clone().narrow(2, 0, NOPE), rope], 2);
                let value = made.narrow(2, NOPE, VALUE);
                [key, value].map(|it| Page::Numbers(it.swap_dims(0, 1)))
            });
            let (keys, values): (Vec<_>, Vec<_>) = pages.map(|[key, value]| (key, value)).unzip();
            (keys, values)
        })
        .collect();
    let pasts: Vec<_> = pasts
        .iter()
        .zip(&made)
        .map(|(past, (keys, values))| Past {
            keys,
            values: Values::Pages(values),
            ..past.clone()
        })
        .collect();
    paged::reference::paged_attention(query, &pasts, options)
}

#[test]
fn expanded_chunk_by_chunk_is_expanded_at_once() {
    let f32 = Held::Numbers(DType::F32);
    let numbers = PageFormat::Numbers(DType::F32);
    let cases: [(&[(usize, usize)], _, _, _); 9] = [
        (&[(1, 1)], numbers, f32, None),
        (&[(63, 63)], numbers, f32, None),
        (&[(700, 65)], numbers, f32, None),
        (&[(700, 300)], numbers, Held::Numbers(DType::BF16), None),
        (&[(513, 257), (40, 1), (90, 90)], numbers, f32, None),
        (&[(600, 300)], numbers, f32, Some(100)),
        (&[(600, 130)], PageFormat::Numbers(DType::F16), f32, None),
        (
            &[(600, 130)],
            PageFormat::EightBits,
            Held::Blocks(Bits::Eight),
            None,
        ),
        (
            &[(300, 130)],
            PageFormat::EightBits,
            Held::Blocks(Bits::Four),
            Some(7),
        ),
    ];
    for (sequences, format, held, window) in cases {
        let case = format!("{sequences:?}, {format:?}, {held:?}, {window:?}");
        let options = AttentionOptions { scale: 0.1, window };
        let expected = run::<burn_flex::Flex>(sequences, format, held, options, written_out);
        type F = burn_flex::Flex;
        let forms: [Attend<F>; 2] = [F::paged_attention, paged::reference::paged_attention];
        for form in forms {
            let found = run::<F>(sequences, format, held, options, form);
            assert_close(&case, &found, &expected, 5e-5);
        }
        let found = run::<Flex>(sequences, format, held, options, Flex::paged_attention);
        assert_close(&case, &found, &expected, 5e-5);
        if let (PageFormat::Numbers(DType::F32), Held::Numbers(DType::F32)) = (format, held) {
            let found = run::<NdArray>(sequences, format, held, options, NdArray::paged_attention);
            assert_close(&case, &found, &expected, 4.0 * ROUGHLY);
        }
    }
}

/// Attention with absorbed queries over latents equals attention over expanded keys and values.
#[test]
fn absorbed_and_expanded_agree() {
    type F = burn_flex::Flex;
    let (len, new) = (400, 70);
    let options = AttentionOptions::scaled(0.1);
    for held in [Held::Numbers(DType::F32), Held::Blocks(Bits::Eight)] {
        let format = PageFormat::EightBits;
        let expanded = run::<F>(&[(len, new)], format, held, options, F::paged_attention);
        let query: Tensor<F, 3> = constant(&noise(5, [new, HEADS, NOPE + ROPE]));
        let absorbed = F::absorb_query(query.clone().narrow(2, 0, NOPE), weight(held));
        let query = Tensor::cat(vec![absorbed, query.narrow(2, NOPE, ROPE)], 2);
        let keys = pages::<F>(0, len, format);
        let past = Past {
            keys: &keys,
            values: Values::FirstOfKeys(RANK),
            len,
            new,
        };
        let seen = F::paged_attention(query, &[past], options);
        let output = latent::reference::expand_value(seen, weight(held), VALUE);
        let absorbed = Outcome(vec![("output", output.into_data())]);
        assert_close(&format!("{held:?}"), &absorbed, &expanded, 1e-4);
    }
}
