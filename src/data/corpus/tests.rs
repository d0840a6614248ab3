use super::super::testing::{corpus, file};
use super::*;

#[test]
fn documents_are_found_by_number_with_tokens_domain_and_bytes() {
    let corpus = corpus(&[("code", "fn x"), ("", "été"), ("code", "y")]);
    let tokenizer = Tokenizer::bytes();

    let second = corpus.document(1).unwrap();

    assert_eq!(tokenizer.decode(&second.tokens), "été");
    assert_eq!(
        (second.domain, second.tagged, second.bytes),
        (Domain::General, false, 5)
    );
    assert_eq!(second.token_bytes, [1; 5]);
    assert_eq!(corpus.origin(2).unwrap().line, 3);
    assert_eq!(corpus.nth_of_domain(Domain::Code, 1).unwrap(), 2);
    assert_eq!(corpus.by_domain(Domain::Code).tokens, 5);
    assert_eq!(
        corpus.total(),
        Totals {
            documents: 3,
            tokens: 10,
            bytes: 10
        }
    );
    assert!(corpus.domains().eq([Domain::Code, Domain::General]));
    assert!(corpus.tags().eq([Some(Domain::Code), None]));
}

#[test]
fn a_document_without_a_tag_is_not_one_that_is_tagged_general() {
    let tags = |domains: &[&str]| {
        let documents: Vec<_> = domains.iter().map(|domain| (*domain, "text")).collect();
        corpus(&documents).tags().collect::<Vec<_>>()
    };
    assert_eq!(tags(&["", ""]), [None]);
    assert_eq!(tags(&["general"]), [Some(Domain::General)]);
    let all = [Some(Domain::Code), Some(Domain::General), None];
    assert_eq!(tags(&["general", "", "code"]), all);
}

#[test]
fn several_files_are_numbered_through() {
    let folder = tempfile::tempdir().unwrap();
    for (name, texts) in [("a.jsonl", 0..3usize), ("b.jsonl", 3..3), ("c.jsonl", 3..8)] {
        let line = |i| {
            format!(
                "{{\"text\":\"{i}\",\"domain\":\"{}\"}}\n",
                ["law", "code"][i % 2]
            )
        };
        file(folder.path(), name, texts.map(line).collect::<String>());
    }
    let tokenizer = Tokenizer::bytes();
    let source = Source::open(&[folder.path()], SourceOptions::default()).unwrap();
    let cache = folder.path().join("cache");
    let corpus = Corpus::open(&source, &tokenizer, &cache, Progress::Hidden).unwrap();

    for number in 0..8 {
        let document = corpus.document(number).unwrap();
        assert_eq!(tokenizer.decode(&document.tokens), number.to_string());
    }
    for (domain, first) in [(Domain::Legal, 0), (Domain::Code, 1)] {
        for k in 0..4 {
            let number = corpus.nth_of_domain(domain, k).unwrap();
            assert_eq!(number as u64, first + 2 * k);
        }
    }
    let origin = corpus.origin(4).unwrap();
    assert!(origin.to_string().ends_with("c.jsonl:2"), "{origin}");
}

#[test]
fn bytes_of_tokens_are_corrected_to_add_up() {
    let mut token_bytes = [3, 1, 2];
    correct(&mut token_bytes, 9);
    assert_eq!(token_bytes, [3, 1, 5]);
    correct(&mut token_bytes, 2);
    assert_eq!(token_bytes, [2, 0, 0]);
    correct(&mut [], 5);
}

#[test]
#[should_panic(expected = "document 1 of 1")]
fn a_number_too_large_is_a_mistake_of_the_caller() {
    let _ = corpus(&[("", "a")]).document(1);
}
