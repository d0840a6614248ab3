//! Ridge regression from a router's input to the contributions of the experts.

use burn::tensor::Tensor;
use darkhorse_backends::Ops;

use super::linear_router::LinearRouter;
use crate::surgery::cholesky::{Cholesky, dot};

/// Penalty on the weights, relative to the mean square of an input's entry.
pub const RIDGE: f64 = 1e-2;

/// Sums of the normal equations of `y_e = w_e . x + a_e` over tokens.
#[derive(Debug)]
pub(super) struct Normal {
    hidden: usize,
    experts: usize,
    tokens: f64,
    /// `sum x x^T`, `[hidden, hidden]`.
    gram: Vec<f64>,
    /// `sum x`, `[hidden]`.
    inputs: Vec<f64>,
    /// `sum x y^T`, `[hidden, experts]`.
    products: Vec<f64>,
    /// `sum y`, `[experts]`.
    targets: Vec<f64>,
}

impl Normal {
    /// No tokens.
    pub(super) fn new(hidden: usize, experts: usize) -> Self {
        Self {
            hidden,
            experts,
            tokens: 0.0,
            gram: vec![0.0; hidden * hidden],
            inputs: vec![0.0; hidden],
            products: vec![0.0; hidden * experts],
            targets: vec![0.0; experts],
        }
    }

    /// Adds tokens.
    ///
    /// # Shapes
    ///
    /// - inputs: `[tokens, hidden_size]`, targets: `[tokens, experts]`
    pub(super) fn add<B: Ops>(&mut self, inputs: Tensor<B, 2>, targets: Tensor<B, 2>) {
        let [tokens, _] = inputs.dims();
        let turned = inputs.clone().transpose();
        let sums = [
            (
                &mut self.gram,
                B::project_saving(turned.clone(), inputs.clone()),
            ),
            (
                &mut self.products,
                B::project_saving(turned, targets.clone()),
            ),
            (&mut self.inputs, inputs.sum_dim(0)),
            (&mut self.targets, targets.sum_dim(0)),
        ];
        for (sum, more) in sums {
            let more = more.into_data();
            sum.iter_mut()
                .zip(more.iter::<f64>())
                .for_each(|(sum, more)| *sum += more);
        }
        self.tokens += tokens as f64;
    }

    /// The router that predicts the contributions, [standardized](Self::standardized). `None` without tokens, or if an
    /// input is not finite.
    pub(super) fn solve(&self) -> Option<LinearRouter> {
        let (hidden, experts, tokens) = (self.hidden, self.experts, self.tokens);
        let squares = (0..hidden)
            .map(|at| self.gram[at * hidden + at])
            .sum::<f64>();
        let penalty = RIDGE * squares / hidden as f64;
        // centered inputs leave the intercept without a penalty
        let mut covariance = self.gram.clone();
        for row in 0..hidden {
            for column in 0..=row {
                covariance[row * hidden + column] -=
                    self.inputs[row] * self.inputs[column] / tokens;
            }
            covariance[row * hidden + row] += penalty.max(f64::MIN_POSITIVE);
        }
        let solver = Cholesky::of(covariance, hidden)?;
        let mut weights = vec![0.0; hidden * experts];
        let mut intercepts = vec![0.0; experts];
        for expert in 0..experts {
            let target = self.targets[expert] / tokens;
            let right = (0..hidden)
                .map(|at| self.products[at * experts + expert] - self.inputs[at] * target);
            let weight = solver.solve(right.collect());
            intercepts[expert] = target - dot(&self.inputs, &weight) / tokens;
            for (at, weight) in weight.into_iter().enumerate() {
                weights[at * experts + expert] = weight;
            }
        }
        self.standardized(&weights, &intercepts)
    }

