//! One of our parameters, and how it lies in the tensors of another format: the same description reads and writes it.

use std::borrow::Cow;
use std::path::Path;

use super::{InteropError, RawTensor, layout};

/// A parameter and the tensors that hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path in our model.
    pub ours: String,
    /// Their tensors: one, or one per expert.
    pub theirs: Vec<String>,
    /// What of them is ours.
    pub take: Take,
    /// How their dimensions become ours.
    pub turn: Turn,
    /// Length of the zeros that it is in their models, whose files lack it; absent: their files hold it.
    pub zeros: Option<usize>,
}

/// What of another format's tensors one of our parameters is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// All of one.
    Whole,
    /// Rows of one, in our order.
    Rows(Rows),
    /// All of several, one per expert, which ours stacks.
    Stack,
}

/// How the dimensions of another format's tensor become ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// They are.
    Same,
    /// A projection: ours is `[in, out]`, theirs `[out, in]`.
    Transposed,
    /// A depthwise convolution: ours is `[channels, taps]`, theirs `[channels, 1, taps]`.
    Convolution,
}

/// Which rows of another format's tensor are ours, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Of every `stride` rows, `width` from `start` on.
    Groups {
        /// How many times `stride` rows there are.
        groups: usize,
        /// Rows of a group.
        stride: usize,
        /// Its first row that is ours.
        start: usize,
        /// How many are.
        width: usize,
    },
    /// All. Rotary positions turn `dim` rows of each head, from `start` on: theirs pair row `j` with row `j + dim / 2`
    /// (halves), ours row `2 j` with row `2 j + 1` (neighbours).
    Rotary {
        /// Number of heads.
        heads: usize,
        /// Rows of a head.
        head_dim: usize,
        /// Its first row that is turned.
        start: usize,
        /// How many are.
        dim: usize,
    },
}

impl Rows {
    /// Rows of their tensor.
    pub fn theirs(&self) -> usize {
        match *self {
            Self::Groups { groups, stride, .. } => groups.saturating_mul(stride),
            Self::Rotary {
                heads, head_dim, ..
            } => heads.saturating_mul(head_dim),
        }
    }

    /// Rows of our tensor.
    fn ours(&self) -> usize {
        match *self {
            Self::Groups { groups, width, .. } => groups * width,
            Self::Rotary { .. } => self.theirs(),
        }
    }

    /// Their row of each of ours.
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
    /// Our shape of their tensor.
    pub fn our_shape(&self, theirs: &[usize]) -> Vec<usize> {
        let mut shape = theirs.to_vec();
        if let (Take::Rows(rows), Some(first)) = (&self.take, shape.first_mut()) {
            *first = rows.ours();
        }
        match (self.turn, &shape[..]) {
            (Turn::Transposed, _) => shape.reverse(),
            (Turn::Convolution, &[channels, 1, taps]) => shape = vec![channels, taps],
            (Turn::Same | Turn::Convolution, _) => {}
        }
        if self.take == Take::Stack {
            shape.insert(0, self.theirs.len());
        }
        shape
    }

    /// The shape of each of their tensors, of our whole.
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

    /// Refuses a tensor of theirs with more rows or fewer than ours are taken from.
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

    /// One of their tensors as it lies in ours. Its rows were [checked](Self::check_rows).
    pub(super) fn to_ours<'a>(&self, tensor: RawTensor<'a>) -> RawTensor<'a> {
        let mut tensor = match &self.take {
            Take::Rows(rows) => taken(tensor, rows),
            Take::Whole | Take::Stack => tensor,
        };
        match (self.turn, &tensor.shape[..]) {
            (Turn::Transposed, _) => return layout::transposed(tensor),
            (Turn::Convolution, &[channels, 1, taps]) => tensor.shape = vec![channels, taps],
            (Turn::Same | Turn::Convolution, _) => {}
        }
        tensor
    }

    /// Ours, or one of the stacked, as it lies in their tensor. Of chosen rows these alone, in their places.
    pub(super) fn to_theirs<'a>(&self, mut tensor: RawTensor<'a>) -> RawTensor<'a> {
        match (self.turn, &tensor.shape[..]) {
            (Turn::Transposed, _) => tensor = layout::transposed(tensor),
            (Turn::Convolution, &[channels, taps]) => tensor.shape = vec![channels, 1, taps],
            (Turn::Same | Turn::Convolution, _) => {}
        }
        tensor
    }
}

/// Some rows of a tensor, in this order.
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

/// Writes rows to their places in a tensor of all rows: [`taken`] backwards.
pub(super) fn put(rows: &Rows, taken: &[u8], all: &mut [u8]) {
    let size = all.len() / rows.theirs().max(1);
    for (place, row) in rows.places().zip(taken.chunks_exact(size.max(1))) {
        all[place * size..][..size].copy_from_slice(row);
    }
}

#[cfg(test)]
mod tests {
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
            let there = entry.to_ours(of(&theirs));
            assert_eq!(there.shape, ours[ours.len() - there.shape.len()..]);
            assert_eq!(entry.to_theirs(there), of(&theirs));
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
