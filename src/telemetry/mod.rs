//! What a run cost and did: measured lines, energy, and the report drawn from them.
//!
//! A leaf: it knows the ten domains and nothing else of the crate. Training fills in records, whoever asks
//! reads them back.

pub mod energy;
mod interval;
mod journal;
mod record;
pub mod report;
mod routes;
mod table;

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
