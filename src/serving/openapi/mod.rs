//! `GET /openapi.json`: the OpenAPI document of the server.

mod answers;
mod field;
mod requests;

use axum::Json;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathItemBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder};
use utoipa::openapi::security::{SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder, Ref, Required,
    ResponseBuilder,
};

use field::object;

/// What a path does.
struct Described {
    path: &'static str,
    method: HttpMethod,
    summary: &'static str,
    /// Name of the answer's schema, or the type of an answer that is no JSON.
    answer: Answer,
}

enum Answer {
    Json(&'static str),
    Events(&'static str),
    Plain(&'static str),
}

use Answer::{Events, Json as Object, Plain};

const fn described(
    path: &'static str,
    method: HttpMethod,
    summary: &'static str,
    answer: Answer,
) -> Described {
    Described {
        path,
        method,
        summary,
        answer,
    }
}

/// All paths of the router, without the page and its parts.
const PATHS: &[Described] = &[
    described(
        "/v1/completions",
        HttpMethod::Post,
        "Continues texts or token ids",
        Events("Completion"),
    ),
    described(
        "/v1/chat/completions",
        HttpMethod::Post,
        "Continues a conversation",
        Events("ChatCompletion"),
    ),
    described(
        "/v1/responses",
        HttpMethod::Post,
        "Continues a conversation of items",
        Events("Response"),
    ),
    described(
        "/v1/messages",
        HttpMethod::Post,
        "Continues a conversation of blocks",
        Events("Message"),
    ),
    described(
        "/v1/messages/count_tokens",
        HttpMethod::Post,
        "Counts the tokens of a conversation",
        Object("TokenCount"),
    ),
    described(
        "/v1/models",
        HttpMethod::Get,
        "Lists the one model",
        Object("Models"),
    ),
    described(
        "/v1/models/{name}",
        HttpMethod::Get,
        "Tells of the model",
        Object("Model"),
    ),
    described(
        "/tokenize",
        HttpMethod::Post,
        "Turns a text or a conversation into ids",
        Object("Tokens"),
    ),
    described(
        "/detokenize",
        HttpMethod::Post,
        "Turns ids into text",
        Object("Detokenized"),
    ),
    described(
        "/tokenizer_info",
        HttpMethod::Get,
        "Tells special tokens and the chat template",
        Object("TokenizerInfo"),
    ),
    described(
        "/health",
        HttpMethod::Get,
        "Tells whether the model is loaded",
        Plain("application/json"),
    ),
    described(
        "/metrics",
        HttpMethod::Get,
        "Tells metrics in Prometheus' form",
        Plain("text/plain"),
    ),
    described(
        "/api/trace/{id}",
        HttpMethod::Get,
        "Tells the experts of every token of a request",
        Object("Trace"),
    ),
    described(
        "/api/status",
        HttpMethod::Get,
        "Tells what the server does now",
        Object("Status"),
    ),
    described(
        "/api/energy",
        HttpMethod::Get,
        "Tells joules and watts",
        Object("Energy"),
    ),
    described(
        "/api/routing",
        HttpMethod::Get,
        "Tells the choices of every expert, with `?seconds=N` the newest ones",
        Object("Routing"),
    ),
    described(
        "/openapi.json",
        HttpMethod::Get,
        "This document",
        Plain("application/json"),
    ),
];

/// Answers with the document.
pub(super) async fn openapi() -> Json<OpenApi> {
    Json(document())
}

fn document() -> OpenApi {
    let mut components = ComponentsBuilder::new()
        .security_scheme(
            "bearer",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        )
        .security_scheme(
            "x-api-key",
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key"))),
        );
    for (name, fields) in answers::SCHEMAS {
        components = components.schema(*name, object(*fields));
    }
    let mut paths = PathsBuilder::new();
    for described in PATHS {
        paths = paths.path(described.path, described.item());
    }
    let none: [&str; 0] = [];
    OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("Darkhorse Genesis")
                .version(env!("CARGO_PKG_VERSION")),
        )
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([
            SecurityRequirement::default(),
            SecurityRequirement::new("bearer", none),
            SecurityRequirement::new("x-api-key", none),
        ]))
        .build()
}

impl Described {
    fn item(&self) -> utoipa::openapi::PathItem {
        let named = |name: &str| {
            let schema = Ref::from_schema_name(name);
            ContentBuilder::new().schema(Some(schema)).build()
        };
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let any = || ContentBuilder::new().schema(Some(text())).build();
        let json = "application/json";
        let answer = ResponseBuilder::new().description("the answer");
        let answer = match self.answer {
            Object(name) => answer.content(json, named(name)),
            // with `stream`, as events
            Events(name) => answer
                .content(json, named(name))
                .content("text/event-stream", any()),
            Plain(kind) => answer.content(kind, any()),
        };
        let error = if self.path.starts_with(super::messages::MESSAGES) {
            "MessageError"
        } else {
            "Error"
        };
        let refused = ResponseBuilder::new().description("why there is no answer");
        let mut operation = OperationBuilder::new()
            .summary(Some(self.summary))
            .response("200", answer)
            .response("default", refused.content(json, named(error)));
        if let Some(fields) = requests::of_path(self.path) {
            let content = ContentBuilder::new().schema(Some(object(&fields))).build();
            let body = RequestBodyBuilder::new().content(json, content);
            let body = body.required(Some(Required::True)).build();
            operation = operation.request_body(Some(body));
        }
        if let Some((_, rest)) = self.path.split_once('{') {
            let parameter = ParameterBuilder::new()
                .name(rest.trim_end_matches('}'))
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text()));
            operation = operation.parameter(parameter);
        }
        PathItemBuilder::new()
            .operation(self.method.clone(), operation)
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::router::routes;

    #[test]
    fn each_path_of_the_router_is_described_and_no_other() {
        let mut routed: Vec<String> = routes()
            .into_iter()
            .map(|(path, _)| path.replace("{*", "{"))
            .collect();
        let document = serde_json::to_value(document()).unwrap();
        let described = document["paths"].as_object().unwrap().keys();
        let mut described: Vec<&String> = described.collect();
        routed.sort();
        described.sort_unstable();
        assert_eq!(routed.iter().collect::<Vec<_>>(), described);
    }

    #[test]
    fn every_schema_that_is_named_is_there() {
        let document = serde_json::to_value(document()).unwrap();
        let text = document.to_string();
        let named = text.split("#/components/schemas/").skip(1);
        for name in named.map(|rest| &rest[..rest.find('"').unwrap()]) {
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    }
}
