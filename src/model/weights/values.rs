//! Buffers of values that a tensor takes over.

use burn::tensor::{Bytes, DType, TensorData};

/// Side of the tiles that a transposition moves at a time, to keep both matrices in cache.
const TILE: usize = 32;

/// Values of one size in a buffer that a tensor takes over as it is. Of a buffer of bytes burn makes another copy,
/// because it was allocated without an alignment.
#[derive(Debug)]
pub(crate) enum Values {
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
    Eight(Vec<u64>),
}

impl Values {
    /// An empty buffer for `count` values of `size` bytes, which is 1, 2, 4 or 8.
    pub(crate) fn with_capacity(size: usize, count: usize) -> Self {
        match size {
            1 => Self::One(Vec::with_capacity(count)),
            2 => Self::Two(Vec::with_capacity(count)),
            4 => Self::Four(Vec::with_capacity(count)),
            _ => Self::Eight(Vec::with_capacity(count)),
        }
    }

    /// Appends values from their bytes.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        match self {
            Self::One(all) => all.extend_from_slice(bytes),
            Self::Two(all) => append(bytes, u16::from_ne_bytes, all),
            Self::Four(all) => append(bytes, u32::from_ne_bytes, all),
            Self::Eight(all) => append(bytes, u64::from_ne_bytes, all),
        }
    }

    /// Appends a matrix transposed, from the bytes of its `rows` times `columns` values.
    pub(crate) fn extend_transposed(&mut self, bytes: &[u8], [rows, columns]: [usize; 2]) {
        let shape = [rows, columns];
        match self {
            Self::One(all) => append_transposed(bytes, shape, u8::from_ne_bytes, all),
            Self::Two(all) => append_transposed(bytes, shape, u16::from_ne_bytes, all),
            Self::Four(all) => append_transposed(bytes, shape, u32::from_ne_bytes, all),
            Self::Eight(all) => append_transposed(bytes, shape, u64::from_ne_bytes, all),
        }
    }

    /// The values as a tensor of a type of their size.
    pub(crate) fn into_data(self, shape: Vec<usize>, dtype: DType) -> TensorData {
        let bytes = match self {
            Self::One(all) => Bytes::from_elems(all),
            Self::Two(all) => Bytes::from_elems(all),
            Self::Four(all) => Bytes::from_elems(all),
            Self::Eight(all) => Bytes::from_elems(all),
        };
        TensorData {
            bytes,
            shape: shape.into(),
            dtype,
        }
    }
}

/// Transposes the bytes of a matrix `[rows, columns]`, whose values have `size` bytes: 1, 2, 4 or 8.
pub(crate) fn transposed(bytes: &[u8], shape: [usize; 2], size: usize) -> Vec<u8> {
    fn of<const SIZE: usize>(bytes: &[u8], shape: [usize; 2]) -> Vec<u8>
    where
        [u8; SIZE]: Default,
    {
        let mut all = Vec::<[u8; SIZE]>::new();
        append_transposed(bytes, shape, |value| value, &mut all);
        all.into_flattened()
    }
    match size {
        1 => of::<1>(bytes, shape),
        2 => of::<2>(bytes, shape),
        4 => of::<4>(bytes, shape),
        _ => of::<8>(bytes, shape),
    }
}

fn append<const SIZE: usize, T>(bytes: &[u8], value: fn([u8; SIZE]) -> T, all: &mut Vec<T>) {
    let values = bytes.as_chunks().0.iter();
    all.extend(values.map(|bytes| value(*bytes)));
}

fn append_transposed<const SIZE: usize, T: Copy + Default>(
    bytes: &[u8],
    [rows, columns]: [usize; 2],
    value: fn([u8; SIZE]) -> T,
    all: &mut Vec<T>,
) {
    let (from, start) = (bytes.as_chunks().0, all.len());
    all.resize(start + rows * columns, T::default());
    let to = &mut all[start..];
    for top in (0..rows).step_by(TILE) {
        for left in (0..columns).step_by(TILE) {
            for row in top..rows.min(top + TILE) {
                for column in left..columns.min(left + TILE) {
                    to[column * rows + row] = value(from[row * columns + column]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_size_are_appended_as_they_are_or_transposed() {
        let (rows, columns) = (35, 70);
        for (size, dtype) in [
            (1, DType::U8),
            (2, DType::BF16),
            (4, DType::F32),
            (8, DType::I64),
        ] {
            let of = |at: usize| (0..size).map(move |byte| (at * 7 + byte) as u8);
            let bytes: Vec<u8> = (0..rows * columns).flat_map(of).collect();
            let turned = (0..rows * columns).map(|at| at % rows * columns + at / rows);
            let turned: Vec<u8> = turned.flat_map(of).collect();
            let mut values = Values::with_capacity(size, 2 * rows * columns);
            values.extend(&bytes);
            values.extend_transposed(&bytes, [rows, columns]);
            let data = values.into_data(vec![2, columns, rows], dtype);
            assert_eq!(data.shape.to_vec(), [2, columns, rows]);
            assert!(data.bytes[..bytes.len()] == bytes, "{dtype:?}");
            assert!(data.bytes[bytes.len()..] == turned, "{dtype:?}");
        }
    }

    #[test]
    fn a_tensor_takes_the_buffer_over() {
        let mut values = Values::with_capacity(4, 1000);
        values.extend(&[7; 4000]);
        let Values::Four(buffer) = &values else {
            panic!("{values:?}");
        };
        let place = buffer.as_ptr().cast::<u8>();
        let data = values.into_data(vec![1000], DType::F32);
        assert_eq!(data.bytes.as_ptr(), place);
    }
}
