//! Documents from parquet files: columns of texts or conversations, and of domains.

use std::collections::VecDeque;
use std::fs::File;
use std::iter;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::record::{Field, Row};
use parquet::schema::types::{SchemaDescriptor, TypePtr};
use serde_json::{Map, Value};

use super::conversation::{self, Beside};
use super::error::DataError;
use super::place::Place;
use super::record::{CONVERSATIONS, DOMAIN, Record, SYSTEM, TEXT, TOOLS};
use crate::guard::guarded;

/// Number of rows decoded at a time.
const ROWS: usize = 64;

pub(super) struct Rows {
    path: Arc<Path>,
    text_field: Option<Arc<str>>,
    reader: SerializedFileReader<File>,
    columns: Columns,
    next_group: usize,
    group: Option<Group>,
    ready: VecDeque<Cells>,
    row: u64,
    bytes_read: Arc<AtomicU64>,
}

/// Indices of the columns that are read.
#[derive(Default)]
struct Columns {
    text: Option<usize>,
    domain: Option<usize>,
    conversation: Option<Conversations>,
    /// Columns beside conversations.
    system: Option<usize>,
    tools: Option<usize>,
}

enum Conversations {
    /// A column of lists of objects, with its own schema.
    Nested(Arc<SchemaDescriptor>),
    /// A column of strings that hold JSON.
    Json(usize),
}

/// Readers of the current row group's columns.
struct Group {
    text: Option<Column>,
    domain: Option<Column>,
    conversation: Option<Turns>,
    system: Option<Column>,
    tools: Option<Column>,
    bytes: u64,
}

enum Turns {
    Nested(ReaderIter),
    Json(Column),
}

struct Column {
    reader: ColumnReaderImpl<ByteArrayType>,
    optional: bool,
}

/// Values of one row in the columns that are read.
struct Cells {
    text: Option<ByteArray>,
    domain: Option<ByteArray>,
    turns: Option<Value>,
    system: Option<ByteArray>,
    tools: Option<ByteArray>,
}

impl Rows {
    pub(super) fn open(
        path: &Arc<Path>,
        text_field: Option<Arc<str>>,
        bytes_read: Arc<AtomicU64>,
    ) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::Open {
            path: path.to_path_buf(),
            source,
        })?;
        let reader =
            survived(|| SerializedFileReader::new(file)).map_err(|source| DataError::Parquet {
                path: path.to_path_buf(),
                row: 0,
                source,
            })?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let columns = Columns::find(schema, path, text_field.as_deref())?;
        Ok(Self {
            path: path.clone(),
            text_field,
            reader,
            columns,
            next_group: 0,
            group: None,
            ready: VecDeque::new(),
            row: 0,
            bytes_read,
        })
    }

    /// The next document, with its row.
    pub(super) fn next(&mut self) -> Option<Result<(Place, Record), DataError>> {
        while self.ready.is_empty() {
            match survived(|| self.decode()) {
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
        let cells = self.ready.pop_front()?;
        self.row += 1;
        let place = Place::Row(self.row);
        Some(self.record(cells, place).map(|record| (place, record)))
    }

    fn record(&self, cells: Cells, place: Place) -> Result<Record, DataError> {
        let path = || self.path.to_path_buf();
        let utf8 = |bytes: ByteArray| match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(DataError::InvalidUtf8 {
                path: path(),
                place,
                column: error.valid_up_to() + 1,
            }),
        };
        let tag = cells.domain.map(utf8).transpose()?;
        match (cells.text, cells.turns) {
            (Some(text), turns) if turns.is_none() || self.text_field.is_some() => Ok(Record {
                text: utf8(text)?,
                conversation: None,
                tag,
            }),
            (_, Some(turns)) => {
                let beside = Beside {
                    system: cells.system.map(utf8).transpose()?,
                    tools: cells.tools.map(utf8).transpose()?.map(Value::from),
                };
                conversation::read(turns, beside)
                    .map(|conversation| Record::of(conversation, tag))
                    .map_err(|source| DataError::Turns {
                        path: path(),
                        place,
                        source,
                    })
            }
            _ => Err(DataError::NullText {
                path: path(),
                place,
                field: self.text_field.as_deref().unwrap_or(TEXT).into(),
            }),
        }
    }

    /// Decodes some rows, or moves on to the next row group; `false` at the end of the file.
    fn decode(&mut self) -> Result<bool, ParquetError> {
        let Some(group) = &mut self.group else {
            if self.next_group == self.reader.num_row_groups() {
                return Ok(false);
            }
            let group = self.reader.get_row_group(self.next_group)?;
            self.group = Some(Group::open(&*group, &self.columns)?);
            self.next_group += 1;
            return Ok(true);
        };
        let rows = group.read()?;
        if rows.is_empty() {
            self.bytes_read.fetch_add(group.bytes, Ordering::Relaxed);
            self.group = None;
        }
        self.ready.extend(rows);
        Ok(true)
    }
}

