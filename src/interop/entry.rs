//! The mapping between one of our parameters and the tensors of another format, used both to read and to write.

use std::borrow::Cow;
use std::path::Path;

use super::{InteropError, RawTensor, layout};
use crate::model::weights::Values;

/// A parameter, and the tensors of the other format that hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path of the parameter in our model.
    pub ours: String,
    /// Names of the other format's tensors: one, or one per expert.
    pub theirs: Vec<String>,
    /// The part of these tensors that is the parameter.
    pub take: Take,
    /// How their dimensions map to ours.
    pub turn: Turn,
    /// Length of a vector of zeros that their model has and their files lack; absent: the files have it.
    pub zeros: Option<usize>,
}

/// The part of another format's tensors that is one of our parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// All of a single tensor.
    Whole,
    /// Some rows of a single tensor, in our order.
    Rows(Rows),
    /// All of several tensors, one per expert, stacked in ours.
    Stack,
}

/// How the dimensions of another format's tensor map to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Equal dimensions.
    Same,
    /// A projection: ours is `[in, out]`, theirs `[out, in]`.
    Transposed,
    /// A depthwise convolution: ours is `[channels, taps]`, theirs `[channels, 1, taps]`.
    Convolution,
}

/// Selection and order of another format's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// `width` rows, from `start` on, of every group of `stride` rows.
    Groups {
        /// Number of groups.
        groups: usize,
        /// Rows per group.
        stride: usize,
        /// First row of ours within a group.
        start: usize,
        /// Number of our rows per group.
        width: usize,
    },
    /// All rows, of which `dim` rows of each head, from `start` on, are permuted for rotary embeddings: theirs pair
    /// row `j` with row `j + dim / 2` (halves), ours pair row `2 j` with row `2 j + 1` (neighbours).
    Rotary {
        /// Number of heads.
        heads: usize,
        /// Rows per head.
        head_dim: usize,
        /// First rotated row of a head.
        start: usize,
        /// Number of rotated rows per head.
        dim: usize,
    },
}

impl Rows {
    /// Number of rows of their tensor.
    pub fn theirs(&self) -> usize {
        match *self {
            Self::Groups { groups, stride, .. } => groups.saturating_mul(stride),
            Self::Rotary {
                heads, head_dim, ..
            } => heads.saturating_mul(head_dim),
        }
    }

    /// Number of rows of our tensor.
    fn ours(&self) -> usize {
        match *self {
            Self::Groups { groups, width, .. } => groups * width,
            Self::Rotary { .. } => self.theirs(),
        }
    }

    /// For each of our rows, the index of their row.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        let rows = *self;
        (0..self.ours()).map(move |row| match rows {
            Self::Groups {
                stride,
                start,
                width,
                ..
            } => row / width * stride + start + row % width,
            Self::Rotary {
                head_dim,
                start,
                dim,
                ..
            } => match (row % head_dim).checked_sub(start) {
                Some(turned) if turned < dim => row - turned + turned / 2 + turned % 2 * (dim / 2),
                _ => row,
            },
        })
    }
}

impl Entry {
    /// Our shape for a tensor of shape `theirs`.
    pub fn our_shape(&self, theirs: &[usize]) -> Vec<usize> {
        let mut shape = self.part_shape(theirs);
        if self.take == Take::Stack {
            shape.insert(0, self.theirs.len());
        }
        shape
    }

    /// The same without the dimension along which ours stacks them.
    pub(super) fn part_shape(&self, theirs: &[usize]) -> Vec<usize> {
        let mut shape = theirs.to_vec();
        if let (Take::Rows(rows), Some(first)) = (&self.take, shape.first_mut()) {
            *first = rows.ours();
        }
        match (self.turn, &shape[..]) {
            (Turn::Transposed, _) => shape.reverse(),
            (Turn::Convolution, &[channels, 1, taps]) => shape = vec![channels, taps],
            (Turn::Same | Turn::Convolution, _) => {}
        }
        shape
    }

