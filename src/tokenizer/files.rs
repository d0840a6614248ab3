//! A tokenizer on disk: `tokenizer.json`, and the files beside it that change its meaning.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::class::ModelHint;
use super::special::token_content;
use super::{Tokenizer, TokenizerError, chat};

const FILE_NAME: &str = "tokenizer.json";
const CONFIG_NAME: &str = "tokenizer_config.json";
const TEMPLATE_NAME: &str = "chat_template.jinja";
const TEMPLATE_FOLDER: &str = "additional_chat_templates";
const DEFAULT: &str = "default";
/// A class that uses `tokenizer.json` as it is.
const CLASS: &str = "PreTrainedTokenizerFast";

/// Content of the files beside a `tokenizer.json`.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// `tokenizer_config.json`.
    pub(super) config: Map<String, Value>,
    /// `special_tokens_map.json`, written by older libraries.
    pub(super) special_tokens_map: Map<String, Value>,
    /// `added_tokens.json`, written by older libraries.
    pub(super) added_tokens: Map<String, Value>,
    /// Properties from the model's `config.json`.
    pub(super) model: ModelHint,
    /// Templates by name: `chat_template.jinja` as `default`, and `additional_chat_templates/NAME.jinja`.
    pub(super) chat_templates: Map<String, Value>,
}

impl Beside {
    /// Only a `tokenizer_config.json`.
    pub(super) fn only(config: Map<String, Value>) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Reads the files beside `file`; nothing unless it is named `tokenizer.json`.
    fn read(file: &Path) -> Result<Self, TokenizerError> {
        if file.file_name().is_none_or(|name| name != FILE_NAME) {
            return Ok(Self::default());
        }
        let object = |name: &str| {
            let path = file.with_file_name(name);
            if path.is_file() {
                parse_object(&path)
            } else {
                Ok(Map::new())
            }
        };
        // an invalid config.json says nothing about the tokenizer; reading the model reports it
        let model = object("config.json").unwrap_or_default();
        let text = |key: &str| model.get(key).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            chat_templates: templates(file)?,
            config: object(CONFIG_NAME)?,
            special_tokens_map: object("special_tokens_map.json")?,
            added_tokens: object("added_tokens.json")?,
            model: ModelHint {
                model_type: text("model_type"),
                tokenizer_class: text("tokenizer_class"),
            },
        })
    }
}

impl Tokenizer {
    /// Reads a Hugging Face `tokenizer.json` as transformers 5 does, with the `tokenizer_config.json`,
    /// `special_tokens_map.json`, `added_tokens.json` and model's `config.json` beside it, if they exist. A folder
    /// stands for the `tokenizer.json` in it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Read`], [`TokenizerError::Invalid`] or [`TokenizerError::NoObject`].
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let path = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_path_buf()
        };
        let json = read(&path)?;
        let beside = Beside::read(&path)?;
        Self::parse(&json, beside, &format!("`{}`", path.display()))
    }

    /// Writes the tokenizer; if `path` is named `tokenizer.json`, also the `tokenizer_config.json` that Hugging Face
    /// libraries need beside it. Each file is replaced atomically.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Write`] if a file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        if let Some(config) = config_path(path) {
            let text = format!("{:#}\n", Value::Object(self.hf_config()));
            replace(&config, text.as_bytes())?;
            for (name, template) in self.chat_template_files() {
                let file = path.with_file_name(name);
                if let Some(folder) = file.parent() {
                    fs::create_dir_all(folder).map_err(|source| TokenizerError::Write {
                        path: folder.into(),
                        source,
                    })?;
                }
                replace(&file, template.as_bytes())?;
            }
        }
        replace(path, self.json().as_bytes())
    }

    /// Content of `tokenizer_config.json`, as it was read or as made for one of our tokenizers. [`Self::json`]
    /// includes the effects of the original class and of added tokens, so the class written here is one that uses the
    /// file as it is.
    pub fn hf_config(&self) -> Map<String, Value> {
        let mut config = self.shared.config.clone();
        config.insert("tokenizer_class".into(), CLASS.into());
        for (key, token) in &mut config {
            // transformers 5 accepts an object for a token only with a `__type`
            if key.ends_with("_token") && token.is_object() && token.get("__type").is_none() {
                *token = token_content(token).into();
            }
        }
        let roles = &self.shared.roles;
        for (key, id) in [
            ("bos_token", roles.bos),
            ("eos_token", roles.eos),
            ("pad_token", roles.pad),
        ] {
            let token = id.and_then(|id| self.token(id));
            config.entry(key).or_insert_with(|| json!(token));
        }
        config
            .entry("clean_up_tokenization_spaces")
            .or_insert_with(|| json!(false));
        if self.shared.chat_templates.is_empty()
            && let Some(template) = chat::turns_of(self)
        {
            config
                .entry("chat_template")
                .or_insert_with(|| json!(template));
        }
        config
    }

    /// File names and contents of the chat templates that are not in [`Self::hf_config`], as they were read.
    pub fn chat_template_files(&self) -> impl Iterator<Item = (String, &str)> {
        let templates = self.shared.chat_templates.iter();
        templates.filter_map(|(name, template)| {
            let file = match name.as_str() {
                DEFAULT => TEMPLATE_NAME.to_owned(),
                name => format!("{TEMPLATE_FOLDER}/{name}.jinja"),
            };
            Some((file, template.as_str()?))
        })
    }
}