impl Columns {
    fn find(
        schema: &SchemaDescriptor,
        path: &Path,
        text_field: Option<&str>,
    ) -> Result<Self, DataError> {
        let name = text_field.unwrap_or(TEXT);
        let text = find_texts(schema, path, name)?;
        let mut conversation = None;
        for name in CONVERSATIONS {
            let field = schema.root_schema().get_fields().iter();
            let Some(field) = field.clone().find(|field| field.name() == name) else {
                continue;
            };
            conversation = Some(if field.is_primitive() {
                find_texts(schema, path, name)?.map(Conversations::Json)
            } else {
                Some(Conversations::Nested(alone(schema, field, path)?))
            });
            break;
        }
        let conversation = conversation.flatten();
        if text.is_none() && (conversation.is_none() || text_field.is_some()) {
            let fields = schema.root_schema().get_fields().iter();
            let present: Vec<_> = fields.map(|field| format!("`{}`", field.name())).collect();
            return Err(DataError::ParquetColumn {
                path: path.into(),
                column: name.into(),
                reason: format!(
                    "is missing, expected it, `messages` or `conversations` among {}; `--text-field NAME` reads the texts of another",
                    present.join(", ")
                ),
            });
        }
        let beside = |name| match conversation {
            Some(_) => find_texts(schema, path, name),
            None => Ok(None),
        };
        Ok(Self {
            text,
            domain: find_texts(schema, path, DOMAIN)?,
            system: beside(SYSTEM)?,
            tools: beside(TOOLS)?,
            conversation,
        })
    }
}

impl Group {
    fn open(group: &dyn RowGroupReader, columns: &Columns) -> Result<Self, ParquetError> {
        let column = |index: usize| Column::open(group, index);
        let conversation = match &columns.conversation {
            None => None,
            Some(Conversations::Json(index)) => Some(Turns::Json(column(*index)?)),
            Some(Conversations::Nested(schema)) => {
                let rows = TreeBuilder::new().with_batch_size(ROWS);
                Some(Turns::Nested(rows.as_iter(schema.clone(), group)?))
            }
        };
        Ok(Self {
            text: columns.text.map(column).transpose()?,
            domain: columns.domain.map(column).transpose()?,
            conversation,
            system: columns.system.map(column).transpose()?,
            tools: columns.tools.map(column).transpose()?,
            bytes: group.metadata().compressed_size().try_into().unwrap_or(0),
        })
    }

    /// Reads some rows; empty at the end of the group.
    fn read(&mut self) -> Result<Vec<Cells>, ParquetError> {
        let turns = self.conversation.as_mut().map(Turns::read).transpose()?;
        let columns = [
            &mut self.text,
            &mut self.domain,
            &mut self.system,
            &mut self.tools,
        ];
        let mut texts = Vec::with_capacity(columns.len());
        for column in columns {
            texts.push(column.as_mut().map(Column::read).transpose()?);
        }
        let counts = texts.iter().flatten().map(Vec::len);
        let mut counts = counts.chain(turns.as_ref().map(Vec::len));
        let count = counts.next().unwrap_or(0);
        if counts.any(|other| other != count) {
            return Err(ParquetError::General("columns of different lengths".into()));
        }
        let mut texts = texts
            .into_iter()
            .map(Option::into_iter)
            .map(Iterator::flatten);
        let mut next = || texts.next().into_iter().flatten().chain(iter::repeat(None));
        let (text, domain, system, tools) = (next(), next(), next(), next());
        let turns = turns.into_iter().flatten().chain(iter::repeat(None));
        let rows = text.zip(domain).zip(system).zip(tools).zip(turns);
        let rows = rows.take(count);
        Ok(rows
            .map(|((((text, domain), system), tools), turns)| Cells {
                text,
                domain,
                turns,
                system,
                tools,
            })
            .collect())
    }
}

