//! Conversations by `/v1/messages`.

use darkhorse_genesis::serving::ApiKeys;
use serde_json::{Value, json};

use crate::responses::without_ids;
use crate::served::{Served, config, serve_config};
use crate::tools::{TEMPLATES, calls, tools};

fn ask(content: Value) -> Value {
    json!({"model": "small", "messages": [{"role": "user", "content": content}], "max_tokens": 20, "system": "Be brief.",
        "seed": 3, "ignore_eos": true})
}

fn message(served: &Served, body: &Value) -> Value {
    served.post("/v1/messages", body).ok()
}

/// The message that the events of a stream add up to.
fn streamed(served: &Served, body: &Value) -> Value {
    let mut body = body.clone();
    body["stream"] = true.into();
    let events = served.post("/v1/messages", &body).named_events();
    let mut message = events[0]["message"].clone();
    assert_eq!(events[0]["type"], "message_start");
    let mut blocks: Vec<Value> = Vec::new();
    let mut json = String::new();
    for event in &events[1..events.len() - 2] {
        let index = event["index"].as_u64().unwrap() as usize;
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(index, blocks.len());
                blocks.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                let block = &mut blocks[index];
                match delta["type"].as_str().unwrap() {
                    "text_delta" => {
                        let text = block["text"].as_str().unwrap().to_owned();
                        block["text"] = (text + delta["text"].as_str().unwrap()).into();
                    }
                    _ => json += delta["partial_json"].as_str().unwrap(),
                }
            }
            other => {
                assert_eq!((other, index + 1), ("content_block_stop", blocks.len()));
                if blocks[index]["type"] == "tool_use" {
                    assert_eq!(blocks[index]["input"], json!({}));
                    blocks[index]["input"] =
                        serde_json::from_str(&std::mem::take(&mut json)).unwrap();
                }
            }
        }
    }
    let [.., last, stop] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(last["type"], "message_delta");
    assert_eq!(*stop, json!({"type": "message_stop"}));
    message["content"] = blocks.into();
    for name in ["stop_reason", "stop_sequence"] {
        message[name] = last["delta"][name].clone();
    }
    message["usage"] = last["usage"].clone();
    message
}

#[test]
fn a_message_says_what_a_chat_says() {
    let served = Served::of_context(256);
    let chat = json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}],
        "max_tokens": 20, "seed": 3, "ignore_eos": true});
    let chat = served.post("/v1/chat/completions", &chat).ok();
    let content = chat["choices"][0]["message"]["content"].as_str().unwrap();
    let blocks = json!([{"type": "text", "text": "Wh"}, {"type": "text", "text": "o?", "cache_control": {"type": "ephemeral"}}]);
    for given in [json!("Who?"), blocks] {
        let mut body = ask(given);
        let answer = message(&served, &body);
        assert_eq!(answer["type"], "message");
        assert_eq!(answer["role"], "assistant");
        assert_eq!(
            answer["content"],
            json!([{"type": "text", "text": content}])
        );
        assert_eq!(answer["stop_reason"], "max_tokens");
        let usage = &answer["usage"];
        let prompt = usage["input_tokens"].as_u64().unwrap()
            + usage["cache_read_input_tokens"].as_u64().unwrap();
        assert_eq!(chat["usage"]["prompt_tokens"], prompt);
        assert_eq!(usage["output_tokens"], 20);
        assert_eq!(
            without_ids(streamed(&served, &body)),
            without_ids(message(&served, &body))
        );
        let stop: String = content.chars().skip(3).take(2).collect();
        body["stop_sequences"] = json!([stop, "never said"]);
        let stopped = message(&served, &body);
        assert_eq!(stopped["stop_reason"], "stop_sequence");
        assert_eq!(stopped["stop_sequence"], stop);
        assert_eq!(
            without_ids(streamed(&served, &body)),
            without_ids(message(&served, &body))
        );
        let count =
            json!({"model": "small", "messages": body["messages"], "system": body["system"]});
        let count = served.post("/v1/messages/count_tokens", &count).ok();
        assert_eq!(count, json!({"input_tokens": prompt}));
    }
}

fn own_tools() -> Value {
    let tools = tools();
    let own = tools.as_array().unwrap().iter().map(|tool| {
        let function = &tool["function"];
        json!({"name": function["name"], "description": function["description"], "input_schema": function["parameters"]})
    });
    own.collect()
}