    /// Shape of each of their tensors for our shape.
    pub fn their_shape(&self, ours: &[usize]) -> Vec<usize> {
        let mut shape = ours.to_vec();
        if self.take == Take::Stack && !shape.is_empty() {
            shape.remove(0);
        }
        match (self.turn, &shape[..]) {
            (Turn::Transposed, _) => shape.reverse(),
            (Turn::Convolution, &[channels, taps]) => shape = vec![channels, 1, taps],
            (Turn::Same | Turn::Convolution, _) => {}
        }
        if let (Take::Rows(rows), Some(first)) = (&self.take, shape.first_mut()) {
            *first = rows.theirs();
        }
        shape
    }

    /// Refuses a tensor of theirs whose number of rows is not the expected one.
    pub(super) fn check_rows(
        &self,
        found: &[usize],
        path: &Path,
        name: &str,
    ) -> Result<(), InteropError> {
        let Take::Rows(rows) = &self.take else {
            return Ok(());
        };
        if found.first() == Some(&rows.theirs()) {
            return Ok(());
        }
        let expected = [&[rows.theirs()], found.get(1..).unwrap_or(&[])].concat();
        Err(InteropError::TensorShape {
            path: path.to_path_buf(),
            name: name.to_owned(),
            found: found.to_vec(),
            expected,
        })
    }

    /// Appends one of their tensors to `values` in our layout. Its rows must have been [checked](Self::check_rows).
    pub(super) fn to_ours(&self, tensor: RawTensor<'_>, values: &mut Values) {
        let tensor = match &self.take {
            Take::Rows(rows) => taken(tensor, rows),
            Take::Whole | Take::Stack => tensor,
        };
        match (self.turn, &tensor.shape[..]) {
            (Turn::Transposed, &[rows, columns]) => {
                values.extend_transposed(&tensor.bytes, [rows, columns]);
            }
            _ => values.extend(&tensor.bytes),
        }
    }

    /// Converts our tensor, or one of a stack, to their layout. If it is a selection of rows, only these rows are
    /// returned.
    pub(super) fn to_theirs<'a>(&self, mut tensor: RawTensor<'a>) -> RawTensor<'a> {
        match (self.turn, &tensor.shape[..]) {
            (Turn::Transposed, _) => tensor = layout::transposed(tensor),
            (Turn::Convolution, &[channels, taps]) => tensor.shape = vec![channels, 1, taps],
            (Turn::Same | Turn::Convolution, _) => {}
        }
        tensor
    }
}

