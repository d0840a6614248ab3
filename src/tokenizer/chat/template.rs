//! Selection of a model's chat template, and rendering with it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::control::{ControlTokens, Marked, refuse, unmarked};
use super::jinja::{self, Jinja};
use super::{Clock, Conversation, Message, Role, TemplateError, Tokenizer, generation, ours};
use crate::domain::Domain;
use crate::tokenizer::special::END;

/// Keys of the assistant's reasoning that transformers knows.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// Origin of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The model's own template, from its files.
    Published,
    /// This crate's format: `<|user|>` … `<|end|>`.
    Turns,
    /// ChatML with a line end before `<|im_end|>`, as in Genesis-152M's training.
    Genesis,
    /// `User: …`, line end, `Assistant:`; for models without a template.
    Plain,
}

/// A parsed chat template. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Template {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    kind: Kind,
    jinja: Jinja,
    /// Separate template for conversations with tools, if the files have one.
    tool_use: Option<Jinja>,
    /// Variables of the template, such as `bos_token`.
    variables: Map<String, Value>,
    pub(super) control: ControlTokens,
}

/// Purpose of a rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A prompt that the assistant continues.
    Prompt(Option<Domain>),
    /// Training data, without the tokens that packing puts around documents in our own format.
    Data,
    /// The start of training data, up to an assistant's turn.
    DataPrompt,
}

/// A rendered text with ranges of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) text: String,
    /// Ranges that the template marks as the assistant's.
    pub(super) generations: Vec<std::ops::Range<usize>>,
    /// Ranges of control tokens that stem from a message.
    pub(super) forged: Vec<std::ops::Range<usize>>,
}

