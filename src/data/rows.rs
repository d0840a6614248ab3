//! Documents from the columns `text` and `domain` of a parquet file.

use std::collections::VecDeque;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::documents::Record;
use super::error::DataError;

/// Rows decoded at a time.
const ROWS: usize = 64;

pub(super) struct Rows {
    path: Arc<Path>,
    reader: SerializedFileReader<File>,
    text: usize,
    domain: Option<usize>,
    next_group: usize,
    group: Option<Group>,
    ready: VecDeque<(Option<ByteArray>, Option<ByteArray>)>,
    row: u64,
    bytes_read: Arc<AtomicU64>,
}

/// The columns of the row group being read.
struct Group {
    text: Column,
    domain: Option<Column>,
    bytes: u64,
}

struct Column {
    reader: ColumnReaderImpl<ByteArrayType>,
    optional: bool,
}

impl Rows {
    pub(super) fn open(path: &Arc<Path>, bytes_read: Arc<AtomicU64>) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::Open {
            path: path.to_path_buf(),
            source,
        })?;
        let reader =
            guarded(|| SerializedFileReader::new(file)).map_err(|source| DataError::Parquet {
                path: path.to_path_buf(),
                row: 0,
                source,
            })?;
        let text = find_column(&reader, path, "text")?;
        Ok(Self {
            text: text.ok_or_else(|| DataError::ParquetColumn {
                path: path.to_path_buf(),
                column: "text",
                reason: "is missing",
            })?,
            domain: find_column(&reader, path, "domain")?,
            path: path.clone(),
            reader,
            next_group: 0,
            group: None,
            ready: VecDeque::new(),
            row: 0,
            bytes_read,
        })
    }

    /// The next document and its row, from 1.
    pub(super) fn next(&mut self) -> Option<Result<(u64, Record), DataError>> {
        while self.ready.is_empty() {
            match guarded(|| self.decode()) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(source) => {
                    return Some(Err(DataError::Parquet {
                        path: self.path.to_path_buf(),
                        row: self.row,
                        source,
                    }));
                }
            }
        }
        let (text, tag) = self.ready.pop_front()?;
        self.row += 1;
        Some(self.record(text, tag).map(|record| (self.row, record)))
    }

    fn record(&self, text: Option<ByteArray>, tag: Option<ByteArray>) -> Result<Record, DataError> {
        let utf8 = |bytes: ByteArray| match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(DataError::InvalidUtf8 {
                path: self.path.to_path_buf(),
                line: self.row,
                column: error.valid_up_to() + 1,
            }),
        };
        let text = text.ok_or_else(|| DataError::MissingText {
            path: self.path.to_path_buf(),
            line: self.row,
        })?;
        Ok(Record {
            text: utf8(text)?,
            conversation: None,
            tag: tag.map(utf8).transpose()?,
        })
    }

    /// Decodes some rows, or goes on to the next row group; false at the end of the file.
    fn decode(&mut self) -> Result<bool, ParquetError> {
        let Some(group) = &mut self.group else {
            if self.next_group == self.reader.num_row_groups() {
                return Ok(false);
            }
            self.group = Some(self.open_group(self.next_group)?);
            self.next_group += 1;
            return Ok(true);
        };
        let texts = group.text.read(ROWS)?;
        let tags = match &mut group.domain {
            Some(column) => column.read(ROWS)?,
            None => vec![None; texts.len()],
        };
        if texts.len() != tags.len() {
            return Err(ParquetError::General("columns of different lengths".into()));
        }
        if texts.is_empty() {
            self.bytes_read.fetch_add(group.bytes, Ordering::Relaxed);
            self.group = None;
        }
        self.ready.extend(texts.into_iter().zip(tags));
        Ok(true)
    }

    fn open_group(&self, index: usize) -> Result<Group, ParquetError> {
        let group = self.reader.get_row_group(index)?;
        let column = |index: usize| {
            let optional = group
                .metadata()
                .column(index)
                .column_descr()
                .max_def_level()
                > 0;
            match group.get_column_reader(index)? {
                ColumnReader::ByteArrayColumnReader(reader) => Ok(Column { reader, optional }),
                _ => Err(ParquetError::General("a column changes its type".into())),
            }
        };
        Ok(Group {
            text: column(self.text)?,
            domain: self.domain.map(column).transpose()?,
            bytes: group.metadata().compressed_size().try_into().unwrap_or(0),
        })
    }
}

