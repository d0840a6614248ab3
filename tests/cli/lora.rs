//! `train --lora-rank` and what the other commands make of its runs.

use std::fs;

use serde_json::Value;

use crate::home::{Home, documents};
use crate::model::{copy, with_tokenizer};

const TUNE: &str =
    "train --init-from base --data text.jsonl --no-valid --steps 4 --seq-len 16 --batch-size 2";

/// A folder with a small Mixtral, `base`, and `text.jsonl`.
fn home() -> Home {
    let home = Home::new();
    let base = copy(&home.path("."), "mixtral");
    with_tokenizer(&base);
    fs::rename(home.path("mixtral"), home.path("base")).unwrap();
    let text = documents("code", 30) + &documents("legal", 30);
    home.write("text.jsonl", text);
    home
}

fn loss(home: &Home, model: &str) -> f64 {
    let command = format!("evaluate --model {model} --data text.jsonl --seq-len 16 --json");
    let (said, _) = home.done(&command);
    let said: Value = serde_json::from_str(&said).unwrap();
    said["loss"].as_f64().unwrap()
}

#[test]
fn a_tuned_run_its_merged_export_and_the_base_with_its_adapter_are_one_model() {
    let home = home();
    let lora = "--lora-rank 3 --lora-targets q_proj,experts --learning-rate 0.01 --out run";
    let (_, told) = home.done(&format!("{TUNE} {lora}"));
    let line = told.lines().find(|line| line.starts_with("LoRA"));
    let line = line.unwrap_or_else(|| panic!("{told}"));
    let start = "LoRA      rank 3, alpha 6; adapted ";
    assert!(line.starts_with(start), "{line}");
    for part in [
        "(q_proj, experts.gate_proj, experts.up_proj, experts.down_proj)",
        "not adapted: embed_tokens, k_proj, v_proj, o_proj, gate, lm_head",
    ] {
        assert!(line.contains(part), "{line}");
    }
    home.done("export --model run --format hf --out merged");
    home.done("export --model run --format peft --out lora");
    let own = loss(&home, "run");
    for model in ["merged", "base --adapter lora"] {
        let found = loss(&home, model);
        assert!((found - own).abs() < 1e-5, "{model}: {found} {own}");
    }
    assert!((loss(&home, "base") - own).abs() > 1e-3, "{own}");
    // a plain model, which goes on as one
    home.done("inference --model run --prompt text --max-tokens 3");
    home.done("train --init-from run --data text.jsonl --no-valid --steps 1 --seq-len 16 --out on");
    let config = home.json("on/config.json");
    assert!(config["training"].get("lora").is_none(), "{config}");
    let config = home.json("run/config.json");
    assert_eq!(config["training"]["lora"]["rank"], 3);
}

#[test]
fn what_lora_cannot_do_is_refused_in_a_line_and_leaves_nothing() {
    let home = home();
    home.write_config(true);
    let cases = [
        (
            "train --config model.json --data text.jsonl --lora-rank 2 --out run".to_owned(),
            "`training.lora` adapts a trained model, and this run starts from random weights",
        ),
        (
            format!("{TUNE} --lora-rank 2 --lora-targets q_proj,query --out run"),
            "`lora.targets` names `query`, which the model does not have; its modules: q_proj, k_proj, v_proj, o_proj, gate_proj",
        ),
        (
            format!("{TUNE} --lora-rank 2 --lora-train biases --out run"),
            "`lora.train` names `biases`, which the model does not have",
        ),
        (
            format!("{TUNE} --lora-rank 2 --lora-alpha 0 --out run"),
            "`training.lora.alpha` is 0, expected a positive number",
        ),
        (
            format!("{TUNE} --lora-rank 100000 --out run"),
            "`training.lora.rank` is 100000, expected 1 to 16384",
        ),
        (
            "export --model base --format peft --out run".to_owned(),
            "base has no adapters: `--format peft` is for a run that was trained with `--lora-rank`",
        ),
    ];
    for (call, expected) in cases {
        let line = home.refused(&call);
        assert!(line.contains(expected), "{call}: {line}");
        assert!(!home.path("run").exists(), "{call}");
    }
    home.done(&format!("{TUNE} --lora-rank 2 --out run"));
    let line = home.refused("train --out run --resume --steps 6 --lora-rank 4");
    let expected = "`training.lora.alpha` is 8.0, but the run began with 4.0";
    assert!(line.contains(expected), "{line}");
    home.done("train --out run --resume --steps 6");
}
