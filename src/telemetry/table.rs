//! Results of an evaluation as a table for the terminal.

use std::fmt;

use super::EvalRecord;
use crate::domain::Domain;

/// Displays losses by domain, and how well the routing separates domains.
#[derive(Debug, Clone, Copy)]
pub struct EvaluationTable<'a>(pub &'a EvalRecord);

impl fmt::Display for EvaluationTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0;
        writeln!(
            f,
            "{:<12} {:>9} {:>12} {:>10}  {:>6} {:>6}",
            "domain", "tokens", "nats/token", "bits/byte", "own", "lift"
        )?;
        for domain in &record.domains {
            let index = domain.domain.map(Domain::index);
            let own = record.routing_tagged.as_ref().zip(index);
            let own = own.map_or_else(String::new, |(table, index)| {
                format!("{:.1} %", 100.0 * table.share[index][index])
            });
            let lift = record.routing_untagged.as_ref().zip(domain.domain);
            let lift = lift.and_then(|(table, domain)| table.lift(domain));
            writeln!(
                f,
                "{:<12} {:>9} {:>12} {:>10}  {own:>6} {:>6}",
                domain.name(),
                domain.tokens,
                figure(domain.loss),
                figure(domain.bits_per_byte),
                lift.map_or_else(String::new, |lift| format!("{lift:.2}")),
            )?;
        }
        let tokens: u64 = record.domains.iter().map(|domain| domain.tokens).sum();
        writeln!(
            f,
            "{:<12} {tokens:>9} {:>12} {:>10}",
            "all",
            figure(record.loss),
            figure(record.bits_per_byte)
        )?;
        if let Some(table) = &record.routing_tagged
            && let (Some(share), Some(chance)) =
                (table.share_own_or_general(), table.chance_own_or_general())
        {
            writeln!(
                f,
                "tagged tokens at experts of their domain or general: {:.1} % (chance {:.1} %)",
                100.0 * share,
                100.0 * chance
            )?;
        }
        if let Some(max_vio) = record.max_vio {
            writeln!(f, "MaxVio of the worst layer: {max_vio:.3}")?;
        }
        Ok(())
    }
}

/// A number, or a dash if it is not finite: special tokens have no bytes to count by.
fn figure(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.4}")
    } else {
        "-".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::DomainRecord;

    #[test]
    fn what_has_no_bytes_has_no_loss_per_byte() {
        let record = EvalRecord {
            loss: 2.5,
            bits_per_byte: f64::INFINITY,
            domains: vec![DomainRecord {
                domain: Some(Domain::Code),
                loss: 2.5,
                bits_per_byte: f64::INFINITY,
                tokens: 3,
            }],
            ..EvalRecord::default()
        };
        let table = EvaluationTable(&record).to_string();
        let ends = |line: &str| line.trim_end().ends_with("2.5000          -");
        assert_eq!(
            table.lines().filter(|line| ends(line)).count(),
            2,
            "{table}"
        );
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["bits_per_byte"], serde_json::Value::Null);
    }
}
