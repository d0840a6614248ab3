//! Label of a model's size, for `general.size_label`.

use super::plan::Made;

/// Size of the model: `8x7B` for experts and the parameters per token, or `1.2B` for dense models.
pub(super) fn size_label(made: &[Made]) -> String {
    let (mut total, mut per_token, mut experts) = (0.0, 0.0, 0);
    for entry in made.iter().map(|it| &it.tensor) {
        let size = entry.shape.iter().map(|&size| size as f64).product::<f64>();
        total += size;
        per_token += if entry.name.contains("_exps.") {
            size / entry.shape[0] as f64
        } else {
            size
        };
        if entry.name.contains("_exps.") {
            experts = entry.shape[0];
        }
    }
    match experts {
        0 => rounded(total),
        experts => format!("{experts}x{}", rounded(per_token)),
    }
}

/// A count with a letter for the magnitude, as in `671B`, `13B` or `1.2B`.
fn rounded(parameters: f64) -> String {
    let (unit, letter) = [(1e12, "T"), (1e9, "B"), (1e6, "M")]
        .into_iter()
        .find(|&(unit, _)| parameters > unit)
        .unwrap_or((1e3, "K"));
    let scaled = parameters / unit;
    let digits = match scaled.round_ties_even() {
        10.0.. => 0,
        1.0.. => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{letter}")
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn two_digits_and_a_letter() {
        for (parameters, label) in [
            (671_026_419_200.0, "671B"),
            (1_235_814_432.0, "1.2B"),
            (9_960_000_000.0, "10B"),
            (1_000_000.0, "1000K"),
            (494_032_768.0, "494M"),
            (440.0, "0.44K"),
        ] {
            assert_eq!(rounded(parameters), label);
        }
    }
}
