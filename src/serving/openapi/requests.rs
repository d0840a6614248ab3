//! Fields of requests.

use super::field::Kind::{Count, Flag, List, Map, Number, OneOf, Text};
use super::field::{Field, Kind, always, maybe};

const TEXTS: Kind = List(&Text);
const IDS: Kind = List(&Count);

/// Fields of all requests that generate text.
const COMMON: &[Field] = &[
    maybe(
        "model",
        Text,
        "name of the model, which is the one that is served",
    ),
    maybe("stream", Flag, "whether to answer by server-sent events"),
    maybe(
        "temperature",
        Number,
        "divisor of the logits; 0: always the likeliest token",
    ),
    maybe(
        "top_p",
        Number,
        "keep the likeliest tokens whose probabilities sum to this",
    ),
    maybe("top_k", Count, "number of likeliest tokens to keep; 0: all"),
    maybe(
        "min_p",
        Number,
        "keep tokens with at least this share of the likeliest one's probability",
    ),
    maybe(
        "repetition_penalty",
        Number,
        "divides logits of tokens that occurred before; 1: off",
    ),
    maybe("seed", Count, "equal seeds give equal answers"),
    maybe("ignore_eos", Flag, "go on where the model would end"),
    maybe(
        "domain",
        Text,
        "one of the ten domains, which assists the router",
    ),
    maybe(
        "speculative",
        OneOf(&[Flag, Count]),
        "whether to draft tokens, or how many",
    ),
    maybe(
        "top_k_experts",
        Count,
        "experts per token, which are those of the model",
    ),
    maybe("trace", Flag, "whether to tell the experts of every token"),
];

/// Fields of completions and chats.
const SEVERAL: &[Field] = &[
    maybe("n", Count, "number of answers"),
    maybe(
        "stop",
        OneOf(&[Text, TEXTS]),
        "texts that end the answer and are not shown",
    ),
    maybe(
        "stream_options",
        Map,
        "`include_usage`: whether a stream ends with the numbers of tokens",
    ),
];

const COMPLETION: &[Field] = &[
    always("prompt", OneOf(&[Text, TEXTS, IDS, List(&IDS)])),
    maybe(
        "max_tokens",
        Count,
        "largest number of tokens to generate; 16 unless given",
    ),
    maybe("echo", Flag, "whether the answer begins with the prompt"),
    maybe(
        "logprobs",
        Count,
        "number of likeliest tokens to tell at each place, 0 to 20",
    ),
    maybe(
        "add_special_tokens",
        Flag,
        "whether to put before texts what the tokenizer does",
    ),
];

const CHAT: &[Field] = &[
    always("messages", List(&Map)),
    maybe(
        "max_completion_tokens",
        Count,
        "largest number of tokens to generate",
    ),
    maybe("max_tokens", Count, "older name of `max_completion_tokens`"),
    maybe("logprobs", Flag, "whether to tell log-probabilities"),
    maybe(
        "top_logprobs",
        Count,
        "number of likeliest tokens to tell at each place, 0 to 20",
    ),
    maybe(
        "response_format",
        Map,
        "form of the answer: `text`, `json_object` or `json_schema`",
    ),
    maybe("tools", List(&Map), "functions that the model may call"),
    maybe(
        "tool_choice",
        OneOf(&[Text, Map]),
        "`auto`, `none`, `required` or a function",
    ),
    maybe(
        "parallel_tool_calls",
        Flag,
        "whether there may be several calls in an answer",
    ),
];

const RESPONSE: &[Field] = &[
    always("input", OneOf(&[Text, List(&Map)])),
    maybe(
        "instructions",
        Text,
        "message of the system before the input",
    ),
    maybe(
        "max_output_tokens",
        Count,
        "largest number of tokens to generate",
    ),
    maybe("text", Map, "`format`: form of the answer"),
    maybe(
        "stop",
        OneOf(&[Text, TEXTS]),
        "texts that end the answer and are not shown",
    ),
    maybe("tools", List(&Map), "functions that the model may call"),
    maybe(
        "tool_choice",
        OneOf(&[Text, Map]),
        "`auto`, `none`, `required` or a function",
    ),
    maybe(
        "parallel_tool_calls",
        Flag,
        "whether there may be several calls in an answer",
    ),
];

const CONVERSATION: &[Field] = &[
    always("messages", List(&Map)),
    maybe("system", OneOf(&[Text, List(&Map)]), "what the system says"),
    maybe(
        "tools",
        List(&Map),
        "tools that the model may use, with an `input_schema`",
    ),
    maybe("tool_choice", Map, "`auto`, `any`, `tool` or `none`"),
];

const MESSAGE: &[Field] = &[
    always("max_tokens", Count),
    maybe(
        "stop_sequences",
        TEXTS,
        "texts that end the answer and are not shown",
    ),
];

const TOKENIZE: &[Field] = &[
    maybe("model", Text, "name of the model"),
    maybe("prompt", Text, "a text"),
    maybe("messages", List(&Map), "a conversation, in place of a text"),
    maybe(
        "add_special_tokens",
        Flag,
        "whether to put before texts what the tokenizer does",
    ),
    maybe(
        "return_token_strs",
        Flag,
        "whether to tell the names of the tokens",
    ),
];

const DETOKENIZE: &[Field] = &[
    maybe("model", Text, "name of the model"),
    always("tokens", IDS),
];

/// Fields of the request for a path; `None` if it has no body.
pub(super) fn of_path(path: &str) -> Option<Vec<Field>> {
    let parts: &[&[Field]] = match path {
        "/v1/completions" => &[COMPLETION, SEVERAL, COMMON],
        "/v1/chat/completions" => &[CHAT, SEVERAL, COMMON],
        "/v1/responses" => &[RESPONSE, COMMON],
        "/v1/messages" => &[CONVERSATION, MESSAGE, COMMON],
        "/v1/messages/count_tokens" => {
            &[&[maybe("model", Text, "name of the model")], CONVERSATION]
        }
        "/tokenize" => &[TOKENIZE],
        "/detokenize" => &[DETOKENIZE],
        _ => return None,
    };
    Some(parts.concat())
}
