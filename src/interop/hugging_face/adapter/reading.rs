//! `adapter_model.safetensors`: the changed tensors of a model.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::Config;
use super::{Change, Update, WEIGHTS, dtype_error, floats};
use crate::interop::hugging_face::experts::one_spelling;
use crate::interop::hugging_face::malformed;
use crate::interop::hugging_face::plain::plain_name;
use crate::interop::hugging_face::safetensors_file::SafetensorsFile;
use crate::interop::{InteropError, RawTensor, TensorSource};

/// Reads the changes of an adapter, by the names of `base`.
pub(super) fn read(
    folder: &Path,
    base: &dyn TensorSource,
) -> Result<BTreeMap<String, Change>, InteropError> {
    let config = Config::open(folder)?;
    let path = folder.join(WEIGHTS);
    if !path.is_file() {
        let found = match folder.join("adapter_model.bin").is_file() {
            true => "only adapter_model.bin",
            false => "no weights of the adapter",
        };
        return Err(malformed(folder, found, WEIGHTS));
    }
    let file = SafetensorsFile::open(&path)?;
    let mut changes = BTreeMap::new();
    let mut pairs = BTreeMap::<String, Pair>::new();
    for (index, entry) in file.entries.iter().enumerate() {
        let tensor = || file.tensor(index).finite(&path, &entry.name);
        match Place::of(&entry.name) {
            Place::Whole(name) => {
                let RawTensor {
                    dtype,
                    shape,
                    bytes,
                } = tensor()?;
                let whole = Change::Replaced {
                    dtype,
                    shape,
                    bytes: bytes.into_owned(),
                };
                changes.insert(name, whole);
            }
            Place::Half { module, kind, at } => {
                let mut half = Half::read(&path, &entry.name, tensor()?)?;
                // an embedding table is `[tokens, width]`: both matrices are transposed and swapped
                let at = match kind {
                    Kind::Embedding => {
                        half.transpose();
                        1 - at
                    }
                    Kind::Linear | Kind::Experts => at,
                };
                let pair = pairs.entry(module).or_insert(Pair {
                    kind,
                    right: None,
                    left: None,
                });
                match at {
                    0 => pair.right = Some(half),
                    _ => pair.left = Some(half),
                }
            }
            Place::Unknown => {
                let found = format!("tensor `{}`", entry.name);
                let expected =
                    "`lora_A` and `lora_B` of linear layers, or whole tensors of the model";
                return Err(malformed(path, found, expected));
            }
        }
    }
    for (module, pair) in pairs {
        for (name, update) in pair.updates(&module, &config, base, &path)? {
            if changes
                .insert(name.clone(), Change::Added(update))
                .is_some()
            {
                let found = format!("two changes of `{name}`");
                return Err(malformed(path, found, "one of them"));
            }
        }
    }
    match changes.is_empty() {
        true => Err(malformed(path, "no tensors", "those of an adapter")),
        false => Ok(changes),
    }
}

/// Kind of module that a pair of matrices changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A linear layer's weight.
    Linear,
    /// An embedding table.
    Embedding,
    /// All experts of a layer, fused.
    Experts,
}

/// Meaning of a tensor in an adapter.
#[derive(Debug, PartialEq)]
enum Place {
    /// It replaces a tensor of the base.
    Whole(String),
    /// It is the `A` (0) or the `B` (1) of a module, by the adapter's name for the module.
    Half {
        module: String,
        kind: Kind,
        at: usize,
    },
    Unknown,
}

impl Place {
    fn of(name: &str) -> Self {
        let ends = [
            (".lora_A", 0, Kind::Linear),
            (".lora_B", 1, Kind::Linear),
            (".lora_embedding_A", 0, Kind::Embedding),
            (".lora_embedding_B", 1, Kind::Embedding),
        ];
        for (part, at, kind) in ends {
            // a named adapter has its name in between
            if let Some((module, rest)) = name.split_once(part)
                && ["", ".weight", ".default", ".default.weight"].contains(&rest)
            {
                let is_experts = module.ends_with(".experts") || module.ends_with(".base_layer");
                let kind = if is_experts { Kind::Experts } else { kind };
                let module = module.to_owned();
                return Self::Half { module, kind, at };
            }
        }
        if name.contains(".lora_") || name.contains(".base_layer.") {
            return Self::Unknown;
        }
        let name = name.replace(".modules_to_save.default.", ".");
        Self::Whole(one_spelling(&plain_name(&name)))
    }
}

