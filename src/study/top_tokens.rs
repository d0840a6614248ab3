//! Tokens that visit an expert more often than others do: candidates for the specialization of an expert without a
//! domain.

use std::collections::HashMap;

use super::labels::MIN_LIFT;

/// Largest number of tokens named for an expert.
const MOST: usize = 5;

/// Fewest visits for which a token is named.
const MIN_VISITS: u64 = 20;

/// For each expert of a layer, the token ids with the highest lift `P(expert | id) / P(expert)`, highest first.
/// Tokens with too few visits, or with a lift below that of a domain label, are left out.
///
/// # Shapes
///
/// - ids: `[tokens]`; choices: `[tokens, k]`, where numbers from `experts` on are null experts
pub fn top_tokens(ids: &[u32], choices: &[u16], k: usize, experts: usize) -> Vec<Vec<u32>> {
    let mut occurrences: HashMap<u32, u64> = HashMap::new();
    let mut visits: HashMap<(u32, u16), u64> = HashMap::new();
    let mut loads = vec![0u64; experts];
    for (&id, chosen) in ids.iter().zip(choices.chunks_exact(k)) {
        *occurrences.entry(id).or_default() += 1;
        for &expert in chosen {
            if let Some(load) = loads.get_mut(usize::from(expert)) {
                *load += 1;
                *visits.entry((id, expert)).or_default() += 1;
            }
        }
    }
    let mut ranked: Vec<Vec<(f64, u32)>> = vec![Vec::new(); experts];
    for (&(id, expert), &count) in visits.iter().filter(|(_, count)| **count >= MIN_VISITS) {
        let of_id = count as f64 / occurrences[&id] as f64;
        let of_all = loads[usize::from(expert)] as f64 / ids.len() as f64;
        if of_id / of_all >= MIN_LIFT {
            ranked[usize::from(expert)].push((of_id / of_all, id));
        }
    }
    let best = |mut ranked: Vec<(f64, u32)>| {
        ranked.sort_by(|left, right| right.0.total_cmp(&left.0).then(left.1.cmp(&right.1)));
        ranked.into_iter().take(MOST).map(|(_, id)| id).collect()
    };
    ranked.into_iter().map(best).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_that_visit_an_expert_most_are_named_by_their_lift() {
        // 7 always visits expert 0, 8 in three of four times; 5 is rare, 9 visits a null expert half the time, 6 any
        let tokens = [
            vec![7; 30],
            vec![8; 30],
            vec![9; 60],
            vec![5; 3],
            vec![6; 40],
        ]
        .concat();
        let choices: Vec<u16> = (0..tokens.len())
            .map(|at| match tokens[at] {
                7 | 5 => 0,
                8 if at % 4 > 0 => 0,
                6 if at % 2 == 0 => 0,
                9 if at % 2 == 0 => 2,
                _ => 1,
            })
            .collect();
        let found = top_tokens(&tokens, &choices, 1, 2);
        assert_eq!(found, [vec![7, 8], vec![]]);
    }
}
