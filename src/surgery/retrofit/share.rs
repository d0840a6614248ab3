//! The bias at which null experts get a given share of the choices.

/// Change of the null experts' bias at which `wanted` of a batch's choices fall on them; negative if more of them do
/// now.
///
/// A token chooses its `m` best null experts where the `m`-th beats the expert that it would replace, the `k - m +
/// 1`-th best. So every token has a bias change at which it takes its first null expert, its second, and so on; the
/// result lies between the values of the last wanted choice and of the next one.
///
/// # Shapes
///
/// - scores: `[tokens, slots]`, row-major; the first `experts` slots are experts
pub(super) fn rise(scores: &[f32], [slots, experts, k]: [usize; 3], wanted: f64) -> f32 {
    let mut rises = Vec::new();
    for token in scores.chunks(slots) {
        let (mut real, mut null) = (token[..experts].to_vec(), token[experts..].to_vec());
        for scores in [&mut real, &mut null] {
            scores.sort_by(|a, b| b.total_cmp(a));
        }
        let each = null.iter().take(k).enumerate();
        rises.extend(each.map(|(m, null)| real[k - 1 - m] - null));
    }
    rises.sort_by(f32::total_cmp);
    let Some(last) = rises.len().checked_sub(1) else {
        return 0.0;
    };
    let wanted = (wanted.round() as usize).min(rises.len());
    match wanted {
        0 => rises[0] - 1.0,
        _ if wanted > last => rises[last] + 1.0,
        _ => (rises[wanted - 1] + rises[wanted]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// Number of choices of null experts after a rise of their bias, found by routing.
    fn chosen(scores: &[f32], [slots, experts, k]: [usize; 3], rise: f32) -> usize {
        let of_token = |token: &[f32]| {
            let score = |slot: &usize| token[*slot] + if *slot < experts { 0.0 } else { rise };
            let mut order: Vec<usize> = (0..slots).collect();
            order.sort_by(|a, b| score(b).total_cmp(&score(a)));
            order[..k].iter().filter(|&&slot| slot >= experts).count()
        };
        scores.chunks(slots).map(of_token).sum()
    }

    #[test]
    fn after_the_rise_as_many_choices_fall_on_null_experts_as_are_wanted() {
        let mut rng = SmallRng::seed_from_u64(4);
        for sizes @ [slots, experts, k] in [[12, 8, 2], [10, 8, 4], [5, 4, 1], [9, 4, 4]] {
            let scores: Vec<f32> = (0..200 * slots).map(|_| rng.random()).collect();
            let most = 200 * k.min(slots - experts);
            for wanted in [1, 17, 100, most - 1, most] {
                let rise = rise(&scores, sizes, wanted as f64);
                assert_eq!(chosen(&scores, sizes, rise), wanted, "{sizes:?}");
            }
            let none = rise(&scores, sizes, 0.0);
            assert_eq!(chosen(&scores, sizes, none), 0, "{sizes:?}");
        }
    }

    #[test]
    fn without_tokens_nothing_moves() {
        assert_eq!(rise(&[], [5, 4, 2], 3.0), 0.0);
    }
}
