//! The configuration of a model of another family, and the model here that it describes.
#![no_main]

use std::path::Path;

use darkhorse_genesis::interop::hugging_face::HfConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("config.json");
    if let Ok(config) = HfConfig::parse(path, text) {
        let _ = (config.to_json(), config.engine_limits());
        config.model.validate().expect("it was validated");
    }
});
