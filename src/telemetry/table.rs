//! An evaluation for the terminal.

use std::fmt;

use super::EvalRecord;

/// Loss by domain, and how well routing tells domains apart.
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
            let index = domain.domain.index();
            let own = record.routing_tagged.as_ref();
            let own = own.map_or_else(String::new, |table| {
                format!("{:.1} %", 100.0 * table.share[index][index])
            });
            let lift = record.routing_untagged.as_ref();
            let lift = lift.and_then(|table| table.lift(domain.domain));
            writeln!(
                f,
                "{:<12} {:>9} {:>12.4} {:>10.4}  {own:>6} {:>6}",
                domain.domain,
                domain.tokens,
                domain.loss,
                domain.bits_per_byte,
                lift.map_or_else(String::new, |lift| format!("{lift:.2}")),
            )?;
        }
        let tokens: u64 = record.domains.iter().map(|domain| domain.tokens).sum();
        writeln!(
            f,
            "{:<12} {tokens:>9} {:>12.4} {:>10.4}",
            "all", record.loss, record.bits_per_byte
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
