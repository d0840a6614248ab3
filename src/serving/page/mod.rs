//! The page at `/`: a conversation beside what the model does. It is embedded, loads nothing from elsewhere, and runs no
//! script but its own.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{self, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::state::State;

/// Path of the page; its files lie below [`FILES`]. Neither needs a key: they are the same for everyone.
pub(super) const PAGE: &str = "/";
pub(super) const FILES: &str = "/page/";

/// Only what this server sends: no script or style in the page itself, no frames around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!($name))),*]
    };
}

/// The files, by name.
const ALL: [(&str, &str); 13] = files![
    "base.css",
    "chat.css",
    "live.css",
    "icon.svg",
    "main.js",
    "api.js",
    "chat.js",
    "dom.js",
    "heat.js",
    "live.js",
    "power.js",
    "settings.js",
    "tokens.js",
];

/// The page and its files.
pub(super) fn routes() -> Router<Arc<State>> {
    let page = Router::new().route(
        PAGE,
        get(async || file("index.html", include_str!("index.html"))),
    );
    ALL.into_iter().fold(page, |router, (name, text)| {
        router.route(
            &format!("{FILES}{name}"),
            get(async move || file(name, text)),
        )
    })
}

fn file(name: &str, text: &'static str) -> Response {
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page from elsewhere, or with a script in itself, would be stopped by its own policy.
    #[test]
    fn the_page_names_only_files_that_it_has_and_makes_no_html_of_text() {
        let page = include_str!("index.html");
        let named = page
            .split(['"', '\''])
            .filter(|it| it.starts_with("/page/"));
        for file in named {
            assert!(
                ALL.iter()
                    .any(|(name, _)| Some(*name) == file.strip_prefix(FILES)),
                "{file}"
            );
        }
        for (name, text) in ALL.into_iter().chain([("index.html", page)]) {
            assert!(text.lines().count() < 500, "{name}");
            let outside = ["http:", "https:", "//cdn"].map(|it| text.matches(it).count());
            let of_svg = usize::from(name == "icon.svg");
            assert_eq!(outside, [of_svg, 0, 0], "{name}");
            for inline in [
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
                " onclick=",
                " style=\"",
            ] {
                assert!(!text.contains(inline), "{name}: {inline}");
            }
            for import in text.split("from \"./").skip(1) {
                let file = import.split('"').next().unwrap();
                assert!(ALL.iter().any(|(name, _)| *name == file), "{name}: {file}");
            }
        }
    }
}
