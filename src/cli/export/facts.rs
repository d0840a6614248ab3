//! Facts about a run's training, from its journal.

use std::collections::BTreeSet;

use crate::interop::hugging_face::TrainingFacts;
use crate::telemetry::{EvalRecord, Record, StepRecord, read_journal};

use crate::cli::failure::{Failure, OrInput};
use crate::stored::Stored;

/// Known facts about the exported checkpoint's training.
pub(super) fn training_facts(stored: &Stored) -> Result<TrainingFacts, Failure> {
    let records = match &stored.journal {
        Some(journal) => read_journal(journal).or_input()?,
        None => Vec::new(),
    };
    Ok(facts(&records, stored.step))
}

/// Facts after `step` steps; later records of the journal are ignored.
fn facts(records: &[Record], step: u64) -> TrainingFacts {
    let steps = || {
        let all = records.iter().filter(|record| record.step() <= step);
        all.filter_map(|record| match record {
            Record::Step(it) => Some(it),
            _ => None,
        })
    };
    let evaluated = |record: &EvalRecord| {
        record.step == step && record.is_measured() && record.loss.is_finite()
    };
    let evaluation = records.iter().rev().find_map(|record| match record {
        Record::Eval(it) if evaluated(it) => Some(it),
        _ => None,
    });
    let last: Option<&StepRecord> = steps().next_back();
    // a sum over only some of the steps would be mistaken for the total
    let energy_j = steps().map(|it| it.energy_j).sum::<Option<f64>>();
    let sources: BTreeSet<_> = steps().filter_map(|it| it.energy_source.clone()).collect();
    let sources: Vec<_> = sources.into_iter().collect();
    let domains = evaluation.into_iter().flat_map(|it| &it.domains);
    TrainingFacts {
        tokens: last.map(|it| it.tokens),
        steps: (step > 0).then_some(step),
        training_loss: last.map(|it| it.loss).filter(|loss| loss.is_finite()),
        validation_loss: evaluation.map(|it| it.loss),
        domain_losses: domains.map(|it| (it.name(), it.loss)).collect(),
        energy_j: energy_j.filter(|&energy_j| energy_j > 0.0),
        energy_source: (!sources.is_empty()).then(|| sources.join("; ")),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::Domain;
    use crate::telemetry::DomainRecord;

    use super::*;

    fn step(step: u64) -> Record {
        Record::Step(StepRecord {
            step,
            tokens: 100 * step,
            loss: 1.0 / step as f64,
            energy_j: Some(2.0),
            ..Default::default()
        })
    }

    fn evaluation(step: u64, loss: f64) -> Record {
        Record::Eval(EvalRecord {
            step,
            loss,
            domains: vec![DomainRecord {
                domain: Some(Domain::Code),
                loss,
                bits_per_byte: 0.0,
                tokens: 1,
            }],
            ..Default::default()
        })
    }

    #[test]
    fn facts_are_those_of_the_checkpoint_and_not_of_what_came_later() {
        let records = [
            evaluation(0, 9.0),
            step(1),
            step(2),
            evaluation(2, 5.0),
            evaluation(2, 4.0),
            step(3),
        ];
        let known = facts(&records, 2);
        assert_eq!((known.tokens, known.steps), (Some(200), Some(2)));
        assert_eq!(
            (known.training_loss, known.energy_j),
            (Some(0.5), Some(4.0))
        );
        assert_eq!(known.validation_loss, Some(4.0));
        assert_eq!(known.domain_losses, [("code", 4.0)]);
        // older versions recorded evaluations without validation text
        let mut unmeasured = records.to_vec();
        unmeasured.push(Record::Eval(EvalRecord {
            step: 3,
            ..Default::default()
        }));
        assert_eq!(facts(&unmeasured, 3).validation_loss, None);
        // an evaluation of other weights is not used
        assert_eq!(facts(&records, 3).validation_loss, None);
        assert_eq!(facts(&[], 0), TrainingFacts::default());
    }

    #[test]
    fn energy_of_some_of_the_steps_is_not_told_as_that_of_all() {
        let mut records = [step(1), step(2), step(3)];
        let source = "CPU package-0 (RAPL counter)";
        for record in &mut records {
            let Record::Step(step) = record else { continue };
            step.energy_source = Some(source.into());
            step.energy_j = step.energy_j.filter(|_| step.step != 3);
        }
        assert_eq!(facts(&records, 2).energy_j, Some(4.0));
        assert_eq!(facts(&records, 2).energy_source.as_deref(), Some(source));
        assert_eq!(facts(&records, 3).energy_j, None);
    }
}
