//! The paths of the server, and what holds for all of them: keys, sizes and errors.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use hyper::body::Body as _;

use super::chat::chat;
use super::completions::completions;
use super::error::ApiError;
use super::live::{energy, routing, status};
use super::messages::{MESSAGES, count_tokens, create};
use super::models::{health, metrics, model, models, trace};
use super::openapi::openapi;
use super::page;
use super::responses::responses;
use super::state::State;
use super::tokenize::{detokenize, tokenize, tokenizer_info};

/// The path that needs no key, for programs that watch a server. The page needs none, either: it asks for one.
const OPEN: &str = "/health";

/// All paths with what answers them, without the page and its parts.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<Arc<State>>)> {
    vec![
        ("/v1/completions", post(completions)),
        ("/v1/chat/completions", post(chat)),
        ("/v1/responses", post(responses)),
        (MESSAGES, post(create)),
        ("/v1/messages/count_tokens", post(count_tokens)),
        ("/v1/models", get(models)),
        ("/v1/models/{*name}", get(model)),
        ("/tokenize", post(tokenize)),
        ("/detokenize", post(detokenize)),
        ("/tokenizer_info", get(tokenizer_info)),
        (OPEN, get(health)),
        ("/metrics", get(metrics)),
        ("/api/trace/{id}", get(trace)),
        ("/api/status", get(status)),
        ("/api/energy", get(energy)),
        ("/api/routing", get(routing)),
        ("/openapi.json", get(openapi)),
    ]
}

/// The router of all paths.
pub(super) fn router(state: Arc<State>) -> Router {
    let mut all = Router::new().merge(page::routes());
    for (path, route) in routes() {
        all = all.route(path, route);
    }
    all.fallback(async || ApiError::not_found("there is nothing at this path"))
        .method_not_allowed_fallback(async || ApiError::method_not_allowed())
        .layer(from_fn_with_state(state.clone(), guard))
        .with_state(state)
}

/// Writes errors of Anthropic's paths in their form.
async fn guard(state: Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_anthropic = path
        .strip_prefix(MESSAGES)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut response = admit(state, request, next).await.into_response();
    match response.extensions_mut().remove::<ApiError>() {
        Some(error) if is_anthropic => {
            let body = error.anthropic();
            error.respond(body)
        }
        _ => response,
    }
}

/// Whether a path needs no key.
fn is_open(path: &str) -> bool {
    path == OPEN || path == page::PAGE || path.starts_with(page::FILES)
}

/// Refuses requests without a key, and reads their bodies within the limits of size and time.
async fn admit(
    Extract(state): Extract<Arc<State>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(keys) = &state.config.keys
        && !is_open(request.uri().path())
    {
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        let bearer = header(header::AUTHORIZATION.as_str());
        let is_admitted = bearer.is_some_and(|it| keys.admit(it))
            // as clients of Anthropic's send it
            || header("x-api-key").is_some_and(|it| keys.admit_key(it));
        if !is_admitted {
            return Err(ApiError::unauthorized());
        }
    }
    let (parts, body) = request.into_parts();
    let limit = state.config.body_bytes;
    let read = tokio::time::timeout(state.config.patience, whole(body, limit));
    let body = read.await.map_err(|_| ApiError::too_slow())??;
    let request = Request::from_parts(parts, Body::from(body));
    Ok(next.run(request).await.into_response())
}

/// Reads a body.
async fn whole(body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let mut body = pin!(body);
    // a length that is announced need not be waited for
    if body.size_hint().lower() > limit as u64 {
        return Err(ApiError::too_large(limit));
    }
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| ApiError::bad("the body is incomplete"))?;
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > limit {
                return Err(ApiError::too_large(limit));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}
