//! `calibrate` turns a dense model into one with experts and writes a receipt.

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::home::Home;

/// Documents of two domains.
fn write_data(home: &Home, name: &str, documents: usize) {
    let line = |number: usize| {
        let domain = ["code", "legal"][number % 2];
        let text = format!("document {number} of {domain} says {}", number * number);
        json!({"text": text, "domain": domain}).to_string() + "\n"
    };
    home.write(name, (0..documents).map(line).collect::<String>());
}

/// A dense model that was trained for a few steps.
fn dense() -> Home {
    let home = Home::new();
    home.write_config(false);
    write_data(&home, "data.jsonl", 200);
    home.done("train --config model.json --data data.jsonl --no-valid --out dense");
    home
}

/// Logits of a text.
fn logits(home: &Home, model: &str) -> Vec<f32> {
    let ids: Vec<u8> = [5i64, 9, 70, 81, 33]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    let ids = TensorView::new(Dtype::I64, vec![1, 5], &ids).unwrap();
    home.write(
        "ids",
        safetensors::serialize([("input_ids", ids)], None).unwrap(),
    );
    home.done(&format!(
        "logits --model {model} --ids-file ids --out logits"
    ));
    let bytes = std::fs::read(home.path("logits")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = file.tensor("logits").unwrap().data().as_chunks().0;
    values
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

/// Largest difference, relative to the largest logit.
fn difference(left: &[f32], right: &[f32]) -> f32 {
    let most = left.iter().fold(0f32, |most, it| most.max(it.abs()));
    let pairs = left.iter().zip(right);
    pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs())) / most
}

#[test]
fn a_carved_model_is_measured_used_and_trained_on() {
    let home = dense();
    let (said, heard) = home.done(
        "calibrate --from dense --mode carve --experts 8 --shared 2 --top-k 2 --data data.jsonl \
         --calibration-tokens 2048 --keep-dense-layers first --analyse --out carved",
    );
    assert!(said.contains("active parameters"), "{said}");
    assert!(said.contains("perplexity"), "{said}");
    assert!(heard.contains("random partition"), "{heard}");

    let receipt = home.json("carved/receipt.json");
    let number = |path: &str| receipt.pointer(path).and_then(Value::as_f64).unwrap();
    assert_eq!(receipt["mode"], "carve");
    assert_eq!(receipt["dense_layers"], json!([0]));
    let command = receipt["command"].as_str().unwrap();
    assert!(
        command.contains("calibrate --from dense --mode carve"),
        "{command}"
    );
    assert_eq!(receipt["weights_blake3"].as_str().unwrap().len(), 64);
    assert!(number("/after/active") < number("/before/active"));
    // the routers are all that comes on top
    let routers = number("/after/total") - number("/before/total");
    assert_eq!(routers, (16.0 + 2.0) * 6.0);
    assert!(number("/carving/dense/perplexity") > 1.0);
    assert!(number("/carving/carved/perplexity") > 1.0);
    let names: Vec<&Value> = receipt["carving"]["carved"]["domains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["domain"])
        .collect();
    assert_eq!(names, ["code", "legal"]);
    let layer = &receipt["carving"]["layers"][0];
    assert_eq!(layer["layer"], 1);
    let error = |name: &str| layer["analysis"][name]["error"].as_f64().unwrap();
    let own = layer["error"].as_f64().unwrap();
    assert!(error("oracle") <= own && own <= error("random"), "{layer}");
    for speed in ["speed_before", "speed_after"] {
        assert!(receipt[speed]["prefill_per_second"].as_f64().unwrap() > 0.0);
        assert!(receipt[speed]["decode_per_second"].as_f64().unwrap() > 0.0);
    }
    let phases = receipt["phases"].as_array().unwrap();
    let names: Vec<&str> = phases
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"router") && names.contains(&"clusters"),
        "{names:?}"
    );
    // energy that is not measured is absent and never 0
    let is_metered = receipt.get("energy_missing").is_none();
    assert!(
        phases
            .iter()
            .all(|it| it.get("joules").is_none() || is_metered)
    );

    let page = std::fs::read_to_string(home.path("carved/receipt.html")).unwrap();
    assert!(page.contains("Error by layer") && page.contains("random partition"));

    home.done("inference --model carved --prompt document --max-tokens 3");
    home.done("train --init-from carved --data data.jsonl --no-valid --steps 1 --out on");
    home.done("export --model carved --format hf --out folder");
    assert_eq!(home.json("folder/config.json")["model_type"], "glm4_moe");
    let exported = difference(&logits(&home, "carved"), &logits(&home, "folder"));
    assert!(exported < 1e-3, "{exported}");
    home.done("export --model carved --format gguf --out file.gguf");
    let exported = difference(&logits(&home, "carved"), &logits(&home, "file.gguf"));
    assert!(exported < 1e-3, "{exported}");
    // training moves the gates away from 1
    let named = home.refused("export --model on --format hf --out other");
    assert!(named.contains("is not zero"), "{named}");
    assert!(!home.path("other").exists());
    let again = home.refused("calibrate --from carved --mode upcycle --out twice");
    assert_eq!(
        again,
        "the model has 6 experts per layer already, expected a dense one"
    );
}

