//! Tokenizers: any Hugging Face `tokenizer.json`, or a byte-level BPE trained here.
//!
//! Special tokens written inside a text are plain text: only [`chat`] and the data pipeline insert control tokens, so
//! neither a document nor a user can forge a turn. This module knows no files of data and no model.

mod added;
mod byte_level;
pub mod chat;
mod class;
mod error;
mod files;
mod pieces;
pub mod special;
mod stream;
mod token_text;
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

/// Largest id that a tokenizer may use.
const MAX_ID: u32 = (1 << 20) - 1;

/// Converts text to token ids and back. Clones are cheap and share all data.
#[derive(Clone)]
pub struct Tokenizer {
    shared: Arc<Shared>,
}

struct Shared {
    inner: tokenizers::Tokenizer,
    /// A copy of `inner` that recognizes special tokens within texts.
    markup: OnceLock<tokenizers::Tokenizer>,
    pieces: Pieces,
    markup_pieces: Pieces,
    json: String,
    /// Content of the `tokenizer_config.json` beside the file.
    config: Map<String, Value>,
    /// Chat templates from separate files, by name; they take precedence over the configuration's.
    chat_templates: Map<String, Value>,
    roles: Roles,
    wrapping: Wrapping,
    byte_level: bool,
    vocab_size: usize,
}

impl Tokenizer {
    /// A tokenizer with one token per byte and the special tokens; for tests, and for data without words.
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
    /// [`TokenizerError::Invalid`] if it is not one.
    pub fn from_bytes(json: &[u8]) -> Result<Self, TokenizerError> {
        Self::parse(json, Beside::default(), "the given JSON")
    }

    /// Trains a byte-level BPE with GPT-2's pre-tokenizer. Equal texts give equal tokenizers.
    ///
    /// Reads all `texts` and learns from a uniform sample of at most 64 MiB. The vocabulary is smaller than
    /// `vocab_size` if too few pairs repeat.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::VocabularyTooSmall`] if `vocab_size` is below 256 plus the special tokens,
    /// [`TokenizerError::NoText`] if all texts are empty.
    pub fn train(
        texts: impl Iterator<Item = String> + Send,
        vocab_size: usize,
    ) -> Result<Self, TokenizerError> {
        Self::from_bytes(train::train(texts, vocab_size)?.as_bytes())
    }

    /// Reads a `tokenizer.json` with the roles that a `tokenizer_config.json` gives to its special tokens.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Invalid`] if they are not a tokenizer.
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
        // tables have an entry for every id up to the largest, and writing the file counts the gaps
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
                // ids may have gaps, so the table must reach the largest
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

    /// Adds special tokens; existing ones keep their ids.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Invalid`] if the tokenizer cannot be rebuilt with them.
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

    /// Adds a chat template, unless the tokenizer has one.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Invalid`] if the tokenizer cannot be rebuilt with it.
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

