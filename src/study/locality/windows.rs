//! Distinct experts per window of tokens.

use std::ops::Range;

/// Mean number of distinct experts of one layer that `width` consecutive tokens of a document visit, over all such
/// windows; `None` if every document is shorter.
///
/// # Shapes
///
/// - documents: ranges of tokens; choices: `[tokens, k]`, where numbers from `experts` on are null experts and not
///   visits
pub fn distinct(
    documents: &[Range<usize>],
    choices: &[u16],
    k: usize,
    experts: usize,
    width: usize,
) -> Option<f64> {
    let visits = |token: usize| {
        let chosen = choices[token * k..][..k].iter();
        chosen
            .map(|&slot| usize::from(slot))
            .filter(|&slot| slot < experts)
    };
    let (mut windows, mut sum) = (0u64, 0u64);
    for document in documents {
        // visits to each expert in the window, and the number of experts with visits
        let (mut visited, mut touched) = (vec![0usize; experts], 0u64);
        for token in document.clone() {
            for expert in visits(token) {
                touched += u64::from(visited[expert] == 0);
                visited[expert] += 1;
            }
            let length = token + 1 - document.start;
            if length > width {
                for expert in visits(token - width) {
                    visited[expert] -= 1;
                    touched -= u64::from(visited[expert] == 0);
                }
            }
            if length >= width {
                windows += 1;
                sum += touched;
            }
        }
    }
    (windows > 0).then(|| sum as f64 / windows as f64)
}

/// Expectation of [`distinct`] if tokens chose independently with the same loads: `sum_e 1 - (1 - f_e)^width`, where
/// `f_e` is the fraction of the tokens that visit expert `e`.
pub fn if_independent(loads: &[u64], tokens: u64, width: usize) -> f64 {
    let shares = loads.iter().map(|&load| load as f64 / tokens.max(1) as f64);
    shares
        .map(|share| 1.0 - (1.0 - share).powi(width as i32))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_slide_within_documents() {
        // experts of the tokens: {0 1} {0 2} {0 1} | {2 9} {3 1}; 9 is a null expert
        let choices = [0, 1, 0, 2, 0, 1, 2, 9, 3, 1];
        let documents = [0..3, 3..5];
        let distinct = |width| distinct(&documents, &choices, 2, 4, width);
        // 2 + 2 + 2 + 1 + 2
        assert_eq!(distinct(1), Some(9.0 / 5.0));
        // {0 1 2} {0 1 2} {1 2 3}
        assert_eq!(distinct(2), Some(3.0));
        assert_eq!(distinct(3), Some(3.0));
        assert_eq!(distinct(4), None);
    }

    #[test]
    fn independent_choices_touch_what_probability_says() {
        // half of the tokens visit each of two experts
        assert_eq!(if_independent(&[5, 5], 10, 1), 1.0);
        assert_eq!(if_independent(&[5, 5], 10, 2), 1.5);
        assert_eq!(if_independent(&[10, 0], 10, 7), 1.0);
    }
}
