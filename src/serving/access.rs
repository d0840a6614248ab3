//! API keys: who may ask.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use subtle::{Choice, ConstantTimeEq};

/// Keys of which a request must give one. Only their hashes are kept.
#[derive(Debug, Clone)]
pub struct ApiKeys(Vec<[u8; 32]>);

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("cannot read the API keys in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file has no key.
    #[error("{} has no API key: write one key per line", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A key that no header can carry.
    #[error("{} line {line}: expected a key of visible ASCII characters without spaces", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// Line of the key, from 1.
        line: usize,
    },
}

impl ApiKeys {
    /// Reads a file with one key per line. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// [`KeysError`]: the file cannot be read, has no key, or a line is none.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        let text = fs::read_to_string(path).map_err(|source| KeysError::Unreadable {
            path: path.into(),
            source,
        })?;
        let mut keys = Vec::new();
        for (line, key) in (1..).zip(text.lines().map(str::trim)) {
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                let path = path.into();
                return Err(KeysError::NotAKey { path, line });
            }
            keys.push(hash(key));
        }
        if keys.is_empty() {
            return Err(KeysError::Empty { path: path.into() });
        }
        Ok(Self(keys))
    }

    /// Whether the value of an `Authorization` header has a key.
    pub(super) fn admit(&self, authorization: &str) -> bool {
        let given = authorization.split_once(' ');
        let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        given.is_some_and(|(_, key)| self.admit_key(key))
    }

    /// Whether this is a key. Takes as long for a wrong key as for a right one.
    pub(super) fn admit_key(&self, key: &str) -> bool {
        let given = hash(key.trim());
        let matches = self.0.iter().map(|key| key.ct_eq(&given));
        matches.fold(Choice::from(0), |found, it| found | it).into()
    }
}

fn hash(key: &str) -> [u8; 32] {
    blake3::hash(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ApiKeys, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        ApiKeys::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn any_key_of_the_file_is_admitted_and_nothing_else() {
        let keys = read("# ours\n\nsk-one\r\nsk-two\n").unwrap();
        for right in ["Bearer sk-one", "bearer  sk-two"] {
            assert!(keys.admit(right), "{right}");
        }
        for wrong in [
            "",
            "sk-one",
            "Bearer",
            "Bearer ",
            "Bearer # ours",
            "Basic sk-one",
            "Bearer sk",
        ] {
            assert!(!keys.admit(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_file_without_keys_is_refused() {
        assert!(read("# none\n").unwrap_err().contains("has no API key"));
        assert!(read("a\nb c\n").unwrap_err().contains("line 2"));
        let absent = ApiKeys::read(Path::new("/absent")).unwrap_err();
        assert!(absent.to_string().contains("cannot read"));
    }
}
