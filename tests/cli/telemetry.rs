//! `--no-telemetry`: measurements do not affect training.

use std::fs;

use serde_json::Value;

use super::home::{Home, documents};

/// Timings, which differ from run to run.
const TIMES: [&str; 2] = ["duration_s", "tokens_per_s"];
/// Fields that are left out without telemetry; null experts and energy only if there are any.
const LEFT_OUT: [&str; 4] = ["expert_loads", "null_loads", "energy_j", "energy_source"];

/// The steps of a run without some fields.
fn steps_without(figures: &[&str], home: &Home, run: &str) -> Vec<Value> {
    let mut steps = home.records(run, "step");
    for step in &mut steps {
        let step = step.as_object_mut().unwrap();
        step.retain(|name, _| !figures.contains(&name.as_str()));
    }
    steps
}

#[test]
fn a_run_without_telemetry_is_the_same_to_the_bit_and_tells_less() {
    let home = Home::new();
    home.write_config(true);
    home.write("text.jsonl", documents("code", 40));
    let train = "train --config model.json --data text.jsonl --quiet";
    home.done(&format!("{train} --out with"));
    home.done(&format!("{train} --out without --no-telemetry"));

    let with = home.records("with", "step");
    assert!(with.len() == 4 && with.iter().all(|step| step["expert_loads"].is_array()));
    let told = steps_without(&TIMES, &home, "without");
    let rest = steps_without(&[&TIMES[..], &LEFT_OUT].concat(), &home, "with");
    assert_eq!(told, rest);
    let weights = |run: &str| {
        let path = "checkpoints/step-0000004/model.safetensors";
        fs::read(home.path(run).join(path)).unwrap()
    };
    assert!(weights("with") == weights("without"));
    assert!(home.report("without").contains("telemetry is off"));

    // a resumed run keeps its telemetry setting
    home.done("train --out without --resume --steps 5 --quiet");
    let last = home.records("without", "step").pop().unwrap();
    assert!(last["step"] == 5 && last["expert_loads"].is_null());
}
