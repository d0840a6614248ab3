//! The common frame of all report pages: one HTML file with its style, without network or scripts.

use super::format::escape;

const STYLE: &str = include_str!("style.css");

/// A report page.
#[derive(Debug)]
pub(super) struct Document<'a> {
    /// Title: the subject of the page.
    pub(super) title: &'a str,
    /// Kind of page.
    pub(super) kind: &'a str,
    /// One sentence under the title, as HTML.
    pub(super) lead: &'a str,
    /// Headline figures, as HTML.
    pub(super) tiles: &'a str,
    /// The sections, as HTML.
    pub(super) body: &'a str,
    /// Origin of the data and units, as HTML.
    pub(super) footer: &'a str,
    /// For a page that a server renews: what it says of its state, as HTML. The script `/live.js` renews it.
    pub(super) live: Option<&'a str>,
}

impl Document<'_> {
    /// The page as an HTML file.
    pub(super) fn html(&self) -> String {
        let Self {
            kind,
            lead,
            tiles,
            body,
            footer,
            ..
        } = self;
        let title = escape(self.title);
        let (script, live) = match self.live {
            Some(live) => (
                "<script src=\"/live.js\" defer></script>\n",
                format!("<p class=\"live\" id=\"live\">{live}</p>\n"),
            ),
            None => ("", String::new()),
        };
        format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · {kind}</title>
<style>
{STYLE}</style>
{script}</head>
<body>
<main>
<header>
<p class="eyebrow">Darkhorse Genesis · {kind}</p>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{live}{tiles}</header>
{body}<footer>{footer}</footer>
</main>
</body>
</html>
"#
        )
    }
}

/// A section with a heading and an introductory sentence; empty if it has no body.
pub(super) fn section(title: &str, about: &str, body: &str) -> String {
    if body.is_empty() {
        String::new()
    } else {
        format!(
            "<section><h2>{title}</h2><p>{}</p>\n{body}</section>\n",
            escape(about)
        )
    }
}
