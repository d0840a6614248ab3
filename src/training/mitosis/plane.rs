//! Plane that divides an expert's tokens in halves: perpendicular to their first principal component, through the
//! median.

/// Steps of the power iteration. The direction need not be exact, since the median gives equal halves for any.
const ITERATIONS: usize = 5;

/// A plane `v x = m`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plane {
    /// Normal `v`, of length 1.
    pub(super) normal: Vec<f32>,
    /// Offset `m`.
    pub(super) offset: f32,
}

impl Plane {
    /// Degenerate plane with all tokens above it.
    pub(super) fn flat(width: usize) -> Self {
        Self {
            normal: vec![0.0; width],
            offset: 0.0,
        }
    }
}

/// Plane through the median of tokens, perpendicular to their first principal component; `None` if they do not
/// differ.
pub(super) fn through(tokens: &[&[f32]]) -> Option<Plane> {
    let normal = principal_direction(tokens)?;
    let mut heights: Vec<f64> = tokens.iter().map(|token| dot(token, &normal)).collect();
    heights.sort_by(f64::total_cmp);
    let middle = heights.len() / 2;
    let offset = (heights[middle - 1] + heights[middle]) / 2.0;
    Some(Plane {
        normal: normal.iter().map(|&value| value as f32).collect(),
        offset: offset as f32,
    })
}

/// First principal component of tokens, by power iteration from the token farthest from the mean.
fn principal_direction(tokens: &[&[f32]]) -> Option<Vec<f64>> {
    let width = tokens.first()?.len();
    let mut mean = vec![0.0; width];
    for token in tokens {
        for (mean, &value) in mean.iter_mut().zip(*token) {
            *mean += f64::from(value) / tokens.len() as f64;
        }
    }
    let centered: Vec<Vec<f64>> = tokens
        .iter()
        .map(|token| {
            let pairs = token.iter().zip(&mean);
            pairs
                .map(|(&value, mean)| f64::from(value) - mean)
                .collect()
        })
        .collect();
    let length = |it: &[f64]| it.iter().map(|value| value * value).sum::<f64>().sqrt();
    let farthest = |one: &&Vec<f64>, other: &&Vec<f64>| length(one).total_cmp(&length(other));
    let mut direction = centered.iter().max_by(farthest)?.clone();
    for _ in 0..ITERATIONS {
        let norm = length(&direction);
        if !(norm > 1e-12 && norm.is_finite()) {
            return None;
        }
        let mut next = vec![0.0; width];
        for token in &centered {
            let along = token.iter().zip(&direction).map(|(x, v)| x * v / norm);
            let along: f64 = along.sum();
            for (next, x) in next.iter_mut().zip(token) {
                *next += along * x;
            }
        }
        direction = next;
    }
    let norm = length(&direction);
    let is_direction = norm > 1e-12 && norm.is_finite();
    is_direction.then(|| direction.iter().map(|value| value / norm).collect())
}

fn dot(token: &[f32], direction: &[f64]) -> f64 {
    let pairs = token.iter().zip(direction);
    pairs.map(|(&x, v)| f64::from(x) * v).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plane_divides_along_the_widest_direction_into_halves() {
        let tokens: Vec<Vec<f32>> = (0..101)
            .map(|at| {
                let along = at as f32 * 0.1 + 3.0;
                vec![along, (at * 7 % 13) as f32 * 0.01, 1.0 - along]
            })
            .collect();
        let tokens: Vec<&[f32]> = tokens.iter().map(Vec::as_slice).collect();
        let plane = through(&tokens).unwrap();
        let normal = &plane.normal;
        assert!((normal[0] + normal[2]).abs() < 1e-2, "{normal:?}");
        assert!((normal[0].abs() - 0.707).abs() < 1e-2, "{normal:?}");
        let height =
            |token: &&&[f32]| -> f32 { token.iter().zip(normal).map(|(x, v)| x * v).sum() };
        let above = tokens.iter().filter(|it| height(it) >= plane.offset);
        assert!((50..=51).contains(&above.count()));
    }

    #[test]
    fn tokens_that_do_not_differ_have_no_plane() {
        assert_eq!(through(&[]), None);
        assert_eq!(through(&[&[1.0, 2.0]]), None);
        assert_eq!(through(&[&[1.0, 2.0], &[1.0, 2.0]]), None);
    }
}
