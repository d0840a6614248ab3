//! What the server does now, for pages that show it: `/api/status`, `/api/energy` and `/api/routing`.
//!
//! An answer copies a few numbers. Values that are not known are `null`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State as Extract;
use hyper::Uri;
use serde_json::{Value, json};

use super::error::{ApiError, shortened};
use super::loads::LONGEST;
use super::state::{Ready, State};
use crate::domain::Domain;
use crate::inference::routed_layers;
use crate::model::FeedForwardPlan;
use crate::model::routing::domain::DomainMode;
use crate::tokenizer::chat::Kind;

/// `GET /api/status`.
pub(super) async fn status(Extract(state): Extract<Arc<State>>) -> Result<Json<Value>, ApiError> {
    let ready = state.ready()?;
    let now = state.metrics.now();
    let limit_bytes = ready.memory.map(|memory| memory.limit_bytes);
    let sum = |which: usize| now.places.iter().map(|place| place[which]).sum::<u64>();
    let (drafted, accepted) = (sum(0), sum(1));
    let power = match &ready.meter {
        Ok(meter) => {
            let power = meter.power();
            json!({
                "watts": power.now_w(),
                "source": meter.source(),
                "limit_w": power.limit_w(),
            })
        }
        Err(_) => Value::Null,
    };
    Ok(Json(json!({
        "model": {
            "name": ready.name,
            "context": ready.limits.context,
            "vocab_size": ready.limits.vocab_size,
            "has_experts": ready.has_experts,
            "can_draft": ready.can_draft,
            "drafts_by_default": ready.speculates,
            "has_chat_template": ready.template.kind() != Kind::Plain,
            "has_domains": ready.model.domains.mode != DomainMode::Off,
        },
        "backend": ready.backend,
        "uptime_s": state.begun.elapsed().as_secs_f64(),
        "requests": {
            "running": now.running,
            "waiting": now.waiting,
            "most_running": state.config.engine.max_sequences,
            "most_waiting": state.config.queue,
        },
        "tokens": {
            "prompt": now.prompt_tokens,
            "generated": now.generated_tokens,
            "per_second": state.loads.tokens_per_s(Instant::now()),
        },
        "drafts": {
            "drafted": drafted,
            "accepted": accepted,
            "acceptance": (drafted > 0).then(|| accepted as f64 / drafted as f64),
            "by_place": now.places,
        },
        "cache": {"bytes": now.cache_bytes, "limit_bytes": limit_bytes},
        "power": power,
        "no_meter": ready.meter.as_ref().err(),
    })))
}

/// `GET /api/energy`: the energy since the model was loaded, and the power of the newest minutes.
pub(super) async fn energy(Extract(state): Extract<Arc<State>>) -> Result<Json<Value>, ApiError> {
    let ready = state.ready()?;
    let meter = match &ready.meter {
        Ok(meter) => meter,
        Err(reason) => return Ok(Json(json!({"meter": null, "no_meter": reason}))),
    };
    let dealt = meter.dealt();
    let power = meter.power();
    Ok(Json(json!({
        "meter": {"source": meter.source(), "facts": meter.facts(), "devices": power.devices()},
        "no_meter": null,
        "window": {
            "measured_s": dealt.measured_s,
            "unmeasured_s": dealt.unmeasured_s,
            "joules": dealt.joules,
            "prefill_joules": dealt.prefill_j,
            "decode_joules": dealt.decode_j,
            "idle_joules": dealt.idle_j,
            "open_joules": dealt.open_j,
        },
        "power": {
            "watts": power.now_w(),
            "limit_w": power.limit_w(),
            "history": power.history(),
        },
    })))
}

/// `GET /api/routing`: choices of the experts since the model was loaded, or in the newest `?seconds=N`.
pub(super) async fn routing(
    Extract(state): Extract<Arc<State>>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let ready = state.ready()?;
    let window = window(uri.query())?;
    let traffic = match window {
        Some(window) => state.loads.since(Instant::now(), window),
        None => state.loads.total(),
    };
    let plan = ready.model.plan();
    let layers = routed_layers(&ready.model).enumerate().map(|(i, layer)| {
        let counts = traffic.layers.get(i);
        let moe = match plan[layer - 1].feed_forward {
            FeedForwardPlan::Moe(moe) => Some(moe),
            FeedForwardPlan::Dense(_) => None,
        };
        json!({
            "layer": layer,
            "experts_per_token": moe.map(|moe| moe.num_experts_per_tok),
            "shared_experts": moe.map(|moe| moe.n_shared_experts),
            // nothing was counted before the first pass
            "counts": counts.map(|it| &it.counts.experts),
            "null_counts": counts.map(|it| &it.counts.null),
            "distinct": counts.map(|it| it.distinct),
        })
    });
    Ok(Json(json!({
        "seconds": window.map(|window| window.as_secs()),
        "passes": traffic.passes,
        "tokens": traffic.tokens,
        "layers": layers.collect::<Vec<_>>(),
        "expert_domains": expert_domains(&ready),
    })))
}

/// Domain of every expert; `None` for a model without domains.
fn expert_domains(ready: &Ready) -> Option<Vec<Domain>> {
    let domains = &ready.model.domains;
    let moe = ready
        .model
        .plan()
        .into_iter()
        .find_map(|layer| match layer.feed_forward {
            FeedForwardPlan::Moe(moe) => Some(moe),
            FeedForwardPlan::Dense(_) => None,
        })?;
    let experts = 0..moe.n_routed_experts;
    let is_on = domains.mode != DomainMode::Off;
    is_on.then(|| experts.map(|expert| domains.domain_of(expert)).collect())
}

/// Reads `seconds=N`.
fn window(query: Option<&str>) -> Result<Option<Duration>, ApiError> {
    let query = query.unwrap_or_default();
    if query.is_empty() {
        return Ok(None);
    }
    let seconds = query.strip_prefix("seconds=");
    let seconds = seconds
        .and_then(|it| it.parse().ok())
        .map(Duration::from_secs);
    let longest = LONGEST.as_secs();
    match seconds.filter(|it| (Duration::from_secs(1)..=LONGEST).contains(it)) {
        Some(window) => Ok(Some(window)),
        None => Err(ApiError::bad(format!(
            "the query is `{}`, expected nothing or `seconds=N` with N from 1 to {longest}",
            shortened(query)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_1_to_60_seconds() {
        let seconds = |query: &str| window(Some(query)).map(|it| it.map(|it| it.as_secs()));
        assert_eq!(window(None), Ok(None));
        assert_eq!(seconds(""), Ok(None));
        assert_eq!(seconds("seconds=1"), Ok(Some(1)));
        assert_eq!(seconds("seconds=60"), Ok(Some(60)));
        for wrong in [
            "seconds=0",
            "seconds=61",
            "seconds=-1",
            "seconds=",
            "since=5",
            "seconds=1&x",
        ] {
            let message = seconds(wrong).unwrap_err().message;
            assert!(message.contains(wrong), "{message}");
        }
    }
}