/// The selected rows of a tensor, in our order.
fn taken(tensor: RawTensor<'_>, rows: &Rows) -> RawTensor<'static> {
    let size = tensor.bytes.len() / rows.theirs().max(1);
    let mut bytes = Vec::with_capacity(rows.ours() * size);
    for place in rows.places() {
        bytes.extend_from_slice(&tensor.bytes[place * size..][..size]);
    }
    let mut shape = tensor.shape;
    shape[0] = rows.ours();
    RawTensor {
        dtype: tensor.dtype,
        shape,
        bytes: Cow::Owned(bytes),
    }
}

/// Writes rows to their places in a tensor of all rows; the inverse of [`taken`].
pub(super) fn put(rows: &Rows, taken: &[u8], all: &mut [u8]) {
    let size = all.len() / rows.theirs().max(1);
    for (place, row) in rows.places().zip(taken.chunks_exact(size.max(1))) {
        all[place * size..][..size].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::DType;
    use safetensors::Dtype;

    use super::*;

    fn entry(take: Take, turn: Turn) -> Entry {
        Entry {
            ours: "o".into(),
            theirs: vec!["a".into(), "b".into()],
            take,
            turn,
            zeros: None,
        }
    }

    fn of(shape: &[usize]) -> RawTensor<'static> {
        let count = shape.iter().product::<usize>() as u8;
        RawTensor {
            dtype: Dtype::U8,
            shape: shape.to_vec(),
            bytes: Cow::Owned((0..count).collect()),
        }
    }

    /// A tensor of theirs in our layout.
    fn in_ours(entry: &Entry, theirs: &[usize]) -> RawTensor<'static> {
        let mut values = Values::with_capacity(1, 12);
        entry.to_ours(of(theirs), &mut values);
        let shape = entry.part_shape(theirs);
        let data = values.into_data(shape.clone(), DType::U8);
        RawTensor {
            dtype: Dtype::U8,
            shape,
            bytes: Cow::Owned(data.bytes.to_vec()),
        }
    }

    #[test]
    fn halves_become_neighbours_in_each_head_and_the_other_rows_stay() {
        let rows = Rows::Rotary {
            heads: 2,
            head_dim: 6,
            start: 2,
            dim: 4,
        };
        let places: Vec<usize> = rows.places().collect();
        assert_eq!(places, [0, 1, 2, 4, 3, 5, 6, 7, 8, 10, 9, 11]);
        let leading = Rows::Rotary {
            heads: 1,
            head_dim: 6,
            start: 0,
            dim: 4,
        };
        assert_eq!(leading.places().collect::<Vec<_>>(), [0, 2, 1, 3, 4, 5]);
        let turned = in_ours(&entry(Take::Rows(leading), Turn::Same), &[6, 1]);
        assert_eq!(turned.bytes[..], [0, 2, 1, 3, 4, 5]);
    }

    #[test]
    fn what_is_taken_apart_is_put_together_again() {
        let all = of(&[6, 2]);
        let mut again = vec![0; 12];
        for (start, width) in [(0, 1), (1, 2)] {
            let rows = Rows::Groups {
                groups: 2,
                stride: 3,
                start,
                width,
            };
            let part = taken(all.clone(), &rows);
            assert_eq!(part.shape, [2 * width, 2]);
            put(&rows, &part.bytes, &mut again);
        }
        assert_eq!(again, all.bytes[..]);
        let second = Rows::Groups {
            groups: 2,
            stride: 3,
            start: 1,
            width: 2,
        };
        let second = taken(all, &second);
        assert_eq!(second.bytes[..], [2, 3, 4, 5, 8, 9, 10, 11]);
    }

    #[test]
    fn every_form_goes_and_returns() {
        let rows = Take::Rows(Rows::Rotary {
            heads: 2,
            head_dim: 2,
            start: 0,
            dim: 2,
        });
        let cases = [
            (entry(Take::Whole, Turn::Same), vec![4, 3], vec![4, 3]),
            (
                entry(Take::Stack, Turn::Transposed),
                vec![4, 3],
                vec![2, 3, 4],
            ),
            (entry(rows, Turn::Transposed), vec![4, 3], vec![3, 4]),
            (
                entry(Take::Whole, Turn::Convolution),
                vec![4, 1, 3],
                vec![4, 3],
            ),
        ];
        for (entry, theirs, ours) in cases {
            assert_eq!(entry.our_shape(&theirs), ours);
            assert_eq!(entry.their_shape(&ours), theirs);
            let shape = entry.part_shape(&theirs);
            assert_eq!(shape, ours[ours.len() - shape.len()..]);
            assert_eq!(entry.to_theirs(in_ours(&entry, &theirs)), of(&theirs));
        }
    }

    #[test]
    fn rows_are_counted_before_they_are_taken() {
        let rows = Take::Rows(Rows::Groups {
            groups: 2,
            stride: 3,
            start: 0,
            width: 1,
        });
        let entry = entry(rows, Turn::Same);
        let check = |shape: &[usize]| entry.check_rows(shape, Path::new("f"), "t");
        check(&[6, 2]).unwrap();
        let error = check(&[5, 2]).unwrap_err().to_string();
        assert_eq!(error, "f: tensor `t` has shape [5, 2], expected [6, 2]");
        check(&[]).unwrap_err();
    }
}
