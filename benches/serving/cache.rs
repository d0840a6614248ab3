//! Validation texts read through caches of every element type.

use burn::tensor::{DType, Int, Tensor, TensorData};
use darkhorse_backends::paged::PageFormat;
use darkhorse_backends::select::Selected;
use darkhorse_genesis::model::Sequences;
use darkhorse_genesis::model::cache::CacheConfig;

use crate::Outcome;
use crate::run::Trained;

/// Largest number of tokens in a document.
const LONGEST: usize = 512;
/// Number of tokens read at once, in the absorbed form as in decoding.
const PIECE: usize = 16;

/// Loss, bytes, and how often the likeliest token equals that of an f32 cache.
pub(crate) fn formats(trained: &Trained) -> Outcome {
    let documents = trained.documents("valid")?;
    let mut expected = Vec::new();
    println!("cache       nats/token    of f32's choices    bytes/token");
    for (name, format) in [
        ("f32", PageFormat::Numbers(DType::F32)),
        ("bf16", PageFormat::Numbers(DType::BF16)),
        ("f16", PageFormat::Numbers(DType::F16)),
        ("q8", PageFormat::EightBits),
    ] {
        let (mut loss, mut choices, mut bytes) = (0.0, Vec::new(), 0);
        for ids in &documents {
            let ids = &ids[..ids.len().min(LONGEST)];
            bytes = bytes.max(read(trained, ids, format, &mut loss, &mut choices)?);
        }
        if expected.is_empty() {
            expected.clone_from(&choices);
        }
        let same = choices.iter().zip(&expected).filter(|(a, b)| a == b);
        let share = 100.0 * same.count() as f64 / choices.len() as f64;
        println!(
            "{name:<5} {:>16.5} {share:>17.2} % {:>14.1}",
            loss / choices.len() as f64,
            bytes as f64 / LONGEST as f64
        );
    }
    println!("{} tokens predicted", expected.len());
    Ok(())
}

/// Adds the losses and choices of a document. Returns the size of its cache in bytes.
fn read(
    trained: &Trained,
    ids: &[u32],
    format: PageFormat,
    loss: &mut f64,
    choices: &mut Vec<usize>,
) -> Outcome<usize> {
    let device = Default::default();
    let mut cache = trained.model.empty_cache(&CacheConfig {
        format: Some(format),
        ..CacheConfig::default()
    });
    let (inputs, targets) = (&ids[..ids.len() - 1], &ids[1..]);
    for (inputs, targets) in inputs.chunks(PIECE).zip(targets.chunks(PIECE)) {
        let row = |values: Vec<i32>| {
            let shape = [1, values.len()];
            Tensor::<Selected, 2, Int>::from_data(TensorData::new(values, shape), &device)
        };
        let first = cache.len();
        let input = Sequences {
            positions: row((first..first + inputs.len()).map(|at| at as i32).collect()),
            ..Sequences::plain(row(inputs.iter().map(|&id| id as i32).collect()))
        };
        let states = trained.model.extend_one(&input, &mut cache).states;
        let logits = trained.model.logits(states).into_data().to_vec::<f32>();
        let logits = logits.map_err(|_| "logits are f32")?;
        let rows = logits.chunks_exact(logits.len() / targets.len());
        for (row, &target) in rows.zip(targets) {
            let best = (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            let best = best.ok_or("there are tokens")?;
            let sum: f64 = row.iter().map(|&it| f64::from(it - row[best]).exp()).sum();
            *loss += sum.ln() + f64::from(row[best] - row[target as usize]);
            choices.push(best);
        }
    }
    Ok(cache.memory_bytes())
}
