//! What all pages have in common: one HTML file with its style, which needs no network and no script.

use super::format::escape;

const STYLE: &str = include_str!("style.css");

/// A page.
#[derive(Debug)]
pub(super) struct Document<'a> {
    /// What it is about.
    pub(super) title: &'a str,
    /// What kind of page it is.
    pub(super) kind: &'a str,
    /// One sentence under the title, as HTML.
    pub(super) lead: &'a str,
    /// The headline figures, as HTML.
    pub(super) tiles: &'a str,
    /// The sections, as HTML.
    pub(super) body: &'a str,
    /// What it was made from, and what its units are, as HTML.
    pub(super) footer: &'a str,
}

impl Document<'_> {
    /// The page as a file.
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
        format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · {kind}</title>
<style>
{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="eyebrow">Darkhorse Genesis · {kind}</p>
<h1>{title}</h1>
<p class="lead">{lead}</p>
{tiles}</header>
{body}<footer>{footer}</footer>
</main>
</body>
</html>
"#
        )
    }
}

/// A section with its heading and a sentence about it; nothing without a body.
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
