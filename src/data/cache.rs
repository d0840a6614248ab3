//! The token cache: each source file is tokenized once, into a shard in a cache folder.
//!
//! A shard is rebuilt if its identity (tokenizer, file, size, modification time, options) has changed. Shards are
//! written atomically, one by one, so that an interrupted tokenization resumes at the file where it stopped.
//! Processes that share a folder wait for each other.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Once, OnceLock};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rayon::prelude::*;

use super::documents::{Document, Documents, Origin, Skipped};
use super::error::DataError;
use super::reader::{Shard, Storage, cache_error};
use super::shards::{Form, Identity, ShardWriter, Tokens};
use super::source::{Source, SourceFile, SourceOptions};
use super::split;
use super::sweep::Building;
use crate::tokenizer::Tokenizer;
use crate::tokenizer::chat::{
    CHATML_TOKENS, Clock, Conversation, Rendered, Template, TemplateError,
};

/// Lock file, held by the process that writes into the folder.
pub(super) const LOCK: &str = ".lock";
/// Bytes of text that all threads tokenize at a time.
const BATCH_BYTES: usize = 2 << 20;
/// Largest number of shards kept open; a process may often open no more than 1024 files.
const MAX_OPEN: usize = 256;

/// Whether a long tokenization shows its progress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Progress {
    /// A bar on the standard error output, if that is a terminal.
    Shown,
    /// Nothing.
    #[default]
    Hidden,
}

/// Opens the shards of all files of `source`; builds those that are missing or stale.
pub(super) fn open_or_build(
    source: &Source,
    tokenizer: &Tokenizer,
    folder: &Path,
    progress: Progress,
) -> Result<Vec<Shard>, DataError> {
    let digest = digest(tokenizer);
    let wanted: Vec<_> = source
        .files()
        .iter()
        .map(|file| {
            let identity = identity(file, source, &digest);
            (file, shard_path(folder, &identity), identity)
        })
        .collect();
    let is_stale = |path: &Path, identity: &Identity| {
        let shard = Shard::open(Storage::Closed(path.into()));
        shard.map_or(true, |shard| shard.header.identity != *identity)
    };
    if wanted
        .iter()
        .any(|(_, path, identity)| is_stale(path, identity))
    {
        fs::create_dir_all(folder).map_err(cache_error(folder))?;
        let _lock = lock(folder)?;
        let _building = Building::begin(folder);
        let bar = progress_bar(source.size_bytes(), progress);
        let mut done_bytes = 0;
        for (file, path, identity) in &wanted {
            // another process may have built it in the meantime
            if is_stale(path, identity) {
                tell_of_damage(path);
                let documents = Documents::new(vec![(*file).clone()], source.options().clone());
                build(documents, tokenizer, path, identity, |read| {
                    bar.set_position(done_bytes + read);
                })?;
            }
            done_bytes += file.size;
            bar.set_position(done_bytes);
        }
        bar.finish_and_clear();
    }

    let count = wanted.len();
    let paths = wanted.into_iter().map(|(_, path, _)| path);
    paths.map(|path| open(path, count)).collect()
}

/// Rebuilds a shard that turned out to be damaged after it was opened.
pub(super) fn rebuild(
    source: &Source,
    number: usize,
    tokenizer: &Tokenizer,
    folder: &Path,
) -> Result<Shard, DataError> {
    let file = &source.files()[number];
    let identity = identity(file, source, &digest(tokenizer));
    let path = shard_path(folder, &identity);
    let _lock = lock(folder)?;
    let _building = Building::begin(folder);
    let documents = Documents::new(vec![file.clone()], source.options().clone());
    build(documents, tokenizer, &path, &identity, |_| {})?;
    open(path, source.files().len())
}

/// Opens one shard out of `count`.
fn open(path: PathBuf, count: usize) -> Result<Shard, DataError> {
    Shard::open(if count <= MAX_OPEN {
        Storage::Open(File::open(&path).map_err(cache_error(&path))?, path)
    } else {
        Storage::Closed(path)
    })
}

