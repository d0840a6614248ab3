//! `prune` removes experts from a trained model and writes a receipt.

use serde_json::json;

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

#[test]
fn a_model_with_fewer_experts_is_used_and_trained_and_its_receipt_is_measured_on_other_text() {
    let home = Home::new();
    home.write_config(true);
    write_data(&home, "data.jsonl", 120);
    home.done("train --config model.json --data data.jsonl --no-valid --out run");
    let (said, _) = home.done("prune --model run --data data.jsonl --keep 12 --out part");
    assert!(said.contains("experts of a layer"), "{said}");
    assert!(said.contains("loss, nats per token"), "{said}");

    let receipt = home.json("part/receipt.json");
    assert_eq!(receipt["before"]["experts"], 20);
    assert_eq!(receipt["after"]["experts"], 12);
    let number = |path: &str| receipt.pointer(path).and_then(|it| it.as_f64()).unwrap();
    assert!(number("/after/parameters") < number("/before/parameters"));
    assert!(number("/after/decoded_per_second") > 0.0);
    let change = number("/after/loss") / number("/before/loss") - 1.0;
    assert!((change - number("/loss_change")).abs() < 1e-12);
    for place in ["layers.1", "mtp.0"] {
        let kept = receipt["kept"][place].as_array().unwrap();
        assert_eq!(kept.len(), 12, "{place}");
    }
    // equal counts per domain, so that one table of domains holds for every layer
    let table = home.json("part/config.json")["model"]["domains"]["expert_domains"].clone();
    assert_eq!(table.as_array().unwrap().len(), 12);

    home.done("inference --model part --prompt document --max-tokens 3");
    home.done("evaluate --model part --data data.jsonl");
    home.done("train --init-from part --data data.jsonl --no-valid --steps 1 --out on");
    let same = home.refused("prune --model run --data data.jsonl --keep 12 --out part");
    assert!(same.contains("part"), "{same}");

    let (_, _) =
        home.done("prune --model run --data data.jsonl --keep 4 --domain code --by sum --out code");
    assert_eq!(home.json("code/receipt.json")["domain"], "code");
}

#[test]
fn what_cannot_be_pruned_is_refused_in_a_line_and_leaves_nothing() {
    let home = Home::new();
    home.write_config(true);
    write_data(&home, "data.jsonl", 120);
    write_data(&home, "few.jsonl", 10);
    home.done("train --config model.json --data data.jsonl --no-valid --steps 1 --out run");
    let cases = [
        (
            "--data data.jsonl --keep 1",
            "1 experts are to be kept, expected 2 to 19: the model has 20, and a token visits 2",
        ),
        (
            "--data data.jsonl --keep 20",
            "20 experts are to be kept, expected 2 to 19: the model has 20, and a token visits 2",
        ),
        (
            "--data data.jsonl --keep 12 --domain physics",
            "no document of the data is tagged `physics`: leave `--domain` out, or name one of those that it has",
        ),
        (
            "--data few.jsonl --keep 12",
            "the data has too few documents to hold half of them out: a domain needs 20",
        ),
    ];
    for (arguments, expected) in cases {
        let line = home.refused(&format!("prune --model run {arguments} --out part"));
        assert_eq!(line, expected);
        assert!(!home.path("part").exists());
    }
    home.write_config(false);
    home.done("train --config model.json --data data.jsonl --no-valid --steps 1 --out dense");
    let line = home.refused("prune --model dense --data data.jsonl --keep 2 --out part");
    assert_eq!(
        line,
        "the model is dense: there are no experts to leave out"
    );
}
