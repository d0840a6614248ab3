//! Kimi-K2: DeepSeek-V3 under another name (<https://arxiv.org/abs/2507.20534>). It is written as DeepSeek-V3, which
//! every engine supports.

use super::deepseek_v3::DeepseekV3;
use super::{Family, Profile};
use crate::interop::InteropError;
use crate::interop::hugging_face::{ConfigKeys, HfConfig};

#[derive(Debug)]
pub(super) struct KimiK2;

impl Family for KimiK2 {
    fn profile(&self) -> Profile {
        Profile {
            name: "Kimi-K2",
            model_type: "kimi_k2",
            gguf: None,
            ..DeepseekV3.profile()
        }
    }

    fn keys(&self, keys: &mut ConfigKeys<'_>, config: &mut HfConfig) -> Result<(), InteropError> {
        DeepseekV3.keys(keys, config)
    }

    fn limits(&self, config: &HfConfig) -> Vec<String> {
        DeepseekV3.limits(config)
    }
}
