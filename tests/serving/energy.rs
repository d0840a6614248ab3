//! Joules of requests: they and those of idleness are what the meter tells, and without a meter there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use darkhorse_genesis::telemetry::energy::{
    EnergyMeter, Meters, Quality, Reading, Source, Total, Unmetered,
};
use serde_json::{Value, json};

use crate::client::Connection;
use crate::served::{Served, config, serve_config};

/// A card that draws 200 W, and a processor with a tenth of that, as long as they can be read.
#[derive(Debug, Clone)]
struct Constant {
    fails: Arc<AtomicBool>,
}

const CARD_W: f64 = 200.0;
const ALL_W: f64 = 220.0;

impl EnergyMeter for Constant {
    fn sample(&mut self, now: Duration) -> Vec<Reading> {
        let is_read = !self.fails.load(Ordering::Relaxed);
        let reading = |device: &str, source, power_w: f64| Reading {
            device: device.into(),
            source,
            quality: if is_read {
                Quality::Counter
            } else {
                Quality::Unavailable
            },
            total: is_read.then_some(Total {
                energy_uj: (now.as_secs_f64() * power_w * 1e6) as u64,
                stretch: 0,
            }),
        };
        vec![
            reading("card #0", Source::Nvml, CARD_W),
            reading("CPU package-0", Source::Rapl, ALL_W - CARD_W),
        ]
    }

    fn poll(&mut self, _: Duration) {}

    fn interval(&self) -> Option<Duration> {
        None
    }

    fn limits_w(&self) -> Vec<(Arc<str>, f64)> {
        vec![("card #0".into(), 700.0)]
    }
}

fn metered() -> (Served, Arc<AtomicBool>) {
    let fails = Arc::new(AtomicBool::new(false));
    let meter = Constant {
        fails: fails.clone(),
    };
    let meters = Meters::new(vec![Box::new(meter)], Box::new(Instant::now()));
    let served = Served::with_meters(config(400), serve_config(), Ok(meters));
    (served, fails)
}

fn body(number: usize) -> Value {
    json!({
        "prompt": "a prompt of some length ".repeat(1 + number % 3), "max_tokens": 10 + number,
        "ignore_eos": true, "seed": number, "speculative": number.is_multiple_of(4), "n": 1 + number % 2,
    })
}

