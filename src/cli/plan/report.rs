//! Figures of a plan.

use crate::config::fit;
use crate::config::memory::{MemoryNeeds, Purpose, Sharding};
use crate::model::ModelConfig;
use crate::model::count::ParameterCount;
use crate::model::dtype::Dtype;
use serde::Serialize;

/// Settings of a plan.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) context: usize,
    /// Element type of the cache; absent: the default for the weights' type.
    pub(super) cache: Option<Dtype>,
    pub(super) batch_size: usize,
    pub(super) seq_len: usize,
    /// Number of trained parameters beside frozen weights; absent: all are trained.
    pub(super) trained: Option<u64>,
    pub(super) devices: Option<usize>,
    pub(super) memory: Option<Memory>,
}

/// Memory of one device.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Memory {
    pub(super) bytes: u64,
    pub(super) source: MemorySource,
}

/// Origin of the amount of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MemorySource {
    /// Given by the user.
    Given,
    /// Reported by the device.
    Device,
}

/// All figures of a plan.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) parameters: Parameters,
    pub(super) flops_per_token: Flops,
    pub(super) context: usize,
    pub(super) batch_size: usize,
    pub(super) seq_len: usize,
    pub(super) inference: Vec<Inference>,
    pub(super) training: Vec<Training>,
    pub(super) memory: Option<Memory>,
    pub(super) largest_presets: Option<LargestPresets>,
    pub(super) devices: Option<Devices>,
}

#[derive(Debug, Serialize)]
pub(super) struct Parameters {
    pub(super) total: u64,
    /// Parameters that a token is multiplied with: the output head included, the embedding excluded.
    pub(super) active: u64,
    /// Active parameters, embedding and head both included.
    pub(super) active_with_tables: u64,
    /// Active parameters, embedding and head both excluded.
    pub(super) active_without_tables: u64,
    pub(super) mtp: u64,
    pub(super) parts: ParameterCount,
}

#[derive(Debug, Serialize)]
pub(super) struct Flops {
    /// Per token of a prompt that fills the context, on average.
    pub(super) forward: u64,
    /// For the token after a full context.
    pub(super) decoding: u64,
    /// Per token of a training row of `seq_len` tokens, on average.
    pub(super) training: u64,
}

/// Memory of inference with weights in one element type.
#[derive(Debug, Serialize)]
pub(super) struct Inference {
    pub(super) dtype: Dtype,
    pub(super) weights_bytes: u64,
    /// Element type of the cache: as given, or else bf16 for quantized weights and the weights' type for others.
    pub(super) cache_dtype: Dtype,
    pub(super) cache_bytes_per_token: u64,
    /// Size of a sequence's state that does not depend on its length, in bytes.
    pub(super) state_bytes: u64,
    /// Size of the cache of the whole context and the state, in bytes.
    pub(super) cache_bytes: u64,
    pub(super) total_bytes: u64,
    /// Longest context that fits `memory`, in tokens; absent if even the weights do not fit.
    pub(super) largest_context: Option<usize>,
}

/// Memory of training in one element type.
#[derive(Debug, Serialize)]
pub(super) struct Training {
    pub(super) dtype: Dtype,
    #[serde(flatten)]
    pub(super) needs: MemoryNeeds,
    pub(super) total_bytes: u64,
    /// Whether it fits `memory`; absent if the memory is not known.
    pub(super) fits: Option<bool>,
}

/// The largest presets that fit, in the smallest element type.
#[derive(Debug, Serialize)]
pub(super) struct LargestPresets {
    pub(super) inference: Option<&'static str>,
    pub(super) training: Option<&'static str>,
}

/// Memory per device if the model is divided.
#[derive(Debug, Serialize)]
pub(super) struct Devices {
    pub(super) count: usize,
    pub(super) data_parallel: Vec<Share>,
    pub(super) expert_parallel: Vec<Share>,
}

/// Memory of one device, with weights in one element type.
#[derive(Debug, Serialize)]
pub(super) struct Share {
    pub(super) dtype: Dtype,
    /// Size of the weights and the cache of one context, in bytes.
    pub(super) inference_bytes: u64,
    pub(super) inference_fits: Option<bool>,
    /// Absent for element types that training does not support.
    pub(super) training_bytes: Option<u64>,
    pub(super) training_fits: Option<bool>,
}