#[test]
fn all_experts_together_and_copies_compute_what_the_dense_model_does() {
    let home = dense();
    home.done(
        "calibrate --from dense --mode carve --experts 4 --shared 1 --top-k 3 --data data.jsonl \
         --calibration-tokens 1024 --keep-dense-layers none --no-speed --out whole",
    );
    home.done("calibrate --from dense --mode upcycle --experts 3 --out copies");
    home.done("calibrate --from dense --mode drop-upcycle --experts 3 --drop 0.5 --out others");
    let dense = logits(&home, "dense");
    let whole = difference(&dense, &logits(&home, "whole"));
    assert!(whole < 1e-4, "{whole}");
    let copies = difference(&dense, &logits(&home, "copies"));
    assert!(copies < 1e-5, "{copies}");
    let others = difference(&dense, &logits(&home, "others"));
    assert!(others > 1e-4, "{others}");
    let receipt = home.json("copies/receipt.json");
    assert_eq!(receipt.get("carving"), None);
    assert_eq!(receipt.get("speed_before"), None);
    assert_eq!(home.json("others/receipt.json")["drop"], 0.5);
    home.done("export --model copies --format hf --out folder");
    assert_eq!(home.json("folder/config.json")["model_type"], "mixtral");
    let exported = difference(&dense, &logits(&home, "folder"));
    assert!(exported < 1e-5, "{exported}");
}

#[test]
fn what_cannot_be_converted_is_refused_in_a_line_and_leaves_nothing() {
    let home = dense();
    write_data(&home, "few.jsonl", 10);
    for (arguments, expected) in [
        (
            "--mode carve --experts 7 --keep-dense-layers first --data data.jsonl",
            "7 experts do not divide `intermediate_size` 32: take 4 or 8",
        ),
        (
            "--mode carve --top-k 15 --keep-dense-layers first --data data.jsonl",
            "`--top-k` is 15, expected 1 to 14",
        ),
        (
            "--mode carve --keep-dense-layers 1 --data few.jsonl",
            "too few documents",
        ),
        (
            "--mode carve --keep-dense-layers 1 --data none.jsonl",
            "none.jsonl",
        ),
        (
            "--mode carve --data data.jsonl --drop 0.5",
            "`--drop` is for `--mode drop-upcycle`",
        ),
        ("--mode drop-upcycle --drop 1.5", "`--drop` is 1.5"),
        ("--mode upcycle --shared 1", "`--shared` is 1, expected 0"),
        (
            "--mode upcycle --top-k 5",
            "`--top-k` is 5, expected 1 to 4",
        ),
        (
            "--mode carve --data data.jsonl",
            "all 2 layers are to stay dense",
        ),
        (
            "--mode upcycle --keep-dense-layers 2",
            "layer 2 is to stay dense",
        ),
    ] {
        let line = home.refused(&format!("calibrate --from dense {arguments} --out none"));
        assert!(line.contains(expected), "{arguments}: {line}");
        assert!(!home.path("none").exists());
    }
}

