//! The header of a GGUF file, and every tensor that it names.
#![no_main]

use darkhorse_genesis::interop::gguf::GgufFile;
use darkhorse_genesis_fuzz::with_file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    with_file("model.gguf", bytes, |path| {
        if let Ok(file) = GgufFile::open(path) {
            for tensor in file.tensors() {
                assert!(file.tensor(&tensor.name).is_some());
            }
        }
    });
});
