//! `calibrate --tasks`: what is left of what the dense model knows.

use serde_json::{Value, json};

use crate::home::Home;

const TASK: &str = "task: things\ndataset_path: json\ndataset_kwargs: {data_files: {test: things.jsonl}}\n\
                    test_split: test\noutput_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: [' that', ' qzjx']\n\
                    doc_to_target: a\ntarget_delimiter: ''\n";

/// A dense model that knows its text a little, and two tasks.
fn home() -> Home {
    let home = Home::new();
    home.write_config(false);
    let document = |number: usize| {
        let domain = ["code", "legal"][number % 2];
        let sentence =
            |at: usize| format!("{domain} text number {at} says that {at} and {at} are two. ");
        let text: String = (number..number + 6).map(sentence).collect();
        json!({"domain": domain, "text": text}).to_string() + "\n"
    };
    home.write("data.jsonl", (0..200).map(document).collect::<String>());
    home.write("things.yaml", TASK);
    let cloze = TASK.replace("things", "cloze");
    let cloze = cloze.replace("multiple_choice", "loglikelihood");
    home.write("cloze.yaml", cloze);
    let lines = |answer: Value| -> String {
        let line = |number: usize| {
            let question = format!("code text number {number} says");
            json!({"q": question, "a": answer}).to_string() + "\n"
        };
        (0..24).map(line).collect()
    };
    home.write("things.jsonl", lines(json!(0)));
    home.write("cloze.jsonl", lines(json!(" that")));
    home
}

#[test]
fn tasks_and_last_words_stand_in_the_receipt() {
    let home = home();
    home.done("train --config model.json --data data.jsonl --no-valid --steps 120 --out dense");
    let (said, _) = home.done(
        "calibrate --from dense --mode carve --experts 8 --shared 2 --top-k 2 --data data.jsonl \
         --calibration-tokens 8192 --keep-dense-layers first --no-speed --recover-steps 3 \
         --tasks things.yaml,cloze.yaml --task-limit 20 --out run",
    );
    let receipt = home.json("run/receipt.json");
    let carving = &receipt["carving"];
    let tasks = &carving["tasks"]["tasks"];
    assert_eq!([&tasks[0]["task"], &tasks[1]["task"]], ["things", "cloze"]);
    assert_eq!(tasks[0]["documents"], 20);

    // the scores are those of `evaluate`
    let evaluated = |model: &str| -> Value {
        let options = "--tasks things.yaml,cloze.yaml --limit 20 --json";
        let (said, _) = home.done(&format!("evaluate --model {model} {options}"));
        serde_json::from_str::<Value>(&said).unwrap()["results"].take()
    };
    let metric = &tasks[0]["metrics"][0];
    let perplexity = &tasks[1]["metrics"][0];
    for (name, scores) in [
        ("dense", evaluated("dense")),
        ("recovered", evaluated("run")),
    ] {
        assert_eq!(metric[name]["value"], scores["things"]["acc,none"]);
        assert_eq!(metric[name]["stderr"], scores["things"]["acc_stderr,none"]);
        let found = perplexity[name]["value"].as_f64().unwrap();
        let expected = scores["cloze"]["perplexity,none"].as_f64().unwrap();
        assert!(
            (found - expected).abs() < 1e-9 * expected,
            "{name}: {found}, {expected}"
        );
    }
    let ppl = |name: &str| perplexity[name]["value"].as_f64().unwrap();
    assert!(ppl("carved") != ppl("dense") && ppl("carved") != ppl("recovered"));

    // all 20 are right: sqrt(0.25 / 20) below
    assert_eq!(metric["dense"]["value"], 1.0);
    assert!(metric["errors_above_chance"].as_f64().unwrap() > 4.4);
    let value = |name: &str| metric[name]["value"].as_f64().unwrap();
    for name in ["carved", "recovered"] {
        let kept = metric["kept"][name].as_f64().unwrap();
        assert_eq!(kept, (value(name) - 0.5) / 0.5);
    }
    assert_eq!(perplexity.get("kept"), None);
    assert_eq!(
        perplexity["not_counted"],
        "what chance would score is not known"
    );
    assert_eq!(carving["tasks"]["counted"], 1);
    assert_eq!(carving["tasks"]["kept"]["carved"], metric["kept"]["carved"]);
    assert!(said.contains("mean over 1 of 2 tasks"), "{said}");
    assert!(
        said.contains("not counted: cloze, perplexity: what chance"),
        "{said}"
    );

    let passages = |name: &str| carving[name]["cloze"]["passages"].as_u64();
    assert!(passages("dense").unwrap() > 10);
    assert_eq!(passages("carved"), passages("dense"));
    assert_eq!(passages("recovered"), passages("dense"));
    let accuracy = carving["dense"]["cloze"]["accuracy"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&accuracy), "{accuracy}");
    assert!(said.contains("cloze accuracy"), "{said}");
    let page = std::fs::read_to_string(home.path("run/receipt.html")).unwrap();
    for part in [
        "<h2>Tasks</h2>",
        "<td>last words</td>",
        "<td>things</td>",
        "mean over 1 of 2",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let phases = receipt["phases"].as_array().unwrap();
    assert!(phases.iter().any(|phase| phase["name"] == "tasks"));
}

#[test]
fn tasks_that_cannot_be_asked_are_refused_before_anything_is_computed() {
    let home = home();
    home.done("train --config model.json --data data.jsonl --no-valid --steps 1 --out dense");
    let carve = "--mode carve --keep-dense-layers first --data data.jsonl";
    for (arguments, expected) in [
        (
            "--mode upcycle --tasks things.yaml".into(),
            "`--tasks` is for `--mode carve`: measure copies by `evaluate",
        ),
        (
            format!("{carve} --task-limit 5"),
            "the following required arguments were not provided: --tasks",
        ),
        (
            format!("{carve} --task-data ."),
            "`--task-data` is about tasks: name them by `--tasks FILE`",
        ),
        (
            format!("{carve} --tasks things.yaml --task-limit 0"),
            "`--task-limit` is 0, expected 1 or more",
        ),
        (
            format!("{carve} --tasks none.yaml"),
            "cannot read `none.yaml`",
        ),
        (
            format!("{carve} --tasks things.yaml,things.yaml"),
            "the task `things` is given twice",
        ),
    ] {
        let line = home.refused(&format!("calibrate --from dense {arguments} --out none"));
        assert!(line.starts_with(expected), "{arguments}: {line}");
        assert!(!home.path("none").exists());
    }
}
