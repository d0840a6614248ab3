//! A tokenizer on disk: `tokenizer.json`, and `tokenizer_config.json` beside it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{Tokenizer, TokenizerError, chat};

const FILE_NAME: &str = "tokenizer.json";
const CONFIG_NAME: &str = "tokenizer_config.json";

impl Tokenizer {
    /// Reads a Hugging Face `tokenizer.json`, and the roles of its special tokens from the
    /// `tokenizer_config.json` beside it, if there is one. A folder stands for the file in it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Read`] or [`TokenizerError::Invalid`] with the path.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let path = if path.is_dir() {
            path.join(FILE_NAME)
        } else {
            path.to_path_buf()
        };
        let json = read(&path)?;
        let config = match config_path(&path).filter(|path| path.is_file()) {
            Some(path) => parse_config(&path)?,
            None => Map::new(),
        };
        Self::parse(&json, config, &format!("`{}`", path.display()))
    }

    /// Writes the tokenizer; if `path` is named `tokenizer.json`, also the `tokenizer_config.json`
    /// that Hugging Face libraries need beside it. Replaces older files, never by halves.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        if let Some(config) = config_path(path) {
            let text = format!("{:#}\n", Value::Object(self.hf_config()));
            replace(&config, text.as_bytes())?;
        }
        replace(path, self.json().as_bytes())
    }

    /// Content of `tokenizer_config.json`: as it was read, or made for a tokenizer of ours.
    pub fn hf_config(&self) -> Map<String, Value> {
        let mut config = self.shared.config.clone();
        let roles = &self.shared.roles;
        for (key, id) in [
            ("bos_token", roles.bos),
            ("eos_token", roles.eos),
            ("pad_token", roles.pad),
        ] {
            let token = id.and_then(|id| self.token(id));
            config.entry(key).or_insert_with(|| json!(token));
        }
        for (key, value) in [
            ("tokenizer_class", json!("PreTrainedTokenizerFast")),
            ("clean_up_tokenization_spaces", json!(false)),
        ] {
            config.entry(key).or_insert(value);
        }
        if let Some(template) = chat::Template::of(self).jinja() {
            config
                .entry("chat_template")
                .or_insert_with(|| json!(template));
        }
        config
    }
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

fn parse_config(path: &Path) -> Result<Map<String, Value>, TokenizerError> {
    serde_json::from_slice(&read(path)?).map_err(|source| TokenizerError::Invalid {
        origin: format!("the folder of `{}`", path.display()),
        source: source.into(),
    })
}

/// Writes beside the file and renames.
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
        // the first error is the one to report
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
        let stated = json!({"eos_token": "<|end|>", "bos_token": null, "chat_template": "theirs"});
        fs::write(folder.path().join(CONFIG_NAME), stated.to_string()).unwrap();

        let read = Tokenizer::from_file(&path).unwrap();
        read.save(&path).unwrap();
        let again = Tokenizer::from_file(&path).unwrap();

        assert_eq!(again.eos_id(), read.token_id("<|end|>"));
        assert_eq!(again.bos_id(), None);
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
