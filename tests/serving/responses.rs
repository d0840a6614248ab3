//! Conversations by `/v1/responses`.

use serde_json::{Value, json};

use crate::schema::describes;
use crate::served::Served;
use crate::tools::{TEMPLATES, calls, tools};

/// A value without ids and times, which are new in every answer.
pub(crate) fn without_ids(mut value: Value) -> Value {
    match &mut value {
        Value::Object(all) => {
            for name in ["id", "item_id", "call_id", "created_at", "sequence_number"] {
                all.shift_remove(name);
            }
            for (_, value) in all.iter_mut() {
                *value = without_ids(value.take());
            }
        }
        Value::Array(all) => {
            for value in all {
                *value = without_ids(value.take());
            }
        }
        _ => {}
    }
    value
}

fn respond(served: &Served, body: &Value) -> Value {
    served.post("/v1/responses", body).ok()
}

fn names(events: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = events
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    names.dedup();
    names
}

/// Events of a stream, whose numbers and last response are as they should be.
fn streamed(served: &Served, body: &Value) -> Vec<Value> {
    let whole = respond(served, body);
    let mut body = body.clone();
    body["stream"] = true.into();
    let events = served.post("/v1/responses", &body).named_events();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let last = &events.last().unwrap()["response"];
    assert_eq!(events[0]["response"]["id"], last["id"]);
    assert_eq!(without_ids(last.clone()), without_ids(whole));
    // what the events say of an item is what the last one has
    for (index, item) in last["output"].as_array().unwrap().iter().enumerate() {
        let own: Vec<&Value> = events
            .iter()
            .filter(|it| it["output_index"] == index)
            .collect();
        assert_eq!(own[0]["type"], "response.output_item.added");
        assert_eq!(own.last().unwrap()["item"], *item);
        let deltas: String = own.iter().filter_map(|it| it["delta"].as_str()).collect();
        let text = item["content"][0]["text"].as_str();
        assert_eq!(Some(deltas.as_str()), text.or(item["arguments"].as_str()));
        for event in &own[1..own.len() - 1] {
            assert_eq!(event["item_id"], item["id"]);
        }
    }
    events
}

#[test]
fn a_response_says_what_a_chat_says() {
    let served = Served::of_context(256);
    let chat = json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}],
        "max_tokens": 20, "seed": 3, "ignore_eos": true});
    let chat = served.post("/v1/chat/completions", &chat).ok();
    let content = &chat["choices"][0]["message"]["content"];
    let parts = json!([{"role": "user", "content": [{"type": "input_text", "text": "Who?"}]}]);
    for input in [json!("Who?"), parts] {
        let body = json!({"model": "small", "input": input, "instructions": "Be brief.", "max_output_tokens": 20,
            "seed": 3, "ignore_eos": true, "store": true, "metadata": {"a": "b"}, "reasoning": {"effort": "low"},
            "include": ["reasoning.encrypted_content"]});
        let response = respond(&served, &body);
        assert_eq!(response["object"], "response");
        assert_eq!(response["status"], "incomplete");
        assert_eq!(
            response["incomplete_details"]["reason"],
            "max_output_tokens"
        );
        assert_eq!(response["store"], false, "nothing is stored");
        assert_eq!(response["metadata"], json!({"a": "b"}));
        let [item] = &response["output"].as_array().unwrap()[..] else {
            panic!("{response}");
        };
        assert_eq!(item["status"], "incomplete");
        assert_eq!(item["content"][0]["text"], *content);
        let usage = &response["usage"];
        assert_eq!(usage["input_tokens"], chat["usage"]["prompt_tokens"]);
        assert_eq!(usage["output_tokens"], 20);
        let events = streamed(&served, &body);
        assert_eq!(
            names(&events),
            [
                "response.created",
                "response.in_progress",
                "response.output_item.added",
                "response.content_part.added",
                "response.output_text.delta",
                "response.output_text.done",
                "response.content_part.done",
                "response.output_item.done",
                "response.incomplete",
            ]
        );
    }
}

