//! Answers whose form a request prescribes.

use std::thread;

use serde_json::{Value, json};

use crate::schema::describes;
use crate::served::Served;

/// Schemas whose values are short, so that a model which writes anything at all comes to their end.
fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object", "additionalProperties": false, "required": ["name", "age"], "properties": {
            "name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
        }}),
        json!({"type": "array", "minItems": 2, "maxItems": 3, "items": {"enum": ["red", "green", 7, null]}}),
        json!({"anyOf": [{"const": "yes"}, {"type": "object", "properties": {"why": {"type": "boolean"}},
            "required": ["why"], "additionalProperties": false}]}),
    ]
}

fn schema_format(schema: &Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "it", "strict": true, "schema": schema}})
}

fn chat(format: &Value, seed: usize, temperature: f64) -> Value {
    json!({
        "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 160, "seed": seed,
        "temperature": temperature, "response_format": format,
    })
}

fn contents(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().unwrap().iter();
    let contents = choices.map(|choice| {
        assert_eq!(choice["finish_reason"], "stop", "{choice}");
        choice["message"]["content"].as_str().unwrap().to_owned()
    });
    contents.collect()
}

/// Content of the first answer of a stream.
fn streamed(served: &Served, body: &Value) -> String {
    let mut body = body.clone();
    body["stream"] = true.into();
    let events = served.post("/v1/chat/completions", &body).events();
    let (done, events) = events.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    let deltas = events.iter().filter_map(|event| {
        let event: Value = serde_json::from_str(event).unwrap();
        let content = event["choices"][0]["delta"]["content"].as_str();
        content.map(str::to_owned)
    });
    deltas.collect()
}

#[test]
fn every_answer_is_a_value_of_its_schema_and_streams_and_drafts_change_nothing() {
    let served = Served::of_context(256);
    let mut distinct = std::collections::BTreeSet::new();
    thread::scope(|scope| {
        let mut running = Vec::new();
        for (number, schema) in schemas().into_iter().enumerate() {
            for seed in 0..6 {
                let (served, schema) = (&served, schema.clone());
                running.push(scope.spawn(move || {
                    let temperature = [0.0, 1.0, 3.0][(number + seed) % 3];
                    let mut body = chat(&schema_format(&schema), seed, temperature);
                    body["n"] = 2.into();
                    // it would go on for ever without a grammar
                    body["ignore_eos"] = true.into();
                    let whole = served.post("/v1/chat/completions", &body).ok();
                    let all = contents(&whole);
                    for content in &all {
                        let value = serde_json::from_str(content);
                        let value = value.unwrap_or_else(|error| panic!("{error}: {content:?}"));
                        assert!(describes(&schema, &value), "{content:?} {schema}");
                    }
                    body["n"] = 1.into();
                    assert_eq!(streamed(served, &body), all[0]);
                    body["speculative"] = 3.into();
                    let drafted = served.post("/v1/chat/completions", &body).ok();
                    assert_eq!(contents(&drafted), all[..1]);
                    assert!(drafted["choices"][0]["speculation"].is_object());
                    all
                }));
            }
        }
        for one in running {
            distinct.extend(one.join().unwrap());
        }
    });
    // a model that always writes the same would say little
    assert!(distinct.len() > 15, "{distinct:?}");
}

#[test]
fn an_object_of_any_keys_is_an_object() {
    let served = Served::of_context(256);
    let mut ended = 0;
    for seed in 0..12 {
        let body = chat(&json!({"type": "json_object"}), seed, 1.0);
        let answer = served.post("/v1/chat/completions", &body).ok();
        let choice = &answer["choices"][0];
        let content = choice["message"]["content"].as_str().unwrap();
        assert!(content.starts_with('{'), "{content:?}");
        if choice["finish_reason"] == "stop" {
            let value: Value = serde_json::from_str(content).unwrap();
            assert!(value.is_object());
            ended += 1;
        }
    }
    assert!(ended > 3, "{ended}");
}

