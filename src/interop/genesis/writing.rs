//! A model here as a checkpoint of the package, one tensor in memory at a time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::tensor::TensorData;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::config::GenesisConfig;
use super::names::{self, Entry, Form};
use super::{CONFIG_KEY, InteropError, dtype, layout};
use crate::interop::hugging_face::{io, malformed};
use crate::interop::new_folder::NewFolder;
use crate::interop::{RawTensor, TensorInfo};
use crate::model::ModelConfig;
use crate::model::weights::WeightSource;

/// Writes a file that the package loads; absent `dtype`: that of the weights.
///
/// # Errors
///
/// A model that is not of this family, with what is different; a file that exists; what reading and writing meet.
pub fn write(
    target: &Path,
    weights: &dyn WeightSource,
    model: &ModelConfig,
    dtype: Option<Dtype>,
) -> Result<(), InteropError> {
    if target.symlink_metadata().is_ok() {
        return Err(malformed(target, "a file that exists", "no such file"));
    }
    let config = GenesisConfig::of(model, weights.path())?;
    let entries = names::entries(model, &config);
    let infos: Vec<TensorInfo> = entries
        .iter()
        .map(|entry| info(weights, entry, dtype))
        .collect::<Result<_, _>>()?;
    let header = header(&config, &entries, &infos);
    let folder = NewFolder::beside(target)?;
    let path = folder.path().join(FILE);
    let mut file = BufWriter::new(File::create_new(&path).map_err(io(&path))?);
    file.write_all(&header).map_err(io(&path))?;
    for (entry, info) in entries.iter().zip(&infos) {
        let tensor = tensor(weights, entry, info)?;
        file.write_all(&tensor.bytes).map_err(io(&path))?;
    }
    file.flush().map_err(io(&path))?;
    file.get_ref().sync_all().map_err(io(&path))?;
    folder.move_out(std::iter::once((FILE, target.to_path_buf())))
}

/// Name of the file until it is complete.
const FILE: &str = "model.safetensors";

fn info(
    weights: &dyn WeightSource,
    entry: &Entry,
    dtype: Option<Dtype>,
) -> Result<TensorInfo, InteropError> {
    let missing = || InteropError::MissingTensor {
        path: weights.path().to_path_buf(),
        name: entry.ours.clone(),
    };
    let shape = weights.shape(&entry.ours).ok_or_else(missing)?;
    let own = weights.dtype(&entry.ours).and_then(dtype::to_file);
    Ok(TensorInfo {
        dtype: dtype.or(own).ok_or_else(missing)?,
        shape: entry.form.theirs(&shape),
    })
}

/// Length and JSON, to a multiple of eight bytes.
fn header(config: &GenesisConfig, entries: &[Entry], infos: &[TensorInfo]) -> Vec<u8> {
    let mut all = Map::new();
    let config = json!(config).to_string();
    all.insert("__metadata__".into(), json!({ CONFIG_KEY: config }));
    let mut start = 0;
    for (entry, info) in entries.iter().zip(infos) {
        let end = start + info.shape.iter().product::<usize>() * info.dtype.bitsize() / 8;
        let place = json!({
            "dtype": info.dtype.to_string(),
            "shape": info.shape,
            "data_offsets": [start, end],
        });
        all.insert(entry.theirs.clone(), place);
        start = end;
    }
    let mut text = Value::Object(all).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

fn tensor(
    weights: &dyn WeightSource,
    entry: &Entry,
    info: &TensorInfo,
) -> Result<RawTensor<'static>, InteropError> {
    let data: TensorData = weights.data(&entry.ours)?;
    let data = match dtype::to_burn(info.dtype) {
        Some(dtype) if dtype != data.dtype => data.convert_dtype(dtype),
        _ => data,
    };
    let tensor = RawTensor {
        dtype: info.dtype,
        shape: data.shape.to_vec(),
        bytes: data.bytes.to_vec().into(),
    };
    Ok(match entry.form {
        Form::Same | Form::Convolution => tensor,
        Form::Transposed => layout::transposed(tensor),
    })
}
