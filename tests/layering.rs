//! Enforces the table of allowed imports between the rooms of `src/`, for every `crate::` path. Imports go down only,
//! so no two rooms depend on each other. The program (`cli`) may import all rooms.

// helpers of tests, which clippy does not know as such
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room from the bottom up, with the lower rooms that it may import, besides `domain`, which all may import.
const MAY_IMPORT: [(&str, &str); 21] = [
    ("domain", ""),
    ("guard", ""),
    ("http", ""),
    ("mapped", ""),
    ("telemetry", ""),
    ("tokenizer", "guard"),
    ("data", "guard tokenizer"),
    ("model", ""),
    ("checkpoint", "mapped model"),
    ("interop", "mapped model"),
    ("inference", "model"),
    ("tasks", "guard inference model tokenizer"),
    ("training", "data model telemetry"),
    ("study", "data model telemetry training"),
    ("config", "data model tokenizer training"),
    (
        "surgery",
        "config data model tasks telemetry tokenizer training",
    ),
    (
        "run",
        "checkpoint config data inference model telemetry tokenizer training",
    ),
    ("selected", "model run"),
    (
        "stored",
        "checkpoint config inference interop model run tasks tokenizer training",
    ),
    (
        "serving",
        "guard http inference model stored telemetry tokenizer",
    ),
    ("dashboard", "checkpoint config http run telemetry"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Line and module of every path after `crate::`, also within braces.
fn imports(text: &str) -> Vec<(usize, &str)> {
    let paths = text.match_indices("crate::").filter(|&(at, _)| {
        let before = &text[..at];
        let comment = before.rsplit('\n').next().unwrap().contains("//");
        !comment && !before.ends_with(|c: char| c == '$' || c == '_' || c.is_alphanumeric())
    });
    let listed = paths.flat_map(|(at, prefix)| {
        let rest = &text[at + prefix.len()..];
        let list = match rest.strip_prefix('{') {
            Some(list) => &list[..list.find(';').unwrap_or(list.len())],
            None => &rest[..rest.find(|c| ",;".contains(c)).unwrap_or(rest.len())],
        };
        let line = text[..at].matches('\n').count() + 1;
        list.split(',').map(move |path| (line, path.trim()))
    });
    let is_end = |c: char| c != '_' && !c.is_alphanumeric();
    let first = |path: &'_ str| path.find(is_end).unwrap_or(path.len());
    listed
        .map(|(line, path)| (line, &path[..first(path)]))
        .collect()
}

/// The room of a file under `src/`.
fn room(path: &Path) -> &str {
    let top = path.iter().next().unwrap().to_str().unwrap();
    top.trim_end_matches(".rs")
}

/// Every import that the table forbids, with its place.
fn forbidden(path: &Path, text: &str) -> Vec<String> {
    let module = room(path);
    if ["lib", "main", "cli"].contains(&module) {
        return Vec::new();
    }
    let row = MAY_IMPORT.iter().find(|(name, _)| *name == module);
    let (_, allowed) = row.unwrap_or_else(|| panic!("`{module}` has no row in the table"));
    let is_module = |name: &str| MAY_IMPORT.iter().any(|(module, _)| *module == name);
    let is_open = |name: &str| name == module || name == "domain";
    let breaks = |name| is_module(name) && !is_open(name) && !allowed.split(' ').any(|a| a == name);
    let broken = imports(text).into_iter().filter(|(_, name)| breaks(name));
    let place = path.display();
    broken
        .map(|(line, name)| format!("src/{place}:{line}: {module} -> {name}"))
        .collect()
}

#[test]
fn every_module_imports_only_what_the_table_allows() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    assert!(found.len() > 20, "only {} files", found.len());
    let arrows = found.iter().flat_map(|path| {
        let text = fs::read_to_string(path).unwrap();
        forbidden(path.strip_prefix(&src).unwrap(), &text)
    });
    let arrows = arrows.collect::<Vec<_>>();
    assert!(arrows.is_empty(), "\n{}", arrows.join("\n"));
}

/// If rooms import only rooms before them in the table, there is no cycle.
#[test]
fn no_arrow_of_the_table_goes_up() {
    for (place, (module, allowed)) in MAY_IMPORT.iter().enumerate() {
        for below in allowed.split_whitespace() {
            let found = MAY_IMPORT.iter().position(|(name, _)| *name == below);
            let found = found.unwrap_or_else(|| panic!("`{below}` has no row in the table"));
            assert!(found < place, "{module} -> {below} goes up");
        }
    }
}

#[test]
fn every_arrow_of_the_table_is_used() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&src, &mut found);
    let mut used = BTreeSet::new();
    for path in &found {
        let text = fs::read_to_string(path).unwrap();
        let room = room(path.strip_prefix(&src).unwrap()).to_owned();
        let names = imports(&text).into_iter();
        used.extend(names.map(|(_, name)| (room.clone(), name.to_owned())));
    }
    for (module, allowed) in MAY_IMPORT {
        for below in allowed.split_whitespace() {
            let arrow = (module.to_owned(), below.to_owned());
            assert!(used.contains(&arrow), "{module} -> {below} is not used");
        }
    }
}

#[test]
fn a_forbidden_arrow_is_found_wherever_it_stands() {
    let text = "use crate::domain::Domain;\nuse crate::{model::Block,\n    data::Mix};\n\
                fn f(x: crate::inference::Engine) {} // crate::training";
    assert_eq!(
        forbidden(Path::new("model/block.rs"), text),
        [
            "src/model/block.rs:2: model -> data",
            "src/model/block.rs:4: model -> inference"
        ]
    );
}
