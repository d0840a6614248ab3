//! The checkpoint, and the package's results.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use darkhorse_genesis::interop::ForeignModel;
use darkhorse_genesis::model::{CausalLm, ModelConfig, weights};
use safetensors::tensor::{Dtype, SafeTensors};

/// The checkpoint with the package's results.
pub(crate) struct Fixture {
    pub(crate) checkpoint: ForeignModel,
    numbers: Vec<u8>,
    tolerances: BTreeMap<String, f32>,
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/genesis152m")
}

pub(crate) fn read() -> Fixture {
    let folder = folder();
    let tolerances = fs::read_to_string(folder.join("tolerances.json")).expect("it is there");
    let checkpoint = ForeignModel::open(&folder.join("tiny_genesis.safetensors"));
    Fixture {
        checkpoint: checkpoint.expect("the checkpoint can be read"),
        numbers: fs::read(folder.join("fixture.safetensors")).expect("it is there"),
        tolerances: serde_json::from_str(&tolerances).expect("tolerances are numbers"),
    }
}

impl Fixture {
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.checkpoint.config.model
    }

    pub(crate) fn model<B: Backend>(&self) -> CausalLm<B> {
        self.model_of(self.config())
    }

    /// The weights under another configuration.
    pub(crate) fn model_of<B: Backend>(&self, config: &ModelConfig) -> CausalLm<B> {
        let fresh = CausalLm::init(config, 0, &Default::default());
        weights::load(fresh, self.checkpoint.weights.as_ref()).expect("the checkpoint fits")
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.numbers).expect("it is a safetensors file")
    }

    pub(crate) fn names_under(&self, prefix: &str) -> Vec<String> {
        let tensors = self.tensors();
        let names = tensors.names().into_iter();
        names
            .filter_map(|name| Some(name.strip_prefix(prefix)?.to_owned()))
            .collect()
    }

    pub(crate) fn floats(&self, name: &str) -> (Vec<f32>, Vec<usize>) {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).expect(name);
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        let values = tensor.data().as_chunks().0.iter();
        let values = values.map(|&it| f32::from_le_bytes(it)).collect();
        (values, tensor.shape().to_vec())
    }

    pub(crate) fn tensor<B: Backend, const D: usize>(&self, name: &str) -> Tensor<B, D> {
        let (values, shape) = self.floats(name);
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let tensors = self.tensors();
        tensors.tensor(name).expect(name).data().to_vec()
    }

    pub(crate) fn integers(&self, name: &str) -> (Vec<i64>, Vec<usize>) {
        let tensors = self.tensors();
        let tensor = tensors.tensor(name).expect(name);
        assert_eq!(tensor.dtype(), Dtype::I64, "{name}");
        let values = tensor.data().as_chunks().0.iter();
        let values = values.map(|&it| i64::from_le_bytes(it)).collect();
        (values, tensor.shape().to_vec())
    }

    pub(crate) fn ids<B: Backend>(&self, name: &str) -> Tensor<B, 2, Int> {
        let (values, shape) = self.integers(name);
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    /// Fails if a value differs by more than the tolerance of `name`.
    pub(crate) fn compare(&self, name: &str, found: &[f32]) {
        let wider = if cfg!(feature = "flex") { 1.0 } else { 10.0 };
        let tolerance = self.tolerances[name] * wider;
        let (expected, _) = self.floats(name);
        assert_eq!(found.len(), expected.len(), "length of {name}");
        let differences = found.iter().zip(&expected).map(|(l, r)| (l - r).abs());
        // not `max`, which passes over NaN
        let worst = differences.fold(0.0, |worst, it| if it <= worst { worst } else { it });
        println!("{name}: {worst:e} of {tolerance:e}");
        assert!(
            worst <= tolerance,
            "{name} is off by {worst:e}, allowed {tolerance:e}"
        );
    }

    pub(crate) fn compare_tensor<B: Backend, const D: usize>(
        &self,
        name: &str,
        found: Tensor<B, D>,
    ) {
        let (_, shape) = self.floats(name);
        assert_eq!(found.dims().as_slice(), shape.as_slice(), "shape of {name}");
        self.compare(name, &values(found));
    }
}

pub(crate) fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}