#[test]
fn a_neighbour_without_a_schema_gets_what_it_gets_alone() {
    let served = Served::of_context(256);
    let free = |seed: usize| {
        json!({"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 60, "seed": seed,
            "ignore_eos": true})
    };
    let ask = |body: &Value| {
        let answer = served.post("/v1/chat/completions", body).ok();
        answer["choices"][0]["message"]["content"].clone()
    };
    let alone: Vec<Value> = (0..4).map(|seed| ask(&free(seed))).collect();
    let format = schema_format(&schemas()[0]);
    thread::scope(|scope| {
        let free = (0..4).map(|seed| scope.spawn(move || ask(&free(seed))));
        let free: Vec<_> = free.collect();
        let bound = (0..4).map(|seed| {
            scope.spawn({
                let body = chat(&format, seed, 1.0);
                move || ask(&body)
            })
        });
        let bound: Vec<_> = bound.collect();
        let found: Vec<Value> = free.into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(found, alone);
        for one in bound {
            let content = one.join().unwrap();
            let value = serde_json::from_str(content.as_str().unwrap()).unwrap();
            assert!(describes(&schemas()[0], &value), "{content}");
        }
    });
}

#[test]
fn an_answer_that_is_cut_off_says_so() {
    let served = Served::of_context(256);
    let mut body = chat(&schema_format(&schemas()[0]), 1, 1.0);
    body["max_tokens"] = 4.into();
    let answer = served.post("/v1/chat/completions", &body).ok();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 4);
}

#[test]
fn a_schema_that_cannot_be_followed_is_refused_with_the_reason() {
    let served = Served::of_context(256);
    let mut deep = json!({"type": "integer"});
    for _ in 0..100 {
        deep = json!({"type": "array", "items": deep});
    }
    let nested = format!("{}1{}", r#"{"not":"#.repeat(3000), "}".repeat(3000));
    let many: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    for (schema, part) in [
        (json!({"type": "nonsense"}), "nonsense"),
        (json!({"$ref": "http://example.com/schema"}), "$ref"),
        (json!({"type": "string", "pattern": "("}), "regex"),
        (json!(false), "describes no value"),
        (json!(5), "expected a JSON schema"),
        (json!({"enum": many}), "bytes"),
        (
            json!({"type": "object", "minProperties": 3000, "colour": 1, "unevaluatedProperties": false}),
            "nevaluated",
        ),
    ] {
        let answer = served.post(
            "/v1/chat/completions",
            &chat(&schema_format(&schema), 1, 1.0),
        );
        assert_eq!(answer.status, 400, "{schema}: {answer:?}");
        let error = &answer.json()["error"];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
        assert!(!message.contains('\n') && message.len() < 500, "{message}");
        assert_eq!(error["param"], "response_format");
    }
    // as deep as JSON may be, and deeper
    let body = chat(&schema_format(&deep), 1, 1.0);
    let answer = served.post("/v1/chat/completions", &body);
    assert!([200, 400].contains(&answer.status), "{answer:?}");
    let body = chat(&schema_format(&json!("DEEP")), 1, 1.0).to_string();
    let body = body.replace("\"DEEP\"", &nested);
    let answer = served.send("POST", "/v1/chat/completions", &[], body.as_bytes());
    assert_eq!(answer.status, 400);
    assert_eq!(served.get("/health").status, 200);
}

#[test]
fn other_forms_are_refused_by_name() {
    let served = Served::of_context(64);
    for format in [
        json!("json"),
        json!({}),
        json!({"type": "xml"}),
        json!({"type": "json_schema"}),
        json!({"type": "json_schema", "json_schema": {"schema": {}, "colour": 1}}),
        json!({"type": "json_object", "colour": 1}),
    ] {
        let answer = served.post("/v1/chat/completions", &chat(&format, 1, 1.0));
        assert_eq!(answer.status, 400, "{format}: {answer:?}");
    }
    let answer = served.post(
        "/v1/chat/completions",
        &chat(&json!({"type": "text"}), 1, 1.0),
    );
    assert_eq!(answer.status, 200);
}
