//! Many requests at once get what each would get alone, from another way of generating.

use std::thread;

use darkhorse_backends::select::Selected;
use darkhorse_genesis::domain::Domain;
use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use darkhorse_genesis::model::{CausalLm, ModelConfig};
use darkhorse_genesis::tokenizer::Tokenizer;
use serde_json::{Value, json};

use crate::served::{Served, config, model};

/// Ids of a text as `/v1/completions` reads it.
pub(crate) fn prompt_ids(text: &str) -> Vec<u32> {
    let tokenizer = Tokenizer::bytes();
    let before = tokenizer.wrapping().before.clone();
    [before, tokenizer.encode(text).unwrap()].concat()
}

/// Ids that the model generates, without the one that ends the text.
pub(crate) fn generated(
    network: &CausalLm<Selected>,
    config: &ModelConfig,
    prompt: &[u32],
    sampling: SamplingConfig,
    domain: Option<Domain>,
    most: usize,
) -> Vec<u32> {
    let mut generation = Generation::new(network, Limits::of(config), domain);
    generation.read(prompt).unwrap();
    let sampler = Sampler::new(sampling).unwrap();
    let end = Tokenizer::bytes().eos_id();
    let mut ids = Vec::new();
    while ids.len() < most {
        match generation.next_token(&sampler).unwrap() {
            Some(id) if Some(id) != end => ids.push(id),
            _ => break,
        }
    }
    ids
}

pub(crate) fn text_after(prompt: &[u32], ids: &[u32]) -> String {
    let mut stream = Tokenizer::bytes().stream_after(prompt);
    let pieces: String = ids.iter().filter_map(|&id| stream.push(id)).collect();
    pieces + &stream.finish()
}

/// A request with settings of its own, and the text that it gets alone.
fn request(number: usize, network: &CausalLm<Selected>, config: &ModelConfig) -> (Value, String) {
    let text = "abc déf ".repeat(1 + number % 7) + &number.to_string();
    let temperature = [0.0, 0.7, 1.5][number % 3];
    let (top_p, min_p) = ([1.0, 0.8][number % 2], [0.0, 0.05][number / 2 % 2]);
    let domain = [None, Some(Domain::Code)][number % 2];
    let most = 5 + number % 20;
    let tokenizer = Tokenizer::bytes();
    let opening = tokenizer.opening(domain);
    let prompt = [opening, tokenizer.encode(&text).unwrap()].concat();
    let sampling = SamplingConfig {
        temperature,
        top_p,
        min_p,
        top_k: 0,
        seed: number as u64,
        ..SamplingConfig::default()
    };
    let ids = generated(network, config, &prompt, sampling, domain, most);
    let body = json!({
        "model": "small", "prompt": text, "max_tokens": most, "temperature": temperature,
        "top_p": top_p, "min_p": min_p, "seed": number, "domain": domain.map(Domain::name),
        "stream": false, "user": "someone",
        "speculative": if number.is_multiple_of(5) { json!(2) } else { json!(false) },
    });
    (body, text_after(&prompt, &ids))
}

#[test]
fn requests_at_once_get_what_each_gets_alone() {
    let config = config(160);
    let served = Served::of_context(160);
    let network = model(&config);
    let requests: Vec<_> = (0..30)
        .map(|number| request(number, network.causal_lm(), &config))
        .collect();
    thread::scope(|scope| {
        for (body, expected) in &requests {
            let served = &served;
            scope.spawn(move || {
                let answer = served.complete(body);
                assert_eq!(answer["choices"][0]["text"], *expected.as_str(), "{body}");
            });
        }
    });
    // the texts differ, else they would say nothing
    let texts: std::collections::BTreeSet<_> = requests.iter().map(|it| &it.1).collect();
    assert!(texts.len() > 25);
    assert_eq!(
        served.metric("vllm:num_requests_running{model_name=\"small\"}"),
        Some(0.0)
    );
}

#[test]
fn answers_to_several_prompts_come_in_order_and_the_first_has_the_seed_of_the_request() {
    let served = Served::of_context(128);
    let body =
        |prompt: Value, n: usize| json!({"prompt": prompt, "n": n, "max_tokens": 12, "seed": 5});
    let both = served.complete(&body(json!(["one", "two"]), 3));
    let choices = both["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 6);
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
    }
    let texts: Vec<&Value> = choices.iter().map(|it| &it["text"]).collect();
    let alone = ["one", "two"].map(|prompt| {
        let answer = served.complete(&body(json!(prompt), 1));
        answer["choices"][0]["text"].clone()
    });
    assert_eq!([texts[0], texts[3]], [&alone[0], &alone[1]]);
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "{texts:?}");
    let usage = &both["usage"];
    let prompts = prompt_ids("one").len() + prompt_ids("two").len();
    assert_eq!(usage["prompt_tokens"], prompts);
    let ids = prompt_ids("one");
    let by_ids = served.complete(&body(json!(ids), 1));
    assert_eq!(by_ids["choices"][0]["text"], alone[0]);
}
