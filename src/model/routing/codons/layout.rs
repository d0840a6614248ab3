//! Assignment of the rows of a pass to codons.

/// Consecutive rows of one document, from the start of a codon, of which a pass reads the last ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Number of codons of the document before these rows.
    pub(super) before: usize,
    /// Number of rows that earlier passes read.
    pub(super) known: usize,
    /// Number of rows that this pass reads.
    pub(super) new: usize,
}

/// Codons of all runs, concatenated.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// Codon of every row, known rows included.
    pub(super) of_rows: Vec<i32>,
    /// Codon of every new row.
    pub(super) of_new: Vec<i32>,
    /// Index of every codon within its document.
    pub(super) numbers: Vec<usize>,
    /// Whether the previous codon belongs to the same document and run.
    pub(super) follows: Vec<bool>,
}

impl Layout {
    pub(super) fn new(runs: &[Run], length: usize) -> Self {
        let mut layout = Self {
            of_rows: Vec::new(),
            of_new: Vec::new(),
            numbers: Vec::new(),
            follows: Vec::new(),
        };
        for run in runs {
            for row in 0..run.known + run.new {
                if row % length == 0 {
                    layout.numbers.push(run.before + row / length);
                    layout.follows.push(row > 0);
                }
                let codon = layout.numbers.len() as i32 - 1;
                layout.of_rows.push(codon);
                if row >= run.known {
                    layout.of_new.push(codon);
                }
            }
        }
        layout
    }

    /// Factors of a parallel scan for `y[c] = x[c] + memory y[c - 1]` within documents, whose reach doubles with
    /// each factor: `y[c] += factors[i][c] y[c - 2^i]` for `i = 0, 1, ..`.
    pub(super) fn factors(&self, memory: f64) -> Vec<Vec<f32>> {
        let decay = |&follows: &bool| if follows { memory as f32 } else { 0.0 };
        let mut factors: Vec<f32> = self.follows.iter().map(decay).collect();
        let mut all = Vec::new();
        let mut reach = 1;
        while factors.iter().any(|&factor| factor != 0.0) {
            let further = |codon: usize| match codon.checked_sub(reach) {
                Some(earlier) => factors[codon] * factors[earlier],
                None => 0.0,
            };
            let doubled = (0..factors.len()).map(further).collect();
            all.push(std::mem::replace(&mut factors, doubled));
            reach *= 2;
        }
        all
    }
}

/// Splits rows of `seq` tokens into documents; a position that does not continue the previous one starts a document.
pub(super) fn documents(positions: &[i32], seq: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for row in positions.chunks(seq.max(1)) {
        let mut last = None;
        for &position in row {
            match (last, runs.last_mut()) {
                (Some(last), Some(run)) if position == last + 1 => run.new += 1,
                _ => runs.push(Run {
                    before: 0,
                    known: 0,
                    new: 1,
                }),
            }
            last = Some(position);
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_begin_where_positions_do_and_at_the_beginning_of_a_row() {
        let lengths = |positions: &[i32], seq| -> Vec<usize> {
            documents(positions, seq)
                .iter()
                .map(|run| run.new)
                .collect()
        };
        assert_eq!(lengths(&[0, 1, 2, 0, 1, 0, 0, 0], 8), [3, 2, 1, 1, 1]);
        // the second row continues a document whose beginning it does not see
        assert_eq!(lengths(&[0, 1, 2, 3], 2), [2, 2]);
        assert_eq!(lengths(&[], 0), [0; 0]);
    }

    #[test]
    fn a_codon_never_holds_rows_of_two_documents() {
        let run = |before, known, new| Run { before, known, new };
        let layout = Layout::new(&[run(0, 0, 5), run(3, 1, 2)], 2);
        assert_eq!(layout.of_rows, [0, 0, 1, 1, 2, 3, 3, 4]);
        assert_eq!(layout.of_new, [0, 0, 1, 1, 2, 3, 4]);
        assert_eq!(layout.numbers, [0, 1, 2, 3, 4]);
        assert_eq!(layout.follows, [false, true, true, false, true]);
    }

    #[test]
    fn the_scan_reaches_the_beginning_of_a_document_and_no_further() {
        let run = |new| Run {
            before: 0,
            known: 0,
            new,
        };
        let layout = Layout::new(&[run(7), run(4), run(1)], 1);
        let inputs: Vec<f32> = (0..12).map(|i| 1.0 + i as f32).collect();
        let mut expected = inputs.clone();
        for codon in 1..12 {
            if layout.follows[codon] {
                expected[codon] += 0.5 * expected[codon - 1];
            }
        }
        let mut found = inputs;
        let all = layout.factors(0.5);
        assert_eq!(all.len(), 3, "seven codons are reached in three doublings");
        for (step, factors) in all.iter().enumerate() {
            let before = found.clone();
            for codon in 1 << step..12 {
                found[codon] += factors[codon] * before[codon - (1 << step)];
            }
        }
        assert_eq!(found, expected);
        assert!(Layout::new(&[run(1)], 1).factors(0.5).is_empty());
        assert!(layout.factors(0.0).is_empty());
    }
}
