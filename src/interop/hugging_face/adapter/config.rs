//! `adapter_config.json`: the scale of an adapter, and checks for unsupported forms of LoRA.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::CONFIG;
use crate::interop::InteropError;
use crate::interop::hugging_face::{io, malformed};

/// Keys of other forms of LoRA, which are not supported: each may be absent, null, false or empty.
const OTHER_FORMS: [&str; 14] = [
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
];

/// Initializations of LoRA that leave the base's weights unchanged; others change them.
const BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The supported content of `adapter_config.json`.
#[derive(Debug)]
pub(super) struct Config {
    alpha: f64,
    /// Other values of alpha for modules whose names end so.
    alphas: Vec<(String, f64)>,
    is_rank_stabilized: bool,
}

impl Config {
    pub(super) fn open(folder: &Path) -> Result<Self, InteropError> {
        let path = folder.join(CONFIG);
        if !path.is_file() {
            let found = match folder.is_file() {
                true => "a file",
                false => "no adapter_config.json in this folder",
            };
            let expected = "the folder of an adapter as PEFT writes it";
            return Err(malformed(folder, found, expected));
        }
        let text = std::fs::read_to_string(&path).map_err(io(&path))?;
        let json = serde_json::from_str::<Map<String, Value>>(&text);
        let json = json.map_err(|error| malformed(&path, error.to_string(), "a JSON object"))?;
        Self::parse(&path, &json)
    }

    fn parse(path: &Path, json: &Map<String, Value>) -> Result<Self, InteropError> {
        let value = |key: &str| json.get(key).unwrap_or(&Value::Null);
        let error = |key: &str, expected: &str| {
            let found = value(key).to_string();
            let short: String = found.chars().take(100).collect();
            Err(InteropError::Field {
                path: path.to_path_buf(),
                field: key.into(),
                found: if short == found { found } else { short + "..." },
                expected: expected.into(),
            })
        };
        if *value("peft_type") != json!("LORA") {
            return error(
                "peft_type",
                "\"LORA\": merge adapters of other kinds by PEFT",
            );
        }
        let is_nothing = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if let Some(key) = OTHER_FORMS.iter().find(|key| !is_nothing(value(key))) {
            return error(key, "no such form of LoRA: merge it into its base by PEFT");
        }
        let beginning = value("init_lora_weights");
        let is_known = beginning.as_str().is_none_or(|it| BEGINNINGS.contains(&it));
        if !is_known {
            let expected = "a beginning that leaves the base as it is: merge this one by PEFT";
            return error("init_lora_weights", expected);
        }
        let Some(alpha) = value("lora_alpha").as_f64() else {
            return error("lora_alpha", "a number");
        };
        let is_rank_stabilized = match value("use_rslora") {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            _ => return error("use_rslora", "true or false"),
        };
        let parameters = value("target_parameters").as_array();
        let is_known = |parameter: &Value| {
            let name = parameter.as_str().unwrap_or_default();
            let end = name.rsplit('.').next().unwrap_or_default();
            ["gate_up_proj", "down_proj"].contains(&end) || name.ends_with("_proj.weight")
        };
        if !parameters.into_iter().flatten().all(is_known) {
            let expected = "`gate_up_proj` and `down_proj` of experts, or weights of projections: merge others by PEFT";
            return error("target_parameters", expected);
        }
        let mut alphas = Vec::new();
        for (module, alpha) in value("alpha_pattern").as_object().into_iter().flatten() {
            match (name_of_pattern(module), alpha.as_f64()) {
                (Some(module), Some(alpha)) => alphas.push((module, alpha)),
                _ => return error("alpha_pattern", "numbers by the names of modules"),
            }
        }
        Ok(Self {
            alpha,
            alphas,
            is_rank_stabilized,
        })
    }

    /// Scale `s` of the product `B A` for a module.
    pub(super) fn factor(&self, module: &str, rank: usize) -> f32 {
        let own = self.alphas.iter().find(|(name, _)| {
            let before = module.strip_suffix(name.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        let alpha = own.map_or(self.alpha, |(_, alpha)| *alpha);
        let rank = rank as f64;
        let divisor = if self.is_rank_stabilized {
            rank.sqrt()
        } else {
            rank
        };
        (alpha / divisor) as f32
    }
}

/// The suffix of a module's name that a regular expression stands for; `None` if it is a real pattern.
fn name_of_pattern(pattern: &str) -> Option<String> {
    let starts = ["^", r".*\."];
    let name = starts.iter().find_map(|it| pattern.strip_prefix(it));
    let name = name.unwrap_or(pattern).replace(r"\.", ".");
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_.".contains(c);
    name.chars().all(is_name).then_some(name)
}
