//! Calls of tools in chats.

use std::thread;

use darkhorse_genesis::tokenizer::chat::{Conversation, Template};
use serde_json::{Value, json};

use crate::schema::describes;
use crate::served::{Served, tokenizer_of_template};

/// Templates whose models write calls between tags, and as a bare object.
pub(crate) const TEMPLATES: [&str; 2] = ["templates/tools_json.jinja", "calls/llama_tools.jinja"];

fn lamp_schema() -> Value {
    json!({"type": "object", "additionalProperties": false, "required": ["on", "room"], "properties": {
        "on": {"type": "boolean"}, "room": {"type": "string", "maxLength": 4},
    }})
}

fn count_schema() -> Value {
    json!({"type": "object", "additionalProperties": false, "required": ["to"], "properties": {
        "to": {"type": "integer", "minimum": 0, "maximum": 99},
    }})
}

pub(crate) fn tools() -> Value {
    let tool = |name: &str, schema: Value| json!({"type": "function", "function": {"name": name, "description": "it", "parameters": schema}});
    json!([tool("lamp", lamp_schema()), tool("count", count_schema())])
}

fn ask(choice: Value, seed: usize) -> Value {
    json!({
        "messages": [{"role": "user", "content": "Light!"}], "tools": tools(), "tool_choice": choice,
        "max_tokens": 700, "seed": seed, "temperature": (seed % 3) as f64,
    })
}

fn chat(served: &Served, body: &Value) -> Value {
    served.post("/v1/chat/completions", body).ok()
}

/// Name and arguments of the calls of a message, which are as they should be.
pub(crate) fn calls(message: &Value) -> Vec<(String, String)> {
    let calls = message["tool_calls"].as_array().unwrap().iter();
    let calls: Vec<_> = calls
        .map(|call| {
            assert_eq!(call["type"], "function");
            assert!(call["id"].as_str().unwrap().starts_with("call_"), "{call}");
            let part = |name: &str| call["function"][name].as_str().unwrap().to_owned();
            (part("name"), part("arguments"))
        })
        .collect();
    for (name, arguments) in &calls {
        let schema = match name.as_str() {
            "lamp" => lamp_schema(),
            "count" => count_schema(),
            other => panic!("{other}"),
        };
        let value = serde_json::from_str(arguments);
        let value = value.unwrap_or_else(|error| panic!("{error}: {arguments:?}"));
        assert!(describes(&schema, &value), "{name} {arguments}");
    }
    calls
}

/// The message that the deltas of a stream add up to, and why it ends.
fn streamed(served: &Served, body: &Value) -> (Value, Value) {
    let mut body = body.clone();
    body["stream"] = true.into();
    let events = served.post("/v1/chat/completions", &body).events();
    let mut message = json!({});
    let mut content: Option<String> = None;
    let mut calls: Vec<Value> = Vec::new();
    let mut reason = Value::Null;
    for event in &events[..events.len() - 1] {
        let event: Value = serde_json::from_str(event).unwrap();
        let choice = &event["choices"][0];
        assert!(reason.is_null(), "an event after the last one: {event}");
        reason = choice["finish_reason"].clone();
        let delta = &choice["delta"];
        if let Some(text) = delta["content"].as_str() {
            content.get_or_insert_default().push_str(text);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = call["index"].as_u64().unwrap() as usize;
            let arguments = call["function"]["arguments"].as_str().unwrap();
            if at == calls.len() {
                // the first delta of a call, and no other, tells which it is
                assert_eq!(arguments, "");
                calls.push(
                    json!({"id": call["id"], "type": call["type"], "function": call["function"]}),
                );
            } else {
                assert_eq!(at + 1, calls.len(), "{event}");
                assert!(call.get("id").is_none() && call["function"].get("name").is_none());
                let all = &mut calls[at]["function"]["arguments"];
                *all = (all.as_str().unwrap().to_owned() + arguments).into();
            }
        }
    }
    message["content"] = content
        .filter(|it| calls.is_empty() || !it.is_empty())
        .into();
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    (message, reason)
}

#[test]
fn a_required_call_has_arguments_of_its_schema_and_streams_add_up_to_it() {
    for template in TEMPLATES {
        let served = Served::of_template(2400, template);
        let mut names = std::collections::BTreeSet::new();
        thread::scope(|scope| {
            let all: Vec<_> = (0..9)
                .map(|seed| {
                    let served = &served;
                    scope.spawn(move || {
                        let named = json!({"type": "function", "function": {"name": "count"}});
                        let choice = [json!("required"), named][seed % 2].clone();
                        let body = ask(choice, seed);
                        let answer = chat(served, &body);
                        let choice = &answer["choices"][0];
                        assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
                        assert_eq!(choice["message"]["content"], Value::Null);
                        let whole = calls(&choice["message"]);
                        assert!(!whole.is_empty() && whole.len() <= 8);
                        let (message, reason) = streamed(served, &body);
                        assert_eq!(reason, "tool_calls");
                        assert_eq!(message["content"], Value::Null);
                        assert_eq!(calls(&message), whole);
                        if seed % 2 == 1 {
                            assert_eq!(whole.len(), 1);
                            assert_eq!(whole[0].0, "count");
                        }
                        whole
                    })
                })
                .collect();
            for one in all {
                names.extend(one.join().unwrap());
            }
        });
        assert!(names.len() > 4, "{names:?}");
    }
}

