//! Valid configurations, every key of which is changed in turn.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use darkhorse_backends::select;

use super::formats::{Case, FIXTURES, Format, open_model};
use super::mutation::Kind;
use crate::cli::failure::{self, Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::plan;
use crate::cli::weights::Weights;
use crate::config::Experiment;
use crate::model::cache::CacheConfig;

/// A copy of a fixture with a LoRA adapter in its folder.
fn adapted(fixture: &str, adapter: &str) -> Case {
    let model = ["config.json", "model.safetensors"];
    let mut case = Case::of(fixture, &model, model[0], "", Kind::Json, open_model);
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let bytes = fs::read(Path::new(FIXTURES).join(adapter).join(name)).unwrap();
        fs::write(case.path.join(name), bytes).unwrap();
    }
    case.target = case.path.join("adapter_config.json");
    case.seed = fs::read(&case.target).unwrap();
    case
}

pub(super) fn loaded(path: &Path) -> Result<Loaded, Failure> {
    let weights = Weights::Stored {
        path: path.into(),
        adapter: None,
    };
    Loaded::of_weights(weights, None, None, &select::default_device())
}

pub(super) fn first_logits(loaded: &Loaded) -> Result<(), Failure> {
    let mut sequence = loaded.begin(None, None, CacheConfig::default())?;
    sequence.read(&[1, 2, 3]).or_input()
}

/// Loads a model, and computes its first logits unless a model of this configuration had them computed before: most
/// values of most keys change nothing of what is computed.
fn open_other_model(path: &Path) -> Result<(), Failure> {
    static COMPUTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let loaded = loaded(path)?;
    let model = format!("{} {:?}", path.display(), loaded.config());
    let is_new = COMPUTED.lock().unwrap().insert(model);
    if is_new {
        first_logits(&loaded)
    } else {
        Ok(())
    }
}

/// Configurations of every imported family, in every form.
pub(super) fn imported() -> Vec<Case> {
    let formats = [Format::ModelConfig, Format::Genesis, Format::Gguf];
    let cases = formats.into_iter().flat_map(Format::cases);
    let mut cases: Vec<_> = cases
        .map(|case| Case {
            read: open_other_model,
            ..case
        })
        .collect();
    cases.push(adapted("llama_tied", "adapter_llama"));
    for fixture in ["llama_tied", "deepseek_v3_yarn"] {
        let files = ["config.json", "model.safetensors", "generation_config.json"];
        let read = open_other_model;
        cases.push(Case::of(fixture, &files, files[2], "", Kind::Json, read));
    }
    cases
}

/// Configurations of this crate that together use every mixer, every part of the router and every part of a hybrid.
pub(super) fn planned() -> Vec<Case> {
    let presets = ["tiny", "genesis-152m", "darkhorse-hybrid", "mixtral-tiny"];
    let case = |name: &str| {
        let json = Experiment::preset(name).unwrap().to_json_pretty().unwrap();
        let read = |path: &Path| {
            let arguments = ["plan", "--memory", "1GB", "--config"].map(Into::into);
            let arguments = arguments.into_iter().chain([path.into()]).collect();
            let args = failure::parse::<Plan>(arguments)?.unwrap();
            plan::execute(&args.plan)
        };
        Case::file("config.json", json.into_bytes(), Kind::Json, read)
    };
    presets.map(case).into()
}

/// Arguments of `plan`.
#[derive(Debug, clap::Parser)]
struct Plan {
    #[command(flatten)]
    plan: plan::PlanArgs,
}
