//! The pages and what their script asks for.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::watched::{Status, Watched};
use crate::telemetry::report::{Compared, escape, render_comparison, render_live};
use crate::telemetry::{JournalError, Tail};

type Runs = Arc<Vec<Watched>>;

/// Scripts come from this server alone; styles lie in the pages.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; \
    img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// An answer that is no page.
enum Refusal {
    Nothing,
    Journal(JournalError),
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Nothing => {
                let message = "there is nothing at this path; the dashboard is at /";
                (StatusCode::NOT_FOUND, message).into_response()
            }
            Self::Journal(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response()
            }
        }
    }
}

pub(super) fn router(runs: Runs) -> Router {
    Router::new()
        .route("/", get(overview))
        .route("/runs/{number}", get(page))
        .route("/api/runs", get(statuses))
        .route("/live.js", get(script))
        .fallback(async || Refusal::Nothing)
        .with_state(runs)
}

fn html(page: String) -> Response {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(page)).into_response()
}

async fn script() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, include_str!("live.js")).into_response()
}

/// The state of a page in HTML: `version` is what the script compares with that of `/api/runs`.
fn live(version: u64, state: &str, link: &str) -> String {
    format!(
        "<span id=\"state\" role=\"status\" data-version=\"{version}\">{state}</span><span id=\"link\"></span>{link}"
    )
}

async fn overview(State(runs): State<Runs>) -> Result<Response, Refusal> {
    if let [only] = &runs[..] {
        return Ok(html(of_run(only, "")?));
    }
    let tails = runs.iter().map(Watched::now);
    let tails: Vec<_> = tails.collect::<Result<_, _>>()?;
    let addresses: Vec<String> = (0..runs.len()).map(|it| format!("/runs/{it}")).collect();
    let compared = runs.iter().zip(&tails).zip(&addresses);
    let compared = compared.map(|((run, tail), address)| Compared {
        name: &run.name,
        address,
        about: &run.about,
        records: tail.records(),
    });
    let compared: Vec<Compared<'_>> = compared.collect();
    let version = tails.iter().map(|tail| tail.version()).sum();
    let states = runs.iter().zip(&tails).map(|(run, tail)| {
        let status = run.status(tail);
        format!("{}: {}", escape(&status.name), status.state)
    });
    let state = states.collect::<Vec<_>>().join(" · ");
    let page = render_comparison(&compared, &live(version, &state, ""));
    Ok(html(page))
}

async fn page(State(runs): State<Runs>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let number: usize = number.parse().map_err(|_| Refusal::Nothing)?;
    let run = runs.get(number).ok_or(Refusal::Nothing)?;
    let link = if runs.len() > 1 {
        "<a href=\"/\">all runs</a>"
    } else {
        ""
    };
    Ok(html(of_run(run, link)?))
}

fn of_run(run: &Watched, link: &str) -> Result<String, Refusal> {
    let tail = run.now()?;
    let Status { version, state, .. } = run.status(&tail);
    let live = live(version, &state, link);
    Ok(render_live(&run.about, tail.records(), &live))
}

async fn statuses(State(runs): State<Runs>) -> Result<Json<Vec<Status>>, Refusal> {
    let status = |run: &Watched| -> Result<Status, Refusal> {
        let tail: &Tail = &*run.now()?;
        Ok(run.status(tail))
    };
    let statuses = runs.iter().map(status);
    Ok(Json(statuses.collect::<Result<_, _>>()?))
}