/// `A` and `B` of a module.
#[derive(Debug)]
struct Pair {
    kind: Kind,
    /// `[rank, columns]`
    right: Option<Half>,
    /// `[rows, rank]`
    left: Option<Half>,
}

impl Pair {
    /// The updates of the base's tensors, by their names.
    fn updates(
        self,
        module: &str,
        config: &Config,
        base: &dyn TensorSource,
        path: &Path,
    ) -> Result<Vec<(String, Update)>, InteropError> {
        let (Some(right), Some(left)) = (self.right, self.left) else {
            let found = format!("one half of the change of `{module}`");
            return Err(malformed(path, found, "`lora_A` and `lora_B`"));
        };
        let rank = right.rows;
        if rank == 0 || left.columns != rank {
            let found = format!("`{module}` with `lora_A` and `lora_B` of different ranks");
            return Err(malformed(path, found, "one rank, above 0"));
        }
        if self.kind == Kind::Experts {
            return of_experts(module, &right, &left, config, base, path);
        }
        let name = one_spelling(&plain_name(&format!("{module}.weight")));
        let update = Update {
            factor: config.factor(module, rank),
            rank,
            left: left.values,
            right: right.values,
        };
        Ok(vec![(name, update)])
    }
}

/// Updates of each expert's tensors. `A` is `[experts * rank, in]`, one block of rows per expert; `B` is `[out, rank
/// * experts]`, one column per rank and expert.
fn of_experts(
    module: &str,
    right: &Half,
    left: &Half,
    config: &Config,
    base: &dyn TensorSource,
    path: &Path,
) -> Result<Vec<(String, Update)>, InteropError> {
    // if both fused tensors are adapted, one is wrapped in the other
    let module = module.strip_suffix(".base_layer").unwrap_or(module);
    let prefix = one_spelling(&plain_name(module));
    let name = |expert: usize, projection: &str| format!("{prefix}.{expert}.{projection}.weight");
    let experts = (0..right.rows)
        .take_while(|&expert| base.info(&name(expert, "gate_proj")).is_some())
        .count();
    let gate = base.info(&name(0, "gate_proj")).map(|info| info.shape);
    let Some(&[width, hidden]) = gate
        .as_deref()
        .filter(|_| right.rows.is_multiple_of(experts))
    else {
        let found = format!(
            "a change of rank {} of `{module}`, of which the model has {experts} experts",
            right.rows
        );
        return Err(malformed(path, found, "an adapter of this model"));
    };
    let rank = right.rows / experts;
    let (fused, projections) = match (left.rows, right.columns) {
        (rows, columns) if (rows, columns) == (2 * width, hidden) => {
            ("gate_up_proj", &["gate_proj", "up_proj"][..])
        }
        (rows, columns) if (rows, columns) == (hidden, width) => ("down_proj", &["down_proj"][..]),
        (rows, columns) => {
            let found = format!("a change of {rows} x {columns} of `{module}`");
            let expected = format!("{} x {hidden} or {hidden} x {width}", 2 * width);
            return Err(malformed(path, found, expected));
        }
    };
    let factor = config.factor(&format!("{module}.{fused}"), rank);
    let size = rank * right.columns;
    let rows = left.rows / projections.len();
    let parts =
        (0..experts).flat_map(|expert| projections.iter().enumerate().map(move |it| (expert, it)));
    let updates = parts.map(|(expert, (part, projection))| {
        let rows = left
            .values
            .chunks(left.columns)
            .skip(part * rows)
            .take(rows);
        let update = Update {
            factor,
            rank,
            left: rows
                .flat_map(|row| row[expert..].iter().step_by(experts).copied())
                .collect(),
            right: right.values[expert * size..][..size].to_vec(),
        };
        (name(expert, projection), update)
    });
    Ok(updates.collect())
}

/// `A` or `B` in f32, row-major.
#[derive(Debug)]
struct Half {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Half {
    fn read(path: &Path, name: &str, tensor: RawTensor<'_>) -> Result<Self, InteropError> {
        let [rows, columns] = tensor.shape[..] else {
            let found = format!("tensor `{name}` of shape {:?}", tensor.shape);
            return Err(malformed(path, found, "a matrix"));
        };
        let Some(values) = floats(&tensor) else {
            return Err(dtype_error(path, name, tensor.dtype));
        };
        Ok(Self {
            rows,
            columns,
            values,
        })
    }

    fn transpose(&mut self) {
        let at = |index: usize| (index % self.rows) * self.columns + index / self.rows;
        self.values = (0..self.values.len())
            .map(|index| self.values[at(index)])
            .collect();
        (self.rows, self.columns) = (self.columns, self.rows);
    }
}
