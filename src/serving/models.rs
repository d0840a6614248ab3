//! What is served: `/v1/models`, `/health`, `/metrics` and `/api/trace/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Extract};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::{ApiError, shortened};
use super::state::{Ready, State};
use crate::inference::routed_layers;

fn described(ready: &Ready) -> Value {
    json!({
        "id": ready.name,
        "object": "model",
        "created": ready.created,
        "owned_by": "darkhorse-genesis",
        "max_model_len": ready.limits.context,
    })
}

/// The part of a path that names something.
fn part(part: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let unreadable = |_| ApiError::not_found("the path is no UTF-8");
    part.map(|Path(part)| part).map_err(unreadable)
}

/// `GET /v1/models`: the one model.
pub(super) async fn models(Extract(state): Extract<Arc<State>>) -> Result<Json<Value>, ApiError> {
    let ready = state.ready()?;
    Ok(Json(json!({"object": "list", "data": [described(&ready)]})))
}

/// `GET /v1/models/{name}`.
pub(super) async fn model(
    Extract(state): Extract<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let ready = state.ready()?;
    let name = part(name)?;
    if name == ready.name {
        Ok(Json(described(&ready)))
    } else {
        Err(ApiError::no_model(&name, &ready.name))
    }
}

/// `GET /health`: 200 once the model is loaded, 503 before.
pub(super) async fn health(Extract(state): Extract<Arc<State>>) -> Result<Json<Value>, ApiError> {
    state.ready()?;
    Ok(Json(json!({"status": "ok"})))
}

/// `GET /metrics`: Prometheus' text.
pub(super) async fn metrics(Extract(state): Extract<Arc<State>>) -> Result<Response, ApiError> {
    let ready = state.ready().ok();
    let layers = ready
        .as_ref()
        .map(|ready| routed_layers(&ready.model).collect());
    let meter = ready.as_ref().and_then(|ready| ready.meter.as_deref().ok());
    let traffic = state.loads.total();
    let layers: Vec<usize> = layers.unwrap_or_default();
    let text = state.metrics.text(&traffic, meter, &layers);
    let text = text.map_err(|error| ApiError::internal(error.to_string()))?;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// `GET /api/trace/{id}`: the experts of every token of a request with `trace`.
pub(super) async fn trace(
    Extract(state): Extract<Arc<State>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, ApiError> {
    let id = part(id)?;
    let unknown = || {
        ApiError::not_found(format!(
            "there is no trace `{}`: only the newest requests with `\"trace\": true` have one",
            shortened(&id)
        ))
    };
    state.traces.get(&id).map(Json).ok_or_else(unknown)
}
