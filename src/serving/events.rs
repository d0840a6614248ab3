//! Answers as server-sent events: one `data:` line of JSON per event.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Bytes, Frame};
use serde_json::Value;

use super::error::ApiError;
use super::submission::Updates;
use super::worker::Update;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Without names, and `data: [DONE]` at the end.
    Unnamed,
    /// Each with its `type` as name.
    Named,
}

/// Turns updates of sequences into events.
pub(super) trait Render: Unpin + Send + 'static {
    /// How its events are written.
    const PROTOCOL: Protocol = Protocol::Unnamed;

    /// Events before any update.
    fn begin(&mut self) -> Vec<Value>;

    /// Events of an update, which is no failure.
    fn update(&mut self, index: usize, update: Update) -> Vec<Value>;

    /// Events after the end of all sequences; `None` if some have not ended.
    fn end(&mut self) -> Option<Vec<Value>>;

    /// Events of a failure, which ends the answer.
    fn failed(&mut self, message: String) -> Vec<Value> {
        vec![ApiError::internal(message).body()]
    }
}

/// A body of events. Dropping it ends the sequences.
struct Events<R> {
    updates: Updates,
    render: R,
    /// Events to be sent.
    waiting: VecDeque<Bytes>,
    is_done: bool,
}

/// The response with the events of these updates.
pub(super) fn stream<R: Render>(updates: Updates, mut render: R) -> Response {
    let waiting = render.begin().iter().map(event::<R>).collect();
    let events = Events {
        updates,
        render,
        waiting,
        is_done: false,
    };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::new(events)).into_response()
}

fn event<R: Render>(value: &Value) -> Bytes {
    match (R::PROTOCOL, value["type"].as_str()) {
        (Protocol::Named, Some(name)) => format!("event: {name}\ndata: {value}\n\n").into(),
        _ => format!("data: {value}\n\n").into(),
    }
}

impl<R: Render> Events<R> {
    /// Adds the last events.
    fn finish(&mut self, failure: Option<String>) {
        let end = match failure {
            Some(message) => Err(message),
            None => self.render.end().ok_or("the engine has ended".to_owned()),
        };
        let end = end.unwrap_or_else(|message| self.render.failed(message));
        self.waiting.extend(end.iter().map(event::<R>));
        if R::PROTOCOL == Protocol::Unnamed {
            self.waiting.push_back("data: [DONE]\n\n".into());
        }
        self.is_done = true;
        self.updates.close();
    }
}

impl<R: Render> HttpBody for Events<R> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let it = self.get_mut();
        loop {
            if let Some(event) = it.waiting.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            if it.is_done {
                return Poll::Ready(None);
            }
            match ready!(it.updates.poll_recv(cx)) {
                None => it.finish(None),
                Some((_, Update::Failed(message))) => it.finish(Some(message)),
                Some((index, update)) => {
                    let events = it.render.update(index, update);
                    it.waiting.extend(events.iter().map(event::<R>));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_done && self.waiting.is_empty()
    }
}
