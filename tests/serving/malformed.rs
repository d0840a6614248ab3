//! Nothing that is sent breaks the server: every wrong request gets a 4xx in OpenAI's form.

use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::client::{Answer, Connection};
use crate::served::{Served, config, serve_config};

/// Values of every type, and some that numbers are compared with.
fn values() -> Vec<Value> {
    vec![
        json!(true),
        json!(-1),
        json!(1e300),
        json!(0.5),
        json!(18446744073709551615u64),
        json!(""),
        json!("x"),
        json!("\u{0}\u{1}é"),
        json!([]),
        json!([null]),
        json!([[]]),
        json!([[1e99]]),
        json!({}),
        json!({"a": {"b": []}}),
        json!(["a", 1]),
    ]
}

/// Fields of the endpoints, each with values that are right for it.
fn fields() -> Vec<(&'static str, Vec<&'static str>)> {
    let common = [
        "model",
        "n",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "min_p",
        "top_k",
        "seed",
        "stop",
        "repetition_penalty",
        "domain",
        "speculative",
        "trace",
        "top_k_experts",
        "ignore_eos",
        "logit_bias",
        "presence_penalty",
        "frequency_penalty",
        "best_of",
        "suffix",
        "logprobs",
        "max_tokens",
    ];
    let with = |own: &[&'static str]| [&common[..], own].concat();
    vec![
        (
            "/v1/completions",
            with(&["prompt", "echo", "add_special_tokens"]),
        ),
        (
            "/v1/chat/completions",
            with(&[
                "messages",
                "max_completion_tokens",
                "top_logprobs",
                "tools",
                "tool_choice",
                "response_format",
                "functions",
                "modalities",
                "parallel_tool_calls",
            ]),
        ),
        (
            "/tokenize",
            vec![
                "prompt",
                "messages",
                "model",
                "add_special_tokens",
                "return_token_strs",
            ],
        ),
        ("/detokenize", vec!["tokens", "model"]),
        (
            "/v1/responses",
            vec![
                "model",
                "input",
                "instructions",
                "tools",
                "tool_choice",
                "parallel_tool_calls",
                "text",
                "max_output_tokens",
                "temperature",
                "top_p",
                "stream",
                "stop",
                "seed",
                "n",
                "previous_response_id",
                "conversation",
                "background",
                "truncation",
                "include",
                "reasoning",
                "top_logprobs",
            ],
        ),
        (
            "/v1/messages",
            vec![
                "model",
                "messages",
                "system",
                "max_tokens",
                "tools",
                "tool_choice",
                "stop_sequences",
                "temperature",
                "top_p",
                "top_k",
                "stream",
                "thinking",
                "n",
            ],
        ),
        (
            "/v1/messages/count_tokens",
            vec!["model", "messages", "system", "tools", "tool_choice"],
        ),
    ]
}

/// A small, right request.
fn right(path: &str) -> Map<String, Value> {
    let body = match path {
        "/v1/completions" => json!({"prompt": "a", "max_tokens": 1}),
        "/v1/chat/completions" => {
            json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1})
        }
        "/tokenize" => json!({"prompt": "a"}),
        "/v1/responses" => json!({"input": "a", "max_output_tokens": 1}),
        "/v1/messages" => {
            json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1})
        }
        "/v1/messages/count_tokens" => json!({"messages": [{"role": "user", "content": "a"}]}),
        _ => json!({"tokens": [1]}),
    };
    body.as_object().unwrap().clone()
}

fn assert_refused(answer: &Answer, what: &str) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    let error = &answer.json()["error"];
    assert!(
        error["message"].is_string() && error["type"].is_string(),
        "{what}: {answer:?}"
    );
    assert!(!answer.body.contains('\n'), "{what}: {answer:?}");
}

#[test]
fn a_field_with_any_value_is_answered_or_refused_by_name() {
    let served = Served::of_context(64);
    let (mut asked, mut refused) = (0, 0);
    for (path, fields) in fields() {
        for field in fields {
            for value in values() {
                let mut body = right(path);
                body.insert(field.into(), value.clone());
                let answer = served.post(path, &body.into());
                asked += 1;
                if answer.status == 200 {
                    continue;
                }
                refused += 1;
                let what = format!("{path} {field} {value}");
                assert_refused(&answer, &what);
                let error = answer.json();
                let named = error["error"]["param"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned();
                let said = error["error"]["message"].as_str().unwrap().to_owned();
                assert!(named == field || said.contains(field), "{what}: {said}");
            }
        }
    }
    assert!(asked > 800 && refused > 500, "{asked} {refused}");
    assert_eq!(served.get("/health").status, 200);
}

#[test]
fn unknown_fields_and_bodies_that_are_no_object_are_refused() {
    let served = Served::of_context(64);
    for (path, _) in fields() {
        let mut body = right(path);
        body.insert("temprature".into(), 1.into());
        let answer = served.post(path, &body.into());
        assert_refused(&answer, path);
        let error = &answer.json()["error"];
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("`temprature`"), "{message}");
        // Anthropic's form has no place for it
        if !path.starts_with("/v1/messages") {
            assert_eq!(error["param"], "temprature");
        }
        let deep = "{\"prompt\":".to_owned() + &"[".repeat(100_000);
        for body in [
            &b""[..],
            b"{",
            b"null",
            b"[]",
            b"\"a\"",
            b"{\"prompt\": \"\xff\xfe\"}",
            b"{} {}",
            b"\x00\x01\x02",
            b"{\"prompt\": \"\\ud800\"}",
            b"{'prompt': 'a'}",
            deep.as_bytes(),
        ] {
            let answer = served.send("POST", path, &[], body);
            assert_refused(
                &answer,
                &format!(
                    "{path} {}",
                    String::from_utf8_lossy(&body[..body.len().min(40)])
                ),
            );
        }
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let answer = served.send(method, path, &[], b"");
            assert_refused(&answer, method);
            assert_eq!(answer.status, 405);
        }
    }
    for path in [
        "/page/",
        "/v1",
        "/v1/completions/",
        "/../etc/passwd",
        "/api/trace/..%2f..%2fetc",
        "/%00",
        "/v1/models/%ff",
        "/v1/models/a/b",
    ] {
        assert_refused(&served.get(path), path);
    }
}