    /// The router with the logits `w_e . x + a_e`, shifted and scaled by one pair of numbers for all experts, so that
    /// they have mean 0 and deviation 1 over tokens and experts. The order of the experts stays. `None` if a number is
    /// not finite.
    ///
    /// # Shapes
    ///
    /// - weights: `[hidden_size, experts]`, intercepts: `[experts]`
    pub(super) fn standardized(&self, weights: &[f64], intercepts: &[f64]) -> Option<LinearRouter> {
        let (mut mean, mut square) = (0.0, 0.0);
        for (expert, intercept) in intercepts.iter().enumerate() {
            let weight = weights.iter().skip(expert).step_by(self.experts);
            let weight: Vec<f64> = weight.copied().collect();
            let of_sum = dot(&self.inputs, &weight);
            mean += (of_sum / self.tokens + intercept) / self.experts as f64;
            square += self.mean_square(&weight, *intercept, of_sum) / self.experts as f64;
        }
        let deviation = (square - mean * mean)
            .max(0.0)
            .sqrt()
            .max(f64::MIN_POSITIVE);
        let scaled = |value: &f64, shift: f64| ((value - shift) / deviation) as f32;
        let router = LinearRouter {
            hidden: self.hidden,
            weights: weights.iter().map(|it| scaled(it, 0.0)).collect(),
            intercepts: intercepts.iter().map(|it| scaled(it, mean)).collect(),
        };
        router.is_finite().then_some(router)
    }

    /// Mean square of the predictions `w . x + a`; `of_sum` is `w . sum x`.
    fn mean_square(&self, weight: &[f64], intercept: f64, of_sum: f64) -> f64 {
        let rows = self.gram.chunks(self.hidden).zip(weight);
        let quadratic = rows.map(|(row, left)| left * dot(row, weight));
        let sum = quadratic.sum::<f64>() + 2.0 * intercept * of_sum;
        sum / self.tokens + intercept * intercept
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use darkhorse_backends::select::Selected;

    use super::*;

    type B = Selected;

    const HIDDEN: usize = 5;

    fn inputs(tokens: usize) -> Vec<f32> {
        let value = |at: usize| ((at * 2_654_435_761 + 12_345) % 1000) as f32 / 250.0 - 2.0;
        (0..tokens * HIDDEN).map(value).collect()
    }

    fn tensor(values: Vec<f32>, width: usize) -> Tensor<B, 2> {
        let rows = values.len() / width;
        Tensor::from_data(TensorData::new(values, [rows, width]), &Default::default())
    }

    /// Predictions of a router, token by token.
    fn logits(router: &LinearRouter, inputs: &[f32]) -> Vec<f32> {
        let experts = router.intercepts.len();
        let of_token = |x: &[f32]| {
            let x = x.to_vec();
            (0..experts).map(move |expert| {
                let weights = router.weights.iter().skip(expert).step_by(experts);
                x.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>() + router.intercepts[expert]
            })
        };
        inputs.chunks(HIDDEN).flat_map(of_token).collect()
    }

    #[test]
    fn contributions_that_are_linear_are_found_up_to_one_shift_and_one_scale() {
        let tokens = 400;
        let x = inputs(tokens);
        let slopes = [
            [1.0, 0.0, -2.0, 0.5, 0.0],
            [0.0, 3.0, 0.0, 0.0, 1.0],
            [0.2; 5],
        ];
        let targets: Vec<f32> = x
            .chunks(HIDDEN)
            .flat_map(|x| {
                let x = x.to_vec();
                slopes
                    .iter()
                    .zip([5.0, 1.0, 9.0])
                    .map(move |(slope, start)| {
                        start + x.iter().zip(slope).map(|(x, w)| x * w).sum::<f32>()
                    })
            })
            .collect();
        let mut normal = Normal::new(HIDDEN, 3);
        for (x, y) in x.chunks(100 * HIDDEN).zip(targets.chunks(300)) {
            normal.add(tensor(x.to_vec(), HIDDEN), tensor(y.to_vec(), 3));
        }
        let found = logits(&normal.solve().unwrap(), &x);
        let count = found.len() as f32;
        let mean = found.iter().sum::<f32>() / count;
        let square = found.iter().map(|it| it * it).sum::<f32>() / count;
        assert!(mean.abs() < 1e-4, "{mean}");
        assert!((square - 1.0).abs() < 1e-3, "{square}");
        // one line through all pairs of a target and a logit, but for the penalty
        let slope = (found[1] - found[0]) / (targets[1] - targets[0]);
        for (logit, target) in found.iter().zip(&targets) {
            let expected = found[0] + slope * (target - targets[0]);
            assert!(
                (logit - expected).abs() < 0.05,
                "{logit}, expected {expected}"
            );
        }
    }

    #[test]
    fn inputs_that_are_not_finite_have_no_router() {
        let mut normal = Normal::new(HIDDEN, 1);
        assert_eq!(normal.solve(), None);
        normal.add(tensor(vec![f32::NAN; HIDDEN], HIDDEN), tensor(vec![1.0], 1));
        assert_eq!(normal.solve(), None);
    }
}