#[test]
fn a_carved_model_is_recovered_by_the_dense_one_and_stays_a_run_like_any_other() {
    let home = dense();
    let carve = "calibrate --from dense --mode carve --experts 8 --shared 2 --top-k 2 --data data.jsonl \
                 --calibration-tokens 2048 --keep-dense-layers first --no-speed";
    let recover = "--recover-steps 12 --recover-rate 0.002 --out recovered";
    let (said, heard) = home.done(&format!("{carve} {recover}"));
    assert!(said.contains("recovered perplexity"), "{said}");
    assert!(heard.contains("recovery   12/12"), "{heard}");
    home.done(&format!("{carve} --out carved"));
    let (_, heard) = home.done(&format!("{carve} --refit 0.001 --out refitted"));
    assert!(!heard.contains("recovery "), "{heard}");
    home.done(&format!(
        "{carve} --refit 0 --recover-steps 1 --out stepped"
    ));

    let receipt = home.json("recovered/receipt.json");
    let number = |path: &str| receipt.pointer(path).and_then(Value::as_f64).unwrap();
    let perplexity = number("/carving/recovered/perplexity");
    assert!(
        perplexity < number("/carving/carved/perplexity"),
        "{perplexity}"
    );
    assert_eq!(number("/carving/recovery/lesson/steps"), 12.0);
    assert_eq!(number("/carving/recovery/lesson/learning_rate"), 0.002);
    assert!(number("/carving/recovery/last/tokens") > 0.0);
    let phases = receipt["phases"].as_array().unwrap();
    assert!(phases.iter().any(|phase| phase["name"] == "recover"));
    let refit = receipt.pointer("/carving/recovery/refit").unwrap();
    assert_eq!(refit["penalty"], 0.01);
    // the last of two layers has experts
    assert_eq!(refit["layers"].as_array().unwrap().len(), 1);
    assert!(
        number("/carving/recovery/refit/loss/perplexity") < number("/carving/carved/perplexity")
    );
    let stepped = home.json("stepped/receipt.json");
    assert_eq!(stepped["carving"]["recovery"].get("refit"), None);
    let refitted = home.json("refitted/receipt.json");
    let recovery = &refitted["carving"]["recovery"];
    assert_eq!(recovery.get("last"), None);
    assert_eq!(recovery.get("lesson"), None);
    let phases = refitted["phases"].as_array().unwrap();
    assert!(phases.iter().all(|phase| phase["name"] != "recover"));
    assert_eq!(recovery["refit"]["loss"], refitted["carving"]["recovered"]);
    let plain = home.json("carved/receipt.json");
    assert_eq!(plain["carving"].get("recovered"), None);
    assert_eq!(plain["carving"].get("recovery"), None);

    // the receipt tells the loss of what was written
    let loss = |model: &str| {
        let command = format!("evaluate --model {model} --data data.jsonl --json");
        let said: Value = serde_json::from_str(&home.done(&command).0).unwrap();
        said["loss"].as_f64().unwrap()
    };
    assert!(loss("recovered") < loss("carved"));
    assert!(loss("refitted") < loss("carved"));
    home.done("train --init-from recovered --data data.jsonl --no-valid --steps 1 --out on");
}

#[test]
fn a_recovery_that_cannot_be_is_refused_in_a_line() {
    let home = Home::new();
    home.write_config(false);
    for (arguments, expected) in [
        (
            "--mode upcycle --recover-steps 5",
            "`--recover-steps` and `--refit` are for `--mode carve`",
        ),
        (
            "--mode drop-upcycle --refit 0.1",
            "`--recover-steps` and `--refit` are for `--mode carve`",
        ),
        (
            "--mode carve --data data.jsonl --refit NaN",
            "`--refit` is NaN, expected 0 or a positive number",
        ),
        (
            "--mode carve --data data.jsonl --recover-rate 0.1",
            "`--recover-rate` is for a recovery: give `--recover-steps N`, too",
        ),
        (
            "--mode carve --data data.jsonl --recover-steps 5 --recover-rate 0",
            "`--recover-rate` is 0, expected a positive number",
        ),
    ] {
        let line = home.refused(&format!("calibrate --from dense {arguments} --out run"));
        assert!(line.contains(expected), "{arguments}: {line}");
    }
}

/// Published tokenizers name padding that no row of the embedding table belongs to. Padding is masked.
#[test]
fn a_padding_token_beyond_the_vocabulary_is_never_embedded() {
    let home = dense();
    home.done("export --model dense --format hf --out folder");
    let rows = home.json("folder/config.json")["vocab_size"].clone();
    let mut tokenizer = home.json("folder/tokenizer.json");
    let added = json!({"id": rows, "content": "<|beyond|>", "special": true, "normalized": false, "lstrip": false,
        "rstrip": false, "single_word": false});
    let tokens = tokenizer["added_tokens"].as_array_mut().unwrap();
    tokens.push(added);
    home.write("folder/tokenizer.json", tokenizer.to_string());
    let mut config = home.json("folder/tokenizer_config.json");
    config["pad_token"] = json!("<|beyond|>");
    home.write("folder/tokenizer_config.json", config.to_string());
    let evaluate = "evaluate --data data.jsonl --json --model";
    let [here, there] = ["dense", "folder"].map(|model| {
        let (said, _) = home.done(&format!("{evaluate} {model}"));
        serde_json::from_str::<Value>(&said).unwrap()["domains"].take()
    });
    assert_eq!(here, there);
    assert_eq!(here.as_array().unwrap().len(), 2);
    home.done(
        "calibrate --from folder --mode carve --experts 4 --keep-dense-layers none --data data.jsonl \
         --calibration-tokens 512 --no-speed --out carved",
    );
}