/// `/api/energy` once all requests' energy is dealt out, after this much of measured time.
fn settled(served: &Served, measured_s: f64) -> Value {
    loop {
        let energy = served.get("/api/energy").ok();
        let window = &energy["window"];
        if window["measured_s"].as_f64().unwrap() > measured_s && window["open_joules"] == 0.0 {
            return energy;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn requests_and_idleness_have_the_energy_of_the_window() {
    let (served, _) = metered();
    let answers: Vec<Value> = thread::scope(|scope| {
        let asked: Vec<_> = (0..16)
            .map(|number| {
                let served = &served;
                scope.spawn(move || served.complete(&body(number)))
            })
            .collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    // an abandoned request has energy, too
    let mut connection = Connection::open(served.address);
    let long = json!({"prompt": "x", "max_tokens": 300, "ignore_eos": true, "stream": true});
    connection.send("POST", "/v1/completions", &[], long.to_string().as_bytes());
    connection.read_until("data: ");
    drop(connection);
    while served.metric("vllm:num_requests_running{model_name=\"small\"}") != Some(0.0) {
        thread::sleep(Duration::from_millis(5));
    }
    let now = settled(&served, 0.0)["window"]["measured_s"]
        .as_f64()
        .unwrap();
    let energy = settled(&served, now + 0.5);
    let window = &energy["window"];
    let joules = |name: &str| window[name].as_f64().unwrap();
    let parts = joules("prefill_joules") + joules("decode_joules") + joules("idle_joules");
    assert!((parts / joules("joules") - 1.0).abs() < 1e-6, "{window}");
    let exact = ALL_W * joules("measured_s");
    assert!((joules("joules") / exact - 1.0).abs() < 1e-4, "{window}");

    let mut sums = [0.0; 2];
    for answer in &answers {
        let energy = &answer["usage"]["energy"];
        let part = |name: &str| energy[name].as_f64().unwrap();
        let (prefill, decode) = (part("prefill_joules"), part("decode_joules"));
        assert!(prefill > 0.0 && decode > 0.0, "{energy}");
        assert!((part("joules") - prefill - decode).abs() < 1e-9, "{energy}");
        assert_eq!(
            energy["source"],
            "card #0 (NVML counter), CPU package-0 (RAPL counter)"
        );
        sums[0] += prefill;
        sums[1] += decode;
    }
    // the rest is that of the abandoned request
    let rest = [
        joules("prefill_joules") - sums[0],
        joules("decode_joules") - sums[1],
    ];
    assert!(
        rest.iter().all(|&rest| rest > -0.01 * parts),
        "{rest:?} {window}"
    );
    assert!(
        rest[0] < 0.2 * joules("prefill_joules"),
        "{rest:?} {window}"
    );
    assert!(sums[1] > rest[1], "{rest:?} {window}");
    let power = &energy["power"];
    assert!(
        (power["watts"].as_f64().unwrap() / ALL_W - 1.0).abs() < 0.01,
        "{power}"
    );
    assert_eq!(power["limit_w"], Value::Null, "the processor has no limit");
    assert_eq!(energy["meter"]["devices"][0]["limit_w"], 700.0);

    let text = served.get("/metrics").body;
    let metric = |phase: &str| {
        let line = text.lines().find(|line| {
            line.starts_with("darkhorse:energy_joules_total{") && line.contains(phase)
        });
        line.unwrap()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert!((metric("prefill") - joules("prefill_joules")).abs() < 1e-9);
    assert!((metric("decode") - joules("decode_joules")).abs() < 1e-9);
    assert!(metric("idle") >= joules("idle_joules"));
    assert!(text.contains("darkhorse:power_watts{"), "{text}");
    let status = served.get("/api/status").ok();
    assert!(status["power"]["watts"].as_f64().is_some(), "{status}");
}

#[test]
fn every_interface_tells_joules_when_the_answer_has_ended_and_not_before() {
    let (served, _) = metered();
    let input = json!([{"role": "user", "content": "a"}]);
    let all = [
        ("/v1/completions", json!({"prompt": "a", "max_tokens": 9})),
        (
            "/v1/chat/completions",
            json!({"messages": input, "max_tokens": 9}),
        ),
        (
            "/v1/responses",
            json!({"input": "a", "max_output_tokens": 9}),
        ),
        (
            "/v1/messages",
            json!({"model": "small", "messages": input, "max_tokens": 9}),
        ),
    ];
    for (path, mut body) in all {
        body["temperature"] = 0.into();
        let answer = served.post(path, &body).ok();
        let joules = answer["usage"]["energy"]["joules"].as_f64();
        assert!(
            joules.is_some_and(|joules| joules > 0.0),
            "{path}: {answer}"
        );
        body["stream"] = true.into();
        if path.ends_with("completions") {
            body["stream_options"] = json!({"include_usage": true});
        }
        let text = served.post(path, &body).body;
        assert_eq!(text.matches("\"joules\":").count(), 1, "{path}: {text}");
        assert!(!text.contains("\"joules\":0.0,"), "{path}: {text}");
    }
}

/// Alone, a request has all the energy of its time.
#[test]
fn the_energy_of_a_request_alone_is_power_times_time() {
    let (served, _) = metered();
    let before = settled(&served, 0.0)["window"]["measured_s"]
        .as_f64()
        .unwrap();
    let answer = served.complete(&json!({"prompt": "x", "max_tokens": 300, "ignore_eos": true}));
    let energy = settled(&served, before + 0.6);
    let window = &energy["window"];
    let dealt = window["joules"].as_f64().unwrap() - window["idle_joules"].as_f64().unwrap();
    let joules = answer["usage"]["energy"]["joules"].as_f64().unwrap();
    assert!((joules / dealt - 1.0).abs() < 0.01, "{answer} {energy}");
}

#[test]
fn without_a_meter_or_while_it_cannot_be_read_there_are_no_joules() {
    let none = Unmetered {
        reasons: Vec::new(),
    };
    let unmetered = Served::with_meters(config(400), serve_config(), Err(none));
    let answer = unmetered.complete(&body(1));
    assert!(answer["usage"].get("energy").is_none(), "{answer}");
    let energy = unmetered.get("/api/energy").ok();
    let reason = "this machine has no energy meter";
    assert_eq!(energy, json!({"meter": null, "no_meter": reason}));
    let status = unmetered.get("/api/status").ok();
    assert_eq!(
        (&status["power"], &status["no_meter"]),
        (&Value::Null, &json!(reason))
    );
    let text = unmetered.get("/metrics").body;
    assert!(
        !text.contains("joules") && !text.contains("watts"),
        "{text}"
    );

    let (served, fails) = metered();
    fails.store(true, Ordering::Relaxed);
    let is_unread = |energy: &Value| energy["meter"]["devices"][0]["quality"] == "unavailable";
    while !is_unread(&served.get("/api/energy").ok()) {
        thread::sleep(Duration::from_millis(5));
    }
    let answer = served.complete(&body(1));
    assert!(answer["usage"].get("energy").is_none(), "{answer}");
    let status = served.get("/api/status").ok();
    assert_eq!(status["power"]["watts"], Value::Null, "{status}");
    assert!(!served.get("/metrics").body.contains("watts"));
}
