//! Text <-> ids: any Hugging Face `tokenizer.json`, or a byte-level BPE trained here.
//!
//! Special tokens written inside a text are text: only [`chat`] and the data pipeline put control
//! tokens among the ids, so neither a document nor a user can forge a turn. Knows no files of data
//! and no model.

mod added;
mod byte_level;
pub mod chat;
mod class;
mod error;
mod files;
mod pieces;
pub mod special;
mod stream;
mod train;
mod wrapping;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};
use tokenizers::{DecoderWrapper, PostProcessorWrapper};

use crate::domain::Domain;
use crate::guard::guarded;

use byte_level::content_bytes;
use class::Class;
pub use error::{Cause, TokenizerError};
use files::Beside;
use pieces::Pieces;
use special::{Roles, domain_token_name};
pub use stream::TextStream;
pub use wrapping::Wrapping;

/// Beyond the ids of any tokenizer, and the last one that a model here may have.
const MAX_ID: u32 = (1 << 20) - 1;

/// Converts text to ids and back. A clone is cheap and shares everything.
#[derive(Clone)]
pub struct Tokenizer {
    shared: Arc<Shared>,
}

struct Shared {
    inner: tokenizers::Tokenizer,
    /// The same tokenizer, except that it sees special tokens in texts.
    markup: OnceLock<tokenizers::Tokenizer>,
    pieces: Pieces,
    markup_pieces: Pieces,
    json: String,
    /// Content of the `tokenizer_config.json` that lay beside the file.
    config: Map<String, Value>,
    /// Chat templates in files of their own, by name. They go before that of the configuration.
    chat_templates: Map<String, Value>,
    roles: Roles,
    wrapping: Wrapping,
    byte_level: bool,
    vocab_size: usize,
}

impl Tokenizer {
    /// One token per byte, and the special tokens; for tests and for data without words.
    #[allow(clippy::missing_panics_doc)]
    pub fn bytes() -> Self {
        #[allow(clippy::expect_used)]
        Self::from_bytes(byte_level::json(&[]).as_bytes())
            .expect("the byte tokenizer is valid JSON")
    }

    /// Reads the JSON of a Hugging Face fast tokenizer.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Invalid`] if it is something else.
    pub fn from_bytes(json: &[u8]) -> Result<Self, TokenizerError> {
        Self::parse(json, Beside::default(), "the given JSON")
    }

    /// Trains a byte-level BPE with GPT-2's pre-tokenizer: the same texts give the same tokenizer.
    ///
    /// Reads all `texts` but learns from an even sample of at most 64 MB of them. The vocabulary is
    /// smaller than asked for where the texts repeat too little to fill it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::VocabularyTooSmall`] below 256 and the special tokens,
    /// [`TokenizerError::NoText`] if all texts are empty.
    pub fn train(
        texts: impl Iterator<Item = String> + Send,
        vocab_size: usize,
    ) -> Result<Self, TokenizerError> {
        Self::from_bytes(train::train(texts, vocab_size)?.as_bytes())
    }

    /// A `tokenizer.json` with the roles that a `tokenizer_config.json` gives to its special tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Invalid`].
    pub fn from_parts(json: &[u8], config: Map<String, Value>) -> Result<Self, TokenizerError> {
        Self::parse(json, Beside::only(config), "the model's file")
    }

