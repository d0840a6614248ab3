//! `routes` studies where a model's routers send tokens.

use std::fs;

use serde_json::Value;

use super::home::{Home, documents};

/// A run with two checkpoints, and text of two domains.
fn home() -> Home {
    let home = Home::new();
    home.write_config(true);
    home.write(
        "text.jsonl",
        documents("code", 40) + &documents("legal", 40),
    );
    home.done("train --config model.json --data text.jsonl --no-valid --out run --quiet");
    home
}

fn sum(counts: &Value) -> u64 {
    let counts = counts.as_array().into_iter().flatten();
    counts.map(|count| count.as_u64().unwrap()).sum()
}

#[test]
fn routes_are_counted_compared_named_and_drawn() {
    let home = home();
    let (said, told) =
        home.done("routes --model run --data text.jsonl --against 2 --trace t.jsonl");
    assert!(
        said.contains("SSI*") && said.contains("saturation") && said.contains("Belady"),
        "{said}"
    );
    assert!(told.contains("routes.html"), "{told}");

    let study = home.json("run/routes.json");
    let tokens = study["tokens"].as_u64().unwrap();
    assert_eq!(study["documents"], 80);
    let layer = &study["layers"][0];
    assert_eq!(layer["layer"], 2);
    assert_eq!(
        sum(&layer["visits"]),
        2 * tokens,
        "every choice is counted once"
    );
    let by_domain = layer["domain_visits"].as_array().unwrap();
    assert_eq!(by_domain.iter().map(sum).sum::<u64>(), 2 * tokens);
    assert_eq!(layer["labels"].as_array().unwrap().len(), 20);
    for figure in [
        "cohesion",
        "stability",
        "saturation",
        "domain_nmi",
        "route_ppl",
    ] {
        assert!(
            layer["figures"][figure].is_f64(),
            "{figure}: {}",
            layer["figures"]
        );
    }
    let cache = &study["locality"]["cache"];
    assert_eq!(cache["visits"], 2 * tokens);
    let hits = |policy: &str| cache[policy].as_array().unwrap().clone();
    for policy in ["lru_hits", "lfu_hits", "least_stale_hits"] {
        let pairs = hits(policy).into_iter().zip(hits("belady_hits"));
        for (of_policy, best) in pairs {
            assert!(of_policy.as_u64() <= best.as_u64());
        }
    }
    let page = fs::read_to_string(home.path("run/routes.html")).unwrap();
    assert!(page.contains("Hits of a cache of experts") && page.contains("Load of every expert"));

    let lines = fs::read_to_string(home.path("t.jsonl")).unwrap();
    let traces: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut visits = vec![0; 20];
    let mut read = 0;
    for trace in &traces {
        let layer = &trace["layers"][0];
        read += trace["ids"].as_array().unwrap().len() as u64;
        for (slots, gates) in layer["slots"]
            .as_array()
            .unwrap()
            .iter()
            .zip(layer["gates"].as_array().unwrap())
        {
            let sum: f64 = gates
                .as_array()
                .unwrap()
                .iter()
                .map(|gate| gate.as_f64().unwrap())
                .sum();
            assert!((sum - 1.0).abs() < 1e-5);
            for slot in slots.as_array().unwrap() {
                visits[slot.as_u64().unwrap() as usize] += 1;
            }
        }
    }
    assert_eq!(read, tokens);
    assert_eq!(
        layer["visits"],
        Value::from(visits),
        "the trace adds up to the counts"
    );

    // with `--out` and `--json`; text without domains has no figures per domain
    let text = fs::read_to_string(home.path("text.jsonl")).unwrap();
    home.write("plain.jsonl", text.replace("\"domain\"", "\"subject\""));
    let (said, told) = home.done("routes --model run --data plain.jsonl --out there --json");
    assert!(told.contains("no document names its domain"), "{told}");
    let plain: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(plain, home.json("there/routes.json"));
    assert_eq!(plain["layers"][0]["visits"], layer["visits"]);
    assert_eq!(plain["layers"][0]["figures"]["domain_nmi"], Value::Null);
    assert_eq!(plain["layers"][0].get("labels"), None);

    let refused = |arguments: &str| home.refused(&format!("routes --data text.jsonl {arguments}"));
    assert_eq!(
        refused("--model run --against 3"),
        "`--against 3`: run has no checkpoint of step 3; it has those of 2, 4"
    );
    home.write("file", "");
    assert!(refused("--model run --out file").starts_with("`--out` file: "));
    assert_eq!(
        refused("--model run --trace run"),
        "`--trace` run is a folder, expected a file to write"
    );
    assert!(
        refused("--model run --seq-len 4096").starts_with("`--seq-len` is 4096, expected 2 to 128")
    );
}

#[test]
fn a_request_s_routes_are_written_with_its_visits() {
    let home = home();
    let request = |more: &str| {
        let arguments =
            "inference --model run --ids 5,6,7,8,9 --max-tokens 12 --temperature 0 --print-ids";
        let (ids, _) = home.done(&format!("{arguments} --routes r.json {more}"));
        (ids, home.json("r.json"))
    };
    let (ids, routes) = request("");
    let generated: Vec<u64> = ids
        .trim()
        .split(',')
        .map(|id| id.parse().unwrap())
        .collect();
    let read = routes["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap());
    let expected = [5, 6, 7, 8, 9]
        .into_iter()
        .chain(generated[..11].iter().copied());
    assert!(read.eq(expected), "{routes}");
    let layer = &routes["layers"][0];
    assert_eq!(
        (layer["layer"].as_u64(), sum(&layer["visits"])),
        (Some(2), 2 * 16)
    );
    assert_eq!(layer["slots"].as_array().unwrap().len(), 16);

    let (with_drafts, drafted) = request("--speculative");
    assert_eq!(with_drafts, ids);
    assert_eq!(
        drafted["layers"][0]["visits"], layer["visits"],
        "rejected drafts do not count"
    );
}

#[test]
fn a_dense_model_has_no_routes() {
    let home = Home::new();
    home.write_config(false);
    home.write("text.jsonl", documents("code", 40));
    home.done("train --config model.json --data text.jsonl --no-valid --out run --quiet");
    assert_eq!(
        home.refused("routes --model run --data text.jsonl"),
        "the model is dense: no layer has experts, so there are no routes to study"
    );
    assert!(!home.path("run/routes.json").exists());
    assert_eq!(
        home.refused("inference --model run --prompt a --routes r.json"),
        "`--routes` needs a model with experts: this one is dense"
    );
}
