//! `POST /v1/completions`: continues texts or token ids.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::answer::Answering;
use super::error::ApiError;
use super::events::{self, Render};
use super::fields::{Fields, wrong};
use super::options::{MOST_LIKELY, Options};
use super::output::{OutputToken, Piece};
use super::state::{Ready, State};
use super::submission::{Begins, Submission, beside};
use super::worker::{Ended, Update};
use crate::domain::Domain;
use crate::inference::{Scoring, TokenScore};

/// Number of tokens that are generated unless a request says otherwise, as at OpenAI.
const MAX_TOKENS: usize = 16;
/// Largest number of prompts in a request.
const MOST_PROMPTS: usize = 2048;

/// A prompt as it was given.
#[derive(Debug, PartialEq)]
enum Prompt {
    Text(String),
    Ids(Vec<u32>),
}

/// Answers a request.
pub(super) async fn completions(
    Extract(state): Extract<Arc<State>>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let ready = state.ready()?;
    let mut fields = Fields::parse(&body)?;
    let options = Options::read(&mut fields, &ready)?;
    let prompts = prompts(&mut fields)?;
    let max_tokens = fields.count("max_tokens", 0..=usize::MAX)?;
    let echo = fields.flag("echo")?.unwrap_or(false);
    let top = fields.count("logprobs", 0..=MOST_LIKELY)?;
    let adds_special = fields.flag("add_special_tokens")?.unwrap_or(true);
    fields.end()?;

    let domain = options.domain;
    let read = move |ready: &Ready| -> Result<Vec<(String, Vec<u32>)>, ApiError> {
        prompts
            .into_iter()
            .map(|prompt| read(prompt, domain, adds_special, ready))
            .collect()
    };
    let (texts, prompts): (Vec<String>, Vec<Vec<u32>>) =
        beside(&ready, read).await?.into_iter().unzip();
    let submission = Submission {
        prompts: prompts.clone(),
        max_tokens: Some(max_tokens.unwrap_or(MAX_TOKENS)),
        stop_ids: ready.stop_ids.clone(),
        stop_text: None,
        scoring: top.map(|top| Scoring { top, prompt: echo }),
        begins: Begins::InThePrompt,
        grammar: None,
    };
    let updates = submission.submit(&options, &state, &ready)?;
    let streams = options.streams;
    let answering = Answering::new("cmpl-", state, ready, prompts, options);
    let mut completion = Completion {
        texts: if echo { Some(texts) } else { None },
        scores: top.is_some(),
        given: vec![Given::default(); answering.sequences()],
        ended: 0,
        answering,
    };
    if streams {
        return Ok(events::stream(updates, completion));
    }
    let all = completion.answering.collect(updates).await?;
    let mut choices = Vec::new();
    for (index, mut whole) in all.into_iter().enumerate() {
        let prompt = completion.echoed(index, &whole.prompt_scores);
        let generated = completion.piece(index, &mut whole.piece);
        let ended = whole.ended.as_ref();
        choices.push(completion.choice(index, join(prompt, generated), ended));
    }
    let usage = completion.answering.usage();
    let mut answer = completion.envelope(choices);
    answer["usage"] = usage;
    Ok(Json(answer).into_response())
}

/// The prompts of a request: a text, texts, ids, or lists of ids.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, ApiError> {
    const EXPECTED: &str = "a string, a list of strings, a list of token ids or a list of such lists, none of them empty";
    let missing = || {
        ApiError::field(
            "prompt",
            format!("`prompt` is missing, expected {EXPECTED}"),
        )
    };
    let value = fields.take("prompt").ok_or_else(missing)?;
    let ids = |items: &[Value]| -> Option<Vec<u32>> {
        let id = |it: &Value| it.as_u64().and_then(|id| u32::try_from(id).ok());
        items.iter().map(id).collect()
    };
    let found = match &value {
        Value::String(text) => Some(vec![Prompt::Text(text.clone())]),
        Value::Array(items) => match items.first() {
            None => None,
            Some(Value::String(_)) => {
                let texts = items.iter().map(|it| it.as_str().map(str::to_owned));
                texts.map(|text| text.map(Prompt::Text)).collect()
            }
            Some(Value::Array(_)) => {
                let lists = items.iter().map(|it| ids(it.as_array()?));
                lists.map(|list| list.map(Prompt::Ids)).collect()
            }
            Some(_) => ids(items).map(|ids| vec![Prompt::Ids(ids)]),
        },
        _ => None,
    };
    let found = found.ok_or_else(|| wrong("prompt", &value, EXPECTED))?;
    if found.len() > MOST_PROMPTS {
        let message = format!(
            "`prompt` has {} prompts, expected at most {MOST_PROMPTS}",
            found.len()
        );
        return Err(ApiError::field("prompt", message));
    }
    Ok(found)
}

