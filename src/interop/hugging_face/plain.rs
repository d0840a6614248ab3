//! Removes what programs add to a checkpoint: prefixes of names, and a head that copies a tied embedding.
//!
//! `torch.compile` adds `_orig_mod.`, data parallelism `module.`, the host of an adapter `base_model.model.`, a model
//! of images and text `language_model.`; a model that was saved without its head lacks `model.`. Tensors of every
//! family are read through [`Plain`].

use std::collections::HashMap;
use std::path::PathBuf;

use super::malformed;
use crate::interop::{InteropError, RawTensor, TensorInfo, TensorSource};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// First part of the names in a decoder without a wrapper, possibly after `model`.
const ROOTS: [&str; 5] = ["embed_tokens", "layers", "norm", "lm_head", "mtp"];

/// Roots whose names do not start with `model`.
const BESIDE_MODEL: [&str; 2] = ["lm_head", "mtp"];

/// Parts that wrappers put before the root.
const PREFIXES: [&str; 6] = [
    "_fsdp_wrapped_module",
    "_orig_mod",
    "base_model",
    "language_model",
    "model",
    "module",
];

/// Parts that wrappers put anywhere.
const WRAPPERS: [&str; 3] = [
    "_checkpoint_wrapped_module",
    "_fsdp_wrapped_module",
    "_orig_mod",
];

/// The name of a tensor in a plain checkpoint. Names of other components, such as a vision tower, are unchanged.
pub(super) fn plain_name(name: &str) -> String {
    let parts = name.split('.').collect::<Vec<_>>();
    let Some(root) = parts.iter().position(|part| ROOTS.contains(part)) else {
        return name.to_owned();
    };
    if !parts[..root].iter().all(|part| PREFIXES.contains(part)) {
        return name.to_owned();
    }
    let model = (!BESIDE_MODEL.contains(&parts[root])).then_some("model");
    let rest = parts[root..].iter().copied();
    let rest = rest.filter(|part| !WRAPPERS.contains(part));
    model.into_iter().chain(rest).collect::<Vec<_>>().join(".")
}

/// A source whose tensors have plain names. A tied model has one tensor for embedding and head,
/// `model.embed_tokens.weight`.
#[derive(Debug)]
pub struct Plain<S> {
    source: S,
    path: PathBuf,
    names: Vec<String>,
    /// The source's name of each tensor.
    theirs: HashMap<String, String>,
}

impl<S: TensorSource> Plain<S> {
    /// Wraps a source. Errors name `path`.
    ///
    /// # Errors
    ///
    /// Two tensors with the same plain name; parts of an adapter among the weights.
    pub fn new(source: S, path: impl Into<PathBuf>) -> Result<Self, InteropError> {
        Self::renamed(source, path, |name| Some(plain_name(name)))
    }

    /// Wraps a source. `plain` maps its names to plain ones; a tensor for which it returns `None` is left out.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub(in crate::interop) fn renamed(
        source: S,
        path: impl Into<PathBuf>,
        plain: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InteropError> {
        let path = path.into();
        let mut names = Vec::new();
        let mut theirs = HashMap::<String, String>::new();
        for name in source.names() {
            if name.contains(".lora_") || name.contains(".base_layer.") {
                let found = format!("tensor `{name}` of an adapter that was not merged");
                let expected = "merged weights, or the adapter in a folder of its own, named by `--adapter DIR`";
                return Err(malformed(path, found, expected));
            }
            let Some(plain) = plain(&name) else {
                continue;
            };
            if let Some(other) = theirs.insert(plain.clone(), name.clone()) {
                let found = format!("`{other}` and `{name}`, which are both `{plain}`");
                return Err(malformed(path, found, "one of them"));
            }
            names.push(plain);
        }
        Ok(Self {
            source,
            path,
            names,
            theirs,
        })
    }

    /// The wrapped source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// Whether the head is tied to the embedding table; `is_stated` is the configuration's claim.
    ///
    /// As in transformers 5, a head that differs from the table is a separate head whatever the configuration says,
    /// and a warning tells so. If both are equal, or only one exists, only the table remains.
    ///
    /// # Errors
    ///
    /// Errors of reading the tensors.
    pub fn is_tied(&mut self, is_stated: bool) -> Result<bool, InteropError> {
        if !is_stated {
            return Ok(false);
        }
        let has = |name: &str| self.theirs.contains_key(name);
        match (has(EMBEDDING), has(HEAD)) {
            (true, true) if self.tensor(EMBEDDING)? != self.tensor(HEAD)? => {
                tracing::warn!(
                    "{}: `tie_word_embeddings` is true, but `{}` and `{}` differ: the head is kept as one of its own",
                    self.path.display(),
                    self.theirs[EMBEDDING],
                    self.theirs[HEAD],
                );
                return Ok(false);
            }
            (true, true) => {
                self.theirs.remove(HEAD);
                self.names.retain(|name| name != HEAD);
            }
            (false, true) => {
                let table = self.theirs.remove(HEAD);
                self.theirs
                    .extend(table.map(|it| (EMBEDDING.to_owned(), it)));
                for name in &mut self.names {
                    if name == HEAD {
                        EMBEDDING.clone_into(name);
                    }
                }
            }
            (_, false) => {}
        }
        Ok(true)
    }
}

