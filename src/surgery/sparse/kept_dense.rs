//! Layers that keep their dense feed-forward.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::SparseError;

/// A choice of layers that stay dense, written as `first,last`, `none` or by numbers from 0 as in `0,1,29`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptDense(Vec<Layer>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    First,
    Last,
    Number(usize),
}

impl KeptDense {
    /// The first and the last layer, which lose most by conversion.
    pub fn ends() -> Self {
        Self(vec![Layer::First, Layer::Last])
    }

    /// No layer.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Numbers of the layers of a model with `layers` layers.
    ///
    /// # Errors
    ///
    /// [`SparseError::NoSuchLayer`], or [`SparseError::AllDense`] if no layer is left to convert.
    pub fn of(&self, layers: usize) -> Result<BTreeSet<usize>, SparseError> {
        let number = |layer: &Layer| match *layer {
            Layer::First => Ok(0),
            Layer::Last => Ok(layers - 1),
            Layer::Number(layer) if layer < layers => Ok(layer),
            Layer::Number(layer) => Err(SparseError::NoSuchLayer { layer, layers }),
        };
        let kept: BTreeSet<usize> = self.0.iter().map(number).collect::<Result<_, _>>()?;
        if kept.len() == layers {
            return Err(SparseError::AllDense(layers));
        }
        Ok(kept)
    }
}

impl FromStr for KeptDense {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::none());
        }
        let layer = |word: &str| {
            match word.trim() {
            "first" => Ok(Layer::First),
            "last" => Ok(Layer::Last),
            word => word.parse().map(Layer::Number).map_err(|_| {
                format!("`{word}` is no layer, expected `first`, `last` or a number from 0, or `none` alone")
            }),
        }
        };
        text.split(',')
            .map(layer)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for KeptDense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |layer: &Layer| match layer {
            Layer::First => "first".to_owned(),
            Layer::Last => "last".to_owned(),
            Layer::Number(layer) => layer.to_string(),
        };
        let names: Vec<String> = self.0.iter().map(name).collect();
        if names.is_empty() {
            f.write_str("none")
        } else {
            f.write_str(&names.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str, of: usize) -> Vec<usize> {
        let kept: KeptDense = text.parse().unwrap();
        assert_eq!(kept.to_string(), text);
        kept.of(of).unwrap().into_iter().collect()
    }

    #[test]
    fn layers_are_named_by_end_or_number() {
        assert_eq!(layers("first,last", 4), [0, 3]);
        assert_eq!(layers("last,1,1", 4), [1, 3]);
        assert!(layers("none", 4).is_empty());
    }

    #[test]
    fn a_layer_that_is_none_is_told_in_a_line() {
        let refused = "first,middle".parse::<KeptDense>().unwrap_err();
        assert!(refused.starts_with("`middle` is no layer"), "{refused}");
        assert!("none,first".parse::<KeptDense>().is_err());
        let beyond = "4".parse::<KeptDense>().unwrap().of(4).unwrap_err();
        assert_eq!(
            beyond,
            SparseError::NoSuchLayer {
                layer: 4,
                layers: 4
            }
        );
        let all = KeptDense::ends().of(2).unwrap_err();
        assert_eq!(all, SparseError::AllDense(2));
    }
}
