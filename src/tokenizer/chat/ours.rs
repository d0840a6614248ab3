//! Templates of ours, for models that bring none.

use super::Tokenizer;
use crate::tokenizer::special::{ASSISTANT, END, SYSTEM, USER};

/// The tokens of ChatML, in the order in which Genesis-152M adds them.
pub const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// Turns between tokens of their own; `domain` is an optional variable.
pub(super) const TURNS: &str = concat!(
    "{{- bos_token -}}",
    "{%- if domain is defined and domain -%}{{- '<|domain:' + domain + '|>' -}}{%- endif -%}",
    "{%- for message in messages -%}",
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}",
);

/// ChatML with a line end before the end of a turn, as Genesis-152M was taught.
pub const GENESIS_TEMPLATE: &str = concat!(
    "{%- for message in messages -%}",
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '\\n<|im_end|>\\n' -}}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}",
);

/// For tokenizers without tokens for turns. An answer brings its own space.
pub(super) const PLAIN: &str = concat!(
    "{%- for message in messages -%}",
    "{%- set content = message['content'] -%}",
    "{%- if message['role'] == 'assistant' -%}{%- set content = content | trim -%}{%- endif -%}",
    "{{- message['role'] | capitalize + ': ' + content + '\\n' -}}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}",
);

/// Our template, if a tokenizer has its tokens.
pub(in crate::tokenizer) fn turns_of(tokenizer: &Tokenizer) -> Option<&'static str> {
    let tokens = [SYSTEM, USER, ASSISTANT, END];
    let has_all = tokens.iter().all(|name| tokenizer.token_id(name).is_some());
    has_all.then_some(TURNS)
}
