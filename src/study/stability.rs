//! RSI: whether a token's choice is stable under noise.

use burn::tensor::{Tensor, TensorData};
use darkhorse_backends::Ops;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand_distr::{Distribution, StandardNormal};

use super::observe::{Observation, Plan};
use super::overlap::overlap;
use crate::domain::Domain;
use crate::model::CausalLm;
use crate::model::mixer::TokenMixer;
use crate::model::routing::{Route, Surroundings};

/// Standard deviation of the noise, relative to the root mean square of the router's input.
const NOISE: f64 = 0.01;

impl Observation {
    /// Routes the sampled tokens with and without noise and stores the overlap of the choices.
    pub(super) fn measure_stability<B, M, R>(&mut self, model: &CausalLm<B, M, R>, plan: &Plan)
    where
        B: Ops,
        M: TokenMixer<B>,
        R: Route<B>,
    {
        let device = model.embed_tokens.device();
        let tags = self.sample.iter().map(|&token| {
            let domain = self.domains[token as usize].filter(|_| plan.told_domains);
            i32::from(Domain::tag(domain))
        });
        let tags: Vec<i32> = tags.collect();
        for (layer, router) in self.layers.iter_mut().zip(model.routers()) {
            let shape = [tags.len(), layer.width];
            let choose = |inputs: Vec<f32>| -> Vec<u16> {
                let inputs = Tensor::<B, 2>::from_data(TensorData::new(inputs, shape), &device);
                let prior = model.domain_prior.as_ref().filter(|_| plan.told_domains);
                let prior = prior.map(|prior| {
                    let tags = TensorData::new(tags.clone(), [tags.len()]);
                    prior.of(Tensor::from_data(tags, &device))
                });
                // single tokens have no codons
                let around = Surroundings {
                    prior,
                    ..Surroundings::default()
                };
                let chosen = router.route(inputs, &around).indices.into_data();
                chosen.iter::<i64>().map(|slot| slot as u16).collect()
            };
            let seed = plan.seed + layer.layer as u64;
            let noisy = with_noise(&layer.inputs, layer.width, NOISE, seed);
            let (plain, noisy) = (choose(layer.inputs.clone()), choose(noisy));
            layer.stability = overlap(&plain, &noisy, layer.k);
        }
    }
}

/// Adds normal noise to vectors, with `scale` times each vector's root mean square as standard deviation.
fn with_noise(vectors: &[f32], width: usize, scale: f64, seed: u64) -> Vec<f32> {
    let rng = &mut SmallRng::seed_from_u64(seed);
    let noisy = vectors.chunks_exact(width).flat_map(|vector| {
        let squares = vector.iter().map(|&value| f64::from(value).powi(2));
        let size = (squares.sum::<f64>() / width as f64).sqrt();
        let draw = |&value: &f32| {
            let noise: f64 = StandardNormal.sample(rng);
            (f64::from(value) + scale * size * noise) as f32
        };
        vector.iter().map(draw).collect::<Vec<_>>()
    });
    noisy.collect()
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;

    #[test]
    fn noise_is_relative_to_the_size_of_a_vector() {
        let vectors: Vec<f32> = (0..4000)
            .map(|at| if at < 2000 { 1.0 } else { 100.0 })
            .collect();
        let noisy = with_noise(&vectors, 2000, 0.01, 3);
        let deviation = |range: Range<usize>| {
            let squares = noisy[range.clone()].iter().zip(&vectors[range.clone()]);
            let squares = squares.map(|(noisy, plain)| f64::from(noisy - plain).powi(2));
            (squares.sum::<f64>() / range.len() as f64).sqrt()
        };
        assert!((deviation(0..2000) - 0.01).abs() < 0.001);
        assert!((deviation(2000..4000) - 1.0).abs() < 0.1);
        assert_eq!(with_noise(&vectors, 2000, 0.0, 3), vectors);
    }
}
