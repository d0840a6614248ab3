//! `logits`: writes logits and internals for given token ids, to compare with other programs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::model::{CausalLm, NotFinite, Part, Sequences, Trace, not_a_number};
use burn::tensor::{Int, Tensor, TensorData};
use clap::Args;
use darkhorse_backends::select::{Device, Selected};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::cli::args::{DeviceArgs, DomainArgs, TttArgs};
use crate::cli::failure::{Failure, OrInput};
use crate::cli::model::Loaded;
use crate::cli::model_args::ModelArgs;

const EXAMPLES: &str = "\
Examples:
  darkhorse-genesis logits --model ./DeepSeek-small --ids-file ids.safetensors \\
    --out logits.safetensors
  darkhorse-genesis logits --model runs/mixed --ids-file ids.safetensors --out all.safetensors \\
    --hidden --routing

The file of ids holds `input_ids`, I64 or I32 of [batch, seq]. Written are `logits` [batch, seq, vocab] and, \
of a model with MTP modules, `mtp.{k}.logits` [batch, seq - k, vocab], from k = 1, all F32.";

/// Write a model's logits for given token ids, to compare with other programs
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogitsArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// safetensors file with `input_ids`
    #[arg(long, value_name = "FILE")]
    ids_file: PathBuf,
    /// safetensors file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also write `hidden.embed`, `hidden.layer.{i}` and `hidden.final_norm`, [batch, seq, hidden_size]
    #[arg(long)]
    hidden: bool,
    /// Also write `router.{i}.topk_idx` (I64, ascending) and `router.{i}.topk_weight`, [batch * seq, k]
    #[arg(long)]
    routing: bool,
    #[command(flatten)]
    ttt: TttArgs,
    #[command(flatten)]
    domain: DomainArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Runs the command.
pub(crate) fn execute(args: &LogitsArgs) -> Result<(), Failure> {
    darkhorse_backends::memory::keep_freed();
    if args.out.is_dir() {
        return Err(Failure::input(format!(
            "{} is a folder, expected a safetensors file to write",
            args.out.display()
        )));
    }
    let (ids, shape) = read_ids(&args.ids_file)?;
    let device = args.device.open()?;
    let loaded = Loaded::of_weights(args.model.weights(), None, None, &device)?;
    let vocab_size = loaded.experiment.model.vocab_size;
    if let Some(id) = ids.iter().find(|&&id| id < 0 || id >= vocab_size as i64) {
        return Err(Failure::input(format!(
            "{}: `input_ids` holds {id}, expected 0 to {}",
            args.ids_file.display(),
            vocab_size - 1
        )));
    }
    let model = args.ttt.apply(loaded.model)?;
    let tensors = compute(args, &model, (ids, shape), &device).or_input()?;
    let views: Vec<_> = tensors.iter().map(NamedValues::view).collect();
    let bytes = safetensors::serialize(views, None).or_input()?;
    let partial = args.out.with_extension("safetensors.tmp");
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &args.out));
    written.map_err(|error| {
        let _ = fs::remove_file(&partial);
        Failure::input(format!("{}: {error}", args.out.display()))
    })
}

/// Values of a named tensor in the output file.
struct NamedValues {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl NamedValues {
    fn floats<const D: usize>(name: impl Into<String>, tensor: Tensor<Selected, D>) -> Self {
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data();
        let bytes = values.iter::<f32>().flat_map(f32::to_le_bytes);
        Self {
            name: name.into(),
            dtype: Dtype::F32,
            shape,
            bytes: bytes.collect(),
        }
    }

