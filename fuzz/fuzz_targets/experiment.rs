//! The configuration of a run: what is taken can be written and is taken again.
#![no_main]

use darkhorse_genesis::config::Experiment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(experiment) = Experiment::from_json(text) {
        let written = experiment.to_json_pretty().expect("finite numbers");
        assert_eq!(
            Experiment::from_json(&written).expect("valid as before"),
            experiment
        );
    }
});
