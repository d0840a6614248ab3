//! The header of a safetensors file, and every tensor that it names.
#![no_main]

use darkhorse_genesis::interop::TensorSource;
use darkhorse_genesis::interop::hugging_face::HfFolder;
use darkhorse_genesis_fuzz::with_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    with_file("model.safetensors", bytes, |path| {
        if let Ok(file) = HfFolder::open(path) {
            for name in file.names() {
                assert!(file.tensor(&name).is_ok());
            }
        }
    });
});
