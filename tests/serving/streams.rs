//! Streams: framing, equality with whole answers, stop strings, clients that go away.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Connection;
use crate::served::{Served, config, serve_config};

fn parsed(events: &[String]) -> Vec<Value> {
    let (done, events) = events.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    let events = events.iter().map(|it| serde_json::from_str(it).unwrap());
    events.collect()
}

/// Texts of the choices of a stream.
fn texts(events: &[Value], choices: usize) -> Vec<String> {
    let mut texts = vec![String::new(); choices];
    for event in events {
        for choice in event["choices"].as_array().unwrap() {
            let text = choice["text"].as_str().unwrap();
            texts[choice["index"].as_u64().unwrap() as usize].push_str(text);
        }
    }
    texts
}

#[test]
fn a_stream_adds_up_to_the_whole_answer() {
    let served = Served::of_context(160);
    for echo in [false, true] {
        let mut body = json!({"prompt": ["Grüße", "two"], "n": 2, "max_tokens": 20, "seed": 9,
            "logprobs": 1, "echo": echo, "stop": ["e"]});
        let whole = served.complete(&body);
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
        let events = parsed(&served.post("/v1/completions", &body).events());
        let whole_choices = whole["choices"].as_array().unwrap();
        let expected: Vec<&str> = whole_choices
            .iter()
            .map(|it| it["text"].as_str().unwrap())
            .collect();
        assert_eq!(texts(&events, 4), expected);
        let (usage, events) = events.split_last().unwrap();
        assert_eq!(usage["choices"], json!([]));
        assert_eq!(
            usage["usage"]["completion_tokens"],
            whole["usage"]["completion_tokens"]
        );
        assert_eq!(
            usage["usage"]["prompt_tokens"],
            whole["usage"]["prompt_tokens"]
        );
        for (index, whole) in whole_choices.iter().enumerate() {
            let own = || {
                let own = events.iter().map(|it| &it["choices"][0]);
                own.filter(|it| it["index"] == index)
            };
            let reasons: Vec<&Value> = own()
                .map(|it| &it["finish_reason"])
                .filter(|it| !it.is_null())
                .collect();
            assert_eq!(reasons, [&whole["finish_reason"]]);
            for key in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
                let parts =
                    own().flat_map(|it| it["logprobs"][key].as_array().into_iter().flatten());
                let parts: Vec<Value> = parts.cloned().collect();
                assert_eq!(Value::from(parts), whole["logprobs"][key], "{key}");
            }
        }
        assert!(events.iter().all(|event| event["usage"].is_null()));
        assert_eq!(events[0]["object"], "text_completion");
    }
}

/// The text that a request generates, and a part of it, of several tokens, that first occurs late in it.
fn text_and_part(served: &Served, body: &Value) -> (String, String) {
    let answer = served.complete(body);
    let text = answer["choices"][0]["text"].as_str().unwrap().to_owned();
    let characters: Vec<char> = text.chars().collect();
    let parts = characters.windows(3).skip(4);
    let parts = parts.map(|it| it.iter().collect::<String>());
    let is_plain = |part: &String| part.chars().all(|it| it.is_ascii_graphic());
    let part = parts
        .filter(is_plain)
        .find(|part| text.find(part).is_some_and(|at| at > 8));
    (text, part.expect("the seed gives one"))
}

#[test]
fn a_stop_string_of_several_tokens_ends_the_text_before_it_and_never_shows() {
    let served = Served::of_context(300);
    let mut body = json!({"prompt": "x", "max_tokens": 200, "seed": 2, "ignore_eos": true,
        "logprobs": 0});
    let (text, stop) = text_and_part(&served, &body);
    let expected = &text[..text.find(&stop).unwrap()];
    body["stop"] = json!(["never to be found, that is", stop]);
    let answer = served.complete(&body);
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], expected);
    assert_eq!(choice["finish_reason"], "stop");
    let tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
    assert!(tokens < 200, "the sequence ends with its text");
    let scored = choice["logprobs"]["tokens"].as_array().unwrap().len() as u64;
    // an invalid byte before the stop string and its first one may be shown as one piece
    assert!(
        (tokens - 6..tokens).contains(&scored),
        "{scored} of {tokens}"
    );
    body["stream"] = true.into();
    let events = served.post("/v1/completions", &body).events();
    assert_eq!(texts(&parsed(&events), 1), [expected]);
    for event in &parsed(&events) {
        let shown = event["choices"][0]["text"].as_str().unwrap();
        assert!(!shown.contains('\u{FFFD}') || expected.contains('\u{FFFD}'));
    }
}

#[test]
fn a_client_that_goes_away_frees_its_place() {
    let mut how = serve_config();
    how.engine.max_sequences = 1;
    how.queue = 0;
    let served = Served::start(config(100_000), how);
    let long = json!({"prompt": "x", "max_tokens": 90_000, "ignore_eos": true, "stream": true});
    let mut connection = Connection::open(served.address);
    connection.send("POST", "/v1/completions", &[], long.to_string().as_bytes());
    connection.read_until("data: ");
    // the only place is taken
    let short = json!({"prompt": "x", "max_tokens": 2, "ignore_eos": true});
    let refused = served.post("/v1/completions", &short);
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: "), "{refused:?}");
    assert_eq!(refused.json()["error"]["type"], "rate_limit_error");
    drop(connection);
    let answer = loop {
        let answer = served.post("/v1/completions", &short);
        if answer.status != 429 {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(answer.ok()["usage"]["completion_tokens"], 2);
    let name = "vllm:request_success_total{finished_reason=\"abort\",model_name=\"small\"}";
    assert_eq!(served.metric(name), Some(1.0));
    // a client that waits for a whole answer may go, too
    let running = |count: f64| {
        let name = "vllm:num_requests_running{model_name=\"small\"}";
        while served.metric(name) != Some(count) {
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    running(0.0);
    let mut connection = Connection::open(served.address);
    let whole = json!({"prompt": "x", "max_tokens": 90_000, "ignore_eos": true});
    connection.send("POST", "/v1/completions", &[], whole.to_string().as_bytes());
    running(1.0);
    drop(connection);
    running(0.0);
    assert_eq!(served.metric(name), Some(2.0));
    // an answer that is there has given its place back
    for _ in 0..200 {
        served.post("/v1/completions", &short).ok();
    }
}