/// Warns of a damaged shard, and is silent about a stale one.
fn tell_of_damage(path: &Path) {
    if let Err(error @ DataError::DamagedShard { .. }) = Shard::open(Storage::Closed(path.into())) {
        tell_of_rebuilding(&error);
    }
}

/// Warns of the damage of a shard that is about to be rebuilt.
pub(super) fn tell_of_rebuilding(error: &DataError) {
    if let DataError::DamagedShard { path, reason } = error {
        let path = path.display();
        tracing::warn!("the token cache `{path}` is damaged ({reason}): it is built again");
    }
}

/// Digest of everything that the ids of a document depend on: the tokenizer and, for conversations, the chat
/// template.
pub(super) fn digest(tokenizer: &Tokenizer) -> String {
    let templates = blake3::hash(Template::sources(tokenizer).as_bytes());
    format!("{} {}", tokenizer.digest(), &templates.to_hex()[..16])
}

fn identity(file: &SourceFile, source: &Source, digest: &str) -> Identity {
    Identity {
        tokenizer: digest.into(),
        path: file.path.to_string_lossy().into_owned(),
        size: file.size,
        modified_ns: file.modified_ns,
        options: source.options().clone(),
    }
}

/// Path of the shard for a file, a tokenizer and a set of options; it does not depend on the file's content.
fn shard_path(folder: &Path, identity: &Identity) -> PathBuf {
    let Identity {
        tokenizer,
        path,
        options,
        ..
    } = identity;
    let hash = blake3::hash(format!("{tokenizer}\n{path}\n{options:?}").as_bytes()).to_hex();
    let name = Path::new(path).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    folder.join(format!("{name}-{}.shard", &hash[..16]))
}

/// Locks the cache folder until the returned file is dropped; the system releases the lock if the process dies.
fn lock(folder: &Path) -> Result<File, DataError> {
    let path = folder.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.create(true).append(true).open(&path);
    let file = file.map_err(cache_error(&path))?;
    match file.lock() {
        // some network file systems have no locks: then two processes may do the same work
        Err(error) if error.kind() != std::io::ErrorKind::Unsupported => {
            Err(cache_error(&path)(error))
        }
        _ => Ok(file),
    }
}

