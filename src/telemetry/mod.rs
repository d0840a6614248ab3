//! Telemetry: the journal of a run, its energy, and reports drawn from them.
//!
//! This module knows the ten domains and nothing else of the crate: training fills in its records, and others read
//! them back.

pub mod energy;
mod interval;
mod journal;
mod record;
pub mod report;
mod routes;
mod table;
mod tail;

pub use interval::Interval;
pub use journal::{Journal, JournalError, read_journal};
pub use record::{
    DivisionRecord, DomainRecord, EvalRecord, MitosisRecord, Record, RetirementRecord,
    RoutingTable, SampleRecord, SamplesRecord, SkippedRecord, StepRecord,
};
pub use routes::{
    CacheRecord, Chance, DomainTokens, ExpertLabel, ExpertName, LayerRoutes, Locality,
    RouteFigures, RouteStudy, WindowRecord,
};
pub use table::EvaluationTable;
pub use tail::Tail;
