//! The ledger against a sum over milliseconds.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::reading::{Quality, Reading, Source};
use super::super::total::Total;
use super::*;

fn ms(now: u64) -> Duration {
    Duration::from_millis(now)
}

/// A sample of a counter in microjoules; `None` if it cannot be read.
fn sample(at_ms: u64, energy_uj: Option<u64>) -> Sample {
    let total = energy_uj.map(|energy_uj| Total {
        energy_uj,
        stretch: 0,
    });
    let reading = Reading::new(&"device".into(), Source::Nvml, Quality::Counter, total);
    Sample {
        at: ms(at_ms),
        readings: vec![reading],
    }
}

fn work(party: u32, phase: Phase, tokens: u64) -> Work<u32> {
    Work {
        party,
        phase,
        tokens,
    }
}

fn close(found: f64, expected: f64) {
    let error = (found - expected).abs();
    assert!(error < 1e-9 * expected.abs().max(1.0), "{found} {expected}");
}

fn is_conserved(dealt: &Dealt) {
    let parts = dealt.prefill_j + dealt.decode_j + dealt.idle_j + dealt.open_j;
    close(parts, dealt.joules);
}

/// Energy by party and phase, and of idleness, added up millisecond by millisecond.
#[derive(Default)]
struct Slow {
    parties: HashMap<(u32, usize), f64>,
    idle: f64,
}

#[test]
fn parties_and_idleness_have_the_energy_that_a_sum_over_milliseconds_gives_them() {
    let mut random = StdRng::seed_from_u64(3);
    for _ in 0..50 {
        let (mut ledger, mut slow) = (Ledger::new(sample(0, Some(0))), Slow::default());
        let (mut now, mut energy_uj) = (0, 0_u64);
        // power in milliwatts, constant between samples
        let mut power = 70_000;
        let mut next_sample = 25;
        let mut tick = |now: &mut u64, ledger: &mut Ledger<u32>| {
            *now += 1;
            let before = power;
            energy_uj += before;
            if *now == next_sample {
                assert!(ledger.settle(sample(*now, Some(energy_uj))));
                power = random.random_range(20_000..400_000);
                next_sample += random.random_range(1..60);
            }
            before as f64 * 1e-6
        };
        let mut other = StdRng::seed_from_u64(now + 9);
        for burst in 0..20 {
            for _ in 0..other.random_range(0..80) {
                slow.idle += tick(&mut now, &mut ledger);
            }
            ledger.begin(ms(now));
            for step in 0..other.random_range(1..12) {
                let works: Vec<_> = (0..other.random_range(1..4))
                    .map(|it| {
                        let phase = [Phase::Prefill, Phase::Decode][usize::from(step > 1)];
                        work(burst * 4 + it, phase, other.random_range(1..40))
                    })
                    .collect();
                let tokens: u64 = works.iter().map(|it| it.tokens).sum();
                let mut joules = 0.0;
                for _ in 0..other.random_range(1..30) {
                    joules += tick(&mut now, &mut ledger);
                }
                for work in &works {
                    let key = (work.party, work.phase.index());
                    let share = work.tokens as f64 / tokens as f64;
                    *slow.parties.entry(key).or_default() += joules * share;
                }
                ledger.step(ms(now), works);
                is_conserved(&ledger.dealt());
            }
            ledger.rest();
        }
        // up to the next sample
        let settled = |ledger: &Ledger<u32>| ledger.last.at >= ms(now);
        let mut end = now;
        while !settled(&ledger) {
            slow.idle += tick(&mut end, &mut ledger);
        }
        let dealt = ledger.dealt();
        is_conserved(&dealt);
        close(dealt.joules, energy_uj as f64 * 1e-6);
        close(dealt.idle_j, slow.idle);
        close(dealt.open_j, 0.0);
        let (mut prefill_j, mut decode_j) = (0.0, 0.0);
        let parties: std::collections::BTreeSet<u32> =
            slow.parties.keys().map(|(party, _)| *party).collect();
        for party in parties {
            let spent = ledger.take(party).unwrap();
            let expected = |phase: usize| slow.parties.get(&(party, phase)).unwrap_or(&0.0);
            close(spent.prefill_j, *expected(0));
            close(spent.decode_j, *expected(1));
            close(spent.extrapolated_j, 0.0);
            prefill_j += spent.prefill_j;
            decode_j += spent.decode_j;
        }
        close(prefill_j, dealt.prefill_j);
        close(decode_j, dealt.decode_j);
        assert!(ledger.accounts.is_empty() && ledger.steps.is_empty());
    }
}

