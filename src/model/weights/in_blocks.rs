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
use super::{WeightError, WeightSource};

/// Names of the parameters of a matrix in [`Blocks`](crate::model::matrix::Blocks).
const PARTS: [&str; 2] = ["values", "scales"];

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
        let data = self.source.data(matrix)?.convert::<f32>();
        let shape = data.shape.to_vec();
        let width = shape.last().copied().unwrap_or(0);
        let rows = shape.iter().product::<usize>() / width.max(1);
        let numbers = data.as_slice::<f32>().expect("it was just converted");
        let blocks = to_blocks(numbers, [rows, width], self.bits, DType::F16);
        let blocks = blocks.map_err(|_| WeightError::NotInBlocks {
            path: self.path().to_path_buf(),
            name: matrix.into(),
            width,
            block: BLOCK,
        })?;
        let stacked = |mut part: TensorData, dims: &Vec<usize>| {
            part.shape = dims.clone().into();
            part
        };
        let [values, scales] = blocks;
        let [values_shape, scales_shape] = &self.matrices[matrix];
        Ok([stacked(values, values_shape), stacked(scales, scales_shape)])
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