    /// Token ids of a text. No special tokens are added, and those written in the text are plain text.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Encode`] if a symbol is unknown and the tokenizer has no unknown token,
    /// [`TokenizerError::Uncut`] for a word of more than 1 MiB.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let inner = (&self.shared.inner, self.json());
        self.shared.pieces.encode(inner, text)
    }

    /// Token ids of a text whose special tokens are recognized, such as a conversation that another program has
    /// rendered. Not for text of users.
    ///
    /// # Errors
    ///
    /// Those of [`Self::encode`].
    pub fn encode_markup(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let markup = (self.markup(), self.json());
        self.shared.markup_pieces.encode(markup, text)
    }

    /// Token ids as in [`Self::encode_markup`], with their byte ranges in the text.
    fn encode_markup_places(&self, text: &str) -> Result<Vec<(u32, Range<usize>)>, TokenizerError> {
        let markup = (self.markup(), self.json());
        self.shared.markup_pieces.places(markup, text)
    }

    fn markup(&self) -> &tokenizers::Tokenizer {
        self.shared.markup.get_or_init(|| {
            let mut markup = self.shared.inner.clone();
            markup.set_encode_special_tokens(false);
            // the post-processor may trim spaces off the tokens' ranges, and adds no tokens here
            markup.with_post_processor(None::<PostProcessorWrapper>);
            markup
        })
    }

    /// Text of token ids. Special tokens and unknown ids are skipped, invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.shared.inner.decode(ids, true).unwrap_or_default()
    }

    /// An incremental decoder of ids.
    pub fn stream(&self) -> TextStream {
        self.stream_after(&[])
    }

    /// An incremental decoder of ids that continue the ids `before`.
    pub fn stream_after(&self, before: &[u32]) -> TextStream {
        TextStream::new(self.clone(), before)
    }

    /// Rows that an embedding table needs: the largest id plus one.
    pub fn vocab_size(&self) -> usize {
        self.shared.vocab_size
    }

    /// The largest id that a text can have plus one; special tokens count only if they are put around texts.
    pub fn text_vocab_size(&self) -> usize {
        let special = self.special_ids();
        let ids = self.shared.inner.get_vocab(true).into_values();
        let in_text = ids.filter(|id| !special.contains_key(id));
        let Wrapping { before, after } = self.wrapping();
        let largest = in_text.chain(before.iter().chain(after).copied()).max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// Id of the beginning-of-text token. [`Self::wrapping`] tells whether it is put before texts.
    pub fn bos_id(&self) -> Option<u32> {
        self.shared.roles.bos
    }

    /// Id of the end-of-text token, which ends every document.
    pub fn eos_id(&self) -> Option<u32> {
        self.shared.roles.eos
    }

    /// Id of the padding token.
    pub fn pad_id(&self) -> Option<u32> {
        self.shared.roles.pad
    }

    /// Id of a domain's control token, as `<|domain:code|>`, if the tokenizer has one.
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

    /// The tokens that the tokenizer puts around every text.
    pub fn wrapping(&self) -> &Wrapping {
        &self.shared.wrapping
    }

    /// Ids before the text of a document or prompt: the tokenizer's prefix, and the token of the domain if there is
    /// one.
    pub fn opening(&self, domain: Option<Domain>) -> Vec<u32> {
        let domain = domain.and_then(|domain| self.domain_token(domain));
        self.wrapping()
            .before
            .iter()
            .copied()
            .chain(domain)
            .collect()
    }

    /// Ids after the text of a document: the tokenizer's suffix, and the end-of-text token unless the suffix has it.
    pub fn closing(&self) -> Vec<u32> {
        let after = &self.wrapping().after;
        let end = self.eos_id().filter(|end| !after.contains(end));
        after.iter().copied().chain(end).collect()
    }

    /// Token ids of a text with the tokenizer's prefix and suffix, as transformers returns them.
    ///
    /// # Errors
    ///
    /// Those of [`Self::encode`].
    pub fn encode_wrapped(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let Wrapping { before, after } = self.wrapping();
        Ok([before.clone(), self.encode(text)?, after.clone()].concat())
    }

    /// Content of `tokenizer.json`.
    pub fn json(&self) -> &str {
        &self.shared.json
    }

    /// BLAKE3 of [`Self::json`] in hex; tokenizers with equal digests give equal ids.
    pub fn digest(&self) -> String {
        blake3::hash(self.shared.json.as_bytes())
            .to_hex()
            .to_string()
    }

    /// UTF-8 bytes of every token's text, by id; 0 for special tokens and gaps. Exact for byte-level tokenizers; in
    /// others the attribution of spaces may differ by token.
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

    /// The shortest suffix of `ids` with `count` tokens that have text; all of `ids` if there are fewer.
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

    /// Appends the bytes of one id for [`Self::decode`] of a byte-level tokenizer.
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

/// A tokenizer assembled from its files as in transformers.
struct Assembled {
    inner: tokenizers::Tokenizer,
    /// The effective `tokenizer_config.json`.
    config: Map<String, Value>,
    /// The effective `tokenizer.json`.
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

/// The `tokenizer.json` to store for a tokenizer that was read from `json`.
fn written(inner: &tokenizers::Tokenizer, json: &[u8]) -> Result<String, Cause> {
    let ids: HashSet<u32> = inner.get_vocab(false).into_values().collect();
    // the crate prints a warning about gaps between ids on the standard output whenever it writes such a vocabulary
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

/// Whether this crate made the tokenizer: its documents begin with `<|bos|>`, whether or not the file says so.
fn is_ours(inner: &tokenizers::Tokenizer) -> bool {
    let mut names = (0..).zip(special::ours());
    names.all(|(id, name)| inner.token_to_id(&name) == Some(id))
}

#[cfg(test)]
mod tests;