impl<S: TensorSource> TensorSource for Plain<S> {
    fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.source.info(self.theirs.get(name)?)
    }

    fn tensor(&self, name: &str) -> Result<RawTensor<'_>, InteropError> {
        match self.theirs.get(name) {
            Some(theirs) => self.source.tensor(theirs),
            None => Err(InteropError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::tests::Tensors;

    #[test]
    fn wrappers_are_taken_off_and_other_parts_stay() {
        let layer = "model.layers.0.mlp.up_proj.weight";
        let cases = [
            (layer, layer),
            ("layers.0.mlp.up_proj.weight", layer),
            ("model.model.layers.0.mlp.up_proj.weight", layer),
            ("module.model.layers.0.mlp.up_proj.weight", layer),
            ("_orig_mod.model.layers.0.mlp.up_proj.weight", layer),
            ("module._orig_mod.layers.0.mlp.up_proj.weight", layer),
            ("model.layers.0._orig_mod.mlp.up_proj.weight", layer),
            (
                "model._fsdp_wrapped_module.layers.0._fsdp_wrapped_module._checkpoint_wrapped_module.mlp.up_proj.weight",
                layer,
            ),
            ("base_model.model.model.layers.0.mlp.up_proj.weight", layer),
            ("language_model.model.layers.0.mlp.up_proj.weight", layer),
            ("model.language_model.layers.0.mlp.up_proj.weight", layer),
            ("language_model.lm_head.weight", "lm_head.weight"),
            ("_orig_mod.lm_head.weight", "lm_head.weight"),
            ("norm.weight", "model.norm.weight"),
            ("embed_tokens.weight", "model.embed_tokens.weight"),
            ("module.mtp.norm.weight", "mtp.norm.weight"),
            (
                "vision_tower.layers.0.norm.weight",
                "vision_tower.layers.0.norm.weight",
            ),
            ("visual.patch.weight", "visual.patch.weight"),
            (
                "model.layers.1.shared_head.norm.weight",
                "model.layers.1.shared_head.norm.weight",
            ),
        ];
        for (theirs, plain) in cases {
            assert_eq!(plain_name(theirs), plain, "{theirs}");
        }
    }

    fn source(tensors: &[(&str, u8)]) -> Result<Plain<Tensors>, String> {
        let mut all = Tensors::default();
        for (name, value) in tensors {
            all = all.bytes(name, &[1], vec![*value]);
        }
        Plain::new(all, "f").map_err(|error| error.to_string())
    }

    #[test]
    fn a_tie_is_what_the_file_holds_of_it() {
        let prefixed = ("_orig_mod.lm_head.weight", 7);
        let table = ("model.embed_tokens.weight", 7);
        let other = ("lm_head.weight", 8);
        // tensors, what the configuration says, whether it is so, and the value of the table and of the head
        let cases = [
            (&[table][..], true, true, [Some(7), None]),
            (&[prefixed], true, true, [Some(7), None]),
            (&[table, prefixed], true, true, [Some(7), None]),
            (&[table, other], true, false, [Some(7), Some(8)]),
            (&[table, prefixed], false, false, [Some(7), Some(7)]),
        ];
        for (tensors, is_stated, expected, values) in cases {
            let mut plain = source(tensors).unwrap();
            assert_eq!(plain.is_tied(is_stated).unwrap(), expected, "{tensors:?}");
            let value = |name: &str| Some(plain.tensor(name).ok()?.bytes[0]);
            assert_eq!([value(EMBEDDING), value(HEAD)], values, "{tensors:?}");
            let count = values.iter().flatten().count();
            assert_eq!(plain.names().len(), count, "{tensors:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused_by_name() {
        let twice = source(&[("norm.weight", 1), ("model.norm.weight", 1)]);
        let twice = twice.unwrap_err();
        assert!(
            twice.contains("`model.norm.weight` and `norm.weight`"),
            "{twice}"
        );
        let unmerged = "model.layers.0.mlp.up_proj.lora_A.default.weight";
        let error = source(&[(unmerged, 1)]).unwrap_err();
        assert!(
            error.contains(unmerged) && error.contains("--adapter"),
            "{error}"
        );
    }
}
