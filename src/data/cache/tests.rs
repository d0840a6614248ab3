use super::super::testing::file;
use super::super::{Corpus, SourceOptions};
use super::*;

const LINES: &str = "{\"text\":\"one\"}\n{\"text\":\"two\",\"domain\":\"code\"}\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, content: &str) {
        file(&self.0.path().join("data"), name, content);
    }

    fn open(&self, tokenizer: &Tokenizer, options: SourceOptions) -> Result<Corpus, DataError> {
        let source = Source::open(&[self.0.path().join("data")], options)?;
        Corpus::open(
            &source,
            tokenizer,
            &self.0.path().join("cache"),
            Progress::Hidden,
        )
    }

    /// Names and modification times of the files in the cache.
    fn cached(&self) -> Vec<(String, std::time::SystemTime)> {
        let mut files: Vec<_> = fs::read_dir(self.0.path().join("cache"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, entry.metadata().unwrap().modified().unwrap())
            })
            .collect();
        files.retain(|(name, _)| name != ".lock");
        files.sort();
        files
    }
}

#[test]
fn a_second_opening_takes_the_shards_that_are_there() {
    let folder = Folder::new();
    folder.write("a.jsonl", LINES);
    let tokenizer = Tokenizer::bytes();
    let first = folder.open(&tokenizer, SourceOptions::default()).unwrap();
    let before = folder.cached();
    let second = folder.open(&tokenizer, SourceOptions::default()).unwrap();
    assert_eq!(folder.cached(), before);
    assert_eq!(before.len(), 1);
    assert_eq!(first.digest(), second.digest());
}

#[test]
fn a_changed_file_tokenizer_or_option_is_tokenized_again() {
    let folder = Folder::new();
    folder.write("a.jsonl", LINES);
    let tokenizer = Tokenizer::bytes();
    let options = SourceOptions::default();
    assert_eq!(folder.open(&tokenizer, options.clone()).unwrap().len(), 2);

    folder.write("a.jsonl", &LINES.repeat(2));
    assert_eq!(folder.open(&tokenizer, options.clone()).unwrap().len(), 4);
    assert_eq!(folder.cached().len(), 1);

    let texts = || std::iter::repeat_n("one two one two".to_owned(), 9);
    let trained = Tokenizer::train(texts(), 280).unwrap();
    let corpus = folder.open(&trained, options.clone()).unwrap();
    assert_eq!(trained.decode(&corpus.document(1).unwrap().tokens), "two");

    folder.write(
        "a.jsonl",
        &(LINES.to_owned() + "{\"text\":\"x\",\"domain\":\"x\"}"),
    );
    assert!(folder.open(&tokenizer, options.clone()).is_err());
    let lenient = SourceOptions {
        unknown_domain: Some(crate::domain::Domain::General),
        ..options.clone()
    };
    assert_eq!(folder.open(&tokenizer, lenient).unwrap().len(), 3);
    assert!(folder.open(&tokenizer, options).is_err());
}

#[test]
fn a_damaged_shard_is_built_again() {
    let folder = Folder::new();
    folder.write("a.jsonl", LINES);
    let tokenizer = Tokenizer::bytes();
    folder.open(&tokenizer, SourceOptions::default()).unwrap();
    let shard = folder.0.path().join("cache").join(&folder.cached()[0].0);
    fs::write(&shard, "cut").unwrap();
    let corpus = folder.open(&tokenizer, SourceOptions::default()).unwrap();
    assert_eq!(corpus.len(), 2);
}

#[test]
fn a_changed_byte_of_a_shard_is_mended_before_it_is_used() {
    let folder = Folder::new();
    folder.write("a.jsonl", LINES);
    folder.write("b.jsonl", LINES);
    let tokenizer = Tokenizer::bytes();
    let open = || folder.open(&tokenizer, SourceOptions::default()).unwrap();
    let all = |corpus: &Corpus| -> Vec<_> {
        let numbers = 0..corpus.len();
        numbers.map(|it| corpus.document(it).unwrap()).collect()
    };
    let expected = all(&open());
    let shard = folder.0.path().join("cache").join(&folder.cached()[1].0);
    let sound = fs::read(&shard).unwrap();
    for at in (0..sound.len()).step_by(7) {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        fs::write(&shard, &bytes).unwrap();
        let corpus = open();
        assert_eq!(all(&corpus), expected, "byte {at}");
        corpus
            .nth_of_domain(crate::domain::Domain::Code, 1)
            .unwrap();
        assert_eq!(fs::read(&shard).unwrap(), sound, "byte {at}");
    }

    // a shard is damaged while it is open, and the text has changed since
    let corpus = open();
    let mut bytes = sound.clone();
    bytes[9] ^= 4;
    fs::write(&shard, &bytes).unwrap();
    folder.write("b.jsonl", &LINES.replace("two", "six"));
    let error = corpus.document(2).unwrap_err().to_string();
    assert!(error.contains("no longer the text"), "{error}");
}

