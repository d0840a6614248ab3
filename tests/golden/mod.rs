//! Models in `tests/fixtures` with results of other programs.

mod flips;
mod gradients;

use std::fs;
use std::path::{Path, PathBuf};

use darkhorse_genesis::interop::ForeignModel;
use safetensors::tensor::{Dtype, SafeTensors};

pub(crate) use flips::Flips;
pub(crate) use gradients::gradients_equal;

/// A model with expected results.
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) model: ForeignModel,
    pub(crate) tolerances: Tolerances,
    /// Smallest difference between the scores of a chosen and a rejected expert.
    selection_margin: f32,
    numbers: Vec<u8>,
}

/// Tolerances.
#[derive(Clone, Copy)]
pub(crate) struct Tolerances {
    pub(crate) logits: f32,
    pub(crate) hidden: f32,
    pub(crate) gate: f32,
    /// Relative to the largest gradient of the tensor.
    pub(crate) gradient: f32,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Reads a fixture.
pub(crate) fn read(name: &str) -> Golden {
    let folder = folder().join(name);
    let meta = fs::read_to_string(folder.join("meta.json")).expect("the fixture is there");
    let meta: serde_json::Value = serde_json::from_str(&meta).expect("meta.json is JSON");
    let wider = if cfg!(feature = "flex") { 1.0 } else { 10.0 };
    let tolerance = |key: &str| {
        let tolerance = meta["tolerance"][key]
            .as_f64()
            .expect("a tolerance is a number");
        tolerance as f32 * wider
    };
    Golden {
        name: name.into(),
        model: ForeignModel::open(&folder).expect("the fixture is a model"),
        tolerances: Tolerances {
            logits: tolerance("logits_abs"),
            hidden: tolerance("hidden_abs"),
            gate: tolerance("router_weight_abs"),
            gradient: tolerance("grad_rel_to_max"),
        },
        selection_margin: meta["min_selection_margin"]
            .as_f64()
            .expect("a margin is a number") as f32,
        numbers: fs::read(folder.join("fixture.safetensors")).expect("the fixture has numbers"),
    }
}

impl Golden {
    /// The expected results for a model in another file.
    pub(crate) fn with_model(self, path: &str) -> Self {
        let model = ForeignModel::open(&folder().join(path)).expect("the fixture is a model");
        Self { model, ..self }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.numbers).expect("the fixture is a safetensors file")
    }

    /// Names with a prefix, which is removed.
    pub(crate) fn names_under(&self, prefix: &str) -> Vec<String> {
        let tensors = self.tensors();
        let names = tensors.names().into_iter();
        names
            .filter_map(|name| Some(name.strip_prefix(prefix)?.to_owned()))
            .collect()
    }

    /// Values and shape of a float tensor.
    pub(crate) fn floats(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).expect("the fixture has this tensor");
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        let values = tensor.data().as_chunks().0.iter();
        let values = values.map(|&it| f32::from_le_bytes(it)).collect();
        (values, tensor.shape().to_vec())
    }

    /// Values and shape of an integer tensor.
    pub(crate) fn integers(&self, name: &str) -> (Vec<i64>, Vec<usize>) {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).expect("the fixture has this tensor");
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        let values = tensor.data().as_chunks().0.iter();
        let values = values.map(|&it| i64::from_le_bytes(it)).collect();
        (values, tensor.shape().to_vec())
    }

    /// Whether errors within the tolerance can change a choice of experts.
    pub(crate) fn may_flip(&self) -> bool {
        self.selection_margin < self.tolerances.gate
    }

    /// Compares the rows before each sequence's first flip.
    pub(crate) fn compare_before(&self, flips: &Flips, name: &str, found: &[f32], tolerance: f32) {
        let (expected, _) = self.floats(name);
        assert_eq!(
            found.len(),
            expected.len(),
            "{}: length of {name}",
            self.name
        );
        let [found, expected] = [found, &expected].map(|values| flips.before(values));
        self.check(name, &found, &expected, tolerance);
    }

    /// Fails if a value differs by more than `tolerance`.
    pub(crate) fn compare(&self, name: &str, found: &[f32], tolerance: f32) {
        let (expected, _) = self.floats(name);
        self.check(name, found, &expected, tolerance);
    }

    /// Fails if a value differs by more than `tolerance` relative to the largest value and by more than rounding: the
    /// gradient of a router without a choice is zero.
    pub(crate) fn compare_relative(&self, name: &str, found: &[f32], tolerance: f32) {
        let (expected, _) = self.floats(name);
        let largest = expected
            .iter()
            .fold(0.0f32, |max, value| max.max(value.abs()));
        self.check(name, found, &expected, tolerance * largest + 1e-6);
    }

    fn check(&self, name: &str, found: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(
            found.len(),
            expected.len(),
            "{}: length of {name}",
            self.name
        );
        let differences = found
            .iter()
            .zip(expected)
            .map(|(found, expected)| (found - expected).abs());
        // not `max`, which passes over NaN
        let worst = differences.fold(0.0, |worst, it| if it <= worst { worst } else { it });
        assert!(
            worst <= tolerance,
            "{}: {name} is off by {worst}, allowed {tolerance}",
            self.name
        );
    }
}