#[test]
fn prompts_beyond_the_context_or_the_vocabulary_are_refused() {
    let served = Served::of_context(64);
    let long = "a".repeat(100);
    for (body, code) in [
        (json!({"prompt": long}), json!("context_length_exceeded")),
        (
            json!({"prompt": vec![5; 65]}),
            json!("context_length_exceeded"),
        ),
        (json!({"prompt": [100_000]}), Value::Null),
        (
            json!({"prompt": "a", "n": 128, "model": "other"}),
            json!("model_not_found"),
        ),
        (json!({"prompt": vec!["a"; 100], "n": 128}), Value::Null),
        (
            json!({"prompt": "a", "logit_bias": {"5": 1}}),
            json!("unsupported_parameter"),
        ),
        (json!({"prompt": "a", "stop": vec!["x"; 65]}), Value::Null),
        (
            json!({"prompt": "a", "stream_options": {"include_usage": true}}),
            Value::Null,
        ),
        (json!({"prompt": "a", "domain": "cooking"}), Value::Null),
    ] {
        let answer = served.post("/v1/completions", &body);
        assert_refused(&answer, &body.to_string());
        assert_eq!(answer.json()["error"]["code"], code, "{body}");
    }
    let chat =
        |messages: Value| served.post("/v1/chat/completions", &json!({"messages": messages}));
    for messages in [
        json!([]),
        json!([{"role": "wizard", "content": "a"}]),
        json!([{"role": "user"}]),
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        json!([{"role": "user", "content": "a", "mood": "bad"}]),
        json!([{"role": "tool", "content": "a"}]),
        json!([{"role": "user", "content": long}]),
    ] {
        assert_refused(&chat(messages.clone()), &messages.to_string());
    }
}

#[test]
fn sizes_and_times_are_bounded() {
    let mut how = serve_config();
    how.body_bytes = 1000;
    how.head_bytes = 9000;
    how.patience = Duration::from_millis(300);
    let served = Served::start(config(64), how);
    let large = json!({"prompt": "a".repeat(2000)});
    let answer = served.post("/v1/completions", &large);
    assert_refused(&answer, "a large body");
    assert_eq!(answer.status, 413);
    // a body without a length
    let mut chunked = Connection::open(served.address);
    let mut all = "POST /tokenize HTTP/1.1\r\nHost: here\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for _ in 0..10 {
        all += &format!("100\r\n{}\r\n", "a".repeat(256));
    }
    chunked.0.write_all(all.as_bytes()).unwrap();
    assert_eq!(chunked.answer().status, 413);
    // a body that does not come
    let mut slow = Connection::open(served.address);
    let head =
        "POST /tokenize HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{";
    slow.0.write_all(head.as_bytes()).unwrap();
    let answer = slow.answer();
    assert_refused(&answer, "a slow body");
    assert_eq!(answer.status, 408);
    // a body that ends early
    let mut short = Connection::open(served.address);
    short.0.write_all(head.as_bytes()).unwrap();
    short.half_close();
    short.rest();
    // a head that does not end, and one that is too large
    let mut endless = Connection::open(served.address);
    endless
        .0
        .write_all(b"GET /health HTTP/1.1\r\nHost: here\r\n")
        .unwrap();
    endless.rest();
    let large = format!("X-Large: {}", "a".repeat(20_000));
    let mut connection = Connection::open(served.address);
    connection.send("GET", "/health", &[&large], b"");
    let answer = String::from_utf8(connection.rest()).unwrap();
    // a server that closes with unread input resets the connection, and the answer may be lost
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    for garbage in [
        &b"\r\n\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
        b"POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /he\x00alth HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut connection = Connection::open(served.address);
        let _ = connection.0.write_all(garbage);
        connection.half_close();
        let answer = connection.rest();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{answer}"
        );
    }
    drop(Connection::open(served.address));
    assert_eq!(served.get("/health").status, 200);
}
