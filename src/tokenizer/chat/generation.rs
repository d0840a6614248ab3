//! The statement `{% generation %}`, with which a template marks the assistant's words.
//!
//! transformers supports it, Jinja does not. It is rewritten to a `call` block, which has the same scope, of a
//! function that puts marks around the rendered block.

use std::ops::Range;

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, State, Value};

use super::TemplateError;
use super::scan::{self, Tag};

const FUNCTION: &str = "generation_of_the_assistant";
/// Marks in the rendered text; messages must not contain them.
pub(super) const MARKS: [char; 2] = ['\u{F0010}', '\u{F0011}'];

/// The template without such statements, and whether it had any.
pub(super) fn rewritten(source: &str) -> Result<(String, bool), TemplateError> {
    let mut found = false;
    let text = scan::rewrite(source, |tag, inside| {
        let name = match tag {
            Tag::Statement => scan::name(inside),
            Tag::Expression => "",
        };
        Ok(match name {
            "generation" => {
                found = true;
                inside.replacen(name, &format!("call {FUNCTION}()"), 1)
            }
            "endgeneration" => inside.replacen(name, "endcall", 1),
            _ => inside.to_owned(),
        })
    })?;
    Ok((text, found))
}

pub(super) fn install(env: &mut Environment<'_>) {
    env.add_function(FUNCTION, |state: &mut State, kwargs: Kwargs| {
        let caller: Value = kwargs.get("caller")?;
        let said = caller.call(state, &[])?;
        let [open, close] = MARKS;
        Ok::<_, Error>(format!("{open}{said}{close}"))
    });
}

/// Removes the marks from a rendering and returns the ranges between them; nested marks count once.
pub(super) fn unmarked(rendered: &str) -> (String, Vec<Range<usize>>) {
    let mut text = String::with_capacity(rendered.len());
    let (mut spans, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    for piece in rendered.split_inclusive(MARKS) {
        text.push_str(piece.trim_end_matches(MARKS));
        if piece.ends_with(MARKS[0]) {
            if depth == 0 {
                begin = text.len();
            }
            depth += 1;
        } else if piece.ends_with(MARKS[1]) {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                spans.push(begin..text.len());
            }
        }
    }
    (text, spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_statement_is_rewritten() {
        let (text, found) =
            rewritten("{%- generation -%}generation{{ 'generation' }}{% endgeneration %}").unwrap();
        let call =
            format!("{{%- call {FUNCTION}() -%}}generation{{{{ 'generation' }}}}{{% endcall %}}");
        assert_eq!((text, found), (call, true));
        assert!(!rewritten("{% set generation = 1 %}").unwrap().1);
    }

    #[test]
    fn marks_become_places() {
        let [open, close] = MARKS;
        let (text, spans) = unmarked(&format!("é{open}a{close}b{open}{close}"));
        assert_eq!((text.as_str(), spans), ("éab", vec![2..3, 4..4]));
    }
}
