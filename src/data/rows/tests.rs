use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::super::testing::file;
use super::*;

const SCHEMA: &str =
    "message m { required binary text (UTF8); required int32 n; optional binary domain (UTF8); }";

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
    let rows = Rows::open(&path, None, Arc::default());
    (folder, rows)
}

#[test]
fn all_rows_of_all_groups_come_with_their_tags() {
    let (_folder, rows) = open(&parquet(SCHEMA));
    let mut rows = rows.unwrap();
    for row in 0..200 {
        let (place, record) = rows.next().unwrap().unwrap();
        assert_eq!(place, Place::Row(row + 1));
        assert_eq!(record.text, format!("text {}", row % 100));
        let tag = (row % 100 % 3 != 0).then_some("code");
        assert_eq!(record.tag.as_deref(), tag, "row {row}");
    }
    assert!(rows.next().is_none());
}

/// Texts of the records of a fixture, and the first error.
fn fixture(name: &str, text_field: Option<&str>) -> (Vec<Record>, Option<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet");
    let path: Arc<Path> = path.join(name).into();
    let (mut records, mut error) = (Vec::new(), None);
    match Rows::open(&path, text_field.map(Arc::from), Arc::default()) {
        Err(refused) => error = Some(refused.to_string()),
        Ok(mut rows) => {
            while let Some(row) = rows.next() {
                match row {
                    Ok((_, record)) => records.push(record),
                    Err(refused) => error = error.or(Some(refused.to_string())),
                }
            }
        }
    }
    (records, error)
}

#[test]
fn every_common_compression_is_read() {
    for name in ["zstd.parquet", "lz4.parquet", "brotli.parquet"] {
        let (records, error) = fixture(name, None);
        assert_eq!((records.len(), error), (64, None), "{name}");
        let text = "the lamp is on the table and the cat is under it";
        assert_eq!(records[0].text, text);
    }
}

#[test]
fn conversations_are_read_in_every_form_that_tables_have() {
    for name in [
        "messages.parquet",
        "messages_as_text.parquet",
        "messages_as_lists.parquet",
        "conversations.parquet",
    ] {
        let (records, error) = fixture(name, None);
        assert_eq!(error, None, "{name}");
        let last = records.last().unwrap().conversation.as_ref().unwrap();
        let said: Vec<_> = last.messages.iter().map(|it| it.content()).collect();
        assert_eq!(said, ["the lamp", "it is on"], "{name}");
    }
    let (records, _) = fixture("conversations.parquet", None);
    let first = records[0].conversation.as_ref().unwrap();
    assert_eq!(first.messages[0].content(), "be brief");
    assert_eq!(first.tools[0]["name"], "switch");
    assert_eq!(records[0].tag.as_deref(), Some("code"));
}

#[test]
fn another_column_may_hold_the_text() {
    let (records, error) = fixture("content.parquet", Some("content"));
    let texts: Vec<_> = records.iter().map(|record| &*record.text).collect();
    assert_eq!(texts, ["one", "three"]);
    let error = error.unwrap();
    assert!(
        error.contains("content.parquet` row 2: `content` is null"),
        "{error}"
    );
    let error = fixture("content.parquet", None).1.unwrap();
    for part in [
        "column `text` is missing",
        "`content`, `id`",
        "--text-field",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = fixture("content.parquet", Some("id")).1.unwrap();
    assert!(error.contains("`id` is not a column of strings"), "{error}");
}

#[test]
fn a_panic_of_the_reader_is_an_error_that_names_the_file() {
    let (_folder, rows) = open(&parquet(SCHEMA));
    let rows = rows.unwrap();
    let refused = survived(|| -> Result<(), ParquetError> { panic!("injected") });
    let error = DataError::Parquet {
        path: rows.path.to_path_buf(),
        row: 3,
        source: refused.unwrap_err(),
    };
    let line = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(
        line.contains("a.parquet` after row 3") && line.contains("injected"),
        "{line}"
    );
}

#[test]
fn a_file_without_a_column_of_texts_is_an_error() {
    let (_folder, rows) = open(&parquet("message m { required int32 n; }"));
    let message = rows.err().unwrap().to_string();
    assert!(
        message.contains("a.parquet`: column `text` is missing, expected it, `messages`"),
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