#[test]
fn an_error_leaves_what_is_done_and_nothing_half_written() {
    let folder = Folder::new();
    folder.write("a.jsonl", LINES);
    folder.write("b.jsonl", &(LINES.to_owned() + "{\"text\":\n"));
    let tokenizer = Tokenizer::bytes();
    let error = folder
        .open(&tokenizer, SourceOptions::default())
        .unwrap_err();
    assert!(error.to_string().contains("b.jsonl` line 3"), "{error}");
    let done = folder.cached();
    assert_eq!(done.len(), 1);
    assert!(done[0].0.starts_with("a.jsonl-") && done[0].0.ends_with(".shard"));

    folder.write("b.jsonl", LINES);
    assert_eq!(
        folder
            .open(&tokenizer, SourceOptions::default())
            .unwrap()
            .len(),
        4
    );
    assert_eq!(folder.cached()[0], done[0]);
}

#[test]
fn skipped_lines_are_reported_from_the_cache_too() {
    let folder = Folder::new();
    folder.write("a.jsonl", &(LINES.to_owned() + "{}\n"));
    let options = SourceOptions {
        skip_bad_lines: true,
        ..SourceOptions::default()
    };
    for _ in 0..2 {
        let skipped = folder
            .open(&Tokenizer::bytes(), options.clone())
            .unwrap()
            .skipped();
        assert_eq!(skipped.count, 1);
        assert!(skipped.examples[0].contains("line 3"));
    }
}

#[test]
fn files_without_documents_are_an_error() {
    let folder = Folder::new();
    folder.write("a.jsonl", "\n");
    let error = folder
        .open(&Tokenizer::bytes(), SourceOptions::default())
        .unwrap_err();
    assert!(
        error.to_string().starts_with("no documents in 1 file"),
        "{error}"
    );
}

/// A tokenizer whose template refuses some conversations, and changes earlier text in others.
fn choosy(template: &str) -> Tokenizer {
    Tokenizer::bytes().with_chat_template(template).unwrap()
}

const CHOOSY: &str = "{%- if messages[0].content == 'no' %}{{ raise_exception('not this one') }}{% endif -%}
{%- for m in messages %}{{ m.role }}: {{ m.content }}{% if messages[0].content == 'turning' %}{{ messages | length }}{% endif %};{% endfor %}";

fn conversation(question: &str) -> String {
    let turn = |role: &str, content: &str| serde_json::json!({"role": role, "content": content});
    let messages = [turn("user", question), turn("assistant", "yes")];
    format!("{}\n", serde_json::json!({"messages": messages}))
}

#[test]
fn conversations_that_the_template_refuses_are_skipped_on_request() {
    let folder = Folder::new();
    let lines = ["so", "no", "turning", "well"].map(conversation).concat();
    folder.write("a.jsonl", &lines);
    let error = folder
        .open(&choosy(CHOOSY), SourceOptions::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 2: ") && error.contains("not this one"),
        "{error}"
    );
    let options = SourceOptions {
        skip_bad_lines: true,
        ..SourceOptions::default()
    };
    // the second round reads from the cache
    for _ in 0..2 {
        let corpus = folder.open(&choosy(CHOOSY), options.clone()).unwrap();
        let skipped = corpus.skipped();
        assert_eq!((corpus.len(), skipped.count), (2, 2), "{skipped:?}");
        assert!(skipped.examples[0].contains("line 2: "), "{skipped:?}");
        assert!(skipped.examples[1].contains("line 3: "), "{skipped:?}");
        assert_eq!(corpus.origin(1).unwrap().line, 4);
    }
    // a broken template is an error even if bad lines are skipped
    let error = folder.open(&choosy("{% if %}"), options).unwrap_err();
    assert!(error.to_string().contains("line 1: "), "{error}");
}

#[test]
fn a_template_that_asks_for_the_day_is_rendered_anew_on_another_one() {
    let folder = Folder::new();
    folder.write("a.jsonl", &conversation("which day is it?"));
    let open = |tokenizer: &Tokenizer, day: &str| {
        let options = SourceOptions {
            day: Some(day.parse().unwrap()),
            ..SourceOptions::default()
        };
        let corpus = folder.open(tokenizer, options).unwrap();
        tokenizer.decode(&corpus.document(0).unwrap().tokens)
    };
    let write = "{% for m in messages %}{{ m.role }}: {{ m.content }};{% endfor %}";
    let timeless = choosy(write);
    let dated = choosy(&format!("{{{{ strftime_now('%d %b %Y') }}}} {write}"));
    let first = open(&dated, "2024-02-28");
    assert!(first.starts_with("28 Feb 2024 user: which"), "{first}");
    let before = folder.cached();
    assert_eq!(open(&dated, "2024-02-28"), first);
    assert_eq!(folder.cached(), before);
    let second = open(&dated, "2024-02-29");
    assert!(second.starts_with("29 Feb 2024 user: which"), "{second}");
    // the first day again, as in a resumed run
    assert_eq!(open(&dated, "2024-02-28"), first);

    open(&timeless, "2024-02-28");
    let before = folder.cached();
    open(&timeless, "2024-02-29");
    assert_eq!(folder.cached(), before);
    // without a set day, the template sees today
    let corpus = folder.open(&dated, SourceOptions::default()).unwrap();
    let today = dated.decode(&corpus.document(0).unwrap().tokens);
    assert!(today != first && today.contains("user: which"), "{today}");
}
