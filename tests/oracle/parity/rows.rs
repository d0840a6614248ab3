//! The operations `linear`, `rms_norm`, `swiglu`, `rope` and `top_k`.

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor};
use darkhorse_backends::unit::UnitEps;
use darkhorse_backends::{Ops, linear, norm, rope, swiglu, top_k, unit};

use crate::support::{
    Differentiated, Flex, NdArray, Outcome, ROUGHLY, assert_close, constant, leaf, noise,
};

const SIZES: [[usize; 2]; 7] = [
    [1, 1],
    [1, 8],
    [63, 5],
    [65, 33],
    [300, 96],
    [7, 1000],
    [2, 20_000],
];

/// Memory layout of an operand.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Layout {
    RowMajor,
    ColumnMajor,
    EveryOther,
}

const LAYOUTS: [Layout; 3] = [Layout::RowMajor, Layout::ColumnMajor, Layout::EveryOther];

/// A leaf, and a view of it in the layout.
fn operand<B: AutodiffBackend>(
    seed: u64,
    [rows, cols]: [usize; 2],
    layout: Layout,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    match layout {
        Layout::RowMajor => {
            let leaf = leaf(&noise(seed, [rows, cols]));
            (leaf.clone(), leaf)
        }
        Layout::ColumnMajor => {
            let leaf: Tensor<B, 2> = leaf(&noise(seed, [cols, rows]));
            (leaf.clone(), leaf.transpose())
        }
        Layout::EveryOther => {
            let leaf: Tensor<B, 2> = leaf(&noise(seed, [rows, 2 * cols]));
            (leaf.clone(), leaf.narrow(1, cols, cols))
        }
    }
}

fn binary<B: AutodiffBackend>(
    op: impl Fn(Tensor<B, 2>, Tensor<B, 2>) -> Tensor<B, 2>,
    shapes: [[usize; 2]; 2],
    layouts: [Layout; 2],
) -> Outcome {
    let (leaf_a, a) = operand(1, shapes[0], layouts[0]);
    let (leaf_b, b) = operand(2, shapes[1], layouts[1]);
    Differentiated::new(op(a, b))
        .gradient("gradient of the first", &leaf_a)
        .gradient("gradient of the second", &leaf_b)
        .outcome()
}

#[test]
fn linear_is_a_matrix_product() {
    for [tokens, input] in SIZES {
        for output in [1, 17, 64] {
            let shapes = [[tokens, input], [input, output]];
            for (a, b) in LAYOUTS.into_iter().flat_map(|a| LAYOUTS.map(|b| (a, b))) {
                let case = format!("{tokens} x {input} ({a:?}) x {output} ({b:?})");
                let expected = binary::<Flex>(linear::reference::linear, shapes, [a, b]);
                let flex = binary::<Flex>(Flex::project, shapes, [a, b]);
                assert_close(&case, &flex, &expected, 1e-4);
                let default = binary::<NdArray>(NdArray::project, shapes, [a, b]);
                assert_close(&case, &default, &expected, ROUGHLY);
            }
        }
    }
}

#[test]
fn swiglu_gates() {
    for shape in SIZES {
        for (a, b) in LAYOUTS.into_iter().flat_map(|a| LAYOUTS.map(|b| (a, b))) {
            let case = format!("{shape:?} {a:?} {b:?}");
            let expected = binary::<Flex>(swiglu::reference::swiglu, [shape; 2], [a, b]);
            let flex = binary::<Flex>(Flex::swiglu, [shape; 2], [a, b]);
            assert_close(&case, &flex, &expected, 1e-5);
            let default = binary::<NdArray>(NdArray::swiglu, [shape; 2], [a, b]);
            assert_close(&case, &default, &expected, ROUGHLY);
        }
    }
}

fn normalized<B: AutodiffBackend>(
    op: impl Fn(Tensor<B, 2>, Tensor<B, 1>, f64) -> Tensor<B, 2>,
    shape: [usize; 2],
    layout: Layout,
) -> Outcome {
    let (leaf_x, x) = operand(3, shape, layout);
    let weight: Tensor<B, 1> = leaf(&noise(4, [shape[1]]));
    Differentiated::new(op(x, weight.clone(), 1e-3))
        .gradient("gradient of the input", &leaf_x)
        .gradient("gradient of the weight", &weight)
        .outcome()
}

#[test]
fn rms_norm_normalizes() {
    for shape in SIZES {
        for layout in LAYOUTS {
            let case = format!("{shape:?} {layout:?}");
            let expected = normalized::<Flex>(norm::reference::rms_norm, shape, layout);
            let flex = normalized::<Flex>(Flex::rms_norm, shape, layout);
            assert_close(&case, &flex, &expected, 2e-5);
            let default = normalized::<NdArray>(NdArray::rms_norm, shape, layout);
            assert_close(&case, &default, &expected, ROUGHLY);
        }
    }
}

fn rotated<B: AutodiffBackend>(
    op: impl Fn(Tensor<B, 4>, Tensor<B, 3>, Tensor<B, 3>) -> Tensor<B, 4>,
    [batch, seq, heads, dim]: [usize; 4],
    heads_first: bool,
) -> Outcome {
    let leaf: Tensor<B, 4> = if heads_first {
        leaf(&noise(5, [batch, heads, seq, dim]))
    } else {
        leaf(&noise(5, [batch, seq, heads, dim]))
    };
    let input = if heads_first {
        leaf.clone().swap_dims(1, 2)
    } else {
        leaf.clone()
    };
    let angles: Tensor<B, 3> = constant(&noise(6, [batch, seq, dim / 2]));
    let output = op(input, angles.clone().cos(), angles.sin());
    // The gradient is laid out by heads, too.
    Differentiated::new(output.swap_dims(1, 2))
        .gradient("gradient", &leaf)
        .outcome()
}

