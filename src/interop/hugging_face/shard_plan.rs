//! Distribution of tensors over files, and the header of each file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Value, json};

use super::malformed;
use crate::interop::{InteropError, TensorInfo};

/// Largest header in bytes that readers accept.
const MAX_HEADER: usize = 100_000_000;

/// A tensor to be written.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) info: TensorInfo,
    pub(super) size: u64,
}

/// The files of a model with their tensors, in writing order.
#[derive(Debug)]
pub(super) struct ShardPlan {
    pub(super) shards: Vec<Vec<Planned>>,
}

impl ShardPlan {
    /// Fills shards one after another in the given order, each with at most `max_shard_size` bytes or one larger
    /// tensor. A quantized weight and its scales stay together. Errors name `path`.
    pub(super) fn new(
        tensors: Vec<(String, TensorInfo)>,
        max_shard_size: u64,
        path: &Path,
    ) -> Result<Self, InteropError> {
        let mut shards = vec![Vec::new()];
        let mut filled = 0_u64;
        for group in groups(tensors, path)? {
            let size = group
                .iter()
                .fold(0_u64, |sum, tensor| sum.saturating_add(tensor.size));
            if filled > 0 && filled.saturating_add(size) > max_shard_size {
                shards.push(Vec::new());
                filled = 0;
            }
            filled = filled.saturating_add(size);
            if let Some(last) = shards.last_mut() {
                last.extend(group);
            }
        }
        for shard in &mut shards {
            // larger elements first, so that all are aligned
            shard.sort_by_key(|tensor| std::cmp::Reverse(tensor.info.dtype.bitsize()));
        }
        Ok(Self { shards })
    }

    /// Name of a shard's file.
    pub(super) fn file_name(&self, shard: usize) -> String {
        match self.shards.len() {
            1 => "model.safetensors".into(),
            count => format!("model-{:05}-of-{count:05}.safetensors", shard + 1),
        }
    }

    /// The start of a shard's file: the header's length and the header with `metadata`. Errors name `path`.
    pub(super) fn header(
        &self,
        shard: usize,
        metadata: &Value,
        path: &Path,
    ) -> Result<Vec<u8>, InteropError> {
        let mut map = serde_json::Map::new();
        map.insert("__metadata__".into(), metadata.clone());
        let mut start = 0;
        for Planned { name, info, size } in &self.shards[shard] {
            let entry = json!({
                "dtype": info.dtype,
                "shape": info.shape,
                "data_offsets": [start, start + size],
            });
            map.insert(name.clone(), entry);
            start += size;
        }
        let mut text = Value::Object(map).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        if text.len() > MAX_HEADER {
            let found = format!("a header of {} bytes", text.len());
            return Err(malformed(path, found, format!("at most {MAX_HEADER}")));
        }
        Ok([&(text.len() as u64).to_le_bytes(), &text[..]].concat())
    }

    /// The index of the shards; `None` for a single file.
    pub(super) fn index(&self) -> Option<Value> {
        if self.shards.len() == 1 {
            return None;
        }
        let tensors = || self.shards.iter().flatten();
        let total_size = tensors().map(|tensor| tensor.size).sum::<u64>();
        let weight_map = self.shards.iter().enumerate().flat_map(|(shard, tensors)| {
            let file = self.file_name(shard);
            tensors
                .iter()
                .map(move |tensor| (tensor.name.clone(), file.clone()))
        });
        Some(json!({
            "metadata": {"total_size": total_size},
            "weight_map": weight_map.collect::<BTreeMap<_, _>>(),
        }))
    }
}