    fn parse(json: &[u8], beside: Beside, origin: &str) -> Result<Self, TokenizerError> {
        let invalid = |source: Cause| TokenizerError::Invalid {
            origin: origin.into(),
            source,
        };
        let chat_templates = beside.chat_templates.clone();
        let Assembled {
            mut inner,
            config,
            json,
        } = guarded(|| assemble(json, beside))
            .map_err(|panicked| invalid(panicked.into()))?
            .map_err(invalid)?;
        let last_id = inner.get_vocab(true).into_values().max();
        // tables have a place for every id up to the last one, and writing the file counts the gaps
        if let Some(id) = last_id.filter(|&id| id > MAX_ID) {
            return Err(invalid(
                format!("a token has the id {id}, expected at most {MAX_ID}").into(),
            ));
        }
        if inner.get_post_processor().is_none() && is_ours(&inner) {
            inner.with_post_processor(Some(byte_level::post_processor().map_err(invalid)?));
        }
        // many published files cut or pad every text to 512 tokens
        inner.with_padding(None);
        inner.with_truncation(None).map_err(invalid)?;
        let json = written(&inner, &json).map_err(invalid)?;
        inner.set_encode_special_tokens(true);

        Ok(Self {
            shared: Arc::new(Shared {
                roles: Roles::find(&config, |name| inner.token_to_id(name)),
                wrapping: Wrapping::of(inner.get_post_processor()).map_err(invalid)?,
                byte_level: matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))),
                // ids may have gaps: the table must hold the last one
                vocab_size: last_id.map_or(0, |id| id as usize + 1),
                markup: OnceLock::new(),
                pieces: Pieces::default(),
                markup_pieces: Pieces::default(),
                inner,
                json,
                config,
                chat_templates,
            }),
        })
    }

    /// The same tokenizer with more special tokens; those it has keep their ids.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Invalid`] if the tokenizer cannot be built again with them.
    pub fn with_special_tokens(&self, names: &[&str]) -> Result<Self, TokenizerError> {
        let origin = "the extended tokenizer";
        let mut json: Value =
            serde_json::from_str(self.json()).map_err(|source| TokenizerError::Invalid {
                origin: origin.into(),
                source: source.into(),
            })?;
        let missing = names.iter().filter(|name| !self.is_added(name));
        added::add(
            &mut json,
            missing.map(|name| added::special(name)).collect(),
        );
        Self::parse(
            json.to_string().as_bytes(),
            Beside {
                chat_templates: self.shared.chat_templates.clone(),
                ..Beside::only(self.shared.config.clone())
            },
            origin,
        )
    }

    /// The same tokenizer with a chat template, unless it has one.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Invalid`] if the tokenizer cannot be built again with it.
    pub fn with_chat_template(&self, template: &str) -> Result<Self, TokenizerError> {
        let mut config = self.shared.config.clone();
        let stated = config.get("chat_template").is_some_and(|it| !it.is_null());
        if stated || !self.shared.chat_templates.is_empty() {
            return Ok(self.clone());
        }
        config.insert("chat_template".into(), template.into());
        let json = self.json().as_bytes();
        Self::parse(json, Beside::only(config), "the extended tokenizer")
    }

    /// Ids of a text. Adds no special token, and takes those written in the text for plain text.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`] if the tokenizer knows neither a symbol nor an unknown token,
    /// [`TokenizerError::Uncut`] for a word of more than a million bytes.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let inner = (&self.shared.inner, self.json());
        self.shared.pieces.encode(inner, text)
    }

    /// Ids of a text in which special tokens count, such as a conversation that another template
    /// has rendered. Not for text of users.
    ///
    /// # Errors
    ///
    /// As [`Self::encode`].
    pub fn encode_markup(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let markup = (self.markup(), self.json());
        self.shared.markup_pieces.encode(markup, text)
    }

    /// The same with the place of every token in the text.
    fn encode_markup_places(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let markup = (self.markup(), self.json());
        self.shared.markup_pieces.places(markup, text)
    }

    fn markup(&self) -> &tokenizers::Tokenizer {
        self.shared.markup.get_or_init(|| {
            let mut markup = self.shared.inner.clone();
            markup.set_encode_special_tokens(false);
            // it may cut spaces off the places of tokens, and adds nothing here
            markup.with_post_processor(None::<PostProcessorWrapper>);
            markup
        })
    }

    /// Text of ids. Special tokens and unknown ids are skipped, invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.shared.inner.decode(ids, true).unwrap_or_default()
    }

    /// Converts ids to text one at a time.
    pub fn stream(&self) -> TextStream {
        self.stream_after(&[])
    }

    /// Converts ids to text one at a time, as a continuation of the ids `before`.
    pub fn stream_after(&self, before: &[u32]) -> TextStream {
        TextStream::new(self.clone(), before)
    }

    /// Rows that an embedding table needs: one more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.shared.vocab_size
    }

    /// The same for the ids that a text can have, special tokens left out unless they stand around it.
    pub fn text_vocab_size(&self) -> usize {
        let special = self.special_ids();
        let ids = self.shared.inner.get_vocab(true).into_values();
        let in_text = ids.filter(|id| !special.contains_key(id));
        let Wrapping { before, after } = self.wrapping();
        let largest = in_text.chain(before.iter().chain(after).copied()).max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// Token that is called the beginning of a text. Whether it stands there says [`Self::wrapping`].
    pub fn bos_id(&self) -> Option<u32> {
        self.shared.roles.bos
    }

    /// Token at the end of every document.
    pub fn eos_id(&self) -> Option<u32> {
        self.shared.roles.eos
    }

    /// Token that fills unused places.
    pub fn pad_id(&self) -> Option<u32> {
        self.shared.roles.pad
    }

    /// The token `<|domain:code|>` of a domain, if the tokenizer has it.
    pub fn domain_token(&self, domain: Domain) -> Option<u32> {
        self.token_id(&domain_token_name(domain))
    }

    /// Id of a token by its content.
    pub fn token_id(&self, content: &str) -> Option<u32> {
        self.shared.inner.token_to_id(content)
    }

    /// Content of a token by its id, as written in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.shared.inner.id_to_token(id)
    }

    /// What the tokenizer puts around every text.
    pub fn wrapping(&self) -> &Wrapping {
        &self.shared.wrapping
    }

    /// What stands before the text of a document or a prompt: what the tokenizer puts there, and the
    /// token of the domain, if it has one.
    pub fn opening(&self, domain: Option<Domain>) -> Vec<u32> {
        let domain = domain.and_then(|domain| self.domain_token(domain));
        self.wrapping()
            .before
            .iter()
            .copied()
            .chain(domain)
            .collect()
    }

    /// What stands behind the text of a document: what the tokenizer puts there, and the end of a
    /// document, unless that is among it.
    pub fn closing(&self) -> Vec<u32> {
        let after = &self.wrapping().after;
        let end = self.eos_id().filter(|end| !after.contains(end));
        after.iter().copied().chain(end).collect()
    }

    /// Ids of a text as transformers gives them: with what the tokenizer puts around it.
    ///
    /// # Errors
    ///
    /// As [`Self::encode`].
    pub fn encode_wrapped(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let Wrapping { before, after } = self.wrapping();
        Ok([before.clone(), self.encode(text)?, after.clone()].concat())
    }

    /// The `tokenizer.json`.
    pub fn json(&self) -> &str {
        &self.shared.json
    }

    /// BLAKE3 of [`Self::json`] in hexadecimal: equal for tokenizers that give equal ids.
    pub fn digest(&self) -> String {
        blake3::hash(self.shared.json.as_bytes())
            .to_hex()
            .to_string()
    }

    /// UTF-8 bytes of every token's text, by id; 0 for special tokens and gaps. Exact for byte-level
    /// tokenizers; for others the place of a space may make single tokens differ.
    pub fn token_bytes(&self) -> Vec<u16> {
        let mut lengths = vec![0; self.vocab_size()];
        let special = self.special_ids();
        for (content, id) in self.shared.inner.get_vocab(true) {
            if special.contains_key(&id) {
                continue;
            }
            let length = if self.shared.byte_level {
                content_bytes(&content).len()
            } else if content.starts_with("<0x") && content.len() == 6 {
                1
            } else {
                content.replace('▁', " ").len()
            };
            if let Some(slot) = lengths.get_mut(id as usize) {
                *slot = length.try_into().unwrap_or(u16::MAX);
            }
        }
        lengths
    }

    fn special_ids(&self) -> HashMap<u32, String> {
        let added = self.shared.inner.get_added_tokens_decoder();
        added
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (id, token.content))
            .collect()
    }

    /// The end of `ids` that has `count` tokens with a text, or all of them.
    fn context<'a>(&self, ids: &'a [u32], count: usize) -> &'a [u32] {
        let added = self.shared.inner.get_added_vocabulary();
        let is_text = |id: &u32| {
            let content = self.shared.inner.id_to_token(*id);
            content.is_some_and(|content| !added.is_special_token(&content))
        };
        let texts = (0..ids.len()).rev().filter(|&at| is_text(&ids[at]));
        &ids[texts.take(count).last().unwrap_or(0)..]
    }

    fn is_added(&self, content: &str) -> bool {
        let added = self.shared.inner.get_added_vocabulary();
        added.get_vocab().contains_key(content)
    }

    fn is_byte_level(&self) -> bool {
        self.shared.byte_level
    }

    /// Appends what [`Self::decode`] of a byte-level tokenizer makes of one id.
    fn append_bytes(&self, id: u32, bytes: &mut Vec<u8>) {
        let inner = &self.shared.inner;
        if let Some(content) = inner.id_to_token(id)
            && !inner.get_added_vocabulary().is_special_token(&content)
        {
            bytes.extend_from_slice(&content_bytes(&content));
        }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab_size", &self.shared.vocab_size)
            .field("byte_level", &self.shared.byte_level)
            .field("roles", &self.shared.roles)
            .finish_non_exhaustive()
    }
}

