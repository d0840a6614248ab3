//! The timeline of mitosis: a row per event.

use std::fmt::Write;

use crate::telemetry::record::MitosisRecord;

use super::format::{escape, plain, significant};

/// Largest number of divisions and retirements that are named per event.
const NAMED: usize = 12;

/// A table of divisions and retirements; `layers` has the names of the routed layers. Empty without events.
pub(super) fn timeline(events: &[MitosisRecord], layers: &[String]) -> String {
    if events.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for event in events {
        let in_use = &event.experts_in_use;
        let range = in_use.iter().min().zip(in_use.iter().max());
        let experts = range.map_or_else(
            || "–".into(),
            |(fewest, most)| {
                if fewest == most {
                    fewest.to_string()
                } else {
                    format!("{fewest} to {most}")
                }
            },
        );
        let loss = |loss: Option<f64>| loss.map_or_else(|| "–".into(), significant);
        let _ = writeln!(
            rows,
            "<tr><td>{}</td><td title=\"{}\">{}</td><td>{}</td><td>{experts}</td><td>{}</td><td>{}</td></tr>",
            plain(event.step as f64),
            escape(&names(event, layers)),
            event.divisions.len(),
            event.retirements.len(),
            loss(event.loss_before),
            loss(event.loss_after),
        );
    }
    format!(
        r#"<div class="card scroll"><table><thead><tr><th scope="col">after step</th><th scope="col">experts that divided</th><th scope="col">experts that went</th><th scope="col">experts in use per layer</th><th scope="col">loss just before</th><th scope="col">loss just after</th></tr></thead>
<tbody>{rows}</tbody></table></div>
"#
    )
}

/// The experts that divided or retired in an event.
fn names(event: &MitosisRecord, layers: &[String]) -> String {
    let layer = |at: usize| match layers.get(at) {
        Some(name) => name.clone(),
        None => format!("routed layer {}", at + 1),
    };
    let divisions = event.divisions.iter().map(|division| {
        let (parent, child) = (division.parent, division.child);
        let stress = division.stress.map(significant);
        let stress = stress.map_or_else(String::new, |stress| format!(", stress {stress}"));
        let place = layer(division.layer);
        format!("{place}: expert {parent} to {parent} and {child}{stress}")
    });
    let retirements = event.retirements.iter().map(|retirement| {
        let (place, expert) = (layer(retirement.layer), retirement.expert);
        let demand = significant(retirement.demand);
        format!("{place}: expert {expert} went, demand {demand}")
    });
    let mut all: Vec<String> = divisions.chain(retirements).collect();
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{DivisionRecord, RetirementRecord};

    #[test]
    fn an_event_says_who_divided_and_what_it_did_to_the_loss() {
        let event = MitosisRecord {
            step: 400,
            divisions: vec![DivisionRecord {
                layer: 0,
                parent: 3,
                child: 9,
                tokens: 300,
                stress: Some(1.75),
            }],
            retirements: vec![RetirementRecord {
                layer: 1,
                expert: 5,
                demand: 0.05,
            }],
            experts_in_use: vec![9, 7],
            loss_before: Some(2.5),
            loss_after: Some(2.5),
        };
        let html = timeline(&[event], &["layer 2".into()]);
        for text in [
            "<td>400</td>",
            "layer 2: expert 3 to 3 and 9, stress 1.75; routed layer 2: expert 5 went, demand 0.05",
            "<td>7 to 9</td><td>2.50</td><td>2.50</td>",
        ] {
            assert!(html.contains(text), "{text} in {html}");
        }
        assert_eq!(timeline(&[], &[]), "");
    }
}
