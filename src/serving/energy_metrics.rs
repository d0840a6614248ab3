//! Energy and power in the metrics. Without a meter there are no lines.

use prometheus::{CounterVec, GaugeVec, Opts};

use super::energy::Meter;

/// Metrics of the meters.
#[derive(Debug)]
pub(super) struct EnergyMetrics {
    pub(super) joules: CounterVec,
    pub(super) seconds: CounterVec,
    pub(super) power: GaugeVec,
}

impl EnergyMetrics {
    /// # Errors
    ///
    /// A name is invalid; a test creates all.
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            joules: CounterVec::new(
                Opts::new(
                    "darkhorse:energy_joules_total",
                    "Measured energy of reading prompts, of generating, and of the time without requests.",
                ),
                &["phase", "source"],
            )?,
            seconds: CounterVec::new(
                Opts::new(
                    "darkhorse:energy_seconds_total",
                    "Time over which energy was measured, and over which it could not be read.",
                ),
                &["measured"],
            )?,
            power: GaugeVec::new(
                Opts::new(
                    "darkhorse:power_watts",
                    "Mean power of the newest half second.",
                ),
                &["source"],
            )?,
        })
    }

    /// Raises the counters to what the meter tells.
    pub(super) fn raise(&self, meter: &Meter) {
        let dealt = meter.dealt();
        let source = meter.source();
        let raise = |counters: &CounterVec, labels: &[&str], total: f64| {
            let counter = counters.with_label_values(labels);
            counter.inc_by((total - counter.get()).max(0.0));
        };
        raise(&self.joules, &["prefill", source], dealt.prefill_j);
        raise(&self.joules, &["decode", source], dealt.decode_j);
        raise(&self.joules, &["idle", source], dealt.idle_j);
        raise(&self.seconds, &["true"], dealt.measured_s);
        raise(&self.seconds, &["false"], dealt.unmeasured_s);
        // a power that is not known is no line
        self.power.reset();
        if let Some(power_w) = meter.power().now_w() {
            self.power.with_label_values(&[source]).set(power_w);
        }
    }
}