/// Element types of weights in the plan.
const HELD_IN: [Dtype; 4] = [Dtype::F32, Dtype::Bf16, Dtype::Q8, Dtype::Q4];

/// Element types that training supports.
const TRAINED_IN: [Dtype; 2] = [Dtype::F32, Dtype::Bf16];

impl Setting {
    fn inference(&self, weights: Dtype) -> Purpose {
        Purpose::Inference {
            weights,
            cache: self.cache_dtype(weights),
            context: self.context,
        }
    }

    /// Element type of the cache for weights of a type.
    fn cache_dtype(&self, weights: Dtype) -> Dtype {
        self.cache.unwrap_or(match weights {
            Dtype::F32 => Dtype::F32,
            Dtype::F16 => Dtype::F16,
            Dtype::Bf16 | Dtype::Q8 | Dtype::Q4 => Dtype::Bf16,
        })
    }

    fn training(&self, dtype: Dtype) -> Purpose {
        Purpose::Training {
            dtype,
            tokens: self.batch_size.saturating_mul(self.seq_len),
            trained: self.trained,
        }
    }

    fn fits(&self, bytes: u64) -> Option<bool> {
        self.memory.map(|memory| bytes <= memory.bytes)
    }
}

impl Plan {
    pub(super) fn of(name: String, model: &ModelConfig, setting: &Setting) -> Self {
        let inference = |dtype: Dtype| Inference {
            dtype,
            weights_bytes: model.weight_bytes(dtype),
            cache_dtype: setting.cache_dtype(dtype),
            cache_bytes_per_token: model.cache_bytes_per_token(setting.cache_dtype(dtype)),
            state_bytes: model.state_bytes(dtype),
            cache_bytes: MemoryNeeds::of(model, setting.inference(dtype)).cache_bytes,
            total_bytes: MemoryNeeds::of(model, setting.inference(dtype)).total(),
            largest_context: setting.memory.and_then(|memory| {
                fit::largest_context(model, dtype, setting.cache_dtype(dtype), memory.bytes)
            }),
        };
        let training = |dtype: Dtype| {
            let needs = MemoryNeeds::of(model, setting.training(dtype));
            Training {
                dtype,
                needs,
                total_bytes: needs.total(),
                fits: setting.fits(needs.total()),
            }
        };
        let largest = |memory: Memory| LargestPresets {
            inference: fit::largest_preset(setting.inference(Dtype::Q4), memory.bytes),
            training: fit::largest_preset(setting.training(Dtype::Bf16), memory.bytes),
        };
        Self {
            name,
            parameters: Parameters {
                total: model.num_params(),
                active: model.num_active_params(),
                active_with_tables: model.num_active_params_with_tables(),
                active_without_tables: model.num_active_params_without_tables(),
                mtp: model.num_mtp_params(),
                parts: model.parameters(),
            },
            flops_per_token: Flops {
                forward: model.flops_per_token(setting.context),
                decoding: model.decoding_flops_per_token(setting.context),
                training: model.training_flops_per_token(setting.seq_len),
            },
            context: setting.context,
            batch_size: setting.batch_size,
            seq_len: setting.seq_len,
            inference: HELD_IN.map(inference).into(),
            training: TRAINED_IN.map(training).into(),
            memory: setting.memory,
            largest_presets: setting.memory.map(largest),
            devices: setting.devices.map(|count| Devices {
                count,
                data_parallel: shares(model, setting, Sharding::DataParallel),
                expert_parallel: shares(model, setting, Sharding::ExpertParallel(count)),
            }),
        }
    }
}

fn shares(model: &ModelConfig, setting: &Setting, sharding: Sharding) -> Vec<Share> {
    let bytes = |purpose| MemoryNeeds::per_device(model, purpose, sharding).total();
    let share = |dtype: Dtype| {
        let inference_bytes = bytes(setting.inference(dtype));
        let trained_in = TRAINED_IN.contains(&dtype);
        let training_bytes = trained_in.then(|| bytes(setting.training(dtype)));
        Share {
            dtype,
            inference_bytes,
            inference_fits: setting.fits(inference_bytes),
            training_bytes,
            training_fits: training_bytes.and_then(|bytes| setting.fits(bytes)),
        }
    };
    HELD_IN.map(share).into()
}
