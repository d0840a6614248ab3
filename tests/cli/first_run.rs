//! A first run on the user's text: its announcement, its evaluation, and the files it leaves out.

use std::fs;
use std::path::Path;

use darkhorse_genesis::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::home::{Home, documents};

fn is_not_there(path: &Path) -> bool {
    !path.exists()
}

#[test]
fn three_lines_train_in_rows_of_their_length_and_nothing_is_measured_that_was_not() {
    let home = Home::new();
    home.write_config(false);
    home.write(
        "three.jsonl",
        "{\"text\": \"The lamp is on.\"}\n{\"text\": \"The lamp is off.\"}\n{\"text\": \"It is dark.\"}\n",
    );
    let train = "train --config model.json --data three.jsonl --seq-len 128 --out r";
    let (said, told) = home.done(train);
    for line in [
        "model     ",
        "data      3 documents, ",
        "          nothing to measure by: 2 % of the documents would be held out, but no domain has 20; `--valid FILE` names others",
        " tokens instead of 128: the data has no more, with those around its documents",
        "job       4 steps x 2 rows x ",
        "memory    about ",
        "saves     r, every 2 steps, at the latest every 10 minutes and at the end",
    ] {
        assert!(told.lines().any(|it| it.contains(line)), "{line}: {told}");
    }
    // a dense model without validation text prints its loss, and no figures of absent features
    assert!(
        said.contains("loss 5.") || said.contains("loss 6."),
        "{said}"
    );
    for absent in ["mtp", "maxvio", "0.000", "domain", "nan"] {
        assert!(!said.to_lowercase().contains(absent), "{absent}: {said}");
    }
    assert!(said.contains(" left"), "{said}");
    assert_eq!(home.records("r", "eval"), [] as [Value; 0]);
    assert_eq!(home.records("r", "step")[0].get("aux_loss"), None);
    let report = home.report("r");
    assert!(report.contains("<dt>Valid loss</dt><dd><span class=\"none\">not measured</span>"));
    assert!(!report.contains("Load violation") && !report.contains("held-out text."));
    assert!(report.contains("<h2>Samples</h2>"));
    // the exported model card states no validation loss
    home.done("export --checkpoint r --format hf --out x");
    let card = fs::read_to_string(home.path("x/README.md")).unwrap();
    assert!(!card.contains("Validation loss"), "{card}");
}