/// Text and ids of a prompt.
fn read(
    prompt: Prompt,
    domain: Option<Domain>,
    adds_special: bool,
    ready: &Ready,
) -> Result<(String, Vec<u32>), ApiError> {
    match prompt {
        Prompt::Ids(ids) => {
            ready.limits.check(0, &ids)?;
            Ok((ready.tokenizer.decode(&ids), ids))
        }
        Prompt::Text(text) => {
            let ids = ready.text_ids(&text, domain, adds_special)?;
            Ok((text, ids))
        }
    }
}

/// A text with its log-probabilities, if these were asked for.
type Scored = (String, Option<Logprobs>);

/// Log-probabilities in the form of OpenAI's older interface.
#[derive(Debug, Default)]
struct Logprobs {
    tokens: Vec<Value>,
    token_logprobs: Vec<Value>,
    top_logprobs: Vec<Value>,
    text_offset: Vec<Value>,
}

/// How much of a sequence was rendered.
#[derive(Debug, Clone, Default)]
struct Given {
    /// Bytes of generated text.
    bytes: usize,
    /// Characters of the whole text.
    characters: usize,
}

/// The rendering of a completion.
#[derive(Debug)]
struct Completion {
    answering: Answering,
    /// Texts of the prompts, if they are repeated.
    texts: Option<Vec<String>>,
    scores: bool,
    given: Vec<Given>,
    ended: usize,
}

impl Completion {
    fn envelope(&self, choices: Vec<Value>) -> Value {
        json!({
            "id": self.answering.id,
            "object": "text_completion",
            "created": self.answering.created,
            "model": self.answering.ready.name,
            "choices": choices,
        })
    }

    fn choice(&self, index: usize, (text, logprobs): Scored, ended: Option<&Ended>) -> Value {
        let mut choice = json!({
            "index": index,
            "text": text,
            "logprobs": logprobs.map(Logprobs::value),
            "finish_reason": ended.map(|ended| ended.reason.name()),
        });
        if let Some(ended) = ended {
            self.answering.conclude(&mut choice, index, ended);
        }
        choice
    }

    /// The repeated prompt; empty if it is not repeated.
    fn echoed(&mut self, index: usize, scores: &[TokenScore]) -> Scored {
        let Some(texts) = &self.texts else {
            return (String::new(), self.scores.then(Logprobs::default));
        };
        let text = texts[index / self.answering.options.answers].clone();
        let mut logprobs = Logprobs::default();
        if self.scores {
            let ready = &self.answering.ready;
            let mut stream = ready.tokenizer.stream();
            let mut offset = 0;
            // nothing predicts the first token
            let scores = std::iter::once(None).chain(scores.iter().map(Some));
            for (&id, score) in self.answering.prompt_of(index).iter().zip(scores) {
                logprobs.push(id, score, offset, ready);
                let text = stream.push(id).unwrap_or_default();
                offset += text.chars().count();
            }
        }
        self.given[index].characters = text.chars().count();
        (text, self.scores.then_some(logprobs))
    }

    /// More generated text.
    fn piece(&mut self, index: usize, piece: &mut Piece) -> Scored {
        let given = &mut self.given[index];
        let text = std::mem::take(&mut piece.text);
        let mut logprobs = Logprobs::default();
        for OutputToken { id, begin, score } in &piece.tokens {
            let before = text.get(..begin - given.bytes).unwrap_or(&text);
            let offset = given.characters + before.chars().count();
            logprobs.push(*id, score.as_ref(), offset, &self.answering.ready);
        }
        given.bytes += text.len();
        given.characters += text.chars().count();
        (text, self.scores.then_some(logprobs))
    }

    fn event(&self, choices: Vec<Value>) -> Value {
        let mut event = self.envelope(choices);
        if self.answering.options.tells_usage {
            event["usage"] = Value::Null;
        }
        event
    }
}

