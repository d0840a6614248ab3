//! String literals of a template, with Python's escapes.

use crate::tokenizer::chat::TemplateError;
use crate::tokenizer::chat::scan;

/// Rewrites a template's string literals for `minijinja`, which lacks some of Python's escapes and keeps a backslash
/// at the end of a line, where Python drops it together with the line end.
pub(crate) fn rewritten(source: &str) -> Result<String, TemplateError> {
    scan::rewrite(source, |_, inside| scan::rewrite_strings(inside, string))
}

fn string(literal: &str) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(literal.len());
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('\n') => {}
            Some('\r') => {
                chars.next_if_eq(&'\n');
            }
            Some('a') => out.push('\u{7}'),
            Some('v') => out.push('\u{b}'),
            Some('N') if chars.peek() == Some(&'{') => {
                return Err(TemplateError::NotRendered {
                    what: "`\\N{...}` in a string",
                });
            }
            Some('U') => {
                let digits: String = chars.by_ref().take(8).collect();
                let code = u32::from_str_radix(&digits, 16).ok();
                let c = code.filter(|_| digits.len() == 8).and_then(char::from_u32);
                out.push(c.ok_or(TemplateError::NotRendered {
                    what: "`\\U` without the eight digits of a character",
                })?);
            }
            Some(first @ '0'..='7') => {
                let mut code = first as u32 - '0' as u32;
                for _ in 0..2 {
                    if let Some(digit) = chars.next_if(|c| c.is_digit(8)) {
                        code = code * 8 + digit as u32 - '0' as u32;
                    }
                }
                out.extend(char::from_u32(code));
            }
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                if digits.starts_with(['d', 'D']) && digits.get(1..2) > Some("7") {
                    return Err(TemplateError::NotRendered {
                        what: "half a character, `\\ud...`, in a string",
                    });
                }
                out.push_str("\\u");
                out.push_str(&digits);
            }
            Some(known @ ('\\' | '\'' | '"' | 'n' | 'r' | 't' | 'b' | 'f' | 'x')) => {
                out.extend(['\\', known]);
            }
            // an unknown escape stays as it is
            Some(other) => out.extend(['\\', '\\', other]),
            None => out.push('\\'),
        }
    }
    Ok(out)
}
