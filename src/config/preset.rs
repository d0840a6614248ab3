//! The presets: the files in `configs/`, by name.

use super::error::ConfigError;

/// Names of the presets, smallest first.
pub const PRESETS: [&str; 16] = [
    "tiny",
    "genesis-moe-tiny",
    "mixtral-tiny",
    "deepseek-tiny",
    "genesis-tiny",
    "darkhorse-hybrid",
    "default",
    "genesis-152m",
    "genesis-sweetspot",
    "1b",
    "3b",
    "5b",
    "genesis-13b",
    "30b",
    "100b",
    "500b",
];

const FILES: [&str; PRESETS.len()] = [
    include_str!("../../configs/tiny.json"),
    include_str!("../../configs/genesis-moe-tiny.json"),
    include_str!("../../configs/mixtral-tiny.json"),
    include_str!("../../configs/deepseek-tiny.json"),
    include_str!("../../configs/genesis-tiny.json"),
    include_str!("../../configs/darkhorse-hybrid.json"),
    include_str!("../../configs/default.json"),
    include_str!("../../configs/genesis-152m.json"),
    include_str!("../../configs/genesis-sweetspot.json"),
    include_str!("../../configs/1b.json"),
    include_str!("../../configs/3b.json"),
    include_str!("../../configs/5b.json"),
    include_str!("../../configs/genesis-13b.json"),
    include_str!("../../configs/30b.json"),
    include_str!("../../configs/100b.json"),
    include_str!("../../configs/500b.json"),
];

/// JSON text of a preset; the name's case is ignored.
pub(super) fn json(name: &str) -> Result<&'static str, ConfigError> {
    let position = PRESETS
        .iter()
        .position(|preset| preset.eq_ignore_ascii_case(name));
    match position {
        Some(position) => Ok(FILES[position]),
        None => Err(ConfigError::UnknownPreset { name: name.into() }),
    }
}