fn progress_bar(bytes: u64, progress: Progress) -> ProgressBar {
    let target = match progress {
        Progress::Shown => ProgressDrawTarget::stderr(),
        Progress::Hidden => ProgressDrawTarget::hidden(),
    };
    let template = "tokenizing {bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template);
    ProgressBar::with_draw_target(Some(bytes), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn build(
    documents: Documents,
    tokenizer: &Tokenizer,
    path: &Path,
    identity: &Identity,
    on_read: impl FnMut(u64),
) -> Result<(), DataError> {
    let (part, spool) = (path.with_extension("part"), path.with_extension("spool"));
    let result = write(documents, tokenizer, [&part, &spool], identity, on_read)
        .and_then(|()| fs::rename(&part, path).map_err(cache_error(path)));
    // nothing half-written stays; the first error is reported
    let _ = fs::remove_file(&spool);
    if result.is_err() {
        let _ = fs::remove_file(&part);
    }
    result
}

fn write(
    mut documents: Documents,
    tokenizer: &Tokenizer,
    [part, spool]: [&PathBuf; 2],
    identity: &Identity,
    mut on_read: impl FnMut(u64),
) -> Result<(), DataError> {
    let create = |path: &PathBuf| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        options.open(path).map_err(cache_error(path))
    };
    let out = BufWriter::new(create(part)?);
    let mut writer = ShardWriter::new(
        out,
        create(spool)?,
        identity.clone(),
        tokenizer.vocab_size(),
    )
    .map_err(cache_error(part))?;
    let counter = documents.counter();
    let options = &identity.options;
    let refused = tokenize(
        &mut documents,
        tokenizer,
        (&mut writer, part),
        options,
        || {
            on_read(counter.load(Ordering::Relaxed));
        },
    )?;
    let mut skipped = documents.skipped().clone();
    skipped.add(&refused);
    let out = writer.finish(skipped);
    let file = out.and_then(|out| {
        out.into_inner()
            .map_err(std::io::IntoInnerError::into_error)
    });
    file.and_then(|file| file.sync_all())
        .map_err(cache_error(part))
}

/// Tokenizes documents in parallel and writes them in order. A document that the tokenizer or its template refuses
/// ends it, or is counted in the result if bad documents are skipped.
pub(super) fn tokenize<W: Write, S: Read + Write + Seek>(
    documents: &mut dyn Iterator<Item = Result<Document, DataError>>,
    tokenizer: &Tokenizer,
    (writer, path): (&mut ShardWriter<W, S>, &Path),
    options: &SourceOptions,
    mut on_batch: impl FnMut(),
) -> Result<Skipped, DataError> {
    let mut skipped = Skipped::default();
    let mut batch: Vec<Document> = Vec::new();
    let token_bytes = tokenizer.token_bytes();
    // a broken template is an error only if something is rendered
    let template = OnceLock::new();
    let clock = options.day.map_or(Clock::Now, Clock::On);
    let read = || Template::by(clock, tokenizer);
    let rendered = |conversation: &Conversation| match template.get_or_init(read) {
        Ok(template) => template.rendered(tokenizer, conversation),
        Err(_) => read()?.rendered(tokenizer, conversation),
    };
    loop {
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(document) = documents.next().transpose()?
        {
            bytes += document.text.len();
            batch.push(document);
        }
        if batch.is_empty() {
            return Ok(skipped);
        }
        let tokens: Vec<_> = batch
            .par_iter()
            .map(|document| {
                let tokens = match &document.conversation {
                    Some(conversation) => rendered(conversation),
                    None => tokenizer
                        .encode(&document.text)
                        .map(Rendered::text)
                        .map_err(TemplateError::from),
                };
                (tokens, split::key(&document.text))
            })
            .collect();
        for (document, (tokens, key)) in batch.drain(..).zip(tokens) {
            warn_of_markup(&document);
            let Origin { file, line } = document.origin;
            let path_of = || file.to_path_buf();
            let tokens = tokens.map_err(|source| match source {
                TemplateError::Encode(source) => DataError::Tokenize {
                    path: path_of(),
                    line,
                    source,
                },
                source => DataError::Template {
                    path: path_of(),
                    line,
                    source: Box::new(source),
                },
            });
            // a broken template refuses every conversation
            let is_broken = template.get().is_some_and(Result::is_err);
            let tokens = match tokens {
                Err(error)
                    if options.skip_bad_lines && !is_broken && error.concerns_one_document() =>
                {
                    skipped.add(&Skipped::of(&error));
                    continue;
                }
                tokens => tokens?,
            };
            if writer.documents() == u64::from(u32::MAX) {
                return Err(DataError::TooManyDocuments {
                    path: file.to_path_buf(),
                    limit: u32::MAX.into(),
                });
            }
            let bytes = match document.conversation {
                // tokens of the roles' names are counted too
                Some(_) => tokens
                    .ids
                    .iter()
                    .map(|&id| u32::from(token_bytes.get(id as usize).copied().unwrap_or(0)))
                    .sum(),
                None => document.text.len() as u32,
            };
            let form = match (&document.conversation, tokens.stands_alone) {
                (None, _) => Form::Text,
                (Some(_), false) => Form::Conversation,
                (Some(_), true) => Form::Alone,
            };
            let tokens = Tokens {
                ids: &tokens.ids,
                form,
                learned: &tokens.learned,
            };
            writer
                .push(tokens, bytes, line, document.domain, key)
                .map_err(cache_error(path))?;
        }
        on_batch();
    }
}

/// Warns once of a plain text that looks like a rendered conversation: it is learned whole, the user's turns
/// included.
fn warn_of_markup(document: &Document) {
    static ONCE: Once = Once::new();
    let [open, close] = CHATML_TOKENS;
    if document.conversation.is_none()
        && document.text.contains(open)
        && document.text.contains(close)
    {
        ONCE.call_once(|| {
            tracing::warn!(
                "{}: the text looks like a rendered conversation (it has {open}): it is learned whole, \
                 and its tokens are text; give conversations as {{\"messages\": [...]}}",
                document.origin
            );
        });
    }
}

#[cfg(test)]
mod tests;