/// What transformers makes of the files.
struct Assembled {
    inner: tokenizers::Tokenizer,
    /// The `tokenizer_config.json` that states it.
    config: Map<String, Value>,
    /// The `tokenizer.json` that says it.
    json: Vec<u8>,
}

fn assemble(json: &[u8], beside: Beside) -> Result<Assembled, Cause> {
    let mut config = beside.config;
    let class = Class::of(json, &config, &beside.model);
    added::merge_special_tokens_map(&mut config, beside.special_tokens_map);
    for &(key, token) in class.special_tokens() {
        config.entry(key).or_insert_with(|| token.into());
    }
    if class == Class::File && config.is_empty() && beside.added_tokens.is_empty() {
        return Ok(Assembled {
            inner: tokenizers::Tokenizer::from_bytes(json)?,
            config,
            json: json.into(),
        });
    }
    let file: Value = serde_json::from_slice(json)?;
    let of_file = file["added_tokens"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let wanted = added::wanted(&config, &beside.added_tokens, of_file);
    let rebuilt = class.rebuilt(&file, &config);
    let mut has_changed = rebuilt.is_some();
    let mut whole = rebuilt.unwrap_or(file);
    has_changed |= added::add(&mut whole, wanted);
    if let Some(names) = class.surroundings(&config) {
        let processor = wrapping::post_processor(&names, |name| added::id_of(&whole, name));
        whole["post_processor"] = processor.into();
        has_changed = true;
    }
    let json = if has_changed {
        whole.to_string().into_bytes()
    } else {
        json.into()
    };
    Ok(Assembled {
        inner: tokenizers::Tokenizer::from_bytes(&json)?,
        config,
        json,
    })
}

/// The `tokenizer.json` of a tokenizer that was read from `json`.
fn written(inner: &tokenizers::Tokenizer, json: &[u8]) -> Result<String, Cause> {
    let ids: HashSet<u32> = inner.get_vocab(false).into_values().collect();
    // the crate prints a complaint of gaps between ids on the standard output whenever it writes such a vocabulary
    if ids
        .iter()
        .max()
        .is_none_or(|&last| last as usize + 1 == ids.len())
    {
        return inner.to_string(false);
    }
    let mut json: Value = serde_json::from_slice(json)?;
    for part in ["padding", "truncation"] {
        json[part] = Value::Null;
    }
    json["post_processor"] = serde_json::to_value(inner.get_post_processor())?;
    Ok(json.to_string())
}

/// Whether it was made here: documents of such a one begin with `<|bos|>`, whether its file says so or not.
fn is_ours(inner: &tokenizers::Tokenizer) -> bool {
    let mut names = (0..).zip(special::ours());
    names.all(|(id, name)| inner.token_to_id(&name) == Some(id))
}

#[cfg(test)]
mod tests;
