//! Grammars that answers must follow: JSON schemas as masks over the tokens of the vocabulary, by
//! [llguidance](https://github.com/guidance-ai/llguidance).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use serde_json::{Value, json};
use toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use super::error::{ApiError, shortened};
use crate::guard::guarded;
use crate::inference::{Constraint, ConstraintError, Progress};
use crate::tokenizer::Tokenizer;

/// Largest size of a schema, in bytes of JSON.
pub(super) const LARGEST_SCHEMA: usize = 128 << 10;
/// Largest number of lexer states of one answer, which take 1 to 2 kB each.
const MOST_LEXER_STATES: usize = 50_000;
/// What may stand between the tokens of JSON. More would let a model write nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spaces {
    /// A space, or a line end with an indentation.
    Lines,
    /// A space.
    One,
}

/// Compiles grammars for one tokenizer.
pub(super) struct Grammars {
    factory: ParserFactory,
    /// Ids whose bytes are those of another id, which stands for both.
    twins: Arc<HashMap<u32, u32>>,
}

/// A compiled grammar at the begin of an answer.
pub(super) struct Grammar {
    matcher: Matcher,
    twins: Arc<HashMap<u32, u32>>,
}

impl Grammars {
    /// Prepares the vocabulary of a tokenizer, which takes part of a second. `ends` are the ids that end an answer.
    pub(super) fn new(tokenizer: &Tokenizer, ends: &[u32]) -> Result<Self, ApiError> {
        let (words, twins) = vocabulary(tokenizer);
        let new = || -> anyhow::Result<ParserFactory> {
            // the last word is empty, and ends answers of tokenizers without an end
            let last = (words.len() - 1) as u32;
            let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, last), &words);
            let trie = match ends.iter().all(|&end| end < last) {
                true if !ends.is_empty() => trie.with_eos_tokens(ends),
                _ => trie,
            };
            let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
            let mut factory = ParserFactory::new_simple(&env)?;
            factory.quiet();
            let limits = factory.limits_mut();
            limits.verbose_errors = false;
            limits.max_lexer_states = MOST_LEXER_STATES;
            Ok(factory)
        };
        let made = guarded(new).map_err(|panicked| panicked.to_string());
        let made = made.and_then(|made| made.map_err(|error| reason(&error.to_string())));
        let factory = made.map_err(|reason| {
            ApiError::internal(format!("grammars need another vocabulary: {reason}"))
        })?;
        Ok(Self {
            factory,
            twins: Arc::new(twins),
        })
    }

    /// The grammar of the JSON values that a schema describes. Errors name the field `param`.
    pub(super) fn of_schema(&self, schema: &Value, param: &str) -> Result<Grammar, ApiError> {
        let schema = with_options(schema, Spaces::Lines, param)?;
        self.compile(TopLevelGrammar::from_json_schema(schema), param)
    }

    /// A grammar in Lark's notation, whose schemas are those of [`with_options`].
    pub(super) fn of_lark(&self, lark: String, param: &str) -> Result<Grammar, ApiError> {
        self.compile(TopLevelGrammar::from_lark(lark), param)
    }

    /// Compiles a grammar.
    fn compile(&self, grammar: TopLevelGrammar, param: &str) -> Result<Grammar, ApiError> {
        let parser = guarded(|| {
            let matcher = Matcher::new(self.factory.create_parser(grammar));
            match matcher.get_error() {
                Some(error) => Err(reason(&error)),
                None => Ok(matcher),
            }
        });
        let parser = parser.unwrap_or_else(|panicked| Err(panicked.to_string()));
        let matcher = parser.map_err(|reason| {
            ApiError::field(param, format!("`{param}` cannot be followed: {reason}"))
        })?;
        Ok(Grammar {
            matcher,
            twins: self.twins.clone(),
        })
    }
}