impl Template {
    /// The template for a tokenizer: the model's own, or ours if the tokenizer has its tokens, or [`Kind::Plain`].
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if the model's own template cannot be parsed.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        Self::by(Clock::Now, tokenizer)
    }

    /// The template for a tokenizer, with a given clock.
    ///
    /// # Errors
    ///
    /// Those of [`Self::of`].
    pub fn by(clock: Clock, tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let new = |kind, source: &str, tool_use: Option<&str>| {
            Self::new(kind, (source, tool_use), clock, tokenizer)
        };
        let published = published(tokenizer)?;
        let ours = ours::turns_of(tokenizer);
        match (published, ours) {
            (Some((source, _)), Some(turns)) if source == turns => new(Kind::Turns, turns, None),
            (Some((source, _)), _) if source == ours::GENESIS_TEMPLATE => Self::genesis(tokenizer),
            (Some((source, tool_use)), _) => new(Kind::Published, &source, tool_use.as_deref()),
            (None, Some(turns)) => new(Kind::Turns, turns, None),
            (None, None) => new(Kind::Plain, ours::PLAIN, None),
        }
    }

    /// Genesis-152M's template. Its files have none, so it is attached when the model is opened.
    ///
    /// # Errors
    ///
    /// None, since the template is part of this crate.
    pub fn genesis(tokenizer: &Tokenizer) -> Result<Self, TemplateError> {
        let template = (ours::GENESIS_TEMPLATE, None);
        Self::new(Kind::Genesis, template, Clock::Now, tokenizer)
    }

    fn new(
        kind: Kind,
        (source, tool_use): (&str, Option<&str>),
        clock: Clock,
        tokenizer: &Tokenizer,
    ) -> Result<Self, TemplateError> {
        let all = [source, tool_use.unwrap_or_default()].concat();
        let parse = |source| Jinja::parse(source, clock);
        Ok(Self {
            inner: Arc::new(Inner {
                kind,
                jinja: parse(source)?,
                tool_use: tool_use.map(parse).transpose()?,
                variables: variables(tokenizer),
                control: ControlTokens::of(tokenizer, &all),
            }),
        })
    }

    /// Whether the output of a tokenizer's templates may depend on the time.
    pub fn asks_for_the_time(tokenizer: &Tokenizer) -> bool {
        Self::sources(tokenizer).contains(jinja::STRFTIME_NOW)
    }

    /// Sources and variables of a tokenizer's published templates, for comparing templates.
    pub fn sources(tokenizer: &Tokenizer) -> String {
        let shared = &tokenizer.shared;
        let config = shared.config.get("chat_template");
        format!(
            "{config:?} {:?} {:?}",
            shared.chat_templates,
            variables(tokenizer)
        )
    }

    /// Source of the template, in Jinja.
    pub fn source(&self) -> &str {
        self.inner.jinja.source()
    }

    /// A warning for the user if the template is not the model's own.
    pub fn notice(&self) -> Option<&'static str> {
        (self.inner.kind == Kind::Plain).then_some(
            "the model has no chat template: turns are written as `User: ...` and `Assistant: ...`",
        )
    }

    /// Origin of the template.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// Text of a conversation: as a prompt up to where the assistant begins to speak, or, if `ended`, as it stands.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] if the template refuses the conversation or fails.
    pub fn text(&self, conversation: &Conversation, ended: bool) -> Result<String, TemplateError> {
        self.refuse_unwritten(conversation)?;
        let mut context = self.context(
            &objects(&conversation.messages),
            &conversation.tools,
            Purpose::Prompt(None),
        );
        context["add_generation_prompt"] = (!ended).into();
        Ok(self.of_tools(&conversation.tools).render(&context)?.text)
    }

    /// Renders messages and locates control tokens that stem from them.
    pub(super) fn render(
        &self,
        messages: &[Message],
        tools: &[Value],
        purpose: Purpose,
    ) -> Result<Text, TemplateError> {
        let plain = self.plain(&objects(messages), tools, purpose)?;
        let mut text = Text {
            text: plain.text,
            generations: plain.generations,
            forged: Vec::new(),
        };
        let control = &self.inner.control;
        for whose in [Marked::Everybody, Marked::Others] {
            let Some((objects, tools)) = control.marked(messages, tools, whose)? else {
                return Ok(text);
            };
            let objects: Vec<_> = objects.iter().map(aliased).collect();
            // a template that searches for such tokens may fail on marked ones
            let Ok(marked) = self.plain(&objects, &tools, purpose) else {
                continue;
            };
            let (without, forged) = unmarked(&marked.text);
            if without == text.text {
                text.forged = forged;
                return Ok(text);
            }
        }
        Err(TemplateError::Forged {
            token: control.example(messages),
        })
    }

    /// Renders objects, as in transformers.
    pub(super) fn plain(
        &self,
        messages: &[Map<String, Value>],
        tools: &[Value],
        purpose: Purpose,
    ) -> Result<jinja::Rendered, TemplateError> {
        self.of_tools(tools)
            .render(&self.context(messages, tools, purpose))
    }

    fn of_tools(&self, tools: &[Value]) -> &Jinja {
        let of_tools = self.inner.tool_use.as_ref().filter(|_| !tools.is_empty());
        of_tools.unwrap_or(&self.inner.jinja)
    }

    pub(super) fn marks_generations(&self, tools: &[Value]) -> bool {
        self.of_tools(tools).marks_generations()
    }

    fn context(&self, messages: &[Map<String, Value>], tools: &[Value], purpose: Purpose) -> Value {
        let mut context = self.inner.variables.clone();
        if self.inner.kind == Kind::Turns {
            // packing puts the special tokens around documents
            match purpose {
                Purpose::Prompt(domain) => {
                    let domain = domain.map(|domain| domain.name());
                    context.insert("domain".into(), json!(domain));
                }
                Purpose::Data | Purpose::DataPrompt => {
                    context.insert("bos_token".into(), "".into());
                }
            }
        }
        let tools = (!tools.is_empty()).then_some(tools);
        context.insert("messages".into(), json!(messages));
        context.insert("tools".into(), json!(tools));
        context.insert("documents".into(), Value::Null);
        context.insert(
            "add_generation_prompt".into(),
            (purpose != Purpose::Data).into(),
        );
        context.into()
    }

    /// Refuses a conversation of which the template would leave out a part.
    pub(super) fn refuse_unwritten(
        &self,
        conversation: &Conversation,
    ) -> Result<(), TemplateError> {
        let Conversation { messages, tools } = conversation;
        for message in messages {
            refuse_marks(&Value::Object(message.object().clone()))?;
        }
        tools.iter().try_for_each(refuse_marks)?;
        if self.inner.kind != Kind::Published
            && let Some(at) = messages.iter().position(|it| it.role() == Role::Tool)
        {
            return Err(TemplateError::UnwrittenTurn {
                message: at + 1,
                role: Role::Tool.name(),
            });
        }
        let source = self.of_tools(tools).source();
        let mut whole = None;
        for (at, message) in messages.iter().enumerate() {
            for key in message.spoken_keys() {
                let names: &[&str] = if REASONING.contains(&key) {
                    &REASONING
                } else {
                    &[key]
                };
                let unwritten = || TemplateError::Unwritten {
                    message: at + 1,
                    key: key.to_owned(),
                };
                // usually the key does not occur in the template; then it need not be rendered, which could fail
                if !names.iter().any(|name| source.contains(name))
                    && !source.contains("tojson")
                    && !source.contains("items")
                {
                    return Err(unwritten());
                }
                let mut without = objects(messages);
                names
                    .iter()
                    .for_each(|name| drop(without[at].shift_remove(*name)));
                let whole = match &mut whole {
                    Some(whole) => whole,
                    None => {
                        whole.insert(self.plain(&objects(messages), tools, Purpose::Data)?.text)
                    }
                };
                let same = self.plain(&without, tools, Purpose::Data);
                if same.is_ok_and(|same| same.text == *whole) {
                    return Err(unwritten());
                }
            }
        }
        if !tools.is_empty() {
            let [with, without] = [tools.as_slice(), &[]]
                .map(|tools| self.plain(&objects(messages), tools, Purpose::Data));
            if with?.text == without.map(|it| it.text).unwrap_or_default() {
                return Err(TemplateError::UnwrittenTools);
            }
        }
        Ok(())
    }

    /// Ids that end the assistant's turn, or the text.
    pub fn stop_ids(&self, tokenizer: &Tokenizer) -> Vec<u32> {
        let end = match self.inner.kind {
            Kind::Turns => Some(END.to_owned()),
            Kind::Genesis => {
                return tokenizer
                    .token_id(ours::CHATML_TOKENS[1])
                    .into_iter()
                    .collect();
            }
            Kind::Plain => None,
            Kind::Published => self.end_of_turn(),
        };
        let end = end.and_then(|end| tokenizer.token_id(&end));
        let other = tokenizer.eos_id().filter(|eos| Some(*eos) != end);
        end.into_iter().chain(other).collect()
    }

    /// The end-of-text token, `eos_token`.
    pub(super) fn end_of_text(&self) -> Option<&str> {
        let end = self
            .inner
            .variables
            .get("eos_token")
            .and_then(Value::as_str);
        end.filter(|end| !end.is_empty())
    }

    /// The token that the template writes after an answer.
    fn end_of_turn(&self) -> Option<String> {
        const ANSWER: &str = "answer";
        let messages = [
            Message::new(Role::User, "question"),
            Message::new(Role::Assistant, ANSWER),
        ];
        let text = self
            .plain(&objects(&messages), &[], Purpose::Data)
            .ok()?
            .text;
        let behind = text.rsplit_once(ANSWER)?.1.trim_start();
        let end = self.inner.control.first(behind)?;
        behind.starts_with(end).then(|| end.to_owned())
    }

    /// Text that ends the assistant's turn, for templates without a token for it.
    pub fn stop_text(&self) -> Option<&'static str> {
        (self.inner.kind == Kind::Plain).then_some("\nUser:")
    }
}

