//! Holds the table of who may import whom over every `crate::` path in `src/`. The program (`cli`) may import all.

// helpers of tests, which clippy does not know as such
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Module, and what it may import beside `domain`, which is open to all.
const MAY_IMPORT: [(&str, &str); 17] = [
    ("domain", ""),
    ("guard", ""),
    ("mapped", ""),
    (
        "error",
        "checkpoint config data inference interop model study surgery telemetry tokenizer training",
    ),
    ("telemetry", "error tokenizer"),
    ("tokenizer", "error guard telemetry"),
    ("data", "error guard tokenizer"),
    ("model", "error"),
    ("checkpoint", "error mapped model"),
    ("interop", "error guard mapped model"),
    ("inference", "error model"),
    (
        "training",
        "checkpoint config data error inference model telemetry tokenizer",
    ),
    ("study", "data error model telemetry training"),
    ("selected", "inference model training"),
    (
        "surgery",
        "checkpoint config data error model telemetry training",
    ),
    ("serving", "config error inference telemetry tokenizer"),
    (
        "config",
        "data error inference model serving surgery telemetry tokenizer training",
    ),
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

/// Line and module of every path behind `crate::`, also within braces.
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

/// Every arrow that the table forbids, with its place.
fn forbidden(path: &Path, text: &str) -> Vec<String> {
    let top = path.iter().next().unwrap().to_str().unwrap();
    let module = top.trim_end_matches(".rs");
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
