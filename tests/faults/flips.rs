//! A flipped bit in any file of a run is detected or changes nothing.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use burn::backend::Autodiff;
use darkhorse_backends::select::{Selected, default_device};
use darkhorse_genesis::checkpoint::Run;
use darkhorse_genesis::config::Experiment;
use darkhorse_genesis::data::Progress;
use darkhorse_genesis::run::Job;
use darkhorse_genesis::run::Screen;

use super::{all, copy, experiment};

/// A run and its token cache in one folder.
struct Place(PathBuf);

impl Place {
    fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// Trains one more step and returns the digest of the weights.
    fn go_on(&self) -> Result<String, String> {
        let told = |error: &dyn Error| {
            let mut line = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                line += &format!(": {error}");
                cause = error.source();
            }
            line
        };
        let run = Run::open(self.run()).map_err(|error| told(&error))?;
        let mut experiment: Experiment = run.config().map_err(|error| told(&error))?;
        experiment.training.steps = 4;
        let job = Job::resume(experiment, run.clone(), &self.cache(), Progress::Hidden);
        job.and_then(|job| job.train::<Autodiff<Selected>>(&default_device(), Screen::Lines))
            .map_err(|error| told(&error))?;
        let last = run.latest().map_err(|error| told(&error))?;
        let last = last.ok_or("there is no checkpoint")?;
        if last.step() != 4 {
            return Err(format!("the last step is {}", last.step()));
        }
        let files = &last.manifest().files;
        let model = files.iter().find(|file| file.name == "model.safetensors");
        Ok(model.ok_or("there are no weights")?.blake3.clone())
    }
}

/// Every file in a folder and below, except lock files.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found.retain(|path| !path.ends_with(".lock"));
    found.sort();
    found
}

#[test]
fn a_flipped_bit_anywhere_in_a_run_is_found_or_harmless() {
    let root = tempfile::tempdir().expect("there is a temporary folder");
    let root = root.path();
    let sound = Place(root.join("sound"));
    fs::create_dir(&sound.0).expect("the folder can be written to");
    super::super::train(Job::create(
        experiment(root),
        &sound.run(),
        &sound.cache(),
        Progress::Hidden,
    ));
    let names: Vec<PathBuf> = files(&sound.0)
        .iter()
        .map(|path| path.strip_prefix(&sound.0).expect("it is inside").into())
        .collect();
    for name in [
        "manifest.json",
        "config.json",
        "tokenizer.json",
        "metrics.jsonl",
        "optimizer.safetensors",
    ] {
        assert!(
            names.iter().any(|it| it.ends_with(name)),
            "{name} of {names:?}"
        );
    }
    let undisturbed = Place(root.join("undisturbed"));
    copy(&sound.0, &undisturbed.0);
    let expected = undisturbed.go_on().expect("nothing is damaged");

    let mut state = 17u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let (mut found, mut harmless) = (0, 0);
    let flips = if all() { 3000 } else { 300 };
    for number in 0..flips {
        let name = &names[number % names.len()];
        let place = Place(root.join("flipped"));
        copy(&sound.0, &place.0);
        let path = place.0.join(name);
        let mut bytes = fs::read(&path).expect("the file is there");
        let (at, bit) = (random(bytes.len()), random(8));
        bytes[at] ^= 1 << bit;
        fs::write(&path, bytes).expect("the folder can be written to");

        let flip = format!(
            "flip {number}, bit {bit} of byte {at} of {}",
            name.display()
        );
        // no command reads the report
        if name.ends_with("report.html") {
            harmless += 1;
        } else {
            match place.go_on() {
                Ok(weights) => {
                    assert_eq!(weights, expected, "{flip}: undetected");
                    harmless += 1;
                }
                Err(error) => {
                    let name = name.file_name().expect("it is a file").to_string_lossy();
                    assert!(error.contains(&*name), "{flip}: blames another: {error}");
                    found += 1;
                }
            }
        }
        fs::remove_dir_all(&place.0).expect("it is ours");
    }
    println!("{found} of {flips} flips were found, {harmless} changed nothing");
    assert!(found > flips / 3);
}