/// The chat templates beside a `tokenizer.json`, by name.
fn templates(file: &Path) -> Result<Map<String, Value>, TokenizerError> {
    let mut found = Map::new();
    let mut add = |name: &str, path: &Path| -> Result<(), TokenizerError> {
        let text = String::from_utf8(read(path)?).map_err(|source| TokenizerError::Read {
            path: path.into(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, source),
        })?;
        found.insert(name.to_owned(), text.into());
        Ok(())
    };
    let default = file.with_file_name(TEMPLATE_NAME);
    if default.is_file() {
        add(DEFAULT, &default)?;
    }
    let folder = file.with_file_name(TEMPLATE_FOLDER);
    let mut others: Vec<PathBuf> = match fs::read_dir(&folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => Vec::new(),
    };
    others.retain(|path| path.extension().is_some_and(|it| it == "jinja"));
    others.sort();
    for path in others {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        add(&name, &path)?;
    }
    Ok(found)
}

fn config_path(path: &Path) -> Option<PathBuf> {
    (path.file_name()? == FILE_NAME).then(|| path.with_file_name(CONFIG_NAME))
}

fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    fs::read(path).map_err(|source| TokenizerError::Read {
        path: path.into(),
        source,
    })
}

fn parse_object(path: &Path) -> Result<Map<String, Value>, TokenizerError> {
    let no_object = |found: String| TokenizerError::NoObject {
        path: path.into(),
        found,
    };
    match serde_json::from_slice(&read(path)?) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(no_object("other JSON".into())),
        Err(error) => Err(no_object(error.to_string())),
    }
}

/// Writes a temporary file beside `path` and renames it.
fn replace(path: &Path, content: &[u8]) -> Result<(), TokenizerError> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // the first error is reported
        let _ = fs::remove_file(&temporary);
        TokenizerError::Write {
            path: path.into(),
            source,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_tokenizer_comes_back_equal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let tokenizer = Tokenizer::bytes();

        tokenizer.save(&path).unwrap();
        let loaded = Tokenizer::from_file(folder.path()).unwrap();

        assert_eq!(loaded.digest(), tokenizer.digest());
        assert_eq!(loaded.bos_id(), tokenizer.bos_id());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_stated_end_token_survives_saving() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, Tokenizer::bytes().json()).unwrap();
        let end = json!({"content": "<|end|>", "lstrip": false});
        let stated = json!({"eos_token": end, "bos_token": null, "chat_template": "theirs"});
        fs::write(folder.path().join(CONFIG_NAME), stated.to_string()).unwrap();

        let read = Tokenizer::from_file(&path).unwrap();
        read.save(&path).unwrap();
        let again = Tokenizer::from_file(&path).unwrap();

        assert_eq!(again.eos_id(), read.token_id("<|end|>"));
        assert_eq!(again.bos_id(), None);
        assert_eq!(again.hf_config()["eos_token"], "<|end|>");
        assert_eq!(again.hf_config()["chat_template"], "theirs");
    }

    #[test]
    fn a_missing_or_foreign_file_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Tokenizer::from_file(&folder.path().join("none.json")).unwrap_err();
        assert!(missing.to_string().contains("none.json"), "{missing}");

        let path = folder.path().join("notes.json");
        for content in [&b"[1, 2]"[..], b"", b"\xff\xfe", b"{\"model\": 3}"] {
            fs::write(&path, content).unwrap();
            let error = Tokenizer::from_file(&path).unwrap_err().to_string();
            assert!(
                error.ends_with("notes.json` is no Hugging Face `tokenizer.json`"),
                "{error}"
            );
        }
    }
}
