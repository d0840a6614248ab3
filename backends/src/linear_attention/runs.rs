//! Document boundaries.

use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Attended, LinearAttention};
use crate::attention::AttentionMask;

/// Token ranges of the documents of every row.
pub(crate) type Runs = Vec<Vec<Range<usize>>>;

/// Ranges of equal document numbers of every row; `None` if each row is one document.
pub fn runs<B: Backend>(mask: &AttentionMask<B>) -> Option<Runs> {
    let AttentionMask::Documents(documents) = mask else {
        return None;
    };
    let [_, seq] = documents.dims();
    let numbers: Vec<i64> = documents.to_data().iter::<i64>().collect();
    let rows: Runs = numbers.chunks(seq.max(1)).map(of_row).collect();
    rows.iter().any(|row| row.len() > 1).then_some(rows)
}

fn of_row(numbers: &[i64]) -> Vec<Range<usize>> {
    let mut begin = 0;
    let runs = numbers.chunk_by(|left, right| left == right);
    runs.map(|run| {
        let range = begin..begin + run.len();
        begin = range.end;
        range
    })
    .collect()
}

/// Applies `attend` to every document separately. Only the first one of a row uses the initial state.
pub(super) fn by_document<B: Backend>(
    input: LinearAttention<B>,
    runs: Option<&Runs>,
    attend: impl Fn(LinearAttention<B>) -> Attended<B>,
) -> Attended<B> {
    let Some(rows) = runs else {
        return attend(input);
    };
    let (mut outputs, mut states) = (Vec::new(), Vec::new());
    for (item, row) in rows.iter().enumerate() {
        let mut output = Vec::new();
        let mut state = None;
        for run in row {
            let attended = attend(input.document(item, run));
            output.push(attended.output);
            state = Some(attended.state);
        }
        outputs.push(Tensor::cat(output, 1));
        states.extend(state);
    }
    Attended {
        output: Tensor::cat(outputs, 0),
        state: Tensor::cat(states, 0),
    }
}
