//! Log-probabilities, as evaluations by other programs read them.

use std::ops::ControlFlow;

use darkhorse_genesis::inference::{Continuation, Limits, likelihoods};
use serde_json::{Value, json};

use crate::alone::prompt_ids;
use crate::served::{Served, config, model};

fn numbers(values: &Value) -> Vec<f64> {
    let values = values.as_array().unwrap().iter();
    values.map(|it| it.as_f64().unwrap()).collect()
}

/// Sum and greediness of the scores after the first `context` tokens, as lm-evaluation-harness computes them from an
/// answer with one generated token.
fn as_harness(choice: &Value, context: usize) -> (f64, bool) {
    let logprobs = &choice["logprobs"];
    let scores = logprobs["token_logprobs"].as_array().unwrap();
    let tops = logprobs["top_logprobs"].as_array().unwrap();
    let scored = context..scores.len() - 1;
    let sum = scores[scored.clone()].iter().map(|it| it.as_f64().unwrap());
    let is_greedy = scored.into_iter().all(|at| {
        let top = tops[at].as_object().unwrap().values();
        let highest = top.map(|it| it.as_f64().unwrap()).fold(f64::MIN, f64::max);
        scores[at].as_f64() == Some(highest)
    });
    (sum.sum(), is_greedy)
}

#[test]
fn an_echo_has_the_likelihoods_that_evaluate_computes() {
    let config = config(128);
    let served = Served::of_context(128);
    let model = model(&config);
    let likeliest = {
        let body = json!({"prompt": prompt_ids("a question:"), "max_tokens": 6, "temperature": 0,
            "ignore_eos": true, "logprobs": 0});
        served.complete(&body)
    };
    let tokenizer = darkhorse_genesis::tokenizer::Tokenizer::bytes();
    let greedy = likeliest["choices"][0]["logprobs"]["tokens"]
        .as_array()
        .unwrap();
    assert_eq!(greedy.len(), 6);
    let mut requests: Vec<Continuation> = ["yes", " no, at length", "é"]
        .map(|text| Continuation {
            context: prompt_ids("a question:"),
            continuation: tokenizer.encode(text).unwrap(),
        })
        .into();
    // one that is longer than a piece of the prompt, and one that shares its beginning with another
    requests.push(Continuation {
        context: prompt_ids("a question: and some more of it, which goes on and on"),
        continuation: tokenizer.encode("z").unwrap(),
    });
    let limits = Limits::of(&config);
    let go_on = |_| ControlFlow::Continue(());
    let expected = likelihoods(model.causal_lm(), limits, &requests, go_on);
    let expected = expected.unwrap().unwrap();
    let prompts: Vec<Vec<u32>> = requests
        .iter()
        .map(|it| [&it.context[..], &it.continuation].concat())
        .collect();
    let body = json!({"prompt": prompts, "max_tokens": 1, "logprobs": 1, "echo": true,
        "temperature": 0, "seed": 1234});
    let answer = served.complete(&body);
    for (at, (request, expected)) in requests.iter().zip(&expected).enumerate() {
        let choice = &answer["choices"][at];
        assert_eq!(choice["logprobs"]["token_logprobs"][0], Value::Null);
        let tokens = choice["logprobs"]["tokens"].as_array().unwrap().len();
        assert_eq!(
            tokens,
            prompts[at].len() + 1,
            "one token is generated, whichever it is"
        );
        let (sum, is_greedy) = as_harness(choice, request.context.len());
        let difference = (sum - expected.log_likelihood).abs();
        assert!(
            difference < 1e-4,
            "{at}: {sum} and {}",
            expected.log_likelihood
        );
        assert_eq!(is_greedy, expected.is_greedy, "{at}");
    }
}

#[test]
fn a_greedy_continuation_is_seen_to_be_greedy() {
    let config = config(128);
    let served = Served::of_context(128);
    let prompt = prompt_ids("0123");
    let model = model(&config);
    let greedy = darkhorse_genesis::inference::SamplingConfig::greedy();
    let ids = crate::alone::generated(model.causal_lm(), &config, &prompt, greedy, None, 4);
    assert!(!ids.is_empty());
    let whole = [&prompt[..], &ids].concat();
    let body = json!({"prompt": whole, "max_tokens": 1, "logprobs": 1, "echo": true});
    let answer = served.complete(&body);
    let (_, is_greedy) = as_harness(&answer["choices"][0], prompt.len());
    assert!(is_greedy);
}

#[test]
fn an_echo_repeats_the_prompt_and_its_offsets_count_characters() {
    let served = Served::of_context(128);
    let body = json!({"prompt": "né ", "max_tokens": 3, "logprobs": 2, "echo": true,
        "temperature": 0, "ignore_eos": true});
    let answer = served.complete(&body);
    let choice = &answer["choices"][0];
    let text = choice["text"].as_str().unwrap();
    assert!(text.starts_with("né "), "{text:?}");
    let logprobs = &choice["logprobs"];
    let before = prompt_ids("").len();
    let tokens = logprobs["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), before + 4 + 3);
    assert_eq!(tokens[before], "n");
    assert_eq!(tokens[before + 1], "bytes:\\xc3");
    let offsets = numbers(&logprobs["text_offset"]);
    assert_eq!(offsets[before..before + 5], [0.0, 1.0, 1.0, 2.0, 3.0]);
    let top = logprobs["top_logprobs"][before + 1].as_object().unwrap();
    assert!((2..=3).contains(&top.len()), "{top:?}");
    // nothing is generated, and nothing is missing
    // whichever token would be next, the one that ends texts among them
    for seed in 0..200 {
        let only = json!({"prompt": "né ", "max_tokens": 0, "echo": true, "temperature": 100, "seed": seed});
        let only = served.complete(&only);
        assert_eq!(only["choices"][0]["text"], "né ");
        assert_eq!(only["usage"]["completion_tokens"], 0);
        assert_eq!(only["choices"][0]["finish_reason"], "length");
    }
}

#[test]
fn log_probabilities_are_those_of_the_model_at_any_temperature() {
    let served = Served::of_context(128);
    let body = |temperature: f64| {
        json!({"prompt": "abc", "max_tokens": 1, "logprobs": 5, "temperature": temperature,
            "seed": 3, "ignore_eos": true})
    };
    let [cold, hot] = [0.0, 2.0].map(|temperature| {
        let answer = served.complete(&body(temperature));
        answer["choices"][0]["logprobs"]["top_logprobs"][0].clone()
    });
    let [cold, hot] = [cold, hot].map(|it| it.as_object().unwrap().clone());
    let likeliest = |all: &serde_json::Map<String, Value>| all.iter().next().map(|it| it.1.clone());
    assert_eq!(likeliest(&cold), likeliest(&hot));
    assert!(likeliest(&cold).is_some());
}