#[test]
fn tools_are_used_and_their_results_come_back() {
    for template in TEMPLATES {
        let served = Served::of_template(2400, template);
        for (seed, choice) in [
            json!({"type": "any"}),
            json!({"type": "tool", "name": "count"}),
        ]
        .into_iter()
        .enumerate()
        {
            let body = json!({"messages": [{"role": "user", "content": "Light!"}], "tools": own_tools(),
                "tool_choice": choice, "max_tokens": 700, "seed": seed});
            let answer = message(&served, &body);
            assert_eq!(answer["stop_reason"], "tool_use");
            let blocks = answer["content"].as_array().unwrap();
            let uses = json!({"tool_calls": blocks.iter().map(|block| {
                assert_eq!(block["type"], "tool_use");
                let id = block["id"].as_str().unwrap().strip_prefix("toolu_").unwrap();
                json!({"id": format!("call_{id}"), "type": "function",
                    "function": {"name": block["name"], "arguments": block["input"].to_string()}})
            }).collect::<Value>()});
            assert!(!calls(&uses).is_empty());
            assert_eq!(
                without_ids(streamed(&served, &body)),
                without_ids(message(&served, &body))
            );
        }
        let call = json!({"id": "c", "type": "function", "function": {"name": "count", "arguments": "{\"to\": 5}"}});
        let chat = json!({"tools": tools(), "max_tokens": 4, "seed": 1, "messages": [
            {"role": "user", "content": "Count!"},
            {"role": "assistant", "content": "I count.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "done"},
            {"role": "user", "content": "Thanks."},
        ]});
        let chat = served.post("/v1/chat/completions", &chat);
        let body = json!({"tools": own_tools(), "max_tokens": 4, "seed": 1, "messages": [
            {"role": "user", "content": "Count!"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "I count."},
                {"type": "tool_use", "id": "c", "name": "count", "input": {"to": 5}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "done"}]},
                {"type": "text", "text": "Thanks."},
            ]},
        ]});
        let answer = served.post("/v1/messages", &body);
        // the second template writes a call or a text, not both
        assert_eq!(answer.status, chat.status);
        if chat.status == 200 {
            let usage = &answer.json()["usage"];
            let prompt = usage["input_tokens"].as_u64().unwrap()
                + usage["cache_read_input_tokens"].as_u64().unwrap();
            assert_eq!(chat.json()["usage"]["prompt_tokens"], prompt);
            let count = json!({"messages": body["messages"], "tools": own_tools()});
            let count = served.post("/v1/messages/count_tokens", &count).ok();
            assert_eq!(count["input_tokens"], prompt);
        }
    }
}

#[test]
fn errors_of_these_paths_are_in_their_own_form_and_a_key_may_stand_in_its_header() {
    let mut how = serve_config();
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "sk-one\n").unwrap();
    how.keys = Some(ApiKeys::read(keys.path()).unwrap());
    let served = Served::start(config(256), how);
    let post = |headers: &[&str], path: &str, body: &Value| {
        served.send("POST", path, headers, body.to_string().as_bytes())
    };
    let right = ["x-api-key: sk-one", "anthropic-version: 2023-06-01"];
    assert_eq!(
        post(&right, "/v1/messages", &ask(json!("Who?"))).status,
        200
    );
    let mut endless = ask(json!("Who?"));
    endless["messages"]
        .as_array_mut()
        .unwrap()
        .push(json!({"role": "assistant", "content": "I"}));
    let mut unlimited = ask(json!("Who?"));
    unlimited.as_object_mut().unwrap().remove("max_tokens");
    let mut other = ask(json!("Who?"));
    other["model"] = "large".into();
    let image = ask(json!([{"type": "image", "source": {}}]));
    for (headers, body, status, kind, part) in [
        (
            &right[..],
            &endless,
            400,
            "invalid_request_error",
            "messages",
        ),
        (
            &right,
            &unlimited,
            400,
            "invalid_request_error",
            "max_tokens",
        ),
        (&right, &image, 400, "invalid_request_error", "image"),
        (&right, &other, 404, "not_found_error", "large"),
        (
            &["x-api-key: sk-two"],
            &other,
            401,
            "authentication_error",
            "key",
        ),
        (&[], &other, 401, "authentication_error", "key"),
    ] {
        let answer = post(headers, "/v1/messages", body);
        assert_eq!(answer.status, status, "{answer:?}");
        let error = answer.json();
        assert_eq!(error["type"], "error");
        assert_eq!(error["error"]["type"], kind);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
    }
    let answer = served.send("GET", "/v1/messages", &right, b"");
    assert_eq!(
        (answer.status, answer.json()["type"].clone()),
        (405, json!("error"))
    );
    // other paths keep theirs
    let answer = post(&[], "/v1/responses", &json!({"input": "a"}));
    assert_eq!(answer.status, 401);
    assert!(answer.json().get("type").is_none());
}