impl Column {
    fn read(&mut self, rows: usize) -> Result<Vec<Option<ByteArray>>, ParquetError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let levels_out = self.optional.then_some(&mut levels);
        let (records, ..) = self
            .reader
            .read_records(rows, levels_out, None, &mut values)?;
        let mut values = values.into_iter();
        Ok(if self.optional {
            levels
                .into_iter()
                .map(|level| if level > 0 { values.next() } else { None })
                .collect()
        } else {
            values.take(records).map(Some).collect()
        })
    }
}

/// The `parquet` crate panics on some damaged files.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ParquetError::General("damaged page".into())))
}

/// Index of a top-level string column.
fn find_column(
    reader: &SerializedFileReader<File>,
    path: &Path,
    column: &'static str,
) -> Result<Option<usize>, DataError> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let Some((index, found)) = (0..).zip(schema.columns()).find(|(_, found)| {
        found
            .path()
            .parts()
            .first()
            .is_some_and(|part| part == column)
    }) else {
        return Ok(None);
    };
    let is_plain = found.physical_type() == Type::BYTE_ARRAY
        && found.max_rep_level() == 0
        && found.max_def_level() <= 1;
    if !is_plain {
        return Err(DataError::ParquetColumn {
            path: path.into(),
            column,
            reason: "is not a column of strings",
        });
    }
    Ok(Some(index))
}

#[cfg(test)]
mod tests {
    use parquet::basic::Compression;
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::super::testing::file;
    use super::*;

    const SCHEMA: &str = "message m { required binary text (UTF8); required int32 n; optional binary domain (UTF8); }";

    /// Two row groups of 100 documents; every third has no domain.
    fn parquet(schema: &str) -> Vec<u8> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut bytes = Vec::new();
        let properties = Arc::new(properties.build());
        let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties).unwrap();
        for _ in 0..2 {
            let mut group = writer.next_row_group().unwrap();
            while let Some(mut column) = group.next_column().unwrap() {
                let text = |i: i32| ByteArray::from(format!("text {i}").as_str());
                let levels: Vec<i16> = (0..100).map(|i| i16::from(i % 3 != 0)).collect();
                match column.untyped() {
                    parquet::column::writer::ColumnWriter::Int32ColumnWriter(typed) => {
                        typed.write_batch(&[7; 100], None, None).map(drop)
                    }
                    parquet::column::writer::ColumnWriter::ByteArrayColumnWriter(typed) => {
                        if typed.get_descriptor().max_def_level() == 0 {
                            let texts: Vec<_> = (0..100).map(text).collect();
                            typed.write_batch(&texts, None, None).map(drop)
                        } else {
                            let tags = vec![ByteArray::from("code"); 66];
                            typed.write_batch(&tags, Some(&levels), None).map(drop)
                        }
                    }
                    _ => unreachable!(),
                }
                .unwrap();
                column.close().unwrap();
            }
            group.close().unwrap();
        }
        writer.close().unwrap();
        bytes
    }

    fn open(content: &[u8]) -> (tempfile::TempDir, Result<Rows, DataError>) {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = file(folder.path(), "a.parquet", content).into();
        let rows = Rows::open(&path, Arc::default());
        (folder, rows)
    }

    #[test]
    fn all_rows_of_all_groups_come_with_their_tags() {
        let (_folder, rows) = open(&parquet(SCHEMA));
        let mut rows = rows.unwrap();
        for row in 0..200 {
            let (line, record) = rows.next().unwrap().unwrap();
            assert_eq!(line, row + 1);
            assert_eq!(record.text, format!("text {}", row % 100));
            let tag = (row % 100 % 3 != 0).then_some("code");
            assert_eq!(record.tag.as_deref(), tag, "row {row}");
        }
        assert!(rows.next().is_none());
    }

    #[test]
    fn a_file_without_a_column_of_texts_is_an_error() {
        let (_folder, rows) = open(&parquet("message m { required int32 n; }"));
        let message = rows.err().unwrap().to_string();
        assert!(
            message.ends_with("a.parquet`: column `text` is missing"),
            "{message}"
        );
        let (_folder, rows) = open(&parquet("message m { required int32 text; }"));
        let message = rows.err().unwrap().to_string();
        assert!(
            message.contains("`text` is not a column of strings"),
            "{message}"
        );
        let (_folder, rows) = open(b"no parquet");
        assert!(rows.err().unwrap().to_string().contains("as parquet"));
    }

    #[test]
    fn changed_bytes_give_an_error_or_other_rows() {
        let whole = parquet(SCHEMA);
        for at in (0..whole.len()).step_by(3) {
            let mut changed = whole.clone();
            changed[at] ^= 0xA5;
            if let (_folder, Ok(mut rows)) = open(&changed) {
                for _ in 0..300 {
                    if !matches!(rows.next(), Some(Ok(_))) {
                        break;
                    }
                }
            }
        }
    }
}