/// Groups of tensors that stay together, in the order of their first tensors.
fn groups(
    tensors: Vec<(String, TensorInfo)>,
    path: &Path,
) -> Result<Vec<Vec<Planned>>, InteropError> {
    let mut groups = Vec::<Vec<Planned>>::new();
    let mut places = HashMap::<String, usize>::new();
    for (name, info) in tensors {
        let key = name.strip_suffix("_scale_inv").unwrap_or(&name).to_owned();
        let place = *places.entry(key).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        if groups[place].iter().any(|other| other.name == name) {
            let found = format!("two tensors named `{name}`");
            return Err(malformed(path, found, "one"));
        }
        let size = bytes(&info).ok_or_else(|| {
            let found = format!("tensor `{name}` of shape {:?}", info.shape);
            malformed(path, found, "a size in whole bytes that can be addressed")
        })?;
        groups[place].push(Planned { name, info, size });
    }
    Ok(groups)
}

/// Size of a tensor's values, in bytes.
fn bytes(info: &TensorInfo) -> Option<u64> {
    let bits = info
        .shape
        .iter()
        .try_fold(info.dtype.bitsize() as u64, |bits, &dim| {
            bits.checked_mul(u64::try_from(dim).ok()?)
        })?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::Dtype;
    use serde_json::Value;

    use super::ShardPlan;
    use crate::interop::TensorInfo;

    fn plan(tensors: &[(&str, Dtype, usize)], max: u64) -> Result<ShardPlan, String> {
        let tensors = tensors.iter().map(|&(name, dtype, len)| {
            let shape = vec![len];
            (name.to_owned(), TensorInfo { dtype, shape })
        });
        ShardPlan::new(tensors.collect(), max, Path::new("x")).map_err(|error| error.to_string())
    }

    fn names(plan: &ShardPlan) -> Vec<String> {
        let joined = |shard: &Vec<super::Planned>| {
            let names = shard.iter().map(|tensor| &tensor.name[..]);
            names.collect::<Vec<_>>().join(" ")
        };
        plan.shards.iter().map(joined).collect()
    }

    #[test]
    fn shards_fill_to_the_limit_and_no_further() {
        let tensors = [
            ("a", Dtype::F32, 2),
            ("b", Dtype::BF16, 4),
            ("c", Dtype::U8, 1),
            ("d", Dtype::F32, 100),
            ("e", Dtype::U8, 1),
        ];
        let plan = plan(&tensors, 16).unwrap();
        assert_eq!(names(&plan), ["a b", "c", "d", "e"]);
        assert_eq!(plan.file_name(1), "model-00002-of-00004.safetensors");
        let index = plan.index().unwrap();
        assert_eq!(index["metadata"]["total_size"], 8 + 8 + 1 + 400 + 1);
        assert_eq!(index["weight_map"]["d"], "model-00003-of-00004.safetensors");
    }

    #[test]
    fn weight_and_scale_stay_together_and_aligned() {
        let tensors = [
            ("w.weight", Dtype::F8_E4M3, 6),
            ("v.weight", Dtype::F8_E4M3, 6),
            ("w.weight_scale_inv", Dtype::F32, 1),
            ("v.weight_scale_inv", Dtype::F32, 1),
        ];
        let shards = names(&plan(&tensors, 10).unwrap());
        assert_eq!(
            shards,
            ["w.weight_scale_inv w.weight", "v.weight_scale_inv v.weight"]
        );
        let single = plan(&tensors, u64::MAX).unwrap();
        assert_eq!(single.file_name(0), "model.safetensors");
        assert!(single.index().is_none());
        let header = single.header(0, &Value::Null, Path::new("x")).unwrap();
        assert_eq!(header.len() % 8, 0);
    }

    #[test]
    fn names_are_unique_and_sizes_addressable() {
        let twice = plan(&[("a", Dtype::U8, 1), ("a", Dtype::U8, 2)], 10);
        assert_eq!(twice.unwrap_err(), "x: two tensors named `a`, expected one");
        let large = plan(&[("a", Dtype::F64, usize::MAX / 8)], 10).unwrap_err();
        assert!(large.starts_with("x: tensor `a` of shape"), "{large}");
        plan(&[("a", Dtype::F4, 3)], 10).unwrap_err();
    }
}
