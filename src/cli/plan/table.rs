//! A plan as tables for the terminal.

use crate::cli::aligned::Table;
use crate::config::memory::Bytes;

use super::report::{Inference, MemorySource, Plan, Share, Training};

/// Renders the plan as aligned text.
pub(super) fn render(plan: &Plan) -> String {
    let parameters = &plan.parameters;
    let mut sections = vec![format!(
        "{}: {} parameters, {} active per token, {} more in MTP modules\n\
         active with the tables of embedding and head: {}, without both: {}\n",
        plan.name,
        short(parameters.total),
        short(parameters.active),
        short(parameters.mtp),
        short(parameters.active_with_tables),
        short(parameters.active_without_tables),
    )];
    sections.push(parts(plan).render());
    sections.push(flops(plan).render());
    sections.push(inference(plan));
    sections.push(training(plan));
    sections.extend(largest_presets(plan));
    sections.extend(devices(plan));
    sections.join("\n")
}

fn parts(plan: &Plan) -> Table {
    let parts = plan.parameters.parts.parts().into_iter();
    let total = plan.parameters.total.max(1) as f64;
    let rows = parts.filter(|&(_, count)| count > 0).map(|(name, count)| {
        let share = 100.0 * count as f64 / total;
        vec![name.into(), short(count), format!("{share:.1} %")]
    });
    Table::headed(["parameters", "", ""], rows)
}

fn flops(plan: &Plan) -> Table {
    let context = grouped(plan.context as u64);
    let flops = &plan.flops_per_token;
    let rows = [
        (
            format!("reading a prompt of {context} tokens"),
            flops.forward,
        ),
        (format!("decoding after {context} tokens"), flops.decoding),
        (
            format!(
                "training on rows of {} tokens",
                grouped(plan.seq_len as u64)
            ),
            flops.training,
        ),
    ];
    let rows = rows.map(|(what, count)| vec![what, metric(count)]);
    Table::headed(["FLOPs per token", ""], rows)
}

fn inference(plan: &Plan) -> String {
    let context = format!("cache of {}", grouped(plan.context as u64));
    let has_state = plan.inference.iter().any(|row| row.state_bytes > 0);
    let mut heading = vec!["inference", "weights", "cache in", "cache/token"];
    heading.extend(has_state.then_some("state"));
    heading.extend([context.as_str(), "in all"]);
    let fit_heading = plan.memory.map(|memory| fit_heading(memory.bytes));
    heading.extend(fit_heading.as_deref());
    let row = |row: &Inference| {
        let bytes = |bytes: u64| Bytes(bytes).to_string();
        let mut cells = vec![
            row.dtype.name().to_string(),
            bytes(row.weights_bytes),
            row.cache_dtype.name().to_string(),
            bytes(row.cache_bytes_per_token),
        ];
        cells.extend(has_state.then(|| bytes(row.state_bytes)));
        cells.extend([bytes(row.cache_bytes), bytes(row.total_bytes)]);
        if plan.memory.is_some() {
            cells.push(match row.largest_context {
                Some(tokens) => format!("{} tokens", grouped(tokens as u64)),
                None => "no".into(),
            });
        }
        cells
    };
    let table = Table::of(&heading, plan.inference.iter().map(row));
    let note = "--cache-dtype sets the cache of all rows; weights include MTP modules";
    format!("{}  ({note})\n", table.render())
}

fn training(plan: &Plan) -> String {
    let mut heading = vec![
        "training",
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "in all",
    ];
    let fit_heading = plan.memory.map(|memory| fit_heading(memory.bytes));
    heading.extend(fit_heading.as_deref());
    let row = |row: &Training| {
        let bytes = [
            row.needs.weights_bytes,
            row.needs.gradients_bytes,
            row.needs.optimizer_bytes,
            row.needs.activations_bytes,
            row.total_bytes,
        ];
        let mut cells = vec![row.dtype.name().to_string()];
        cells.extend(bytes.map(|bytes| Bytes(bytes).to_string()));
        cells.extend(row.fits.map(yes_or_no));
        cells
    };
    let table = Table::of(&heading, plan.training.iter().map(row));
    let (rows, tokens) = (plan.batch_size, plan.seq_len);
    format!(
        "{}  (micro-batches of {rows} x {tokens} tokens; activations are an estimate)\n",
        table.render()
    )
}

fn largest_presets(plan: &Plan) -> Option<String> {
    let (memory, largest) = (plan.memory?, plan.largest_presets.as_ref()?);
    let source = match memory.source {
        MemorySource::Given => "as given",
        MemorySource::Device => "this device's memory",
    };
    let name = |preset: Option<&'static str>| preset.unwrap_or("none");
    Some(format!(
        "largest preset in {} ({source}): {} for inference in q4, {} for training in bf16\n",
        Bytes(memory.bytes),
        name(largest.inference),
        name(largest.training),
    ))
}

fn devices(plan: &Plan) -> Option<String> {
    let devices = plan.devices.as_ref()?;
    let each = format!("each of {}", grouped(devices.count as u64));
    let heading = [
        each.as_str(),
        "inference, data par.",
        "expert par.",
        "training, data par.",
        "expert par.",
    ];
    let cell = |bytes: Option<u64>, fits: Option<bool>| match (bytes, fits) {
        (None, _) => "-".into(),
        (Some(bytes), Some(false)) => format!("{} (no)", Bytes(bytes)),
        (Some(bytes), _) => Bytes(bytes).to_string(),
    };
    let row = |(data, expert): (&Share, &Share)| {
        let inference = |share: &Share| cell(Some(share.inference_bytes), share.inference_fits);
        let training = |share: &Share| cell(share.training_bytes, share.training_fits);
        vec![
            data.dtype.name().into(),
            inference(data),
            inference(expert),
            training(data),
            training(expert),
        ]
    };
    let pairs = devices.data_parallel.iter().zip(&devices.expert_parallel);
    Some(Table::of(&heading, pairs.map(row)).render())
}

fn fit_heading(bytes: u64) -> String {
    format!("fits {}", Bytes(bytes))
}

fn yes_or_no(fits: bool) -> String {
    if fits { "yes" } else { "no" }.into()
}

/// A count with three digits and a letter, as in `4.97 B`.
fn short(count: u64) -> String {
    scaled(count, ["E", "P", "T", "B", "M", "k"])
}

/// A count with three digits and a metric prefix, as in `2.35 G`.
fn metric(count: u64) -> String {
    scaled(count, ["E", "P", "T", "G", "M", "k"])
}

fn scaled(count: u64, letters: [&str; 6]) -> String {
    let scales = [1e18, 1e15, 1e12, 1e9, 1e6, 1e3].into_iter().zip(letters);
    let amount = count as f64;
    match scales.into_iter().find(|&(scale, _)| amount >= scale) {
        Some((scale, letter)) => format!("{:.2} {letter}", amount / scale),
        None => count.to_string(),
    }
}

/// A number with digits in groups of three, as in `131,072`.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups = groups.map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        assert_eq!(short(4_970_233_856), "4.97 B");
        assert_eq!(metric(2_350_000_000), "2.35 G");
        assert_eq!(short(999), "999");
        assert_eq!(grouped(131_072), "131,072");
        assert_eq!(grouped(1234), "1,234");
        assert_eq!(grouped(12), "12");
    }
}