#[test]
fn a_counter_that_moves_seldom_is_dealt_out_over_all_the_time_since_it_moved() {
    let mut ledger = Ledger::new(sample(0, Some(0)));
    ledger.begin(ms(40));
    ledger.step(ms(60), [work(1, Phase::Prefill, 5)]);
    assert!(!ledger.settle(sample(70, Some(0))));
    ledger.step(
        ms(100),
        [work(1, Phase::Decode, 1), work(2, Phase::Prefill, 3)],
    );
    // 100 ms with 10 J: 40 ms idle, 20 ms one step, 40 ms the other
    assert!(ledger.settle(sample(100, Some(10_000_000))));
    let one = ledger.take(1).unwrap();
    close(one.prefill_j, 2.0);
    close(one.decode_j, 1.0);
    close(ledger.take(2).unwrap().prefill_j, 3.0);
    let dealt = ledger.dealt();
    close(dealt.idle_j, 4.0);
    is_conserved(&dealt);
}

#[test]
fn the_end_after_the_newest_sample_is_extrapolated_and_dealt_out_when_it_is_measured() {
    let mut ledger = Ledger::new(sample(0, Some(0)));
    ledger.begin(ms(0));
    ledger.step(ms(50), [work(1, Phase::Prefill, 4)]);
    assert_eq!(ledger.take(1), None, "no power is known");
    ledger.step(ms(100), [work(2, Phase::Prefill, 4)]);
    ledger.settle(sample(120, Some(12_000_000)));
    ledger.step(
        ms(150),
        [work(2, Phase::Decode, 1), work(3, Phase::Decode, 1)],
    );
    let two = ledger.take(2).unwrap();
    close(two.prefill_j, 5.0);
    // half of 5 J, of which 2 J are measured
    close(two.decode_j, 2.5);
    close(two.extrapolated_j, 1.5);
    ledger.rest();
    ledger.settle(sample(200, Some(32_000_000)));
    // 20 J in 80 ms
    let dealt = ledger.dealt();
    close(dealt.decode_j, 2.0 + 7.5);
    close(dealt.idle_j, 12.5);
    is_conserved(&dealt);
    close(ledger.take(3).unwrap().decode_j, 9.5 / 2.0);
    assert!(ledger.accounts.is_empty());
    assert_eq!(ledger.take(3), None, "an account is taken once");
}

#[test]
fn a_window_that_was_not_measured_makes_its_parties_unknown_and_no_others() {
    let mut ledger = Ledger::new(sample(0, Some(0)));
    ledger.begin(ms(0));
    ledger.step(
        ms(10),
        [work(1, Phase::Prefill, 4), work(2, Phase::Prefill, 4)],
    );
    ledger.settle(sample(20, None));
    ledger.step(
        ms(30),
        [work(2, Phase::Decode, 1), work(3, Phase::Decode, 1)],
    );
    ledger.settle(sample(40, None));
    ledger.step(ms(60), [work(4, Phase::Decode, 1)]);
    ledger.settle(sample(70, Some(5_000_000)));
    assert_eq!(
        ledger.dealt().measured_s,
        0.0,
        "the first reading after a failure is a begin"
    );
    ledger.step(ms(80), [work(5, Phase::Decode, 1)]);
    ledger.step(ms(90), [work(6, Phase::Decode, 1)]);
    ledger.settle(sample(100, Some(8_000_000)));
    for unknown in 1..=5 {
        assert_eq!(ledger.take(unknown), None, "{unknown}");
    }
    close(ledger.take(6).unwrap().decode_j, 1.0);
    let dealt = ledger.dealt();
    close(dealt.unmeasured_s, 0.07);
    close(dealt.joules, 3.0);
    is_conserved(&dealt);
}

#[test]
fn without_samples_no_more_than_so_many_steps_wait() {
    let mut ledger = Ledger::new(sample(0, Some(0)));
    ledger.begin(ms(0));
    for now in 0..=MOST_STEPS as u64 {
        ledger.step(ms(now + 1), [work(u32::from(now > 0), Phase::Decode, 1)]);
    }
    assert_eq!(ledger.steps.len(), MOST_STEPS);
    ledger.settle(sample(MOST_STEPS as u64 + 1, Some(1)));
    assert_eq!(ledger.take(0), None);
    assert!(ledger.take(1).is_some());
}
