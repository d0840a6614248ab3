//! Chats, and the tokenizer over HTTP.

use darkhorse_genesis::tokenizer::Tokenizer;
use darkhorse_genesis::tokenizer::chat::{Conversation, Message, Role, Template};
use serde_json::{Value, json};

use crate::alone::{generated, prompt_ids};
use crate::served::{Served, config, model};

fn messages() -> Value {
    json!([
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello, "}, {"type": "text", "text": "you"}]},
    ])
}

/// Ids of [`messages`] by the template.
fn chat_ids() -> Vec<u32> {
    let tokenizer = Tokenizer::bytes();
    let conversation: Conversation = vec![
        Message::new(Role::System, "Be brief."),
        Message::new(Role::User, "Hello, you"),
    ]
    .into();
    let template = Template::of(&tokenizer).unwrap();
    template.prompt(&tokenizer, &conversation, None).unwrap()
}

#[test]
fn a_chat_is_read_by_the_template_and_answered_alike_in_both_modes() {
    let config = config(256);
    let served = Served::of_context(256);
    let mut body = json!({"messages": messages(), "max_completion_tokens": 24, "temperature": 0,
        "logprobs": true, "top_logprobs": 2, "ignore_eos": true, "tools": [], "response_format": {"type": "text"}});
    let whole = served.post("/v1/chat/completions", &body).ok();
    let choice = &whole["choices"][0];
    let content = choice["message"]["content"].as_str().unwrap();
    let model = model(&config);
    let greedy = darkhorse_genesis::inference::SamplingConfig::greedy();
    let ids = generated(model.causal_lm(), &config, &chat_ids(), greedy, None, 24);
    let mut stream = Tokenizer::bytes().stream();
    let text: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
    assert!(
        content.starts_with(&text) && !text.is_empty(),
        "{content:?} {text:?}"
    );
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["usage"]["prompt_tokens"], chat_ids().len());
    assert_eq!(whole["usage"]["completion_tokens"], 24);
    let tokens = choice["logprobs"]["content"].as_array().unwrap();
    assert_eq!(tokens.len(), 24);
    // special tokens have none
    let bytes = tokens.iter().filter_map(|it| it["bytes"].as_array());
    let bytes = bytes.flatten().map(|it| it.as_u64().unwrap() as u8);
    let bytes: Vec<u8> = bytes.collect();
    assert_eq!(String::from_utf8_lossy(&bytes), content);
    for token in tokens {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        assert_eq!(
            top[0]["logprob"], token["logprob"],
            "the likeliest was chosen"
        );
    }

    body["stream"] = true.into();
    let events = served.post("/v1/chat/completions", &body).events();
    let (done, events) = events.split_last().unwrap();
    assert_eq!(done, "[DONE]");
    let events: Vec<Value> = events
        .iter()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let deltas = events.iter().map(|it| &it["choices"][0]["delta"]);
    let streamed: String = deltas.filter_map(|it| it["content"].as_str()).collect();
    assert_eq!(streamed, content);
    let scores = events.iter().flat_map(|it| {
        let content = it["choices"][0]["logprobs"]["content"].as_array();
        content.into_iter().flatten()
    });
    assert_eq!(
        scores.collect::<Vec<_>>(),
        tokens.iter().collect::<Vec<_>>()
    );
    let last = events.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert_eq!(last["object"], "chat.completion.chunk");
}

#[test]
fn a_chat_without_a_limit_ends_with_the_context() {
    let served = Served::of_context(64);
    let body = json!({"messages": [{"role": "user", "content": "a"}], "ignore_eos": true});
    let answer = served.post("/v1/chat/completions", &body).ok();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["total_tokens"], 64);
}

#[test]
fn texts_and_chats_become_the_ids_that_are_read_and_ids_become_texts() {
    let served = Served::of_context(128);
    let text = served
        .post(
            "/tokenize",
            &json!({"prompt": "né", "return_token_strs": true}),
        )
        .ok();
    assert_eq!(text["tokens"], json!(prompt_ids("né")));
    assert_eq!(text["count"], prompt_ids("né").len());
    assert_eq!(text["max_model_len"], 128);
    let plain = served.post(
        "/tokenize",
        &json!({"prompt": "né", "add_special_tokens": false}),
    );
    let plain = plain.ok();
    assert_eq!(plain["count"], 3);
    let back = served
        .post("/detokenize", &json!({"tokens": plain["tokens"]}))
        .ok();
    assert_eq!(back["prompt"], "né");
    let chat = served
        .post("/tokenize", &json!({"messages": messages()}))
        .ok();
    assert_eq!(chat["tokens"], json!(chat_ids()));
    let info = served.get("/tokenizer_info").ok();
    let tokenizer = Tokenizer::bytes();
    let end = tokenizer.token(tokenizer.eos_id().unwrap()).unwrap();
    assert_eq!(info["eos_token"], end);
    assert!(info["chat_template"].as_str().unwrap().contains("messages"));
    // a name of a special token is that token, as other servers have it
    let end = served
        .post(
            "/tokenize",
            &json!({"prompt": end, "add_special_tokens": false}),
        )
        .ok();
    assert_eq!(end["tokens"], json!([tokenizer.eos_id()]));
}
