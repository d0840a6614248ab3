//! The two metrics of StructuredDNA's published code, reproduced for comparison.
//!
//! Neither depends on the routing: if all vectors are alike, SSI is near 1 for any labels. On 400 vectors with a mean
//! cosine of 0.88, random labels score 0.998 and 8.74, the figures that were published for the trained system. Use
//! [`cohesion`](super::cohesion) and the perplexity of routes instead.

/// StructuredDNA's metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Legacy {
    /// `1 - mean_c Var(E[c, c])`, where `E` is `1 - cos` of every pair and `c` runs over the clusters' members. The
    /// block of a cluster includes the zeros of its diagonal.
    pub ssi: f64,
    /// `exp(-mean ln clip(E + 1e-9, 1e-9, 1))` over all of `E`, its diagonal included.
    pub semantic_ppl: f64,
}

/// The metrics of vectors with one cluster label each; `None` without vectors. The cost is quadratic in the number of
/// vectors.
///
/// # Shapes
///
/// - vectors: `[tokens, width]`; labels: `[tokens]`
pub fn legacy(vectors: &[f32], width: usize, labels: &[u16]) -> Option<Legacy> {
    let tokens = labels.len();
    if tokens == 0 || vectors.len() != tokens * width {
        return None;
    }
    let units = units(vectors, width);
    let unit = |token: usize| &units[token * width..][..width];
    let distance = |a: usize, b: usize| {
        let cosine: f64 = unit(a).iter().zip(unit(b)).map(|(a, b)| a * b).sum();
        1.0 - cosine
    };
    let mut logarithms = 0.0;
    for a in 0..tokens {
        for b in 0..tokens {
            // clips as the published code does; the diagonal is 0 up to rounding
            let value = if a == b { 0.0 } else { distance(a, b) };
            logarithms += (value + 1e-9).clamp(1e-9, 1.0).ln();
        }
    }
    let mut clusters = labels.to_vec();
    clusters.sort_unstable();
    clusters.dedup();
    let variances = clusters.iter().map(|cluster| {
        let members = (0..tokens).filter(|&token| labels[token] == *cluster);
        let members: Vec<usize> = members.collect();
        let block = members.iter().flat_map(|&a| {
            let distances = members.iter().map(move |&b| (a, b));
            distances.map(|(a, b)| if a == b { 0.0 } else { distance(a, b) })
        });
        variance(&block.collect::<Vec<f64>>())
    });
    let variances: Vec<f64> = variances.collect();
    Some(Legacy {
        ssi: 1.0 - variances.iter().sum::<f64>() / variances.len() as f64,
        semantic_ppl: (-logarithms / (tokens * tokens) as f64).exp(),
    })
}

fn units(vectors: &[f32], width: usize) -> Vec<f64> {
    let mut units = Vec::with_capacity(vectors.len());
    for vector in vectors.chunks_exact(width) {
        let values = vector.iter().map(|&value| f64::from(value));
        let length = values
            .clone()
            .map(|value| value * value)
            .sum::<f64>()
            .sqrt();
        let scale = if length > 0.0 { length.recip() } else { 0.0 };
        units.extend(values.map(|value| value * scale));
    }
    units
}

/// Population variance, as numpy's `var`.
fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    squares.sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::testing::{random_labels, with_mean_cosine};

    #[test]
    fn the_formulas_give_what_a_hand_computes() {
        // distances: 0 within {a, b}, 1 between {a, b} and c
        let vectors = [1.0, 0.0, 2.0, 0.0, 0.0, 1.0];
        let found = legacy(&vectors, 2, &[0, 0, 1]).unwrap();
        assert!((found.ssi - 1.0).abs() < 1e-9);
        // four of nine entries are 1 (ln 1 = 0), five are 1e-9
        let ppl = (5.0 / 9.0 * 1e9f64.ln()).exp();
        assert!((found.semantic_ppl / ppl - 1.0).abs() < 1e-6, "{found:?}");
        // the block of {a, c} is 0 1 1 0, of variance 1/4, that of b has none
        let found = legacy(&vectors, 2, &[0, 1, 0]).unwrap();
        assert!((found.ssi - (1.0 - 0.125)).abs() < 1e-9, "{found:?}");
    }

    /// Documents the defect: the published figures of a trained system are those of random labels.
    #[test]
    fn random_labels_have_the_published_figures() {
        let vectors = with_mean_cosine(400, 768, 0.88, 11);
        let found = legacy(&vectors, 768, &random_labels(400, 50, 12)).unwrap();
        assert_eq!(format!("{:.3}", found.ssi), "0.998");
        assert!((found.semantic_ppl - 8.74).abs() < 0.1, "{found:?}");
    }
}
