//! Metrics in Prometheus' text format. Those that vLLM has, too, have its names, so that its dashboards show them.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::energy::Meter;
use super::energy_metrics::EnergyMetrics;
use super::worker::Reason;
use crate::inference::{Acceptance, Traffic};

/// Bounds in seconds of a token, and of a whole request.
const TOKEN_SECONDS: [f64; 16] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0,
];
const REQUEST_SECONDS: [f64; 15] = [
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0,
];

/// Metrics of a server.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    running: IntGauge,
    waiting: IntGauge,
    cache_bytes: IntGauge,
    cache_usage: Gauge,
    prompt_tokens: IntCounter,
    generation_tokens: IntCounter,
    prefix_queries: IntCounter,
    prefix_hits: IntCounter,
    ended: IntCounterVec,
    refused: IntCounter,
    queue_seconds: Histogram,
    first_token_seconds: Histogram,
    token_seconds: Histogram,
    request_seconds: Histogram,
    drafts: IntCounter,
    drafted: IntCounter,
    accepted: IntCounter,
    accepted_by_place: IntCounterVec,
    passes: IntCounter,
    computed_tokens: IntCounter,
    expert_tokens: IntCounterVec,
    null_tokens: IntCounterVec,
    distinct: IntGaugeVec,
    distinct_total: IntCounterVec,
    energy: EnergyMetrics,
    /// Drafted and accepted tokens by place in the draft.
    places: Mutex<Vec<[u64; 2]>>,
    /// Held while counters are raised to totals.
    raising: Mutex<()>,
}

/// Values at a moment.
#[derive(Debug)]
pub(super) struct Now {
    pub(super) running: i64,
    pub(super) waiting: i64,
    pub(super) cache_bytes: i64,
    pub(super) prompt_tokens: u64,
    pub(super) generated_tokens: u64,
    /// Drafted and accepted tokens by place in the draft.
    pub(super) places: Vec<[u64; 2]>,
}

impl Metrics {
    /// Metrics that all carry the name of the model.
    ///
    /// # Panics
    ///
    /// If two metrics have one name, or one is invalid; a test creates all.
    #[allow(clippy::expect_used)]
    pub(super) fn new(model: &str) -> Self {
        let labels = [("model_name".to_owned(), model.to_owned())].into();
        let registry = Registry::new_custom(None, Some(labels)).expect("the label is valid");
        let made = Made(&registry);
        Self {
            running: made.gauge("vllm:num_requests_running", "Sequences in the batch."),
            waiting: made.gauge("vllm:num_requests_waiting", "Sequences that wait."),
            cache_bytes: made.gauge(
                "darkhorse:cache_bytes",
                "Bytes of the caches in the batch.",
            ),
            cache_usage: made.keep(Gauge::new(
                "vllm:kv_cache_usage_perc",
                "Share of the memory for caches that is in use, 0 to 1.",
            )),
            prompt_tokens: made.counter(
                "vllm:prompt_tokens_total",
                "Tokens of prompts, those that an earlier prompt shares included.",
            ),
            generation_tokens: made.counter("vllm:generation_tokens_total", "Generated tokens."),
            prefix_queries: made.counter(
                "vllm:prefix_cache_queries_total",
                "Tokens of prompts that were looked for among earlier prompts.",
            ),
            prefix_hits: made.counter(
                "vllm:prefix_cache_hits_total",
                "Tokens of prompts that an earlier prompt shares.",
            ),
            ended: made.counters(
                "vllm:request_success_total",
                "Sequences that ended, by reason.",
                &["finished_reason"],
            ),
            refused: made.counter(
                "darkhorse:requests_refused_total",
                "Requests refused because the queue was full.",
            ),
            queue_seconds: made.histogram(
                "vllm:request_queue_time_seconds",
                "Time from arrival to joining the batch.",
                &REQUEST_SECONDS,
            ),
            first_token_seconds: made.histogram(
                "vllm:time_to_first_token_seconds",
                "Time from arrival to the first token.",
                &REQUEST_SECONDS,
            ),
            token_seconds: made.histogram(
                "vllm:inter_token_latency_seconds",
                "Time between two tokens of a sequence.",
                &TOKEN_SECONDS,
            ),
            request_seconds: made.histogram(
                "vllm:e2e_request_latency_seconds",
                "Time from arrival to the end.",
                &REQUEST_SECONDS,
            ),
            drafts: made.counter("vllm:spec_decode_num_drafts_total", "Passes with drafts."),
            drafted: made.counter(
                "vllm:spec_decode_num_draft_tokens_total",
                "Drafted tokens.",
            ),
            accepted: made.counter(
                "vllm:spec_decode_num_accepted_tokens_total",
                "Drafted tokens that were accepted.",
            ),
            accepted_by_place: made.counters(
                "vllm:spec_decode_num_accepted_tokens_per_pos_total",
                "Drafted tokens that were accepted, by place in the draft, from 0.",
                &["position"],
            ),
            passes: made.counter("darkhorse:passes_total", "Passes of the model."),
            computed_tokens: made.counter(
                "darkhorse:computed_tokens_total",
                "Tokens that ran through the model and were kept.",
            ),
            expert_tokens: made.counters(
                "darkhorse:expert_tokens_total",
                "Choices of an expert by a token; by layer they sum to the computed tokens times the experts per token.",
                &["layer", "expert"],
            ),
            null_tokens: made.counters(
                "darkhorse:null_expert_tokens_total",
                "Choices of a null expert by a token.",
                &["layer"],
            ),
            distinct: made.keep(IntGaugeVec::new(
                Opts::new(
                    "darkhorse:distinct_experts",
                    "Distinct experts that the newest pass visited.",
                ),
                &["layer"],
            )),
            distinct_total: made.counters(
                "darkhorse:distinct_experts_total",
                "Sum over all passes of the distinct experts that they visited.",
                &["layer"],
            ),
            energy: made.energy(),
            places: Mutex::default(),
            raising: Mutex::default(),
            registry,
        }
    }