#[test]
fn a_response_may_be_of_a_schema() {
    let served = Served::of_context(256);
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["a"], "additionalProperties": false});
    for seed in 0..4 {
        let body = json!({"input": "Who?", "max_output_tokens": 150, "seed": seed,
            "text": {"format": {"type": "json_schema", "name": "a", "schema": schema, "strict": true}}});
        let response = respond(&served, &body);
        assert_eq!(response["status"], "completed");
        let text = response["output"][0]["content"][0]["text"]
            .as_str()
            .unwrap();
        assert!(
            describes(&schema, &serde_json::from_str(text).unwrap()),
            "{text}"
        );
        assert_eq!(
            streamed(&served, &body).last().unwrap()["type"],
            "response.completed"
        );
    }
    let body = json!({"input": "Who?", "text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "x"}}}});
    let answer = served.post("/v1/responses", &body);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"]["param"], "text");
}

/// Tools as this interface has them, and as chats do.
fn flat_tools() -> Value {
    let tools = tools();
    let flat = tools.as_array().unwrap().iter().map(|tool| {
        let mut flat = tool["function"].clone();
        flat["type"] = "function".into();
        flat
    });
    flat.collect()
}

#[test]
fn tools_are_called_by_items_and_their_results_come_back_as_items() {
    for template in TEMPLATES {
        let served = Served::of_template(2400, template);
        let named = json!({"type": "function", "name": "count"});
        for (seed, choice) in [json!("required"), named].into_iter().enumerate() {
            let body = json!({"input": "Light!", "tools": flat_tools(), "tool_choice": choice, "seed": seed,
                "max_output_tokens": 700});
            let response = respond(&served, &body);
            assert_eq!(response["status"], "completed");
            let items = response["output"].as_array().unwrap();
            // as calls of a chat
            let message = json!({"tool_calls": items.iter().map(|item| {
                assert_eq!(item["type"], "function_call");
                assert_eq!(item["status"], "completed");
                json!({"id": item["call_id"], "type": "function",
                    "function": {"name": item["name"], "arguments": item["arguments"]}})
            }).collect::<Value>()});
            assert!(!calls(&message).is_empty());
            let events = streamed(&served, &body);
            assert_eq!(
                names(&events)[2..6],
                [
                    "response.output_item.added",
                    "response.function_call_arguments.delta",
                    "response.function_call_arguments.done",
                    "response.output_item.done",
                ]
            );
        }
        let call = json!({"id": "c", "type": "function", "function": {"name": "count", "arguments": "{\"to\": 5}"}});
        let chat = json!({"tools": tools(), "max_tokens": 4, "seed": 1, "messages": [
            {"role": "system", "content": "Be brief.\n\nVery."},
            {"role": "user", "content": "Count!"}, {"role": "assistant", "content": null, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "done"},
        ]});
        let chat = served.post("/v1/chat/completions", &chat).ok();
        let body = json!({"tools": flat_tools(), "max_output_tokens": 4, "seed": 1, "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "developer", "content": "Very."},
            {"role": "user", "content": "Count!"},
            {"type": "reasoning", "id": "r", "summary": []},
            {"type": "function_call", "id": "fc", "call_id": "c", "name": "count", "arguments": "{\"to\": 5}"},
            {"type": "function_call_output", "call_id": "c", "output": "done"},
        ]});
        let response = respond(&served, &body);
        assert_eq!(
            response["usage"]["input_tokens"],
            chat["usage"]["prompt_tokens"]
        );
        let text = &response["output"][0]["content"][0]["text"];
        assert_eq!(*text, chat["choices"][0]["message"]["content"]);
    }
}

#[test]
fn what_is_stored_elsewhere_is_refused_by_name() {
    let served = Served::of_context(128);
    for (field, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("background", json!(true)),
        ("n", json!(2)),
        ("input", json!([{"type": "item_reference", "id": "msg_1"}])),
        (
            "input",
            json!([{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
        ),
        (
            "input",
            json!([{"type": "function_call", "name": "f", "arguments": "{}"}]),
        ),
        ("tools", json!([{"type": "web_search"}])),
        ("include", json!(["message.output_text.logprobs"])),
        (
            "text",
            json!({"format": {"type": "json_object", "name": "x"}}),
        ),
    ] {
        let mut body = json!({"input": "Who?"});
        body[field] = value;
        let answer = served.post("/v1/responses", &body);
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains(field), "{body}: {message}");
    }
}
