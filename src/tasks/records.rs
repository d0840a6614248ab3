//! Records of data files: JSON Lines, JSON arrays and parquet.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use super::error::TaskError;
use crate::guard::guarded;

/// One record: values by field.
pub(super) type Record = Map<String, Value>;

/// Fields of all records, and the records with every field; a field that a record lacks is null.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Records {
    pub(super) fields: Vec<String>,
    pub(super) records: Vec<Record>,
}

impl Records {
    /// Reads files of one split. `member` names the member of a JSON object that holds the records.
    pub(super) fn read(
        paths: &[impl AsRef<Path>],
        member: Option<&str>,
    ) -> Result<Self, TaskError> {
        let mut all = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let is_parquet = path.extension().is_some_and(|it| it == "parquet");
            if is_parquet {
                parquet(path, &mut all)?;
            } else {
                json(path, member, &mut all)?;
            }
        }
        Ok(Self::of(all))
    }

    /// Gives every record all fields.
    pub(super) fn of(mut records: Vec<Record>) -> Self {
        let mut fields = Map::new();
        for record in &records {
            for key in record.keys() {
                if !fields.contains_key(key) {
                    fields.insert(key.clone(), Value::Null);
                }
            }
        }
        for record in &mut records {
            if record.len() < fields.len() {
                let mut whole = fields.clone();
                whole.extend(std::mem::take(record));
                *record = whole;
            }
        }
        Self {
            fields: fields.into_iter().map(|(key, _)| key).collect(),
            records,
        }
    }
}

fn fault(path: &Path, place: &str, reason: impl Into<String>) -> TaskError {
    TaskError::Data {
        place: format!("{}{place}", path.display()),
        reason: reason.into(),
    }
}

fn open(path: &Path) -> Result<File, TaskError> {
    File::open(path).map_err(|source| TaskError::Read {
        path: path.into(),
        source,
    })
}

fn json(path: &Path, member: Option<&str>, into: &mut Vec<Record>) -> Result<(), TaskError> {
    let mut text = String::new();
    BufReader::new(open(path)?)
        .read_to_string(&mut text)
        .map_err(|source| TaskError::Read {
            path: path.into(),
            source,
        })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut begin = 0;
    while let Some(value) = values.next() {
        let line = |at: usize| {
            let skipped = text[at..].len() - text[at..].trim_start().len();
            text[..at + skipped].matches('\n').count() + 1
        };
        let value = value.map_err(|error| {
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default();
            fault(
                path,
                &format!(":{}", error.line()),
                format!("no JSON: {reason}"),
            )
        })?;
        let place = format!(":{}", line(begin));
        begin = values.byte_offset();
        let value = match (member, value) {
            (None, value) => value,
            (Some(member), Value::Object(mut whole)) => whole.remove(member).ok_or_else(|| {
                fault(path, &place, format!("the object has no member `{member}`"))
            })?,
            (Some(member), _) => {
                let reason = format!("expected an object with the member `{member}`");
                return Err(fault(path, &place, reason));
            }
        };
        let items = match value {
            Value::Array(items) => items,
            Value::Object(_) => vec![value],
            _ => {
                return Err(fault(
                    path,
                    &place,
                    "expected an object or a list of objects",
                ));
            }
        };
        for item in items {
            let Value::Object(record) = item else {
                return Err(fault(path, &place, "a record is no object"));
            };
            into.push(record);
        }
    }
    Ok(())
}

fn parquet(path: &Path, into: &mut Vec<Record>) -> Result<(), TaskError> {
    let file = open(path)?;
    let read = guarded(|| -> Result<Vec<Record>, (usize, ParquetError)> {
        let reader = SerializedFileReader::new(file).map_err(|error| (0, error))?;
        let rows = reader.get_row_iter(None).map_err(|error| (0, error))?;
        rows.enumerate()
            .map(|(at, row)| Ok(object(&row.map_err(|error| (at + 1, error))?)))
            .collect()
    });
    let rows = read.map_err(|panicked| fault(path, "", panicked.to_string()))?;
    into.extend(rows.map_err(|(row, error)| match row {
        0 => fault(path, "", format!("no parquet: {error}")),
        row => fault(path, &format!(", row {row}"), error.to_string()),
    })?);
    Ok(())
}

/// JSON value of a cell; numbers that JSON lacks become null.
fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => (*value).into(),
        Field::Byte(value) => (*value).into(),
        Field::Short(value) => (*value).into(),
        Field::Int(value) => (*value).into(),
        Field::Long(value) => (*value).into(),
        Field::UByte(value) => (*value).into(),
        Field::UShort(value) => (*value).into(),
        Field::UInt(value) => (*value).into(),
        Field::ULong(value) => (*value).into(),
        Field::Float(value) => (*value).into(),
        Field::Double(value) => (*value).into(),
        Field::Str(text) => text.as_str().into(),
        Field::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into(),
        Field::Group(row) => Value::Object(object(row)),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        other => other.to_string().into(),
    }
}

fn object(row: &Row) -> Record {
    let entries = row.get_column_iter();
    entries
        .map(|(name, field)| (name.clone(), value(field)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn read(text: &str, member: Option<&str>) -> Result<Records, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.jsonl");
        fs::write(&path, text).unwrap();
        Records::read(&[path], member).map_err(|error| {
            let name = folder.path().display().to_string();
            error.to_string().replace(&name, "")
        })
    }

    #[test]
    fn lines_arrays_and_members_are_records_with_all_fields() {
        let expected = json!([{"a": 1, "b": null}, {"a": null, "b": [2]}]);
        for (text, member) in [
            ("{\"a\": 1}\n\n{\"b\": [2]}\n", None),
            ("[{\"a\": 1}, {\"b\": [2]}]", None),
            (
                "{\"x\": 0, \"examples\": [{\"a\": 1},\n{\"b\": [2]}]}",
                Some("examples"),
            ),
        ] {
            let found = read(text, member).unwrap();
            assert_eq!(found.fields, ["a", "b"]);
            assert_eq!(json!(found.records), expected);
        }
    }

    #[test]
    fn what_is_no_record_is_told_with_its_line() {
        for (text, member, expected) in [
            (
                "{\"a\": 1}\n{\"a\": }",
                None,
                "/data.jsonl:2: no JSON: expected value",
            ),
            (
                "{\"a\": 1}\n\n 3",
                None,
                "/data.jsonl:3: expected an object or a list",
            ),
            ("[{}, 4]", None, "/data.jsonl:1: a record is no object"),
            (
                "{\"a\": 1}",
                Some("b"),
                "/data.jsonl:1: the object has no member `b`",
            ),
            (
                "[1]",
                Some("b"),
                "/data.jsonl:1: expected an object with the member `b`",
            ),
        ] {
            let error = read(text, member).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
