//! The life of a server: loading, keys, a full memory, and its end.

use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use darkhorse_genesis::inference::CacheMemory;
use darkhorse_genesis::model::dtype::Dtype;
use darkhorse_genesis::serving::{ApiKeys, ServeError};
use serde_json::json;

use crate::client::Connection;
use crate::served::{Served, config, model, serve_config};

#[test]
fn requests_are_refused_until_the_model_is_there() {
    let (load, may_load) = channel::<()>();
    let (loaded, is_loaded) = channel();
    let served = Served::begin(
        serve_config(),
        move || {
            may_load.recv().unwrap();
            Ok(model(&config(128)))
        },
        move || loaded.send(()).unwrap(),
    );
    // dropped before the server, so that a failure here does not leave it waiting
    let load = load;
    for path in ["/health", "/v1/models", "/tokenizer_info"] {
        let answer = served.get(path);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.head.contains("retry-after: 1"));
        assert_eq!(answer.json()["error"]["code"], "loading");
    }
    let asked = served.post("/v1/completions", &json!({"prompt": "a"}));
    assert_eq!(asked.status, 503);
    load.send(()).unwrap();
    is_loaded.recv().unwrap();
    assert_eq!(served.get("/health").ok(), json!({"status": "ok"}));
    let models = served.get("/v1/models").ok();
    assert_eq!(models["data"][0]["id"], "small");
    assert_eq!(served.get("/v1/models/small").ok(), models["data"][0]);
    assert_eq!(served.get("/v1/models/large").status, 404);
}

#[test]
fn a_model_that_cannot_be_loaded_ends_the_server_with_its_error() {
    let refuse = || Err("no such model".to_owned());
    let mut served = Served::begin(serve_config(), refuse, || {});
    let error = served.ended().unwrap_err();
    assert!(matches!(error, ServeError::Load(reason) if reason == "no such model"));
}

#[test]
fn a_key_opens_all_and_without_one_only_the_health_is_told() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-right\n").unwrap();
    let mut how = serve_config();
    how.keys = Some(ApiKeys::read(file.path()).unwrap());
    let served = Served::start(config(128), how);
    assert_eq!(served.get("/health").status, 200);
    for (headers, status) in [
        (&[][..], 401),
        (&["Authorization: Bearer sk-wrong"], 401),
        (&["Authorization: sk-right"], 401),
        (&["Authorization: Bearer sk-right"], 200),
    ] {
        for path in ["/v1/models", "/metrics", "/tokenizer_info"] {
            let answer = served.send("GET", path, headers, b"");
            assert_eq!(answer.status, status, "{path} {headers:?}: {answer:?}");
        }
        let body = json!({"prompt": "a", "max_tokens": 1}).to_string();
        let answer = served.send("POST", "/v1/completions", headers, body.as_bytes());
        assert_eq!(answer.status, status);
        if status == 401 {
            assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
        }
    }
    assert_eq!(served.get("/unknown").status, 401);
}

#[test]
fn texts_that_do_not_fit_in_memory_together_wait_and_one_that_never_fits_is_refused() {
    let config = config(2048);
    let mut how = serve_config();
    let page_len = how.engine.cache.page_len;
    let one =
        CacheMemory::new(0, &config, page_len, Dtype::F32, Dtype::F32).of_sequence(page_len, false);
    let memory = CacheMemory::new(2 * one, &config, page_len, Dtype::F32, Dtype::F32);
    how.engine.memory = Some(memory);
    how.engine.shared_prefix_tokens = 0;
    let served = Served::start(config, how);
    let body = json!({"prompt": "a", "n": 7, "max_tokens": 60, "ignore_eos": true, "seed": 1});
    let answer = served.complete(&body);
    assert_eq!(answer["usage"]["completion_tokens"], 7 * 60);
    let usage = served.metric("vllm:kv_cache_usage_perc{model_name=\"small\"}");
    assert_eq!(usage, Some(0.0));
    let large = json!({"prompt": "a", "max_tokens": 1000});
    let refused = served.post("/v1/completions", &large);
    assert_eq!(refused.status, 400);
    let error = &refused.json()["error"];
    assert_eq!(error["code"], "context_length_exceeded");
    assert!(
        error["message"].as_str().unwrap().contains("cache"),
        "{error}"
    );
}

#[test]
fn a_server_that_is_stopped_finishes_its_answers_and_takes_no_more() {
    let served = Served::of_context(4000);
    let body = json!({"prompt": "x", "max_tokens": 300, "ignore_eos": true, "stream": true});
    let mut connection = Connection::open(served.address);
    connection.send("POST", "/v1/completions", &[], body.to_string().as_bytes());
    connection.read_until("data: ");
    // a connection that is kept open for later requests does not keep the server
    let idle = TcpStream::connect(served.address).unwrap();
    served.stopper.stop();
    let address = served.address;
    while TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    let rest = String::from_utf8(connection.rest()).unwrap();
    assert!(rest.contains("\"finish_reason\":\"length\""), "{rest}");
    assert!(rest.contains("data: [DONE]"), "{rest}");
    served.end().unwrap();
    drop(idle);
}

#[test]
fn the_page_is_there_without_a_key_and_before_the_model_and_runs_no_script_but_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-right\n").unwrap();
    let mut how = serve_config();
    how.keys = Some(ApiKeys::read(file.path()).unwrap());
    let (load, may_load) = channel::<()>();
    let load_later = move || {
        // dropped when the page was read
        let _ = may_load.recv();
        Ok(model(&config(128)))
    };
    let served = Served::begin(how, load_later, || {});
    // dropped before the server, so that a failure here does not leave it waiting
    let load = load;
    for (path, kind) in [
        ("/", "text/html"),
        ("/page/main.js", "text/javascript"),
        ("/page/base.css", "text/css"),
    ] {
        let answer = served.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer
                .head
                .contains(&format!("content-type: {kind}; charset=utf-8"))
        );
        assert!(
            answer
                .head
                .contains("default-src 'none'; script-src 'self'")
        );
        assert!(answer.head.contains("x-content-type-options: nosniff"));
    }
    assert_eq!(served.get("/page/secret").status, 404);
    assert_eq!(served.get("/page/../api/status").status, 404);
    for path in ["/api/status", "/api/energy", "/api/routing", "/page"] {
        assert_eq!(served.get(path).status, 401, "{path}");
    }
    drop(load);
    served.end().unwrap();
}