#[test]
fn a_share_of_the_documents_is_held_out_unless_it_is_not_wanted() {
    let home = Home::new();
    home.write_config(true);
    let law = documents("legal", 10);
    home.write("mine.jsonl", documents("code", 150) + &law);
    let train = "train --config model.json --data mine.jsonl --steps 2";
    let (said, told) = home.done(&format!("{train} --out held --valid-share 0.1"));
    let held = told.lines().find(|line| line.contains("held out"));
    let held = held.unwrap_or_else(|| panic!("{told}"));
    assert!(
        held.contains("about 10 % of the documents, never trained on"),
        "{held}"
    );
    // no document of the small domain is held out
    let evaluations = home.records("held", "eval");
    assert_eq!(evaluations.len(), 2);
    let domains = evaluations[1]["domains"].as_array().unwrap();
    assert_eq!((domains.len(), &domains[0]["domain"]), (1, &json!("code")));
    assert!(
        said.contains("maxvio") && said.contains("mtp loss"),
        "{said}"
    );
    assert_eq!(home.json("held/config.json")["data"]["valid_share"], 0.1);
    // a resumed run holds out the same documents
    home.done("train --out held --resume --steps 3");
    let samples = home.records("held", "samples");
    let samples = samples[0]["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2);
    assert_ne!(samples[0]["seed"], samples[1]["seed"]);

    let (_, told) = home.done(&format!("{train} --out default"));
    assert!(told.contains("about 2 % of the documents"), "{told}");
    let (_, told) = home.done(&format!("{train} --out all --no-valid"));
    assert!(
        told.contains("160 documents, ") && told.contains("nothing to measure by\n"),
        "{told}"
    );
    assert_eq!(home.records("all", "eval"), [] as [Value; 0]);
    let line = home.refused(&format!("{train} --valid-share 0.9"));
    assert_eq!(line, "`data.valid_share` is 0.9, expected 0 to 0.5");
    let line = home.refused(&format!("{train} --no-valid --valid mine.jsonl"));
    assert!(line.contains("cannot be used with"), "{line}");
}

#[test]
fn the_data_says_how_long_a_run_is_if_epochs_are_asked_for_or_nothing_is() {
    let home = Home::new();
    home.write_config(false);
    home.write("mine.jsonl", documents("code", 200));
    let train = "train --data mine.jsonl --no-valid";
    let (_, told) = home.done(&format!(
        "{train} --config model.json --epochs 0.5 --out part"
    ));
    let job = told.lines().find(|line| line.starts_with("job")).unwrap();
    let steps = home.json("part/config.json")["training"]["steps"]
        .as_u64()
        .unwrap();
    assert!(
        job.starts_with(&format!("job       {steps} steps x 2 rows x 32 tokens = ")),
        "{job}"
    );
    // steps are rounded up, so the epochs are slightly above the requested number
    let told_epochs = job.trim_end_matches(" epochs over the data");
    let told_epochs: f64 = told_epochs.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((0.5..0.6).contains(&told_epochs), "{job}");
    assert!(!told.contains("warning"), "{told}");
    let (_, told) = home.done(&format!(
        "{train} --config model.json --epochs 8.1 --batch-size 8 --checkpoint-every 0 --out long"
    ));
    assert!(told.contains("warning: more than 8 epochs"), "{told}");
    let line = home.refused(&format!("{train} --config model.json --epochs 2 --steps 3"));
    assert!(
        line.contains("'--epochs <E>' cannot be used with '--steps <N>'"),
        "{line}"
    );
    let line = home.refused(&format!("{train} --config model.json --epochs 0"));
    assert_eq!(line, "`--epochs` is 0, expected a positive number");
    let runs = fs::read_dir(home.path("runs")).unwrap();
    let names: Vec<_> = runs.map(|it| it.unwrap().file_name()).collect();
    assert_eq!(names, [".cache"], "a refused start leaves no run");

    // without `--params`, the smallest preset is chosen for so little text
    let (_, told) = home.done(&format!("{train} --out auto"));
    let model = told.lines().find(|line| line.starts_with("model")).unwrap();
    assert!(
        model.contains("tiny, ") && model.contains("; chosen for the data: "),
        "{model}"
    );
    let training = &home.json("auto/config.json")["training"];
    assert!(
        (1..10).contains(&training["steps"].as_u64().unwrap()),
        "{training}"
    );
    assert!(
        home.report("auto")
            .contains("tiny: a mixture of 21 experts")
    );
}

#[test]
fn documents_that_are_left_out_are_counted_on_the_screen_in_the_journal_and_in_the_report() {
    let home = Home::new();
    home.write_config(false);
    let bad = "{\"text\": \"\"}\n{\"text\": 5}\nno json\n".repeat(3);
    home.write("mine.jsonl", documents("code", 40) + &bad);
    home.write(
        "valid.jsonl",
        documents("math", 10) + "{\"domain\": \"code\"}\n",
    );
    let (_, told) = home.done(
        "train --config model.json --data mine.jsonl --valid valid.jsonl --skip-bad-lines --out r",
    );
    assert!(
        told.contains(
            "skipped   10 documents that cannot be read are left out, the first of them:\n"
        ),
        "{told}"
    );
    assert!(
        told.contains("mine.jsonl` line 41: the text is empty"),
        "{told}"
    );
    let records = home.records("r", "skipped");
    assert_eq!((records.len(), &records[0]["count"]), (1, &json!(10)));
    assert_eq!(records[0]["examples"].as_array().unwrap().len(), 5);
    assert!(
        home.report("r")
            .contains("10 documents of the data could not be read and were left out")
    );

    let evaluate = "evaluate --checkpoint r --data mine.jsonl --json";
    let (said, told) = home.done(&format!("{evaluate} --skip-bad-lines"));
    assert!(
        serde_json::from_str::<Value>(&said).unwrap()["loss"]
            .as_f64()
            .unwrap()
            > 1.0
    );
    assert!(
        told.starts_with("9 documents that cannot be read are left out, "),
        "{told}"
    );
    assert!(
        home.refused(evaluate)
            .contains("line 41: the text is empty")
    );
}

#[test]
fn text_of_which_nothing_counts_is_an_error_and_no_loss_of_zero() {
    let home = Home::new();
    home.write_config(false);
    let monologue = "{\"messages\": [{\"role\": \"user\", \"content\": \"is anybody there, at the other end of this line\"}]}\n";
    home.write("silent.jsonl", monologue.repeat(4));
    home.write("mine.jsonl", documents("code", 30));
    let silence = "of a conversation only what the assistant says counts, and here it says nothing";
    let line = home.refused("train --config model.json --data silent.jsonl --out r");
    assert!(line.starts_with("nothing to learn at step 1: "), "{line}");
    assert!(
        line.contains(silence) && line.contains("silent.jsonl:"),
        "{line}"
    );
    assert!(is_not_there(&home.path("r/report.html")));

    let train = "train --config model.json --data mine.jsonl";
    let line = home.refused(&format!("{train} --valid silent.jsonl --out v"));
    assert!(
        line.starts_with("nothing to measure in the documents that begin at "),
        "{line}"
    );
    home.done(&format!("{train} --out good"));
    for format in ["", "--json"] {
        let evaluate = format!("evaluate --checkpoint good --data silent.jsonl {format}");
        let line = home.refused(&evaluate);
        assert!(
            line.contains("silent.jsonl:1: ") && line.contains(silence),
            "{line}"
        );
    }
}

#[test]
fn without_a_name_the_run_that_was_begun_last_goes_on_even_if_it_has_saved_nothing() {
    let home = Home::new();
    home.write_config(false);
    home.write("mine.jsonl", documents("code", 40));
    let train = "train --config model.json --data mine.jsonl --steps 2 --out";
    home.done(&format!("{train} runs/first"));
    home.done(&format!("{train} runs/second"));
    let saved = home.path("runs/second/checkpoints");
    fs::remove_dir_all(&saved).unwrap();
    fs::create_dir(&saved).unwrap();
    // file times are coarser than those in manifests
    let config = fs::File::options()
        .write(true)
        .open(home.path("runs/second/config.json"))
        .unwrap();
    config.set_modified(std::time::SystemTime::now()).unwrap();
    let (_, told) = home.done("train --resume");
    assert!(
        told.starts_with("run runs/second, without a checkpoint, begun "),
        "{told}"
    );
    assert!(
        told.contains("run runs/second: no checkpoint yet: starting at step 0 of 2\n"),
        "{told}"
    );
    assert!(home.path("runs/second/checkpoints/step-0000002").is_dir());
}

#[test]
fn quiet_training_says_what_came_of_it_and_nothing_else() {
    let home = Home::new();
    home.write_config(true);
    home.write("mine.jsonl", documents("code", 40));
    let train = "train --quiet --config model.json --data mine.jsonl --out r";
    let (said, told) = home.done(train);
    assert_eq!(told, "");
    let is_progress = |line: &str| line.starts_with("step ") || line.ends_with(" left");
    assert!(!said.lines().any(is_progress), "{said}");
    assert!(said.ends_with("report: r/report.html\n"), "{said}");
    let (said, told) = home.done("train --quiet --out r --resume --steps 6");
    assert_eq!(told, "");
    assert!(!said.lines().any(is_progress), "{said}");
    let (said, told) = home.done("train --quiet --out r --resume");
    assert_eq!(told, "");
    assert!(said.starts_with("run r is done: "), "{said}");
}

#[test]
fn a_router_that_the_loss_cannot_teach_is_told_before_training_begins() {
    let home = Home::new();
    home.write_config(true);
    home.write("mine.jsonl", documents("code", 40));
    let begin = |normalized: bool| {
        let mut config = home.json("model.json");
        config["model"]["moe"]["num_experts_per_tok"] = json!(1);
        config["model"]["moe"]["router"] = json!({"norm_topk_prob": normalized});
        home.write("one.json", config.to_string());
        let out = home.path(if normalized { "normalized" } else { "plain" });
        let train = "train --config one.json --data mine.jsonl --no-valid --steps 1 --out";
        home.done(&format!("{train} {}", out.display())).1
    };
    let warning = "set `moe.router.norm_topk_prob` to false";
    assert!(begin(true).contains(warning));
    assert!(!begin(false).contains(warning));
}

#[test]
fn an_evaluation_within_training_says_where_logits_stop_being_finite() {
    let home = Home::new();
    home.write_config(false);
    home.write("mine.jsonl", documents("code", 40));
    // after one or two steps the logits are not finite
    let train =
        "train --config model.json --data mine.jsonl --out r --eval-every 1 --learning-rate 1e38";
    let output = home.run(train);
    let told = String::from_utf8(output.stderr).unwrap();
    let line = told.lines().last().unwrap();
    assert!(
        line.starts_with("error: the logits are not finite: ")
            && line.contains(" first comes from "),
        "{line}"
    );
    assert!(!home.records("r", "step").is_empty());
}

#[test]
fn a_run_whose_checkpoint_has_lost_its_manifest_is_never_begun_anew() {
    let home = Home::new();
    home.write_config(false);
    home.write("mine.jsonl", documents("code", 40));
    home.done("train --config model.json --data mine.jsonl --no-valid --out r --steps 4");
    let journal = fs::read(home.path("r/metrics.jsonl")).unwrap();
    let lose = |step| fs::remove_file(home.path(&format!("r/checkpoints/{step}/manifest.json")));
    lose("step-0000004").unwrap();
    let line = home.refused("train --out r --resume --steps 6");
    assert!(
        line.contains("step-0000004/manifest.json is damaged"),
        "{line}"
    );
    assert!(
        line.ends_with("delete that step's folder to go on from step 2"),
        "{line}"
    );
    lose("step-0000002").unwrap();
    let line = home.refused("train --out r --resume --steps 6");
    assert!(
        line.ends_with("there is no earlier checkpoint that is whole"),
        "{line}"
    );
    assert_eq!(fs::read(home.path("r/metrics.jsonl")).unwrap(), journal);
    let line = home.refused("inference --model r --prompt a");
    assert!(line.contains("manifest.json is damaged"), "{line}");
}

#[test]
fn copies_that_were_not_trained_say_what_to_train() {
    let home = Home::new();
    let model = crate::model::fixture("llama_tied");
    home.done(&format!("import --from {} --out imported", model.display()));
    home.done("quantize --model imported --bits 8 --out q8");
    for (run, expected) in [
        (
            "imported",
            "was imported, not trained: begin a run with its weights by `train --init-from imported`",
        ),
        (
            "q8",
            "weights in blocks are not trained: train the run that it was made from",
        ),
    ] {
        let output = home.run(&format!("train --out {run} --resume"));
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), told.lines().count()),
            (Some(2), 1),
            "{told}"
        );
        assert!(
            output.stdout.is_empty() && told.contains(expected),
            "{told}"
        );
    }
}

