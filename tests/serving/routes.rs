//! Experts: every choice is counted once, and a trace has those of a direct forward pass.

use darkhorse_genesis::inference::{Generation, Limits, Sampler, SamplingConfig};
use serde_json::{Value, json};

use crate::alone::prompt_ids;
use crate::served::{Served, config, model};

/// Sum of all lines of a counter with this layer.
fn sum(text: &str, name: &str, layer: usize) -> u64 {
    let layer = format!("layer=\"{layer}\"");
    let lines = text
        .lines()
        .filter(|it| it.starts_with(&format!("{name}{{")) && it.contains(&layer));
    lines
        .map(|it| it.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

#[test]
fn in_every_layer_the_visits_are_the_tokens_times_the_experts_per_token() {
    let served = Served::of_context(160);
    let mut generated = 0;
    let ways = [json!(false), json!(true), json!(3)];
    for (number, speculative) in ways.iter().enumerate() {
        let prompts = [
            "a text",
            "another one, which is longer than a piece of a prompt",
        ];
        let body = json!({"prompt": prompts, "n": 2, "max_tokens": 15, "seed": number,
            "ignore_eos": true, "speculative": speculative});
        let answer = served.complete(&body);
        generated += answer["usage"]["completion_tokens"].as_u64().unwrap();
        let is_drafted = !answer["choices"][0]["speculation"].is_null();
        assert_eq!(is_drafted, *speculative != json!(false));
    }
    let text = served.get("/metrics").body;
    let total = |name: &str| {
        let value = served.metric(&format!("{name}{{model_name=\"small\"}}"));
        value.unwrap() as u64
    };
    let computed = total("darkhorse:computed_tokens_total");
    assert_eq!(total("vllm:generation_tokens_total"), generated);
    let shared = total("vllm:prefix_cache_hits_total");
    assert!(shared > 0);
    // the last token of each text is not read, unless it is an accepted draft
    let read = total("vllm:prompt_tokens_total") - shared + generated - 12;
    assert!((read..read + 40).contains(&computed), "{read} {computed}");
    let routing = served.get("/api/routing").ok();
    assert_eq!(routing["tokens"], computed);
    assert_eq!(routing["layers"].as_array().unwrap().len(), 2);
    let newest = served.get("/api/routing?seconds=60").ok();
    for layer in [2, 3] {
        // the interface tells what the metrics tell, expert by expert
        let found = &routing["layers"][layer - 2];
        assert_eq!(
            (&found["layer"], &found["experts_per_token"]),
            (&json!(layer), &json!(2))
        );
        let counts = found["counts"].as_array().unwrap();
        for (expert, count) in counts.iter().enumerate() {
            let labels = format!("{{expert=\"{expert}\",layer=\"{layer}\",model_name=\"small\"}}");
            let metric = served.metric(&format!("darkhorse:expert_tokens_total{labels}"));
            assert_eq!(metric, count.as_f64(), "{labels}");
        }
        let in_window = newest["layers"][layer - 2]["counts"].as_array().unwrap();
        let in_window: u64 = in_window.iter().map(|it| it.as_u64().unwrap()).sum();
        assert_eq!(in_window, newest["tokens"].as_u64().unwrap() * 2);
        assert_eq!(
            sum(&text, "darkhorse:expert_tokens_total", layer),
            computed * 2
        );
        assert!((1..=20).contains(&sum(&text, "darkhorse:distinct_experts", layer)));
    }
    assert_eq!(
        sum(&text, "darkhorse:expert_tokens_total", 1),
        0,
        "the first layer is dense"
    );
}

#[test]
fn a_trace_has_the_experts_and_gates_of_a_forward_pass() {
    let config = config(160);
    let served = Served::of_context(160);
    let prompt = prompt_ids("a text that is longer than one piece of a prompt is");
    // the beginning is kept from an earlier request, and read again for the trace
    let mut body =
        json!({"prompt": prompt, "max_tokens": 10, "temperature": 0, "ignore_eos": true});
    served.complete(&body);
    body["trace"] = true.into();
    let answer = served.complete(&body);
    let trace = &answer["choices"][0]["trace"];
    assert_eq!(trace["id"], answer["id"]);
    let kept = served
        .get(&format!("/api/trace/{}", answer["id"].as_str().unwrap()))
        .ok();
    assert_eq!(kept, *trace);

    let model = model(&config);
    let generation = Generation::new(model.causal_lm(), Limits::of(&config), None);
    let mut generation = generation.recording_routes();
    generation.read(&prompt).unwrap();
    let sampler = Sampler::new(SamplingConfig::greedy()).unwrap();
    for _ in 0..10 {
        generation.next_token(&sampler).unwrap();
    }
    let read = prompt.len() + 9;
    assert_eq!(trace["ids"], json!(generation.past()[..read]));
    assert_eq!(trace["prompt_tokens"], prompt.len());
    let texts = trace["texts"].as_array().unwrap();
    // the last token was not read, so it has a text and no route
    assert_eq!(texts.len(), read + 1);
    let generated: String = texts[prompt.len()..]
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with(&generated) && generated.len() > 4,
        "{text:?} {generated:?}"
    );
    let routes = generation.routes().unwrap();
    let layers = trace["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    for (layer, (found, expected)) in [2, 3].iter().zip(layers.iter().zip(routes.layers())) {
        assert_eq!(found["layer"], *layer);
        let slots: Vec<&[u32]> = expected.choices.chunks(2).take(read).collect();
        assert_eq!(found["slots"], json!(slots));
        let gates = found["gates"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|it| it.as_array().unwrap());
        let gates: Vec<f32> = gates.map(|it| it.as_f64().unwrap() as f32).collect();
        // the prompt was read in other pieces
        let close = |(found, expected): (&f32, &f32)| (found - expected).abs() < 1e-5;
        assert_eq!(gates.len(), 2 * read);
        assert!(gates.iter().zip(&expected.gates).all(close));
        let visits = found["visits"].as_array().unwrap().iter();
        assert_eq!(
            visits.map(|it| it.as_u64().unwrap()).sum::<u64>(),
            2 * read as u64
        );
    }
    assert_eq!(served.get("/api/trace/cmpl-none").status, 404);
    assert_eq!(served.get("/api/routing?seconds=0").status, 400);
    body["stream"] = true.into();
    let events = served.post("/v1/completions", &body).events();
    let last: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
    assert_eq!(last["choices"][0]["trace"]["layers"], trace["layers"]);
}

#[test]
fn experts_per_token_are_those_of_the_model() {
    let served = Served::of_context(64);
    let ask = |experts: Value| {
        let body = json!({"prompt": "a", "max_tokens": 1, "top_k_experts": experts});
        served.post("/v1/completions", &body)
    };
    let own = config(64)
        .plan()
        .into_iter()
        .find_map(|layer| match layer.feed_forward {
            darkhorse_genesis::model::FeedForwardPlan::Moe(moe) => Some(moe.num_experts_per_tok),
            darkhorse_genesis::model::FeedForwardPlan::Dense(_) => None,
        });
    let own = own.unwrap();
    assert_eq!(ask(json!(own)).status, 200);
    for other in [json!(own + 1), json!(0), json!("all")] {
        let answer = ask(other);
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["error"]["param"], "top_k_experts");
    }
}
