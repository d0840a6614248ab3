//! A common naming of routed experts: `mlp.experts.{e}.{gate,up,down}_proj.weight` and `mlp.gate.weight`.
//!
//! Two other forms are converted: experts fused into `mlp.experts.gate_up_proj` `[E, 2I, H]` (gate rows first) and
//! `mlp.experts.down_proj` `[E, H, I]`, as transformers 5 holds them in memory, and Mixtral's `block_sparse_moe` with
//! `w1` (gate), `w2` (down) and `w3` (up).

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;

use super::malformed;
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

/// Upper bound of the number of experts, so that a corrupt shape cannot cause huge lists of names.
const MAX_EXPERTS: usize = 1 << 16;

const MIXTRAL_PROJECTIONS: [(&str, &str); 3] =
    [("w1", "gate_proj"), ("w2", "down_proj"), ("w3", "up_proj")];

/// A source in which every routed expert has its own tensors.
#[derive(Debug)]
pub struct PerExpert<S> {
    source: S,
    path: PathBuf,
    names: Vec<String>,
    parts: HashMap<String, Part>,
}

/// A part of a tensor in the source.
#[derive(Debug)]
struct Part {
    of: String,
    info: TensorInfo,
    slice: Option<Slice>,
}

/// One of several equal, contiguous slices of a tensor.
#[derive(Debug, Clone, Copy)]
struct Slice {
    index: usize,
    count: usize,
}

impl<S: TensorSource> PerExpert<S> {
    /// Wraps a source. Errors name `path`.
    ///
    /// # Errors
    ///
    /// Fused experts that are not three-dimensional or cannot be divided; two tensors with the same name.
    pub fn new(source: S, path: impl Into<PathBuf>) -> Result<Self, InteropError> {
        let mut this = Self {
            path: path.into(),
            names: Vec::new(),
            parts: HashMap::new(),
            source,
        };
        for of in this.source.names() {
            let Some(info) = this.source.info(&of) else {
                continue;
            };
            if let Some(prefix) = of.strip_suffix(".experts.gate_up_proj") {
                this.split(prefix, &of, &info, &["gate_proj", "up_proj"])?;
            } else if let Some(prefix) = of.strip_suffix(".experts.down_proj") {
                this.split(prefix, &of, &info, &["down_proj"])?;
            } else {
                let slice = None;
                this.insert(one_spelling(&of), Part { of, info, slice })?;
            }
        }
        Ok(this)
    }

    /// The wrapped source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    fn split(
        &mut self,
        prefix: &str,
        of: &str,
        info: &TensorInfo,
        projections: &[&str],
    ) -> Result<(), InteropError> {
        let found = || format!("tensor `{of}` has shape {:?}", info.shape);
        let &[experts @ 1..=MAX_EXPERTS, rows, columns] = &info.shape[..] else {
            let expected = format!("[experts, rows, columns] of 1 to {MAX_EXPERTS} experts");
            return Err(malformed(&self.path, found(), expected));
        };
        let bits = (rows / projections.len() * columns).checked_mul(info.dtype.bitsize());
        if !rows.is_multiple_of(projections.len()) || bits.is_none_or(|bits| bits % 8 != 0) {
            let expected = format!("{} equal parts per expert", projections.len());
            return Err(malformed(&self.path, found(), expected));
        }
        let count = experts * projections.len();
        for index in 0..count {
            let (expert, projection) = (index / projections.len(), index % projections.len());
            let projection = projections[projection];
            let part = Part {
                of: of.to_owned(),
                info: TensorInfo {
                    dtype: info.dtype,
                    shape: vec![rows / projections.len(), columns],
                },
                slice: Some(Slice { index, count }),
            };
            let name = format!("{prefix}.experts.{expert}.{projection}.weight");
            self.insert(one_spelling(&name), part)?;
        }
        Ok(())
    }

    fn insert(&mut self, name: String, part: Part) -> Result<(), InteropError> {
        let of = part.of.clone();
        match self.parts.insert(name.clone(), part) {
            None => self.names.push(name),
            Some(other) => {
                let found = format!("`{}` and `{of}`, which both hold `{name}`", other.of);
                return Err(malformed(&self.path, found, "one of them"));
            }
        }
        Ok(())
    }
}

/// Converts Mixtral's names of the router and the experts.
pub(in crate::interop) fn one_spelling(name: &str) -> String {
    let Some((layer, rest)) = name.split_once(".block_sparse_moe.") else {
        return name.to_owned();
    };
    let mut rest = rest.to_owned();
    for (theirs, ours) in MIXTRAL_PROJECTIONS {
        if let Some(expert) = rest.strip_suffix(&format!(".{theirs}.weight")) {
            rest = format!("{expert}.{ours}.weight");
        }
    }
    format!("{layer}.mlp.{rest}")
}