impl Render for Completion {
    fn begin(&mut self) -> Vec<Value> {
        if self.texts.is_none() || self.scores {
            return Vec::new();
        }
        let sequences = 0..self.answering.sequences();
        let events = sequences.map(|index| {
            let echoed = self.echoed(index, &[]);
            self.event(vec![self.choice(index, echoed, None)])
        });
        events.collect()
    }

    fn update(&mut self, index: usize, update: Update) -> Vec<Value> {
        let (scored, ended) = match update {
            Update::Prompt(scores) => (self.echoed(index, &scores), None),
            Update::Piece(piece) if piece == Piece::default() => return Vec::new(),
            Update::Piece(mut piece) => (self.piece(index, &mut piece), None),
            Update::Ended(ended) => {
                self.answering.count(index, &ended);
                self.ended += 1;
                ((String::new(), None), Some(ended))
            }
            Update::Failed(_) => return Vec::new(),
        };
        let choice = self.choice(index, scored, ended.as_deref());
        vec![self.event(vec![choice])]
    }

    fn end(&mut self) -> Option<Vec<Value>> {
        if self.ended < self.answering.sequences() {
            return None;
        }
        if !self.answering.options.tells_usage {
            return Some(Vec::new());
        }
        let mut event = self.envelope(Vec::new());
        event["usage"] = self.answering.usage();
        Some(vec![event])
    }
}

/// A prompt and what continues it.
fn join((mut text, first): Scored, (more, second): Scored) -> Scored {
    text.push_str(&more);
    let logprobs = first.zip(second).map(|(mut first, second)| {
        first.tokens.extend(second.tokens);
        first.token_logprobs.extend(second.token_logprobs);
        first.top_logprobs.extend(second.top_logprobs);
        first.text_offset.extend(second.text_offset);
        first
    });
    (text, logprobs)
}

impl Logprobs {
    fn push(&mut self, id: u32, score: Option<&TokenScore>, offset: usize, ready: &Ready) {
        self.tokens.push(label(&ready.token_bytes(id)).into());
        self.token_logprobs
            .push(score.map(|score| score.log_probability).into());
        self.top_logprobs.push(score.map_or(Value::Null, |score| {
            let own = std::iter::once((score.id, score.log_probability));
            let mut all = Map::new();
            // two tokens may have one text: the likelier one counts
            for (id, log_probability) in score.top.iter().copied().chain(own) {
                all.entry(label(&ready.token_bytes(id)))
                    .or_insert(log_probability.into());
            }
            all.into()
        }));
        self.text_offset.push(offset.into());
    }

    fn value(self) -> Value {
        json!({
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        })
    }
}

/// Text of a token; bytes that are no whole characters are written as at OpenAI.
fn label(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let bytes = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
            format!("bytes:{}", bytes.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(prompt: Value) -> Result<Vec<Prompt>, ApiError> {
        let mut fields = Fields::parse(json!({"prompt": prompt}).to_string().as_bytes())?;
        prompts(&mut fields)
    }

    #[test]
    fn a_prompt_has_one_of_four_forms() {
        let text = |text: &str| Prompt::Text(text.into());
        assert_eq!(read(json!("a")), Ok(vec![text("a")]));
        assert_eq!(read(json!(["a", ""])), Ok(vec![text("a"), text("")]));
        assert_eq!(read(json!([1, 2])), Ok(vec![Prompt::Ids(vec![1, 2])]));
        assert_eq!(
            read(json!([[1], [2, 3]])),
            Ok(vec![Prompt::Ids(vec![1]), Prompt::Ids(vec![2, 3])])
        );
        for wrong in [
            json!(null),
            json!([]),
            json!(5),
            json!([1, "a"]),
            json!(["a", 1]),
            json!([[1], "a"]),
            json!([-1]),
            json!([1.5]),
            json!([4294967296u64]),
            json!({"text": "a"}),
        ] {
            let error = read(wrong.clone()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("prompt"), "{wrong}");
        }
        assert!(read(json!(vec!["a"; MOST_PROMPTS + 1])).is_err());
    }

    #[test]
    fn a_part_of_a_character_has_a_name_of_its_own() {
        assert_eq!(label("é".as_bytes()), "é");
        assert_eq!(label(b"\xe2\x98"), "bytes:\\xe2\\x98");
    }
}
