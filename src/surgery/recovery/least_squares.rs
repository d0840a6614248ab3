//! Least squares for a change of a matrix, from sums over tokens.

use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;

use crate::surgery::cholesky::Cholesky;

/// Normal equations of the matrix `D`, `[features, outputs]`, that minimizes
/// `sum ||f D - r||^2 + p m ||D||^2` over tokens with features `f` and residuals `r`, where `m` is the mean over
/// features of `sum f^2` and `p` the penalty.
#[derive(Debug)]
pub(super) struct LeastSquares {
    features: usize,
    outputs: usize,
    /// `sum f^T f`, `[features, features]`.
    gram: Vec<f64>,
    /// `sum f^T r`, `[features, outputs]`.
    products: Vec<f64>,
}

impl LeastSquares {
    /// No tokens.
    pub(super) fn new([features, outputs]: [usize; 2]) -> Self {
        Self {
            features,
            outputs,
            gram: vec![0.0; features * features],
            products: vec![0.0; features * outputs],
        }
    }

    /// Adds tokens.
    ///
    /// # Shapes
    ///
    /// - features: `[tokens, features]`, residuals: `[tokens, outputs]`
    pub(super) fn add<B: Ops>(&mut self, features: Tensor<B, 2>, residuals: Tensor<B, 2>) {
        let turned = features.clone().transpose();
        let gram = B::project_saving(turned.clone(), features);
        let products = B::project_saving(turned, residuals);
        for (sum, more) in [(&mut self.gram, gram), (&mut self.products, products)] {
            let more = more.into_data();
            let pairs = sum.iter_mut().zip(more.iter::<f64>());
            pairs.for_each(|(sum, more)| *sum += more);
        }
    }

    /// The matrix. `None` if a number is not finite, or if no feature differs from 0.
    pub(super) fn solve(self, penalty: f64) -> Option<TensorData> {
        let (features, outputs) = (self.features, self.outputs);
        let mut gram = self.gram;
        let diagonal = (0..features).map(|at| at * (features + 1));
        let trace: f64 = diagonal.clone().map(|at| gram[at]).sum();
        diagonal.for_each(|at| gram[at] += penalty * trace / features as f64);
        let solved = Cholesky::of(gram, features)?.solve_matrix(&self.products, outputs);
        let values: Vec<f32> = solved.into_iter().map(|value| value as f32).collect();
        let are_finite = values.iter().all(|value| value.is_finite());
        are_finite.then(|| TensorData::new(values, [features, outputs]))
    }
}

#[cfg(test)]
mod tests {
    use darkhorse_backends::select::Selected;

    use super::*;

    fn tensor(values: &[f32], width: usize) -> Tensor<Selected, 2> {
        let data = TensorData::new(values.to_vec(), [values.len() / width, width]);
        Tensor::from_data(data, &Default::default())
    }

    #[test]
    fn a_linear_map_is_found_and_a_penalty_shrinks_it() {
        let value = |at: usize| ((at * 7919 + 31) % 101) as f32 / 50.0 - 1.0;
        let features: Vec<f32> = (0..60 * 3).map(value).collect();
        let map = [0.5, -1.0, 2.0, 0.0, 1.5, 3.0f32];
        let residuals: Vec<f32> = features
            .chunks(3)
            .flat_map(|f| [0, 1].map(|out| (0..3).map(|at| f[at] * map[at * 2 + out]).sum::<f32>()))
            .collect();
        let solve = |penalty: f64| {
            let mut sums = LeastSquares::new([3, 2]);
            for (f, r) in features.chunks(60).zip(residuals.chunks(40)) {
                sums.add(tensor(f, 3), tensor(r, 2));
            }
            let found = sums.solve(penalty).unwrap();
            found.iter::<f32>().collect::<Vec<f32>>()
        };
        for (found, expected) in solve(1e-9).iter().zip(map) {
            assert!(
                (found - expected).abs() < 1e-3,
                "{found}, expected {expected}"
            );
        }
        let length = |values: Vec<f32>| values.iter().map(|it| it * it).sum::<f32>();
        assert!(length(solve(1.0)) < 0.6 * length(solve(1e-9)));
    }

    #[test]
    fn without_a_finite_token_there_is_no_solution() {
        assert!(LeastSquares::new([2, 1]).solve(0.1).is_none());
        let mut sums = LeastSquares::new([2, 1]);
        sums.add(tensor(&[1.0, f32::NAN], 2), tensor(&[1.0], 1));
        assert!(sums.solve(0.1).is_none());
    }
}
