//! `retrofit` adds null experts to a trained model and writes a receipt.

use serde_json::json;

use crate::home::Home;

fn write_data(home: &Home, name: &str, documents: usize) {
    let line = |number: usize| {
        let text = format!("document {number} says {}", number * number);
        json!({"text": text, "domain": "code"}).to_string() + "\n"
    };
    home.write(name, (0..documents).map(line).collect::<String>());
}

#[test]
fn a_model_visits_as_many_experts_as_asked_and_is_used_and_trained_on() {
    let home = Home::new();
    home.write_config(true);
    write_data(&home, "data.jsonl", 120);
    home.done("train --config model.json --data data.jsonl --no-valid --out run");
    let (said, heard) = home.done(
        "retrofit --model run --data data.jsonl --k-target 1.5 --steps 40 --learning-rate 0.01 --out light",
    );
    assert!(said.contains("experts a token visits"), "{said}");
    assert!(heard.contains("step     40/40"), "{heard}");

    let receipt = home.json("light/receipt.json");
    let number = |path: &str| receipt.pointer(path).and_then(|it| it.as_f64()).unwrap();
    assert_eq!(number("/before/visited"), 2.0);
    let visited = number("/after/visited");
    assert!((visited - 1.5).abs() < 0.2, "{visited}");
    assert_eq!(number("/steps"), 40.0);
    assert!(number("/tokens") > 0.0 && number("/seconds") > 0.0);
    let change = number("/after/loss") / number("/before/loss") - 1.0;
    assert!((change - number("/loss_change")).abs() < 1e-12);
    let router = home.json("light/config.json")["model"]["moe"]["router"].clone();
    assert_eq!(
        (&router["null_experts"], &router["k_target"]),
        (&json!(2), &json!(1.5))
    );

    home.done("inference --model light --prompt document --max-tokens 3");
    home.done("train --init-from light --data data.jsonl --no-valid --steps 1 --out on");
    let again = home.refused("retrofit --model light --data data.jsonl --k-target 1 --out lighter");
    assert_eq!(
        again,
        "the model has 2 null experts already: train it with another `k_target` instead"
    );
}

#[test]
fn what_cannot_be_given_null_experts_is_refused_in_a_line_and_leaves_nothing() {
    let home = Home::new();
    home.write_config(true);
    write_data(&home, "data.jsonl", 120);
    write_data(&home, "few.jsonl", 10);
    home.done("train --config model.json --data data.jsonl --no-valid --steps 1 --out run");
    for (arguments, expected) in [
        (
            "--data data.jsonl --k-target 2",
            "`moe.router.k_target` is 2",
        ),
        (
            "--data data.jsonl --k-target 0",
            "`moe.router.k_target` is 0",
        ),
        (
            "--data data.jsonl --k-target 1.5 --learning-rate 0",
            "`--learning-rate` is 0",
        ),
        ("--data few.jsonl --k-target 1.5", "too few documents"),
        ("--data none.jsonl --k-target 1.5", "none.jsonl"),
    ] {
        let line = home.refused(&format!("retrofit --model run {arguments} --out light"));
        assert!(line.contains(expected), "{line}");
        assert!(!home.path("light").exists());
    }
    home.write_config(false);
    home.done("train --config model.json --data data.jsonl --no-valid --steps 1 --out dense");
    let line = home.refused("retrofit --model dense --data data.jsonl --k-target 1 --out light");
    assert_eq!(
        line,
        "the model has no experts: null experts go beside others"
    );
}
