//! Writing of an adapter in PEFT's format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use super::{CONFIG, WEIGHTS};
use crate::interop::entry::{Entry, Rows, Take, Turn};
use crate::interop::hugging_face::{HfConfig, malformed};
use crate::interop::new_folder::NewFolder;
use crate::interop::{InteropError, Outgoing, TensorSource};
use crate::model::lora::LoraConfig;
use crate::model::weights::WeightSource;

/// Prefix of all names in a file of PEFT.
const HOST: &str = "base_model.model.";

/// Adapters of a model, and what is trained whole beside them.
#[derive(Debug)]
pub struct Adapters<'a> {
    /// Configuration of the model.
    pub config: &'a HfConfig,
    /// Rank, scale and targets.
    pub lora: &'a LoraConfig,
    /// Merged weights of the model in the format of its family.
    pub merged: &'a Outgoing<'a>,
}

/// Projections of feed-forwards.
const PROJECTIONS: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

/// A float tensor in f32.
#[derive(Debug, Clone, PartialEq)]
struct Matrix {
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// Factors of one of our matrices, `[in, rank]` and `[rank, out]`.
#[derive(Debug)]
struct Factors {
    a: Matrix,
    b: Matrix,
}

/// One of our matrices within a module of theirs.
#[derive(Debug)]
struct Part {
    /// Rows of their matrix that are ours; absent: all.
    rows: Option<Rows>,
    factors: Factors,
}

/// Content of an adapter's files.
#[derive(Debug, Default)]
struct Content {
    tensors: BTreeMap<String, Matrix>,
    /// Adapted modules with their rank.
    modules: BTreeMap<String, usize>,
    /// Adapted parameters of fused experts with their rank.
    parameters: BTreeMap<String, usize>,
    /// Modules that are stored whole.
    whole: BTreeSet<String>,
}

impl Adapters<'_> {
    /// Writes the folder of an adapter from `weights`, those of the run before merging. It is complete or absent.
    ///
    /// # Errors
    ///
    /// The target exists and is not empty; a matrix that has no place in files of the family; errors of reading and
    /// writing.
    pub fn write(&self, target: &Path, weights: &dyn WeightSource) -> Result<(), InteropError> {
        NewFolder::refuse_filled(target)?;
        let content = self.content(weights)?;
        let views = content.tensors.iter().map(|(name, matrix)| {
            let bytes = matrix.values.iter().flat_map(|it| it.to_le_bytes());
            (name, matrix.shape.clone(), bytes.collect::<Vec<u8>>())
        });
        let views: Vec<_> = views.collect();
        let refused = |error: safetensors::SafeTensorError| {
            malformed(target, error.to_string(), "tensors that can be written")
        };
        let views = views.iter().map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            view.map(|view| (*name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let tensors = safetensors::serialize(views, Some(metadata)).map_err(refused)?;
        let config = format!("{:#}\n", self.config_json(&content));
        let folder = NewFolder::beside(target)?;
        let files = [
            (CONFIG.to_owned(), config.into_bytes()),
            (WEIGHTS.to_owned(), tensors),
        ];
        folder.write_files(target, &files)?;
        folder.rename(target)
    }

    fn content(&self, weights: &dyn WeightSource) -> Result<Content, InteropError> {
        let mut content = Content::default();
        let mut parts = BTreeMap::<String, Vec<Part>>::new();
        let mut experts = BTreeMap::<String, [Option<Factors>; 3]>::new();
        let mut written = BTreeSet::new();
        for entry in self.config.family.entries(self.config) {
            let Some(factors) = factors(weights, &entry.ours)? else {
                continue;
            };
            written.insert(entry.ours.clone());
            match (entry.take, entry.turn) {
                (Take::Stack, Turn::Transposed) => {
                    let (module, place) = place_in_experts(&entry, weights.path())?;
                    experts.entry(module).or_default()[place] = Some(factors);
                }
                (Take::Whole | Take::Rows(_), Turn::Transposed) => {
                    let module = module_of(&entry.theirs[0]).to_owned();
                    let rows = match entry.take {
                        Take::Rows(rows) => Some(rows),
                        Take::Whole | Take::Stack => None,
                    };
                    parts
                        .entry(module)
                        .or_default()
                        .push(Part { rows, factors });
                }
                _ => return Err(self.without_place(weights, &entry.ours)),
            }
        }
        let names = weights.names();
        let adapted = names.iter().filter_map(|it| it.strip_suffix(".lora_a"));
        for matrix in adapted {
            if !written.contains(matrix) {
                return Err(self.without_place(weights, matrix));
            }
        }
        for (module, parts) in parts {
            content.linear(module, parts);
        }
        for (module, of_experts) in experts {
            content.experts(module, of_experts);
        }
        self.add_whole(&mut content, weights)?;
        Ok(content)
    }

    fn without_place(&self, weights: &dyn WeightSource, matrix: &str) -> InteropError {
        let family = self.config.family.profile().name;
        let found = format!("an adapted `{matrix}`, which PEFT does not adapt in {family}");
        let expected = "other `--lora-targets`, or `--format hf`, which writes the merged model";
        malformed(weights.path(), found, expected)
    }

    /// Adds the parameters that are trained whole, and routers whose balance has moved.
    fn add_whole(
        &self,
        content: &mut Content,
        weights: &dyn WeightSource,
    ) -> Result<(), InteropError> {
        let entries = self.config.family.entries(self.config).into_iter();
        let entries = entries.filter(|entry| entry.zeros.is_none() && entry.take != Take::Stack);
        let entries = entries.filter(|entry| weights.shape(&entry.ours).is_some());
        let entries: Vec<Entry> = entries.collect();
        for entry in &entries {
            let is_bias = entry.ours.ends_with("e_score_correction_bias");
            let has_moved = || -> Result<bool, InteropError> {
                let bias = weights.data(&entry.ours)?;
                Ok(bias.iter::<f32>().any(|value| value != 0.0))
            };
            if self.lora.trains_whole(&entry.ours) || is_bias && has_moved()? {
                content.whole.insert(module_of(&entry.theirs[0]).to_owned());
            }
        }
        let mut whole = content.whole.iter();
        if let Some(both) = whole.find(|module| content.modules.contains_key(*module)) {
            let found = format!("`{both}`, which is adapted and has a parameter trained whole");
            let expected = "one of both, or `--format hf`, which writes the merged model";
            return Err(malformed(weights.path(), found, expected));
        }
        // PEFT wants all tensors of a module
        let names = entries.iter().map(|entry| entry.theirs[0].as_str());
        let names: BTreeSet<&str> = names
            .filter(|name| content.whole.contains(module_of(name)))
            .collect();
        let ends = ["model.embed_tokens.weight", "lm_head.weight"];
        if self.config.model.tie_word_embeddings && ends.iter().any(|end| names.contains(end)) {
            let found = "a trained embedding table, which is the head, too";
            let expected = "`--format hf`, which writes the merged model";
            return Err(malformed(weights.path(), found, expected));
        }
        for name in names {
            // transformers holds a module under the usual name whatever the family's files call it
            let tensor = self.merged.tensor(&self.config.family.spelling(name))?;
            let values = super::floats(&tensor)
                .ok_or_else(|| super::dtype_error(weights.path(), name, tensor.dtype))?;
            let matrix = Matrix {
                shape: tensor.shape,
                values,
            };
            content.tensors.insert(format!("{HOST}{name}"), matrix);
        }
        Ok(())
    }

    fn config_json(&self, content: &Content) -> Value {
        let LoraConfig { rank, alpha, .. } = self.lora;
        let every = self.config.family.entries(self.config).into_iter();
        let every = every.filter(|entry| entry.turn == Turn::Transposed);
        let every = every.filter(|entry| entry.take != Take::Stack);
        let every: Vec<String> = every
            .map(|entry| module_of(&entry.theirs[0]).to_owned())
            .collect();
        // PEFT takes such modules of a model with experts for experts: their weights are named instead
        let has_experts = self.config.model.moe.is_some();
        let is_mistaken = |module: &&String| has_experts && PROJECTIONS.contains(&end_of(module));
        let weights = content.modules.keys().filter(is_mistaken);
        let weights = weights.map(|module| format!("{module}.weight"));
        // a name stands for all modules that end with it
        let mut targets = BTreeSet::new();
        for module in content.modules.keys().filter(|it| !is_mistaken(it)) {
            let end = end_of(module);
            let all = every.iter().filter(|it| end_of(it) == end);
            let mut all = all.map(|it| content.modules.contains_key(it));
            targets.insert(if all.all(|it| it) { end } else { module });
        }
        let mut ranks = Map::new();
        let mut alphas = Map::new();
        let all = content.modules.iter().chain(&content.parameters);
        for (module, &own) in all.filter(|(_, own)| **own != *rank) {
            let key = if content.parameters.contains_key(module) {
                end_of(module)
            } else {
                module
            };
            ranks.insert(key.to_owned(), json!(own));
            let own = alpha * own as f64 / *rank as f64;
            alphas.insert(key.to_owned(), number(own));
        }
        // gate and up are within down, as PEFT wraps them in this order
        let parameters: Vec<String> = ["gate_up_proj", "down_proj"]
            .into_iter()
            .filter(|name| content.parameters.keys().any(|it| end_of(it) == *name))
            .map(|name| format!("experts.{name}"))
            .chain(weights)
            .collect();
        let whole = Some(&content.whole).filter(|whole| !whole.is_empty());
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": null,
            "inference_mode": true,
            "r": rank,
            "lora_alpha": number(*alpha),
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
            "lora_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "use_rslora": false,
            "use_dora": false,
            "target_modules": targets,
            "target_parameters": (!parameters.is_empty()).then_some(parameters),
            "modules_to_save": whole,
        })
    }
}