/// The model's own template and its template for tools, searched in the order of transformers.
fn published(tokenizer: &Tokenizer) -> Result<Option<(String, Option<String>)>, TemplateError> {
    let stated = &tokenizer
        .shared
        .config
        .get("chat_template")
        .cloned()
        .unwrap_or_default();
    let files = &tokenizer.shared.chat_templates;
    let mut named: Map<String, Value> = Map::new();
    match stated {
        _ if !files.is_empty() => named = files.clone(),
        Value::Null => return Ok(None),
        Value::String(_) => drop(named.insert("default".into(), stated.clone())),
        Value::Object(all) => named = all.clone(),
        Value::Array(all) => {
            let pairs = all
                .iter()
                .filter_map(|it| Some((it["name"].as_str()?.to_owned(), it["template"].clone())));
            named.extend(pairs);
        }
        _ => {}
    }
    let text = |name: &str| named.get(name).and_then(Value::as_str).map(str::to_owned);
    match (text("default"), text("tool_use")) {
        (Some(default), tool_use) => Ok(Some((default, tool_use))),
        (None, Some(tool_use)) => Ok(Some((tool_use, None))),
        (None, None) => {
            let found: String = stated.to_string().chars().take(40).collect();
            Err(TemplateError::NoTemplate {
                found: format!("`{found}`"),
            })
        }
    }
}

/// Variables such as `bos_token`, as strings.
fn variables(tokenizer: &Tokenizer) -> Map<String, Value> {
    let text = |value: &Value| {
        let text = value
            .as_str()
            .or_else(|| value.get("content").and_then(Value::as_str));
        text.map(|text| Value::from(text.to_owned()))
    };
    let mut found: Map<String, Value> = Map::new();
    for (key, id) in [
        ("bos_token", tokenizer.bos_id()),
        ("eos_token", tokenizer.eos_id()),
        ("pad_token", tokenizer.pad_id()),
    ] {
        if let Some(token) = id.and_then(|id| tokenizer.token(id)) {
            found.insert(key.into(), token.into());
        }
    }
    for (key, value) in &tokenizer.shared.config {
        match (key.ends_with("_token"), value.is_null()) {
            (true, true) => drop(found.shift_remove(key)),
            (true, false) => found.extend(text(value).map(|text| (key.clone(), text))),
            _ => {}
        }
    }
    found
}

/// Messages as the objects that a template sees.
pub(super) fn objects(messages: &[Message]) -> Vec<Map<String, Value>> {
    messages
        .iter()
        .map(|message| aliased(message.object()))
        .collect()
}

/// Copies reasoning to all of its known keys, as in transformers.
fn aliased(object: &Map<String, Value>) -> Map<String, Value> {
    let Some(thoughts) = REASONING.iter().find_map(|key| object.get(*key)) else {
        return object.clone();
    };
    let mut all = Map::new();
    all.insert("thinking".into(), thoughts.clone());
    all.extend(object.clone());
    all.insert("reasoning_content".into(), thoughts.clone());
    all
}

fn refuse_marks(value: &Value) -> Result<(), TemplateError> {
    match value {
        Value::String(text) => refuse(text, &generation::MARKS),
        Value::Array(items) => items.iter().try_for_each(refuse_marks),
        Value::Object(object) => object.iter().try_for_each(|(key, value)| {
            refuse(key, &generation::MARKS)?;
            refuse_marks(value)
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
