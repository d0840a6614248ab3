//! Digest of a model's weights, whatever file they come from.

use blake3::Hasher;

use crate::model::weights::{WeightError, WeightSource};

/// BLAKE3 over name, type, shape and values of every tensor, in the order of their names; in hex.
///
/// # Errors
///
/// A tensor that cannot be read.
pub fn digest(source: &dyn WeightSource) -> Result<String, WeightError> {
    let mut hasher = Hasher::new();
    for name in source.names() {
        let data = source.data(&name)?;
        let facts = format!("{name} {:?} {:?}\n", data.dtype, data.shape.to_vec());
        hasher.update(facts.as_bytes());
        hasher.update(&data.bytes);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;
    use crate::model::weights::InMemory;

    #[test]
    fn a_digest_depends_on_names_shapes_and_values() {
        let of = |name: &str, data: TensorData| {
            digest(&InMemory::new("memory", [(name.to_owned(), data)])).unwrap()
        };
        let first = of("a", TensorData::from([1.0f32, 2.0]));
        assert_eq!(first, of("a", TensorData::from([1.0f32, 2.0])));
        for other in [
            of("b", TensorData::from([1.0f32, 2.0])),
            of("a", TensorData::from([[1.0f32, 2.0]])),
            of("a", TensorData::from([1.0f32, 2.5])),
        ] {
            assert_ne!(first, other);
        }
    }
}