/// A whole number without a decimal point.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

/// The module of a tensor.
fn module_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(module, _)| module)
}

fn end_of(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Factors of our matrix; `None` if it is not adapted.
fn factors(weights: &dyn WeightSource, ours: &str) -> Result<Option<Factors>, InteropError> {
    let read = |factor: &str| -> Result<Option<Matrix>, InteropError> {
        let name = format!("{ours}.{factor}");
        if weights.shape(&name).is_none() {
            return Ok(None);
        }
        let data = weights.data(&name)?;
        Ok(Some(Matrix {
            shape: data.shape.to_vec(),
            values: data.iter::<f32>().collect(),
        }))
    };
    let both = read("lora_a")?.zip(read("lora_b")?);
    Ok(both.map(|(a, b)| Factors { a, b }))
}

/// The module of fused experts that a stack belongs to, and its place there: gate, up or down.
fn place_in_experts(entry: &Entry, path: &Path) -> Result<(String, usize), InteropError> {
    let name = &entry.theirs[0];
    let place = PROJECTIONS.iter().enumerate().find_map(|(place, it)| {
        let prefix = name.strip_suffix(&format!(".0.{it}.weight"))?;
        Some((prefix.to_owned(), place))
    });
    place.ok_or_else(|| malformed(path, format!("experts `{name}`"), "gate, up, down"))
}

impl Content {
    /// Adds the factors of a linear layer, `[rank, in]` and `[out, rank]`. Several of our matrices in one of theirs
    /// have their ranks one after the other.
    fn linear(&mut self, module: String, parts: Vec<Part>) {
        let Some(first) = parts.first() else { return };
        let [inner, each] = [first.factors.a.shape[0], first.factors.a.shape[1]];
        let outer = match &first.rows {
            Some(rows) => rows.theirs(),
            None => first.factors.b.shape[1],
        };
        let rank = each * parts.len();
        let mut a = vec![0.0; rank * inner];
        let mut b = vec![0.0; outer * rank];
        for (part, Part { rows, factors }) in parts.iter().enumerate() {
            let columns = factors.b.shape[1];
            let places: Vec<usize> = match rows {
                Some(rows) => rows.places().collect(),
                None => (0..columns).collect(),
            };
            for own in 0..each {
                let of = part * each + own;
                for at in 0..inner {
                    a[of * inner + at] = factors.a.values[at * each + own];
                }
                for (at, place) in places.iter().enumerate() {
                    b[place * rank + of] = factors.b.values[own * columns + at];
                }
            }
        }
        self.pair(&module, ([rank, inner], a), ([outer, rank], b));
        self.modules.insert(module, rank);
    }

    /// Adds the factors of fused experts. `A` has a block of rows per expert, `B` a column per rank and expert.
    fn experts(&mut self, module: String, [gate, up, down]: [Option<Factors>; 3]) {
        let has_down = down.is_some();
        let gate_up: Vec<(usize, Factors)> = [gate, up]
            .into_iter()
            .enumerate()
            .filter_map(|(half, factors)| Some((half, factors?)))
            .collect();
        if !gate_up.is_empty() {
            let inner = if has_down { ".base_layer" } else { "" };
            let rank = self.fused(&format!("{module}{inner}"), 2, &gate_up);
            self.parameters
                .insert(format!("{module}.gate_up_proj"), rank);
        }
        if let Some(down) = down {
            let rank = self.fused(&module, 1, &[(0, down)]);
            self.parameters.insert(format!("{module}.down_proj"), rank);
        }
    }

    /// Adds the factors of one fused tensor, whose rows are `halves` equal parts. Returns the rank per expert.
    fn fused(&mut self, name: &str, halves: usize, parts: &[(usize, Factors)]) -> usize {
        let [experts, inner, each] = [0, 1, 2].map(|at| parts[0].1.a.shape[at]);
        let width = parts[0].1.b.shape[2];
        let rank = each * parts.len();
        let outer = halves * width;
        let mut a = vec![0.0; experts * rank * inner];
        let mut b = vec![0.0; outer * rank * experts];
        for (part, (half, factors)) in parts.iter().enumerate() {
            for expert in 0..experts {
                for own in 0..each {
                    let of = part * each + own;
                    for at in 0..inner {
                        let from = (expert * inner + at) * each + own;
                        a[(expert * rank + of) * inner + at] = factors.a.values[from];
                    }
                    for at in 0..width {
                        let from = (expert * each + own) * width + at;
                        let row = half * width + at;
                        b[row * rank * experts + of * experts + expert] = factors.b.values[from];
                    }
                }
            }
        }
        let rows = experts * rank;
        self.pair(name, ([rows, inner], a), ([outer, rows], b));
        rank
    }

    fn pair(&mut self, module: &str, a: ([usize; 2], Vec<f32>), b: ([usize; 2], Vec<f32>)) {
        for (factor, (shape, values)) in [("A", a), ("B", b)] {
            let name = format!("{HOST}{module}.lora_{factor}.weight");
            let shape = shape.to_vec();
            self.tensors.insert(name, Matrix { shape, values });
        }
    }
}

#[cfg(test)]
mod tests;
