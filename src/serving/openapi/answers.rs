//! Schemas of answers.

use super::field::Kind::{Count, Flag, List, Map, Named, Number, OneOf, OrNull, Text};
use super::field::{Field, Kind, always, maybe};

const TEXT_OR_NULL: Kind = OrNull(&Text);
const TRACE: Field = maybe("trace", Map, "experts and gates of every token, per layer");
const ENERGY: Field = maybe(
    "energy",
    Map,
    "joules of prompt and answer, with their source",
);
const SPECULATION: Field = maybe("speculation", Map, "drafts and accepted ones by place");

/// All schemas by name.
pub(super) const SCHEMAS: &[(&str, &[Field])] = &[
    (
        "Completion",
        &[
            always("id", Text),
            always("object", Text),
            always("created", Count),
            always("model", Text),
            always("choices", List(&Named("CompletionChoice"))),
            always("usage", Named("Usage")),
        ],
    ),
    (
        "CompletionChoice",
        &[
            always("index", Count),
            always("text", Text),
            always("logprobs", OrNull(&Map)),
            always("finish_reason", TEXT_OR_NULL),
            TRACE,
            SPECULATION,
        ],
    ),
    (
        "ChatCompletion",
        &[
            always("id", Text),
            always("object", Text),
            always("created", Count),
            always("model", Text),
            always("choices", List(&Named("ChatChoice"))),
            always("usage", Named("Usage")),
        ],
    ),
    (
        "ChatChoice",
        &[
            always("index", Count),
            always("message", Named("ChatMessage")),
            always("logprobs", OrNull(&Map)),
            always("finish_reason", TEXT_OR_NULL),
            TRACE,
            SPECULATION,
        ],
    ),
    (
        "ChatMessage",
        &[
            always("role", Text),
            always("content", TEXT_OR_NULL),
            always("refusal", TEXT_OR_NULL),
            maybe("tool_calls", List(&Named("ToolCall")), "calls of tools"),
        ],
    ),
    (
        "ToolCall",
        &[
            always("id", Text),
            always("type", Text),
            always("function", Named("CalledFunction")),
        ],
    ),
    (
        "CalledFunction",
        &[always("name", Text), always("arguments", Text)],
    ),
    (
        "Usage",
        &[
            always("prompt_tokens", Count),
            always("completion_tokens", Count),
            always("total_tokens", Count),
            always("prompt_tokens_details", Map),
            ENERGY,
        ],
    ),
    (
        "Response",
        &[
            always("id", Text),
            always("object", Text),
            always("created_at", Count),
            always("status", Text),
            always("error", OrNull(&Map)),
            always("incomplete_details", OrNull(&Map)),
            always("model", Text),
            always("output", List(&Named("OutputItem"))),
            always("previous_response_id", TEXT_OR_NULL),
            always("reasoning", Map),
            always("store", Flag),
            always("temperature", Number),
            always("top_p", Number),
            always("truncation", Text),
            always("usage", OrNull(&Named("ResponseUsage"))),
            always("instructions", TEXT_OR_NULL),
            always("max_output_tokens", OrNull(&Count)),
            always("metadata", Map),
            always("parallel_tool_calls", Flag),
            always("text", Map),
            always("tool_choice", OneOf(&[Text, Map])),
            always("tools", List(&Map)),
            always("user", TEXT_OR_NULL),
            TRACE,
            SPECULATION,
        ],
    ),
    (
        "OutputItem",
        &[
            always("type", Text),
            always("id", Text),
            always("status", Text),
            maybe("role", Text, "of a message"),
            maybe("content", List(&Map), "of a message"),
            maybe("call_id", Text, "of a call"),
            maybe("name", Text, "of a call"),
            maybe("arguments", Text, "of a call"),
        ],
    ),
    (
        "ResponseUsage",
        &[
            always("input_tokens", Count),
            always("input_tokens_details", Map),
            always("output_tokens", Count),
            always("output_tokens_details", Map),
            always("total_tokens", Count),
            ENERGY,
        ],
    ),
    (
        "Message",
        &[
            always("id", Text),
            always("type", Text),
            always("role", Text),
            always("model", Text),
            always("content", List(&Named("ContentBlock"))),
            always("stop_reason", TEXT_OR_NULL),
            always("stop_sequence", TEXT_OR_NULL),
            always("usage", Named("MessageUsage")),
            TRACE,
            SPECULATION,
        ],
    ),
    (
        "ContentBlock",
        &[
            always("type", Text),
            maybe("text", Text, "of a text"),
            maybe("id", Text, "of a use of a tool"),
            maybe("name", Text, "of a use of a tool"),
            maybe("input", Map, "of a use of a tool"),
        ],
    ),
    (
        "MessageUsage",
        &[
            always("input_tokens", Count),
            always("cache_creation_input_tokens", Count),
            always("cache_read_input_tokens", Count),
            always("output_tokens", Count),
            ENERGY,
        ],
    ),
    ("TokenCount", &[always("input_tokens", Count)]),
    (
        "Models",
        &[
            always("object", Text),
            always("data", List(&Named("Model"))),
        ],
    ),
    (
        "Model",
        &[
            always("id", Text),
            always("object", Text),
            always("created", Count),
            always("owned_by", Text),
            always("max_model_len", Count),
        ],
    ),
    (
        "Tokens",
        &[
            always("count", Count),
            always("max_model_len", Count),
            always("tokens", List(&Count)),
            maybe("token_strs", List(&TEXT_OR_NULL), "names of the tokens"),
        ],
    ),
    ("Detokenized", &[always("prompt", Text)]),
    (
        "TokenizerInfo",
        &[
            always("tokenizer_class", Text),
            always("model_max_length", Count),
            always("vocab_size", Count),
            always("chat_template", Text),
            maybe("bos_token", Text, ""),
            maybe("eos_token", Text, ""),
            maybe("pad_token", Text, ""),
        ],
    ),
    (
        "Trace",
        &[
            always("id", Text),
            always("prompt_tokens", Count),
            always("ids", List(&Count)),
            always("texts", List(&Text)),
            always("layers", List(&Named("LayerTrace"))),
        ],
    ),
    (
        "Status",
        &[
            always("model", Map),
            always("backend", Text),
            always("uptime_s", Number),
            always("requests", Map),
            always("tokens", Map),
            always("drafts", Map),
            always("cache", Map),
            always("power", OrNull(&Map)),
            always("no_meter", TEXT_OR_NULL),
        ],
    ),
    (
        "Energy",
        &[
            always("meter", OrNull(&Map)),
            always("no_meter", TEXT_OR_NULL),
            maybe("window", Map, "joules since the model was loaded"),
            maybe("power", Map, "watts now and of the newest minutes"),
        ],
    ),
    (
        "Routing",
        &[
            always("seconds", OrNull(&Count)),
            always("passes", Count),
            always("tokens", Count),
            always("layers", List(&Map)),
            always("expert_domains", OrNull(&List(&Text))),
        ],
    ),
    (
        "LayerTrace",
        &[
            always("layer", Count),
            always("visits", List(&Count)),
            always("null_visits", List(&Count)),
            always("slots", List(&List(&Count))),
            always("gates", List(&List(&Number))),
        ],
    ),
    ("Error", &[always("error", Named("ErrorDetail"))]),
    (
        "ErrorDetail",
        &[
            always("message", Text),
            always("type", Text),
            always("param", TEXT_OR_NULL),
            always("code", TEXT_OR_NULL),
        ],
    ),
    (
        "MessageError",
        &[
            always("type", Text),
            always("error", Named("MessageErrorDetail")),
        ],
    ),
    (
        "MessageErrorDetail",
        &[always("type", Text), always("message", Text)],
    ),
];
