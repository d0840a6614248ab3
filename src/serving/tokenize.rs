//! `/tokenize`, `/detokenize` and `/tokenizer_info`, as vLLM has them: text to ids and back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as Extract;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::chat::conversation;
use super::error::ApiError;
use super::fields::{Fields, wrong};
use super::state::{Ready, State};
use super::submission::beside;
use crate::domain::Domain;
use crate::inference::GenerationError;
use crate::tokenizer::chat::Conversation;

impl Ready {
    /// Ids of a text whose special tokens are recognized. Before it stand the tokens that begin texts and that of the
    /// domain, unless the text has the former or they are not wanted.
    pub(super) fn text_ids(
        &self,
        text: &str,
        domain: Option<Domain>,
        adds_special: bool,
    ) -> Result<Vec<u32>, ApiError> {
        let encoded = self.tokenizer.encode_markup(text);
        let ids = encoded.map_err(|error| ApiError::field("prompt", error.to_string()))?;
        let before = &self.tokenizer.wrapping().before;
        if !adds_special || (!before.is_empty() && ids.starts_with(before)) {
            return Ok(ids);
        }
        Ok([self.tokenizer.opening(domain), ids].concat())
    }

    /// Ids of a conversation, up to where the model begins to speak.
    pub(super) fn chat_ids(
        &self,
        conversation: &Conversation,
        domain: Option<Domain>,
    ) -> Result<Vec<u32>, ApiError> {
        let ids = self.template.prompt(&self.tokenizer, conversation, domain);
        ids.map_err(|error| ApiError::field("messages", error.to_string()))
    }
}

/// `POST /tokenize`: ids of a text or of a conversation.
pub(super) async fn tokenize(
    Extract(state): Extract<Arc<State>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let (ready, mut fields) = read(&state, &body)?;
    let adds_special = fields.flag("add_special_tokens")?.unwrap_or(true);
    let tells_texts = fields.flag("return_token_strs")?.unwrap_or(false);
    let ids = match fields.text("prompt")? {
        Some(text) => {
            fields.end()?;
            beside(&ready, move |ready| {
                ready.text_ids(&text, None, adds_special)
            })
            .await?
        }
        None => {
            let conversation = conversation(&mut fields)?;
            fields.only("add_generation_prompt", |it| *it == true)?;
            fields.end()?;
            beside(&ready, move |ready| ready.chat_ids(&conversation, None)).await?
        }
    };
    let mut answer = json!({
        "count": ids.len(),
        "max_model_len": ready.limits.context,
        "tokens": ids,
    });
    if tells_texts {
        let texts = ids.iter().map(|&id| ready.tokenizer.token(id));
        answer["token_strs"] = texts.collect::<Vec<_>>().into();
    }
    Ok(Json(answer))
}

/// `POST /detokenize`: text of ids, special tokens included.
pub(super) async fn detokenize(
    Extract(state): Extract<Arc<State>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let (ready, mut fields) = read(&state, &body)?;
    let value = fields.take("tokens").unwrap_or_default();
    fields.end()?;
    let items = value.as_array();
    let id = |it: &Value| it.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = items.and_then(|items| items.iter().map(id).collect());
    let ids = ids.ok_or_else(|| wrong("tokens", &value, "a list of token ids"))?;
    let vocab_size = ready.limits.vocab_size;
    if let Some(&id) = ids.iter().find(|&&id| id as usize >= vocab_size) {
        let error = GenerationError::UnknownId { id, vocab_size };
        return Err(ApiError::field("tokens", error.to_string()));
    }
    let text = beside(&ready, move |ready| Ok(ready.tokenizer.decode(&ids)));
    Ok(Json(json!({"prompt": text.await?})))
}

/// `GET /tokenizer_info`: special tokens and the chat template.
pub(super) async fn tokenizer_info(
    Extract(state): Extract<Arc<State>>,
) -> Result<Json<Value>, ApiError> {
    let ready = state.ready()?;
    let mut all = Map::new();
    all.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
    all.insert("model_max_length".into(), ready.limits.context.into());
    all.insert("vocab_size".into(), ready.tokenizer.vocab_size().into());
    let special = ready.special_tokens().into_iter();
    all.extend(special.map(|(role, token)| (role.to_owned(), token.into())));
    all.insert("chat_template".into(), ready.template.source().into());
    Ok(Json(all.into()))
}

/// The model, and the fields of a request that may name it.
fn read(state: &State, body: &Bytes) -> Result<(Arc<Ready>, Fields), ApiError> {
    let ready = state.ready()?;
    let mut fields = Fields::parse(body)?;
    fields.only_model(&ready.name)?;
    Ok((ready, fields))
}
