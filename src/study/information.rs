//! Entropies of routes: the effective number of experts, and the dependence between experts and domains.
//!
//! All entropies are in nats.

/// Entropy `S = -sum p ln p` in nats, where `p` is proportional to the weights; 0 without weights.
pub fn entropy(weights: impl IntoIterator<Item = f64> + Clone) -> f64 {
    let total: f64 = weights.clone().into_iter().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let positive = weights.into_iter().filter(|&weight| weight > 0.0);
    let sum: f64 = positive
        .map(|weight| weight / total * (weight / total).ln())
        .sum();
    // avoids -0
    (-sum).max(0.0)
}

/// Entropy of the distribution that is proportional to the counts, in nats.
pub fn entropy_of_counts(counts: &[u64]) -> f64 {
    entropy(counts.iter().map(|&count| count as f64))
}

/// Effective number of experts, `N_eff = exp(S(load))`: the number of equally busy experts with the same entropy.
/// `None` without a visit.
pub fn effective_number(loads: &[u64]) -> Option<f64> {
    let visits: u64 = loads.iter().sum();
    (visits > 0).then(|| entropy_of_counts(loads).exp())
}

/// Dependence between the rows and the columns of a table of counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dependence {
    /// Mutual information `I = S(rows) + S(columns) - S(both)`, in nats.
    pub nats: f64,
    /// `2 I / (S(rows) + S(columns))`: 0 if independent, 1 if each determines the other.
    pub normalized: f64,
}

/// Dependence between a table's rows and columns, such as domains and experts; `None` unless at least two rows have
/// counts.
pub fn dependence(table: &[Vec<u64>]) -> Option<Dependence> {
    let rows: Vec<u64> = table.iter().map(|row| row.iter().sum()).collect();
    if rows.iter().filter(|&&count| count > 0).count() < 2 {
        return None;
    }
    let width = table.iter().map(Vec::len).max().unwrap_or(0);
    let of_column = |column: usize| table.iter().filter_map(|row| row.get(column)).sum();
    let columns: Vec<u64> = (0..width).map(of_column).collect();
    let both: Vec<u64> = table.concat();
    let (of_rows, of_columns) = (entropy_of_counts(&rows), entropy_of_counts(&columns));
    let nats = (of_rows + of_columns - entropy_of_counts(&both)).max(0.0);
    Some(Dependence {
        nats,
        normalized: 2.0 * nats / (of_rows + of_columns),
    })
}

/// `P(column | row) / P(column)`: how much more often than all tokens a row's tokens visit a column. `None` if either
/// has no counts.
pub fn lift(table: &[Vec<u64>], row: usize, column: usize) -> Option<f64> {
    let of_row: u64 = table.get(row)?.iter().sum();
    let of_column: u64 = table.iter().filter_map(|row| row.get(column)).sum();
    let all: u64 = table.iter().flatten().sum();
    let count = *table.get(row)?.get(column)?;
    (of_row > 0 && of_column > 0)
        .then(|| count as f64 / of_row as f64 * all as f64 / of_column as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_number_of_experts_lies_between_one_and_all() {
        assert_eq!(effective_number(&[0, 0]), None);
        assert_eq!(effective_number(&[9, 0, 0, 0]), Some(1.0));
        let even = effective_number(&[5; 8]).unwrap();
        assert!((even - 8.0).abs() < 1e-12, "{even}");
        // shares 1/2, 1/4, 1/4: S = 1.5 ln 2
        let uneven = effective_number(&[2, 1, 1]).unwrap();
        assert!((uneven - 2f64.powf(1.5)).abs() < 1e-12, "{uneven}");
    }

    #[test]
    fn rows_that_tell_their_column_have_a_normalized_information_of_one() {
        let diagonal = dependence(&[vec![4, 0], vec![0, 4]]).unwrap();
        assert!((diagonal.nats - 2f64.ln()).abs() < 1e-12);
        assert!((diagonal.normalized - 1.0).abs() < 1e-12);
    }

    #[test]
    fn independent_rows_have_no_information() {
        let independent = dependence(&[vec![2, 6, 4], vec![1, 3, 2]]).unwrap();
        assert!(independent.nats < 1e-12 && independent.normalized < 1e-12);
    }

    #[test]
    fn one_domain_tells_nothing_and_says_so() {
        assert_eq!(dependence(&[vec![3, 4], vec![0, 0]]), None);
    }

    #[test]
    fn the_lift_compares_a_rows_share_with_that_of_all() {
        let table = [vec![30, 10], vec![20, 40]];
        // (30 of 40) / (50 of 100)
        assert!((lift(&table, 0, 0).unwrap() - 0.75 / 0.5).abs() < 1e-12);
        assert_eq!(lift(&[vec![0, 0], vec![1, 1]], 0, 0), None);
    }
}
