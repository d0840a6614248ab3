//! Weights of a model that was adapted by LoRA, as those of a plain model.

use std::path::Path;

use burn::tensor::{DType, TensorData};
use rayon::prelude::*;

use super::{WeightError, WeightSource, slice};
use crate::model::lora::{BASE, FACTORS};

/// A source in which each adapted matrix is the sum `W + s A B`, under its plain name. All other tensors stay.
pub struct Merged {
    source: Box<dyn WeightSource>,
    scale: f64,
}

impl std::fmt::Debug for Merged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: merged with {}", self.path().display(), self.scale)
    }
}

/// Name of a part of an adapted matrix.
fn part_of(matrix: &str, part: &str) -> String {
    format!("{matrix}.{part}")
}

impl Merged {
    /// The weights of `source`, whose updates have the factor `scale`, see
    /// [`LoraConfig::scale`](crate::model::lora::LoraConfig::scale).
    pub fn new(source: Box<dyn WeightSource>, scale: f64) -> Self {
        Self { source, scale }
    }

    /// Name under which the source has `name`, and whether it is adapted.
    fn stored(&self, name: &str) -> (String, bool) {
        let base = part_of(name, BASE);
        if self.source.shape(&part_of(name, FACTORS[0])).is_some() {
            (base, true)
        } else {
            (name.to_owned(), false)
        }
    }

    /// Adds the update to `base`, one matrix or a stack of them, whose factors are `a` and `b`.
    fn add(&self, base: TensorData, a: TensorData, b: TensorData) -> TensorData {
        let (dtype, shape) = (base.dtype, base.shape.to_vec());
        let [rows, columns] = [shape.len() - 2, shape.len() - 1].map(|at| shape[at]);
        let rank = a.shape[a.shape.len() - 1];
        let [mut sum, a, b] = [base, a, b].map(|it| it.iter::<f32>().collect::<Vec<f32>>());
        let scale = self.scale as f32;
        let size = columns.max(1);
        sum.par_chunks_mut(size).enumerate().for_each(|(at, row)| {
            let stack = at / rows.max(1);
            let of_b = &b[stack * rank * columns..][..rank * columns];
            let weights = &a[at * rank..][..rank];
            for (weight, direction) in weights.iter().zip(of_b.chunks(size)) {
                let weight = scale * weight;
                for (value, direction) in row.iter_mut().zip(direction) {
                    *value += weight * direction;
                }
            }
        });
        TensorData::new(sum, shape).convert_dtype(dtype)
    }
}

impl WeightSource for Merged {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn names(&self) -> Vec<String> {
        let names = self.source.names().into_iter();
        let names = names.filter_map(|name| match name.rsplit_once('.') {
            Some((_, part)) if FACTORS.contains(&part) => None,
            Some((matrix, BASE)) if self.stored(matrix).1 => Some(matrix.to_owned()),
            _ => Some(name),
        });
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.source.shape(&self.stored(name).0)
    }

    fn dtype(&self, name: &str) -> Option<DType> {
        self.source.dtype(&self.stored(name).0)
    }

    fn data(&self, name: &str) -> Result<TensorData, WeightError> {
        let (stored, is_adapted) = self.stored(name);
        let base = self.source.data(&stored)?;
        if !is_adapted {
            return Ok(base);
        }
        let [a, b] = FACTORS.map(|factor| self.source.data(&part_of(name, factor)));
        let (a, b) = (a?, b?);
        check(self.path(), name, &base, [&a, &b])?;
        Ok(self.add(base, a, b))
    }

    fn part(&self, name: &str, index: usize) -> Result<TensorData, WeightError> {
        let (stored, is_adapted) = self.stored(name);
        if !is_adapted {
            return self.source.part(name, index);
        }
        if self.shape(name).is_some_and(|shape| shape.len() < 3) {
            return Ok(slice(&self.data(name)?, index));
        }
        let base = self.source.part(&stored, index)?;
        let [a, b] = FACTORS.map(|factor| self.source.part(&part_of(name, factor), index));
        let (a, b) = (a?, b?);
        check(self.path(), name, &base, [&a, &b])?;
        Ok(self.add(base, a, b))
    }
}

/// Refuses factors whose shapes do not multiply to that of the matrix.
fn check(
    path: &Path,
    name: &str,
    base: &TensorData,
    factors: [&TensorData; 2],
) -> Result<(), WeightError> {
    let whole = base.shape.to_vec();
    let [a, b] = factors.map(|factor| factor.shape.to_vec());
    let end = whole.len().saturating_sub(1);
    let rank = a.last().copied().unwrap_or(0);
    let (mut of_a, mut of_b) = (whole.clone(), whole.clone());
    if let (Some(columns), Some(rows)) = (of_a.last_mut(), of_b.get_mut(end.wrapping_sub(1))) {
        (*columns, *rows) = (rank, rank);
    }
    for (found, expected, factor) in [(a, of_a, FACTORS[0]), (b, of_b, FACTORS[1])] {
        if found != expected || end == 0 {
            return Err(WeightError::Shape {
                path: path.to_path_buf(),
                name: part_of(name, factor),
                found,
                expected,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::InMemory;

    fn source(b: TensorData) -> Merged {
        let tensors = [
            ("w.base", TensorData::from([[1.0f32, 2.0], [3.0, 4.0]])),
            ("w.lora_a", TensorData::from([[1.0f32], [2.0]])),
            ("w.lora_b", b),
            ("e.base", TensorData::from([[[1.0f32, 2.0]], [[3.0, 4.0]]])),
            ("e.lora_a", TensorData::from([[[1.0f32]], [[2.0]]])),
            (
                "e.lora_b",
                TensorData::from([[[1.0f32, 1.0]], [[0.0, 1.0]]]),
            ),
            ("norm.weight", TensorData::from([5.0f32])),
        ];
        let tensors = tensors.map(|(name, data)| (name.to_owned(), data));
        Merged::new(Box::new(InMemory::new("memory", tensors)), 0.5)
    }

    #[test]
    fn matrices_and_each_of_a_stack_are_summed_under_their_plain_names() {
        let merged = source(TensorData::from([[10.0f32, 20.0]]));
        assert_eq!(merged.names(), ["e", "norm.weight", "w"]);
        let whole = merged.data("w").unwrap();
        assert_eq!(whole, TensorData::from([[6.0f32, 12.0], [13.0, 24.0]]));
        assert_eq!(
            merged.part("w", 1).unwrap(),
            TensorData::from([13.0f32, 24.0])
        );
        let stack = merged.data("e").unwrap();
        assert_eq!(stack, TensorData::from([[[1.5f32, 2.5]], [[3.0, 5.0]]]));
        assert_eq!(
            merged.part("e", 1).unwrap(),
            TensorData::from([[3.0f32, 5.0]])
        );
        let norm = merged.data("norm.weight").unwrap();
        assert_eq!(norm, TensorData::from([5.0f32]));
    }

    #[test]
    fn factors_of_other_shapes_are_refused() {
        let merged = source(TensorData::from([[10.0f32], [20.0]]));
        let error = merged.data("w").unwrap_err().to_string();
        assert_eq!(
            error,
            "tensor `w.lora_b` in memory has shape [2, 1], expected [1, 2]"
        );
    }
}