    fn view(&self) -> (String, TensorView<'_>) {
        let view = TensorView::new(self.dtype, self.shape.clone(), &self.bytes);
        (
            self.name.clone(),
            view.expect("as many bytes as its shape says"),
        )
    }
}

fn compute(
    args: &LogitsArgs,
    model: &CausalLm<Selected>,
    (ids, [batch, seq]): (Vec<i64>, [usize; 2]),
    device: &Device,
) -> Result<Vec<NamedValues>, NotFinite> {
    let ids = Tensor::<Selected, 2, Int>::from_data(TensorData::new(ids, [batch, seq]), device);
    let mut input = Sequences::plain(ids);
    input.tags = args.domain.domain.map(|domain| {
        let tags = vec![domain.index() as i64; batch * seq];
        Tensor::from_data(TensorData::new(tags, [batch * seq]), device)
    });
    let Trace {
        embedded,
        layers,
        output,
    } = model.trace(&input);
    let logits = model.logits(output.states.clone());
    if not_a_number(&logits).is_some()
        && let Some(error) = model.not_finite(&input)
    {
        return Err(error);
    }
    let mut all = vec![NamedValues::floats("logits", logits)];
    let mut states = output.states.clone();
    for depth in 0..model.mtp.len().min(seq.saturating_sub(1)) {
        states = model.predict_further(depth, states, &input).states;
        let len = seq - depth - 1;
        let logits = model.logits(states.clone().narrow(1, 0, len));
        if let Some(found) = not_a_number(&logits) {
            return Err(model.explain(Part::Mtp(depth), found, logits.dtype()));
        }
        all.push(NamedValues::floats(
            format!("mtp.{}.logits", depth + 1),
            logits,
        ));
    }
    if args.routing {
        let routed = layers.iter().enumerate();
        for (layer, routing) in routed.filter_map(|(at, layer)| Some((at, layer.routing.as_ref()?)))
        {
            let (indices, weights) = ascending(routing.indices.clone(), routing.weights.clone());
            all.extend([
                NamedValues {
                    name: format!("router.{layer}.topk_idx"),
                    dtype: Dtype::I64,
                    shape: routing.indices.dims().to_vec(),
                    bytes: indices.into_iter().flat_map(i64::to_le_bytes).collect(),
                },
                NamedValues {
                    name: format!("router.{layer}.topk_weight"),
                    dtype: Dtype::F32,
                    shape: routing.indices.dims().to_vec(),
                    bytes: weights.into_iter().flat_map(f32::to_le_bytes).collect(),
                },
            ]);
        }
    }
    if args.hidden {
        all.push(NamedValues::floats("hidden.embed", embedded));
        for (at, layer) in layers.into_iter().enumerate() {
            all.push(NamedValues::floats(
                format!("hidden.layer.{at}"),
                layer.hidden,
            ));
        }
        all.push(NamedValues::floats("hidden.final_norm", output.states));
    }
    Ok(all)
}

/// Choices of every token, sorted by expert.
fn ascending(
    indices: Tensor<Selected, 2, Int>,
    weights: Tensor<Selected, 2>,
) -> (Vec<i64>, Vec<f32>) {
    let [_, k] = indices.dims();
    let indices: Vec<i64> = indices.into_data().iter::<i64>().collect();
    let weights: Vec<f32> = weights.into_data().iter::<f32>().collect();
    let mut pairs: Vec<(i64, f32)> = indices.into_iter().zip(weights).collect();
    pairs
        .chunks_mut(k)
        .for_each(|token| token.sort_by_key(|&(expert, _)| expert));
    pairs.into_iter().unzip()
}

fn read_ids(path: &Path) -> Result<(Vec<i64>, [usize; 2]), Failure> {
    let wrong = |found: String| {
        Failure::input(format!(
            "{}: {found}, expected a safetensors file with `input_ids`, I64 or I32 of [batch, seq]",
            path.display()
        ))
    };
    let bytes = fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
    let tensor = file
        .tensor("input_ids")
        .map_err(|error| wrong(error.to_string()))?;
    let &[batch, seq] = tensor.shape() else {
        return Err(wrong(format!("`input_ids` has shape {:?}", tensor.shape())));
    };
    let data = tensor.data();
    let ids: Vec<i64> = match tensor.dtype() {
        Dtype::I64 => data
            .as_chunks()
            .0
            .iter()
            .map(|&it| i64::from_le_bytes(it))
            .collect(),
        Dtype::I32 => data
            .as_chunks()
            .0
            .iter()
            .map(|&it| i32::from_le_bytes(it).into())
            .collect(),
        other => return Err(wrong(format!("`input_ids` is {other}"))),
    };
    match batch * seq {
        0 => Err(wrong("`input_ids` is empty".into())),
        _ => Ok((ids, [batch, seq])),
    }
}