#[test]
fn several_calls_are_told_apart_unless_only_one_is_allowed() {
    let served = Served::of_template(2400, TEMPLATES[0]);
    let mut several = 0;
    for seed in 0..6 {
        let mut body = ask(json!("required"), seed);
        body["temperature"] = 1.into();
        let message = &chat(&served, &body)["choices"][0]["message"];
        let calls = calls(message);
        let ids: std::collections::BTreeSet<&str> = message["tool_calls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), calls.len());
        several += usize::from(calls.len() > 1);
        body["parallel_tool_calls"] = false.into();
        let one = chat(&served, &body);
        assert_eq!(self::calls(&one["choices"][0]["message"]).len(), 1);
    }
    assert!(several > 0);
}

#[test]
fn the_template_writes_the_tools_and_the_results_of_calls() {
    for template in TEMPLATES {
        let served = Served::of_template(2400, template);
        let tokenizer = tokenizer_of_template(template);
        let call = |arguments: Value| json!({"id": "call_1", "type": "function", "function": {"name": "count", "arguments": arguments}});
        let messages = |arguments: Value| {
            json!([
                {"role": "user", "content": "Count!"},
                {"role": "assistant", "content": null, "tool_calls": [call(arguments)]},
                {"role": "tool", "tool_call_id": "call_1", "content": "done"},
            ])
        };
        let expected = Conversation::parse(&messages(json!({"to": 5})), Some(&tools())).unwrap();
        let expected = Template::of(&tokenizer)
            .unwrap()
            .prompt(&tokenizer, &expected, None);
        let expected = expected.unwrap().len();
        // clients write arguments as a text, and some the name beside the result
        let mut given = messages(json!("{\"to\": 5}"));
        given[1]["refusal"] = Value::Null;
        given[2]["name"] = "count".into();
        let mut body = json!({"messages": given, "tools": tools(), "max_tokens": 4, "seed": 1});
        let answer = chat(&served, &body);
        assert_eq!(answer["usage"]["prompt_tokens"], expected);
        // without tools that may be called the template sees none
        body["tool_choice"] = "none".into();
        let fewer = chat(&served, &body)["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap();
        assert!((fewer as usize) < expected - 100, "{fewer} {expected}");
        body["messages"][1]["tool_calls"][0]["function"]["arguments"] = "{\"to\": ".into();
        let answer = served.post("/v1/chat/completions", &body);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["param"], "messages");
    }
}

#[test]
fn a_model_that_may_call_tools_says_what_it_would_say() {
    for template in TEMPLATES {
        let served = Served::of_template(2400, template);
        for seed in 0..4 {
            let mut body = ask(json!("auto"), seed);
            body["max_tokens"] = 40.into();
            body["ignore_eos"] = true.into();
            body["logprobs"] = true.into();
            let whole = chat(&served, &body);
            let choice = &whole["choices"][0];
            assert_eq!(choice["finish_reason"], "length");
            let content = choice["message"]["content"].as_str().unwrap();
            assert!(!content.is_empty());
            assert_eq!(
                choice["logprobs"]["content"].as_array().unwrap().len(),
                40,
                "{whole}"
            );
            let (message, reason) = streamed(&served, &body);
            assert_eq!(
                (message["content"].as_str(), reason),
                (Some(content), json!("length"))
            );
        }
    }
}

#[test]
fn an_answer_of_a_schema_may_also_be_a_call() {
    let served = Served::of_template(2400, TEMPLATES[0]);
    let schema = json!({"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    for seed in 0..8 {
        let mut body = ask(json!("auto"), seed);
        body["response_format"] = format.clone();
        let answer = chat(&served, &body);
        let choice = &answer["choices"][0];
        match choice["message"]["content"].as_str() {
            Some(content) => {
                let value = serde_json::from_str(content).unwrap();
                assert!(describes(&schema, &value), "{content}");
            }
            None => assert!(!calls(&choice["message"]).is_empty()),
        }
    }
}

#[test]
fn a_template_without_tools_or_with_other_calls_is_named() {
    let plain = Served::of_context(256);
    let answer = plain.post("/v1/chat/completions", &ask(json!("auto"), 1));
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("does not write `tools`"),
        "{error}"
    );
    assert_eq!(error["param"], "tools");
    let other = Served::of_template(2400, "templates/mistral_tools.jinja");
    let answer = other.post("/v1/chat/completions", &ask(json!("auto"), 1));
    assert_eq!(answer.status, 400);
    let error = &answer.json()["error"];
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("in a form that is not read"),
        "{error}"
    );
    // no call is asked for
    let answer = plain.post("/v1/chat/completions", &ask(json!("none"), 1));
    assert_eq!(answer.status, 200);
}

#[test]
fn a_schema_of_arguments_that_cannot_be_followed_is_refused() {
    let served = Served::of_template(2400, TEMPLATES[0]);
    let mut body = ask(json!("required"), 1);
    body["tools"][0]["function"]["parameters"]["properties"]["on"] = json!({"type": "switch"});
    let answer = served.post("/v1/chat/completions", &body);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["param"], "tools");
}