#[test]
fn rope_rotates_and_its_gradient_turns_back() {
    for shape in [[1, 1, 1, 2], [2, 63, 3, 6], [1, 65, 4, 32], [3, 128, 2, 96]] {
        for heads_first in [false, true] {
            let case = format!("{shape:?} heads first: {heads_first}");
            let expected = rotated::<Flex>(rope::reference::rope, shape, heads_first);
            let flex = rotated::<Flex>(Flex::rope, shape, heads_first);
            assert_close(&case, &flex, &expected, 1e-5);
            let default = rotated::<NdArray>(NdArray::rope, shape, heads_first);
            assert_close(&case, &default, &expected, ROUGHLY);
        }
    }
}

#[test]
fn top_k_takes_the_largest_and_of_equals_the_first() {
    for ([tokens, experts], k) in [([1, 1], 1), ([65, 20], 2), ([300, 64], 8), ([9, 7], 7)] {
        let mut scores = noise(7, [tokens, experts]);
        // Few distinct values, so that there are ties.
        scores
            .as_mut_slice::<f32>()
            .expect("f32")
            .iter_mut()
            .for_each(|x| *x = (*x * 4.0).round());
        let expected = top_k::reference::top_k::<NdArray>(constant(&scores), k).into_data();
        let flex = Flex::top_k(leaf(&scores), k).into_data();
        let default = NdArray::top_k(leaf(&scores), k).into_data();
        let whole = |data: &burn::tensor::TensorData| data.iter::<i64>().collect::<Vec<_>>();
        assert_eq!(whole(&flex), whole(&expected), "{tokens} x {experts}, {k}");
        assert_eq!(whole(&default), whole(&expected));
    }
}

#[test]
fn other_types_than_f32_take_the_definition() {
    fn outcome<B: AutodiffBackend + Ops>() -> Outcome {
        let (x, w): (Tensor<B, 2>, Tensor<B, 2>) =
            (leaf(&noise(1, [65, 8])), leaf(&noise(2, [8, 8])));
        let scale: Tensor<B, 1> = leaf(&noise(3, [8]));
        let [a, b] = [x.clone(), w.clone()].map(|tensor| tensor.cast(DType::F64));
        let y = B::project(a, b);
        let y = B::rms_norm(y, scale.clone().cast(DType::F64), 1e-3);
        let y = B::swiglu(y.clone(), y);
        assert_eq!(y.dtype(), DType::F64);
        Differentiated::new(y)
            .gradient("x", &x)
            .gradient("w", &w)
            .gradient("scale", &scale)
            .outcome()
    }
    assert_close("f64", &outcome::<Flex>(), &outcome::<NdArray>(), ROUGHLY);
}

fn unary<B: AutodiffBackend>(
    seed: u64,
    shape: [usize; 2],
    op: impl Fn(Tensor<B, 2>) -> Tensor<B, 2>,
) -> Outcome {
    let input: Tensor<B, 2> = leaf(&noise(seed, shape));
    Differentiated::new(op(input.clone()))
        .gradient("input", &input)
        .outcome()
}

#[test]
fn unit_rows_have_length_one() {
    for shape in SIZES {
        for eps in [
            UnitEps::Length(1e-6),
            UnitEps::Square(1e-6),
            UnitEps::Length(0.5),
        ] {
            let case = format!("{shape:?}, {eps:?}");
            let expected = unary::<Flex>(3, shape, |x| unit::reference::unit_rows(x, eps));
            let flex = unary::<Flex>(3, shape, |x| Flex::unit_rows(x, eps));
            assert_close(&case, &flex, &expected, 2e-5);
            let default = unary::<NdArray>(3, shape, |x| NdArray::unit_rows(x, eps));
            assert_close(&case, &default, &expected, ROUGHLY);
        }
    }
    let zero: Tensor<Flex, 2> = constant(&noise(1, [2, 3])).zeros_like();
    let unit = Flex::unit_rows(zero, UnitEps::Length(1e-6)).into_data();
    assert!(unit.iter::<f32>().all(|value| value == 0.0));
}

fn halves<B: AutodiffBackend>(
    [seq, heads, width, half]: [usize; 4],
    op: impl Fn(Tensor<B, 4>, Tensor<B, 3>, Tensor<B, 3>) -> Tensor<B, 4>,
) -> Outcome {
    let input: Tensor<B, 4> = leaf(&noise(1, [2, seq, heads, width]));
    let angles: Tensor<B, 3> = constant(&noise(2, [2, seq, half]));
    let angles = angles.mul_scalar(3.0);
    Differentiated::new(op(input.clone(), angles.clone().cos(), angles.sin()))
        .gradient("input", &input)
        .outcome()
}

#[test]
fn rope_halves_turns_the_halves_of_the_leading_dimensions() {
    for sizes in [[1, 1, 2, 1], [5, 3, 9, 2], [65, 9, 48, 12], [7, 2, 16, 8]] {
        let expected = halves::<Flex>(sizes, rope::halves::rope_halves);
        let flex = halves::<Flex>(sizes, Flex::rope_halves);
        assert_close(&format!("{sizes:?}"), &flex, &expected, 2e-5);
        let default = halves::<NdArray>(sizes, NdArray::rope_halves);
        assert_close(&format!("{sizes:?}"), &default, &expected, ROUGHLY);
    }
}