/// Mixtral's name of a router's or an expert's tensor, the inverse of the names in [`PerExpert`]. Other names are
/// unchanged.
pub fn mixtral_name(name: &str) -> String {
    let Some((layer, rest)) = name.split_once(".mlp.") else {
        return name.to_owned();
    };
    let mut rest = rest.to_owned();
    for (theirs, ours) in MIXTRAL_PROJECTIONS {
        if let Some(expert) = rest.strip_suffix(&format!(".{ours}.weight")) {
            rest = format!("{expert}.{theirs}.weight");
        }
    }
    format!("{layer}.block_sparse_moe.{rest}")
}

impl<S: TensorSource> TensorSource for PerExpert<S> {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.parts.get(name).map(|part| part.info.clone())
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        let Some(part) = self.parts.get(name) else {
            return Err(InteropError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
            });
        };
        let mut tensor = self.source.tensor(&part.of)?;
        if let Some(Slice { index, count }) = part.slice {
            let size = tensor.bytes.len() / count;
            let range = index * size..(index + 1) * size;
            tensor.bytes = match tensor.bytes {
                Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
                Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
            };
            tensor.shape.clone_from(&part.info.shape);
        }
        Ok(tensor)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{PerExpert, mixtral_name};
    use crate::interop::TensorSource;
    use crate::interop::hugging_face::{FIXTURES, HfFolder};
    use crate::interop::tests::Tensors;

    #[test]
    fn fused_experts_come_apart() {
        for block in ["mlp", "block_sparse_moe"] {
            let name = |last: &str| format!("l.0.{block}.experts.{last}");
            // two experts of width 2 on a stream of width 3
            let source = Tensors::default()
                .bytes(&name("gate_up_proj"), &[2, 4, 3], (0..24).collect())
                .bytes(&name("down_proj"), &[2, 3, 2], (100..112).collect());
            let source = PerExpert::new(source, "x").unwrap();
            assert_eq!(source.names().len(), 6);
            let bytes = |name: &str| source.tensor(name).unwrap().bytes.to_vec();
            assert_eq!(
                bytes("l.0.mlp.experts.0.gate_proj.weight"),
                [0, 1, 2, 3, 4, 5]
            );
            assert_eq!(
                bytes("l.0.mlp.experts.1.up_proj.weight"),
                (18..24).collect::<Vec<_>>()
            );
            let down = source.tensor("l.0.mlp.experts.1.down_proj.weight").unwrap();
            assert_eq!(
                (&down.bytes[..], &down.shape[..]),
                (&[106, 107, 108, 109, 110, 111][..], &[3, 2][..])
            );
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let name = "l.0.mlp.experts.gate_up_proj";
        for shape in [&[2, 3][..], &[2, 3, 2], &[0, 4, 3], &[1 << 20, 0, 3]] {
            let source = Tensors::default().bytes(name, shape, vec![0; shape.iter().product()]);
            let error = PerExpert::new(source, "x").unwrap_err().to_string();
            assert!(error.contains("gate_up_proj` has shape"), "{error}");
        }
        let twice = Tensors::default().bytes(name, &[1, 2, 1], vec![0; 2]);
        let twice = twice.bytes("l.0.mlp.experts.0.up_proj.weight", &[1, 1], vec![0]);
        let error = PerExpert::new(twice, "x").unwrap_err().to_string();
        assert!(error.contains("which both hold"), "{error}");
    }

    #[test]
    fn mixtral_names_go_and_return() {
        let folder = HfFolder::open(Path::new(FIXTURES).join("mixtral")).unwrap();
        let theirs = folder.names();
        let source = PerExpert::new(folder, "x").unwrap();
        let ours = source.names();
        assert!(ours.contains(&"model.layers.2.mlp.gate.weight".into()));
        assert!(!ours.iter().any(|name| name.contains("block_sparse_moe")));
        let up = "model.layers.1.mlp.experts.7.up_proj.weight";
        let w3 = source.get_ref().tensor(&mixtral_name(up)).unwrap();
        assert!(mixtral_name(up).ends_with("experts.7.w3.weight"));
        assert_eq!(source.tensor(up).unwrap(), w3);
        let back = ours
            .iter()
            .map(|name| mixtral_name(name))
            .collect::<Vec<_>>();
        assert_eq!(back, theirs);
    }
}