    /// The state after a pass.
    pub(super) fn pass(&self, running: usize, waiting: usize, used: u64, memory: Option<u64>) {
        self.running.set(running as i64);
        self.waiting.set(waiting as i64);
        self.cache_bytes.set(used as i64);
        if let Some(memory) = memory {
            self.cache_usage.set(used as f64 / memory.max(1) as f64);
        }
    }

    /// A request was refused because the queue was full.
    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    /// Seconds after which a place will probably be free: a share of the mean time of requests, at least one.
    pub(super) fn retry_after(&self) -> u64 {
        let [count, seconds] = [
            self.request_seconds.get_sample_count() as f64,
            self.request_seconds.get_sample_sum(),
        ];
        let mean = if count > 0.0 { seconds / count } else { 1.0 };
        (mean.ceil() as u64).clamp(1, 60)
    }

    fn add_places(&self, acceptance: &Acceptance) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let most = acceptance.drafted.len().max(places.len());
        places.resize(most, [0; 2]);
        for (place, &drafted) in places.iter_mut().zip(&acceptance.drafted) {
            place[0] += drafted as u64;
        }
        for (place, &accepted) in places.iter_mut().zip(&acceptance.accepted) {
            place[1] += accepted as u64;
        }
    }

    /// A sequence ended because its client had gone.
    pub(super) fn aborted(&self) {
        self.ended.with_label_values(&["abort"]).inc();
    }

    /// Number of generated tokens.
    pub(super) fn generated(&self) -> u64 {
        self.generation_tokens.get()
    }

    /// The current values.
    pub(super) fn now(&self) -> Now {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Now {
            running: self.running.get(),
            waiting: self.waiting.get(),
            cache_bytes: self.cache_bytes.get(),
            prompt_tokens: self.prompt_tokens.get(),
            generated_tokens: self.generation_tokens.get(),
            places: places.clone(),
        }
    }

    /// All metrics as text, with the totals of the engine and of the meters, if there are any. `layers` are the
    /// numbers of the layers with experts, from 1.
    pub(super) fn text(
        &self,
        traffic: &Traffic,
        meter: Option<&Meter>,
        layers: &[usize],
    ) -> Result<String, prometheus::Error> {
        // two scrapes at once must not both add what is new
        let held = self.raising.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = meter {
            self.energy.raise(meter);
        }
        raise(&self.passes, traffic.passes);
        raise(&self.computed_tokens, traffic.tokens);
        for (layer, number) in traffic.layers.iter().zip(layers) {
            let number = number.to_string();
            for (expert, &count) in layer.counts.experts.iter().enumerate() {
                let labels = [number.as_str(), &expert.to_string()];
                raise(&self.expert_tokens.with_label_values(&labels), count);
            }
            let labels = [number.as_str()];
            if !layer.counts.null.is_empty() {
                let count = layer.counts.null.iter().sum();
                raise(&self.null_tokens.with_label_values(&labels), count);
            }
            let distinct = self.distinct.with_label_values(&labels);
            distinct.set(layer.distinct as i64);
            let total = self.distinct_total.with_label_values(&labels);
            raise(&total, layer.distinct_total);
        }
        drop(held);
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Raises a counter to a total.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Creates and registers metrics.
struct Made<'a>(&'a Registry);