impl Turns {
    fn read(&mut self) -> Result<Vec<Option<Value>>, ParquetError> {
        match self {
            Self::Nested(rows) => rows
                .take(ROWS)
                .map(|row| {
                    let mut fields = row?.into_columns();
                    let turns = fields.pop().map(|(_, field)| json(&field));
                    Ok(turns.filter(|turns| !turns.is_null()))
                })
                .collect(),
            Self::Json(column) => {
                let texts = column.read()?.into_iter();
                let text = |bytes: ByteArray| String::from_utf8_lossy(bytes.data()).into_owned();
                Ok(texts.map(|it| it.map(text).map(Value::from)).collect())
            }
        }
    }
}

impl Column {
    fn open(group: &dyn RowGroupReader, index: usize) -> Result<Self, ParquetError> {
        let description = group.metadata().column(index).column_descr();
        let optional = description.max_def_level() > 0;
        match group.get_column_reader(index)? {
            ColumnReader::ByteArrayColumnReader(reader) => Ok(Self { reader, optional }),
            _ => Err(ParquetError::General("a column changes its type".into())),
        }
    }

    fn read(&mut self) -> Result<Vec<Option<ByteArray>>, ParquetError> {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let levels_out = self.optional.then_some(&mut levels);
        let (records, ..) = self
            .reader
            .read_records(ROWS, levels_out, None, &mut values)?;
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

/// JSON value of a cell; numbers that JSON lacks become null.
fn json(field: &Field) -> Value {
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
        Field::Group(row) => object(row),
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        Field::MapInternal(map) => {
            let key = |key: &Field| match key {
                Field::Str(text) => text.clone(),
                other => other.to_string(),
            };
            let entries = map.entries().iter();
            let entries = entries.map(|(name, value)| (key(name), json(value)));
            Value::Object(entries.collect())
        }
        other => other.to_string().into(),
    }
}

fn object(row: &Row) -> Value {
    let entries = row.get_column_iter();
    let entries = entries.map(|(name, value)| (name.clone(), json(value)));
    Value::Object(entries.collect::<Map<_, _>>())
}

/// Turns a panic of the parquet reader on a damaged file into an error.
fn survived<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    guarded(read).unwrap_or_else(|panicked| Err(ParquetError::General(panicked.to_string())))
}

/// A schema with only one column of `schema`.
fn alone(
    schema: &SchemaDescriptor,
    field: &TypePtr,
    path: &Path,
) -> Result<Arc<SchemaDescriptor>, DataError> {
    let root = parquet::schema::types::Type::group_type_builder(schema.root_schema().name())
        .with_fields(vec![field.clone()])
        .build();
    let root = root.map_err(|source| DataError::Parquet {
        path: path.into(),
        row: 0,
        source,
    })?;
    Ok(Arc::new(SchemaDescriptor::new(Arc::new(root))))
}

/// Index of a top-level string column.
fn find_texts(
    schema: &SchemaDescriptor,
    path: &Path,
    column: &str,
) -> Result<Option<usize>, DataError> {
    let is_within = |parts: &[String]| parts.first().is_some_and(|part| part == column);
    let mut found = (0..).zip(schema.columns());
    let Some((index, found)) = found.find(|(_, found)| is_within(found.path().parts())) else {
        return Ok(None);
    };
    let is_plain = found.physical_type() == Type::BYTE_ARRAY
        && found.max_rep_level() == 0
        && found.path().parts().len() == 1;
    if !is_plain {
        return Err(DataError::ParquetColumn {
            path: path.into(),
            column: column.into(),
            reason: "is not a column of strings".into(),
        });
    }
    Ok(Some(index))
}

#[cfg(test)]
mod tests;
