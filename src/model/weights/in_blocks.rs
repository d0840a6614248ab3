//! Quantizes the weights of another source in blocks while they are loaded.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, TensorData};
use darkhorse_backends::quantized::reference::to_blocks;
use darkhorse_backends::quantized::{BLOCK, Bits};

use super::load::shapes;
use super::{Values, WeightError, WeightSource};

/// Names of the parameters of a matrix in [`Blocks`](crate::model::matrix::Blocks).
const PARTS: [&str; 2] = ["values", "scales"];

/// Weights that are quantized at a time, rounded down to whole rows.
const MOST_NUMBERS: usize = 1 << 18;

/// A source that quantizes the matrices which a module expects in blocks, and passes on all other tensors.
pub struct InBlocks<'a> {
    source: &'a dyn WeightSource,
    bits: Bits,
    /// Shapes of the two parts, by name of the matrix.
    matrices: BTreeMap<String, [Vec<usize>; 2]>,
    /// The part that was computed together with the last one read.
    left: RefCell<Option<(String, TensorData)>>,
}

impl fmt::Debug for InBlocks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let matrices = self.matrices.len();
        write!(
            f,
            "{}: {matrices} matrices in {:?}",
            self.path().display(),
            self.bits
        )
    }
}

impl<'a> InBlocks<'a> {
    /// Weights of `source` for `module`, whose quantized matrices have blocks of `bits`.
    pub fn new<B: Backend, M: Module<B>>(
        source: &'a dyn WeightSource,
        module: &M,
        bits: Bits,
    ) -> Self {
        let wanted = shapes(module);
        let parts = |name: &String| -> Option<[Vec<usize>; 2]> {
            let [values, scales] = PARTS.map(|part| wanted.get(&format!("{name}.{part}")));
            Some([values?.clone(), scales?.clone()])
        };
        let names = source.names().into_iter();
        let matrices = names.filter_map(|name| Some((parts(&name)?, name)));
        Self {
            source,
            bits,
            matrices: matrices.map(|(parts, name)| (name, parts)).collect(),
            left: RefCell::default(),
        }
    }

    /// Name of the matrix that `name` belongs to, and index of the part.
    fn part_of<'n>(&self, name: &'n str) -> Option<(&'n str, usize)> {
        let (matrix, part) = name.rsplit_once('.')?;
        let part = PARTS.iter().position(|&it| it == part)?;
        self.matrices.contains_key(matrix).then_some((matrix, part))
    }

    fn rounded(&self, matrix: &str) -> Result<[TensorData; 2], WeightError> {
        let stacked = match self.source.shape(matrix).as_deref() {
            Some(&[count, _, _]) => Some(count),
            _ => None,
        };
        let shapes = &self.matrices[matrix];
        let count = |part: usize| shapes[part].iter().product::<usize>();
        let mut parts = [
            Values::with_capacity(size_of::<i32>(), count(0)),
            Values::with_capacity(size_of::<u16>(), count(1)),
        ];
        match stacked {
            // one expert at a time: the whole stack takes more memory before quantization than after it
            Some(count) => {
                for index in 0..count {
                    self.round(matrix, &self.source.part(matrix, index)?, &mut parts)?;
                }
            }
            None => self.round(matrix, &self.source.data(matrix)?, &mut parts)?,
        }
        let [values, scales] = parts;
        let [values_shape, scales_shape] = shapes.clone();
        Ok([
            values.into_data(values_shape, DType::I32),
            scales.into_data(scales_shape, DType::F16),
        ])
    }

    /// Quantizes a matrix some rows at a time, and appends its values and scales to `parts`.
    fn round(
        &self,
        matrix: &str,
        data: &TensorData,
        parts: &mut [Values; 2],
    ) -> Result<(), WeightError> {
        let width = data.shape.last().copied().unwrap_or(0);
        let not_in_blocks = || WeightError::NotInBlocks {
            path: self.path().to_path_buf(),
            name: matrix.into(),
            width,
            block: BLOCK,
        };
        let rows = (MOST_NUMBERS / width.max(1)).max(1);
        let row_bytes = width * data.dtype.size();
        for bytes in data.bytes.chunks((rows * row_bytes).max(1)) {
            let shape = [bytes.len() / row_bytes.max(1), width];
            let some = TensorData::from_bytes_vec(bytes.to_vec(), shape, data.dtype);
            let some = some.convert::<f32>();
            let numbers = some.as_slice::<f32>().expect("it was just converted");
            let blocks = to_blocks(numbers, shape, self.bits, DType::F16);
            let blocks = blocks.map_err(|_| not_in_blocks())?;
            for (all, made) in parts.iter_mut().zip(blocks) {
                all.extend(&made.bytes);
            }
        }
        Ok(())
    }
}

impl WeightSource for InBlocks<'_> {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        let of = |name: String| {
            if self.matrices.contains_key(&name) {
                PARTS.map(|part| format!("{name}.{part}")).to_vec()
            } else {
                vec![name]
            }
        };
        let mut names: Vec<String> = self.source.names().into_iter().flat_map(of).collect();
        names.sort_unstable();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match self.part_of(name) {
            Some((matrix, part)) => Some(self.matrices[matrix][part].clone()),
            None => self.source.shape(name),
        }
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        match self.part_of(name) {
            Some((_, part)) => Some([DType::I32, DType::F16][part]),
            None => self.source.dtype(name),
        }
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        let Some((matrix, part)) = self.part_of(name) else {
            return self.source.data(name);
        };
        if let Some((left, data)) = self.left.take()
            && left == name
        {
            return Ok(data);
        }
        let mut parts = self.rounded(matrix)?.map(Some);
        let wanted = parts[part].take().expect("it was just made");
        let other = parts[1 - part].take().expect("it was just made");
        self.left
            .replace(Some((format!("{matrix}.{}", PARTS[1 - part]), other)));
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::InMemory;

    #[test]
    fn what_is_rounded_some_rows_at_a_time_is_what_is_rounded_at_once() {
        let (rows, width) = (3000, 128);
        assert!(rows * width > MOST_NUMBERS);
        let number = |at: usize| (at * 7919 % 1013) as f32 / 500.0 - 1.0;
        let numbers: Vec<f32> = (0..rows * width).map(number).collect();
        for outer in [vec![rows], vec![2, rows / 2]] {
            let of = |last: usize| [&outer[..], &[last]].concat();
            let whole = TensorData::new(numbers.clone(), of(width));
            for data in [whole.clone(), whole.convert_dtype(DType::BF16)] {
                let all = data.clone().convert::<f32>();
                let all = all.as_slice::<f32>().unwrap();
                let expected = to_blocks(all, [rows, width], Bits::Eight, DType::F16).unwrap();
                let source = InMemory::new("memory", [("w".to_owned(), data)]);
                let shapes = [of(width / BLOCK * 8), of(width / BLOCK)];
                let rounded = InBlocks {
                    source: &source,
                    bits: Bits::Eight,
                    matrices: BTreeMap::from([("w".to_owned(), shapes.clone())]),
                    left: RefCell::default(),
                };
                for ((part, expected), shape) in PARTS.into_iter().zip(expected).zip(shapes) {
                    let found = rounded.data(&format!("w.{part}")).unwrap();
                    assert_eq!(found.shape.to_vec(), shape);
                    assert_eq!(found.dtype, expected.dtype);
                    assert!(found.bytes[..] == expected.bytes[..], "{part} of {outer:?}");
                }
            }
        }
    }
}