/// A schema within the limits, with how JSON is written.
pub(super) fn with_options(schema: &Value, spaces: Spaces, param: &str) -> Result<Value, ApiError> {
    let bytes = schema.to_string().len();
    if bytes > LARGEST_SCHEMA {
        return Err(ApiError::field(
            param,
            format!("`{param}` has {bytes} bytes, expected at most {LARGEST_SCHEMA}"),
        ));
    }
    let mut schema = match schema {
        Value::Object(_) => schema.clone(),
        // all values
        Value::Bool(true) => json!({}),
        Value::Bool(false) => {
            return Err(ApiError::field(
                param,
                format!("`{param}` describes no value"),
            ));
        }
        other => {
            let found = shortened(&other.to_string());
            return Err(ApiError::field(
                param,
                format!("`{param}` is {found}, expected a JSON schema"),
            ));
        }
    };
    let spaces = match spaces {
        Spaces::Lines => r" |\r?\n[ \t]{0,40}",
        Spaces::One => " ",
    };
    let options = JsonCompileOptions {
        whitespace_pattern: Some(spaces.into()),
        ..JsonCompileOptions::default()
    };
    options.apply_to(&mut schema);
    Ok(schema)
}

/// The bytes of every id and an empty word, and the ids whose bytes another one has.
fn vocabulary(tokenizer: &Tokenizer) -> (Vec<Vec<u8>>, HashMap<u32, u32>) {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let mut first: HashMap<Vec<u8>, u32> = HashMap::new();
    let mut twins = HashMap::new();
    for id in 0..tokenizer.vocab_size() as u32 {
        let bytes = tokenizer.token_text(id).unwrap_or_default();
        let word = if bytes.is_empty() {
            bytes
        } else if tokenizer.is_special(id) {
            // a text never has it
            [&[TokTrie::SPECIAL_TOKEN_MARKER], &bytes[..]].concat()
        } else if let Some(&other) = first.get(&bytes) {
            twins.insert(id, other);
            Vec::new()
        } else {
            first.insert(bytes.clone(), id);
            bytes
        };
        words.push(word);
    }
    words.push(Vec::new());
    (words, twins)
}

/// A message of llguidance in one line.
fn reason(message: &str) -> String {
    let first = message.split("\n<").next().unwrap_or_default();
    let first = first.split_whitespace().collect::<Vec<_>>().join(" ");
    match first.char_indices().nth(300) {
        Some((end, _)) => format!("{}…", &first[..end]),
        None => first,
    }
}

impl Grammar {
    /// The grammar for another answer.
    pub(super) fn again(&self) -> Self {
        Self {
            matcher: self.matcher.deep_clone(),
            twins: self.twins.clone(),
        }
    }

    fn failed(&self, error: &anyhow::Error) -> ConstraintError {
        ConstraintError {
            reason: reason(&error.to_string()),
        }
    }
}

impl Constraint for Grammar {
    fn restrict(&mut self, logits: &mut [f32]) -> Result<Progress, ConstraintError> {
        if self.matcher.is_stopped() && !self.matcher.is_error() {
            return Ok(Progress::Complete);
        }
        let mask = self.matcher.compute_mask().map_err(|it| self.failed(&it))?;
        let allows = |id: usize| {
            let id = self.twins.get(&(id as u32)).map_or(id, |&id| id as usize);
            id < mask.len() && mask.get(id)
        };
        if !(0..logits.len()).any(allows) {
            return Ok(Progress::Complete);
        }
        for (id, logit) in logits.iter_mut().enumerate() {
            if !allows(id) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(Progress::Open)
    }

    fn accept(&mut self, id: u32) -> Result<Progress, ConstraintError> {
        let id = self.twins.get(&id).copied().unwrap_or(id);
        let accepted = self.matcher.consume_token(id);
        accepted.map_err(|error| self.failed(&error))?;
        Ok(if self.matcher.is_stopped() {
            Progress::Complete
        } else {
            Progress::Open
        })
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

impl fmt::Debug for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammar").finish_non_exhaustive()
    }
}