#[test]
fn what_a_folder_holds_beside_data_is_named_and_what_is_measured_first_is_told() {
    let home = Home::new();
    home.write_config(false);
    fs::create_dir(home.path("data")).unwrap();
    home.write("data/a.jsonl", documents("code", 40));
    home.write("data/b.json", "[{\"text\": \"one more\"}]");
    home.write("data/table.csv", "text\na\n");
    home.write("valid.jsonl", documents("law", 4));
    let train = "train --config model.json --data data --valid valid.jsonl --steps 1 --out r";
    let (_, told) = home.done(train);
    assert!(told.contains("data      41 documents, "), "{told}");
    assert!(
        told.contains("data      1 file left out: data/table.csv\n"),
        "{told}"
    );
    assert!(told.contains("job       1 step x 2 rows x "), "{told}");
    let last = told.lines().last().unwrap();
    assert!(
        last.starts_with("measuring the held-out text before the first step, "),
        "{told}"
    );
    let (_, told) = home.done("train --out r --resume --steps 2");
    assert!(!told.contains("measuring"), "{told}");
}

#[test]
fn a_run_that_is_given_other_text_says_which() {
    let home = Home::new();
    home.write_config(false);
    home.write("mine.jsonl", documents("code", 60));
    home.write("other.jsonl", documents("law", 60));
    home.done("train --config model.json --data mine.jsonl --out r --steps 1");
    for (option, told) in [
        ("--valid other.jsonl", "data.valid [] -> [\"other.jsonl\"]"),
        (
            "--data other.jsonl",
            "data.train [\"mine.jsonl\"] -> [\"other.jsonl\"]",
        ),
    ] {
        let line = home.refused(&format!("train --out r --resume --steps 2 {option}"));
        assert!(line.starts_with("the training text is not what"), "{line}");
        assert!(line.contains(told), "{line}");
    }
    home.write("mine.jsonl", documents("law", 60));
    let line = home.refused("train --out r --resume --steps 2");
    assert!(line.contains("so far: its files have changed; "), "{line}");
}