impl Made<'_> {
    #[allow(clippy::expect_used)]
    fn keep<C: prometheus::core::Collector + Clone + 'static>(
        &self,
        made: prometheus::Result<C>,
    ) -> C {
        let made = made.expect("the name is valid");
        let registered = self.0.register(Box::new(made.clone()));
        registered.expect("the name is used once");
        made
    }

    #[allow(clippy::expect_used)]
    fn energy(&self) -> EnergyMetrics {
        let made = EnergyMetrics::new().expect("the names are valid");
        self.keep(Ok(made.joules.clone()));
        self.keep(Ok(made.seconds.clone()));
        self.keep(Ok(made.power.clone()));
        made
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.keep(Histogram::with_opts(options))
    }
}

/// Times of one sequence.
#[derive(Debug)]
pub(super) struct Sequence {
    arrived: Instant,
    newest: Option<Instant>,
    prompt: usize,
    tokens: usize,
}

impl Sequence {
    pub(super) fn new(arrived: Instant, prompt: usize) -> Self {
        Self {
            arrived,
            newest: None,
            prompt,
            tokens: 0,
        }
    }

    /// It has joined the batch.
    pub(super) fn started(&self, shared: usize, metrics: &Metrics) {
        let waited = self.arrived.elapsed().as_secs_f64();
        metrics.queue_seconds.observe(waited);
        metrics.prompt_tokens.inc_by(self.prompt as u64);
        metrics.prefix_queries.inc_by(self.prompt as u64);
        metrics.prefix_hits.inc_by(shared as u64);
    }

    /// It has a token.
    pub(super) fn token(&mut self, metrics: &Metrics) {
        let now = Instant::now();
        let (since, times) = match self.newest {
            None => (self.arrived, &metrics.first_token_seconds),
            Some(newest) => (newest, &metrics.token_seconds),
        };
        times.observe((now - since).as_secs_f64());
        metrics.generation_tokens.inc();
        self.newest = Some(now);
        self.tokens += 1;
    }

    /// It has ended with this number of tokens.
    pub(super) fn ended(
        &self,
        reason: Reason,
        tokens: usize,
        acceptance: Option<&Acceptance>,
        metrics: &Metrics,
    ) {
        let uncounted = tokens.saturating_sub(self.tokens);
        metrics.generation_tokens.inc_by(uncounted as u64);
        let took = self.arrived.elapsed().as_secs_f64();
        metrics.request_seconds.observe(took);
        metrics.ended.with_label_values(&[reason.name()]).inc();
        let Some(acceptance) = acceptance else {
            return;
        };
        // every pass with drafts has one at the first place
        let passes = acceptance.drafted.first().copied().unwrap_or(0);
        metrics.drafts.inc_by(passes as u64);
        let drafted: usize = acceptance.drafted.iter().sum();
        metrics.drafted.inc_by(drafted as u64);
        metrics.add_places(acceptance);
        for (place, &accepted) in acceptance.accepted.iter().enumerate() {
            metrics.accepted.inc_by(accepted as u64);
            let labels = [place.to_string()];
            let by_place = metrics.accepted_by_place.with_label_values(&labels);
            by_place.inc_by(accepted as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::{RouteCounts, TrafficLayer};

    #[test]
    fn counts_of_experts_are_totals_at_every_scrape() {
        let metrics = Metrics::new("a \"b\"");
        let mut traffic = Traffic {
            passes: 2,
            tokens: 3,
            layers: vec![TrafficLayer {
                counts: RouteCounts {
                    experts: vec![4, 2],
                    null: Vec::new(),
                },
                distinct: 2,
                distinct_total: 3,
            }],
        };
        metrics.text(&traffic, None, &[2]).unwrap();
        traffic.layers[0].counts.experts[0] = 6;
        let text = metrics.text(&traffic, None, &[2]).unwrap();
        let line = "darkhorse:expert_tokens_total{expert=\"0\",layer=\"2\",model_name=\"a \\\"b\\\"\"} 6\n";
        assert!(text.contains(line), "{text}");
        assert!(
            !text.contains("null_expert"),
            "a layer without null experts"
        );
        assert!(
            !text.contains("energy") && !text.contains("watts"),
            "without a meter: {text}"
        );
    }
}
