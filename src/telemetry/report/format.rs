//! Formatting of numbers and text for reports.

/// A narrow no-break space.
const THIN: char = '\u{202f}';

/// Escapes text for HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A count with three significant digits and a letter: `4.97 B`, `31.0 M`, `512`.
pub(super) fn count(value: f64) -> String {
    let magnitude = value.abs();
    for (factor, letter) in [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")] {
        // 999_950 would round to `1000 k`
        if magnitude >= factor * 0.9995 && (factor > 1e3 || magnitude >= 9_999.5) {
            return format!("{}{THIN}{letter}", significant(value / factor));
        }
    }
    if magnitude.fract() == 0.0 || magnitude >= 1000.0 {
        return grouped(value.round());
    }
    significant(value)
}

/// Three significant digits, without an exponent where possible.
pub(super) fn significant(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        _ if !value.is_finite() => "-".into(),
        0.0 => "0".into(),
        _ if magnitude >= 99.95 => format!("{value:.0}"),
        _ if magnitude >= 9.995 => format!("{value:.1}"),
        _ if magnitude >= 0.9995 => format!("{value:.2}"),
        _ if magnitude >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

/// Shortest form of a round number.
pub(super) fn plain(value: f64) -> String {
    match value {
        0.001..1000.0 => format!("{}", (value * 1e6).round() / 1e6),
        _ => format!("{value:.0e}"),
    }
}

/// A whole number with digits grouped by thin spaces: `12 345`.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(THIN);
        }
        text.push(digit);
    }
    if value < 0.0 {
        format!("−{text}")
    } else {
        text
    }
}

/// A duration: `41 s`, `2 min 41 s`, `3 h 05 min`, `2 d 04 h`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 if seconds < 9.95 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// Round positions between `low` and `high`, about `wanted` of them, with their labels.
pub(super) fn ticks(low: f64, high: f64, wanted: usize) -> Vec<(f64, String)> {
    let raw = (high - low) / wanted.max(1) as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return vec![(low, count(low))];
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|&step| step >= raw * 0.999)
        .unwrap_or(power * 10.0);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last)
        .map(|index| {
            let value = index as f64 * step;
            (value, label(value, step))
        })
        .collect()
}

/// Label of a tick, with as many decimals as the distance between ticks needs.
fn label(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    if step >= 1000.0 {
        let (factor, letter) = match value.abs() {
            1e9.. => (1e9, "B"),
            1e6.. => (1e6, "M"),
            _ => (1e3, "k"),
        };
        let scaled = value / factor;
        let decimals = decimals(step / factor);
        return format!("{scaled:.decimals$}{THIN}{letter}");
    }
    if step < 1e-3 {
        let exponent = value.abs().log10().floor();
        let scaled = value / 10f64.powf(exponent);
        let decimals = decimals(step / 10f64.powf(exponent));
        return format!("{scaled:.decimals$}e{exponent}");
    }
    let decimals = decimals(step);
    match decimals {
        0 => grouped(value),
        _ => format!("{value:.decimals$}"),
    }
}

fn decimals(step: f64) -> usize {
    (-step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64) -> Vec<String> {
        let ticks = ticks(low, high, 5).into_iter();
        ticks.map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_their_labels_as_short_as_can_be() {
        assert_eq!(labels(0.0, 400.0), ["0", "100", "200", "300", "400"]);
        assert_eq!(labels(1.93, 4.1), ["2.0", "2.5", "3.0", "3.5", "4.0"]);
        assert_eq!(
            labels(0.0, 2e-3),
            ["0", "5e-4", "1.0e-3", "1.5e-3", "2.0e-3"]
        );
        assert_eq!(
            labels(0.0, 9_000.0),
            ["0", "2\u{202f}k", "4\u{202f}k", "6\u{202f}k", "8\u{202f}k"]
        );
        assert_eq!(labels(5.0, 5.0), ["5"]);
    }

    #[test]
    fn counts_have_three_digits_and_a_letter() {
        for (value, text) in [
            (4.97e9, "4.97\u{202f}B"),
            (31_049_216.0, "31.0\u{202f}M"),
            (999_960.0, "1.00\u{202f}M"),
            (20_480.0, "20.5\u{202f}k"),
            (9_216.0, "9\u{202f}216"),
            (400.0, "400"),
            (0.0213, "0.021"),
            (0.0, "0"),
        ] {
            assert_eq!(count(value), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0.52, "0.5 s"),
            (41.2, "41 s"),
            (161.0, "2 min 41 s"),
            (11_100.0, "3 h 05 min"),
            (187_200.0, "2 d 04 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
    }

    #[test]
    fn markup_in_names_is_text() {
        assert_eq!(escape(r#"<a b="c">&"#), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
