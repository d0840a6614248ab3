//! The OpenAPI document says what the server does.

use serde_json::{Value, json};

use crate::served::Served;
use crate::tools::{TEMPLATES, tools};

/// Whether a value is what a schema of the document describes, and has no field that it does not list.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.strip_prefix("#/components/schemas/").unwrap();
        return check(
            document,
            &document["components"]["schemas"][name],
            value,
            place,
        );
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices
            .iter()
            .any(|it| check(document, it, value, place).is_ok());
        return fits.then_some(()).ok_or(format!("{place}: {value}"));
    }
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some("array") => {
            for item in value.as_array().into_iter().flatten() {
                check(document, &schema["items"], item, place)?;
            }
            value.is_array()
        }
        Some("object") => {
            let properties = schema["properties"].as_object();
            for (name, value) in value.as_object().into_iter().flatten() {
                let place = format!("{place}.{name}");
                match properties.map(|it| it.get(name)) {
                    None => {}
                    Some(Some(schema)) => check(document, schema, value, &place)?,
                    Some(None) => return Err(format!("{place} is not described")),
                }
            }
            for name in schema["required"].as_array().into_iter().flatten() {
                if value.get(name.as_str().unwrap()).is_none() {
                    return Err(format!("{place}.{name} is missing"));
                }
            }
            value.is_object()
        }
        _ => true,
    };
    fits.then_some(()).ok_or(format!("{place}: {value}"))
}

fn answer_schema(document: &Value, path: &str, method: &str, status: &str) -> Value {
    let responses = &document["paths"][path][method]["responses"];
    let schema = &responses[status]["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{path} {method} {status}");
    schema.clone()
}

#[test]
fn answers_have_the_fields_that_the_document_describes() {
    let served = Served::of_template(2400, TEMPLATES[0]);
    let document = served.get("/openapi.json").ok();
    let messages = json!([{"role": "user", "content": "Who?"}]);
    let flat: Value = tools().as_array().unwrap().iter().map(|tool| {
        let function = &tool["function"];
        json!({"type": "function", "name": function["name"], "parameters": function["parameters"]})
    }).collect();
    let own: Value = tools()
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            let function = &tool["function"];
            json!({"name": function["name"], "input_schema": function["parameters"]})
        })
        .collect();
    let mut asked = std::collections::BTreeSet::new();
    for (path, body) in [
        (
            "/v1/completions",
            json!({"prompt": "a", "max_tokens": 2, "logprobs": 1, "trace": true, "speculative": 2}),
        ),
        (
            "/v1/chat/completions",
            json!({"messages": messages, "max_tokens": 2, "logprobs": true, "trace": true, "n": 2}),
        ),
        (
            "/v1/chat/completions",
            json!({"messages": messages, "tools": tools(), "tool_choice": "required", "speculative": true}),
        ),
        (
            "/v1/responses",
            json!({"input": "a", "max_output_tokens": 2, "trace": true, "metadata": {"a": "b"}, "user": "me"}),
        ),
        (
            "/v1/responses",
            json!({"input": "a", "tools": flat, "tool_choice": "required", "speculative": true}),
        ),
        (
            "/v1/messages",
            json!({"messages": messages, "max_tokens": 2, "trace": true}),
        ),
        (
            "/v1/messages",
            json!({"messages": messages, "max_tokens": 700, "tools": own, "tool_choice": {"type": "any"}}),
        ),
        ("/v1/messages/count_tokens", json!({"messages": messages})),
        (
            "/tokenize",
            json!({"prompt": "a", "return_token_strs": true}),
        ),
        ("/detokenize", json!({"tokens": [5]})),
    ] {
        let answer = served.post(path, &body).ok();
        let schema = answer_schema(&document, path, "post", "200");
        check(&document, &schema, &answer, path).unwrap();
        asked.insert(path);
        let refused = served.post(path, &json!({"colour": "red"}));
        assert_eq!(refused.status, 400);
        let schema = answer_schema(&document, path, "post", "default");
        check(&document, &schema, &refused.json(), path).unwrap();
    }
    let trace = json!({"prompt": "a", "max_tokens": 2, "trace": true});
    let trace = served.complete(&trace)["choices"][0]["trace"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (path, at) in [
        ("/v1/models", "/v1/models".to_owned()),
        ("/v1/models/{name}", "/v1/models/small".into()),
        ("/tokenizer_info", "/tokenizer_info".into()),
        ("/api/status", "/api/status".into()),
        ("/api/energy", "/api/energy".into()),
        ("/api/routing", "/api/routing?seconds=9".into()),
        ("/api/trace/{id}", format!("/api/trace/{trace}")),
    ] {
        let answer = served.get(&at).ok();
        check(
            &document,
            &answer_schema(&document, path, "get", "200"),
            &answer,
            path,
        )
        .unwrap();
        asked.insert(path);
    }
    for (path, kind) in [
        ("/health", "application/json"),
        ("/metrics", "text/plain"),
        ("/openapi.json", "application/json"),
    ] {
        let answer = served.get(path);
        assert_eq!(answer.status, 200);
        assert!(
            answer.head.contains(&format!("content-type: {kind}")),
            "{answer:?}"
        );
        assert!(document["paths"][path]["get"]["responses"]["200"]["content"][kind].is_object());
        asked.insert(path);
    }
    let described: std::collections::BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(asked, described);
}

#[test]
fn fields_of_requests_that_the_document_describes_are_known() {
    let served = Served::of_context(128);
    let document = served.get("/openapi.json").ok();
    let mut known = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let content = &item["post"]["requestBody"]["content"]["application/json"];
        let Some(fields) = content["schema"]["properties"].as_object() else {
            continue;
        };
        for name in fields.keys() {
            // no field takes this
            let answer = served.post(path, &json!({name: [[{"x": []}]]}));
            assert_eq!(answer.status, 400, "{path} {name}");
            let message = answer.json()["error"]["message"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(
                !message.contains("is not known"),
                "{path} {name}: {message}"
            );
            known += 1;
        }
    }
    assert!(known > 60, "{known}");
}