#[test]
fn a_run_goes_on_with_its_own_tokenizer_and_no_other() {
    let home = Home::new();
    home.write_config(false);
    home.write("mine.jsonl", documents("code", 60));
    home.write("tokenizer.json", Tokenizer::bytes().json());
    let bytes = Tokenizer::bytes().with_special_tokens(&["<|x|>"]).unwrap();
    home.write("other.json", bytes.json());
    let train = "train --config model.json --data mine.jsonl --no-valid --steps 1";
    home.done(&format!("{train} --tokenizer tokenizer.json --out given"));
    home.done(&format!("{train} --out trained"));
    // an equal tokenizer, with another file name and layout
    let own: Value = home.json("given/tokenizer.json");
    home.write("same.json", format!("{own:#}"));
    for (run, same) in [
        ("given", "same.json"),
        ("trained", "trained/tokenizer.json"),
    ] {
        let resume = format!("train --out {run} --resume --steps 2 --tokenizer");
        let before = fs::read(home.path(run).join("tokenizer.json")).unwrap();
        let line = home.refused(&format!("{resume} other.json"));
        assert_eq!(
            line,
            format!(
                "`other.json` is another tokenizer than that of run `{run}`, whose weights go with its own: leave \
                 `--tokenizer` out to go on with the run, or `--resume` to train another one"
            )
        );
        let line = home.refused(&format!("{resume} missing.json"));
        assert!(
            line.contains("missing.json") && line.contains("No such file"),
            "{line}"
        );
        let (_, told) = home.done(&format!("{resume} {same}"));
        assert!(
            told.contains("resuming at step 1 of 2: steps 1 -> 2\n"),
            "{told}"
        );
        let after = fs::read(home.path(run).join("tokenizer.json")).unwrap();
        assert_eq!(before, after);
    }
}
