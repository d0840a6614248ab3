//! Templates for models that have none.

use super::Tokenizer;
use crate::tokenizer::special::{ASSISTANT, END, SYSTEM, USER};

/// ChatML's tokens, in the order in which Genesis-152M adds them.
pub const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// Template of our own tokenizers, which have a token per role; `domain` is an optional variable.
pub(super) const TURNS: &str = concat!(
    "{{- bos_token -}}",
    "{%- if domain is defined and domain -%}{{- '<|domain:' + domain + '|>' -}}{%- endif -%}",
    "{%- for message in messages -%}",
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}",
);

/// ChatML with a line end before the end of a turn, as in Genesis-152M's training.
pub const GENESIS_TEMPLATE: &str = concat!(
    "{%- for message in messages -%}",
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '\\n<|im_end|>\\n' -}}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}",
);

/// Template for tokenizers without tokens for turns. The space before an answer belongs to the answer.
pub(super) const PLAIN: &str = concat!(
    "{%- for message in messages -%}",
    "{%- set content = message['content'] -%}",
    "{%- if message['role'] == 'assistant' -%}{%- set content = content | trim -%}{%- endif -%}",
    "{{- message['role'] | capitalize + ': ' + content + '\\n' -}}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{- 'Assistant:' -}}{%- endif -%}",
);

/// Our template, if a tokenizer has the tokens for it.
pub(in crate::tokenizer) fn turns_of(tokenizer: &Tokenizer) -> Option<&'static str> {
    let tokens = [SYSTEM, USER, ASSISTANT, END];
    let has_all = tokens.iter().all(|name| tokenizer.token_id(name).is_some());
    has_all.then_some(TURNS)
}
