//! Tables of a metrics part: `series`, `timelines`, `samples`, `histograms`, `exemplars`.
//!
//! ```text
//! series      one row per series, `sid` dense from 0; rows sorted by metric, sender, attributes
//! timelines   one row per distinct list of times, `tl` dense from 0; shared by all series of one scrape
//! samples     one row per chunk: the numbers of one series over one stretch, sorted by (sid, time)
//! histograms  one row per chunk: the histograms of one series with one layout, sorted by (sid, time)
//! exemplars   one row per exemplar, sorted by (sid, time)
//! ```
//! Value `k` of a samples row with mantissas is `m_k / 10^e`, exactly (a correctly rounded division gives the bits
//! that were sent), with `m_0 = round(first * 10^e)`:
//!
//! | `kind` | lists | value |
//! |---|---|---|
//! | 0 constant | none | every value is `first` |
//! | 1 increments | `d32` or `d64`, n-1 long | `m_k = m_(k-1) + d_(k-1)` |
//! | 2 offsets | `d32` or `d64`, n-1 long | `m_k = m_0 + d_(k-1)` |
//! | 3 raw | `val`, n long | as stored, NaN bits kept |
//!
//! Start times: `start_rule` 0 = every point has `start` (null: none was sent), 1 = the first has `start`, each other
//! the time of the point before it, 2 = each point's time less `start`, 3 = one by one in timeline `start_tl`.
//!
//! Times are ns, or ms where a timeline's `unit` says so and nothing is lost by it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

/// Name of the part, the same in every row: joins tables over a glob of files.
pub const PART: &str = "part";
/// Whose data it is.
pub const TENANT: &str = "tenant";
/// The series, dense within the part.
pub const SID: &str = "sid";
/// The timeline, dense within the part.
pub const TL: &str = "tl";

/// Metric name as sent.
pub const METRIC: &str = "metric";
/// [`MetricKind::as_str`](crate::MetricKind::as_str).
pub const TYPE: &str = "type";
/// UCUM unit as sent.
pub const UNIT: &str = "unit";
/// [`Temporality::as_str`](crate::Temporality::as_str).
pub const TEMPORALITY: &str = "temporality";
/// `service.name` of the resource; null when it has none.
pub const SERVICE_NAME: &str = "service_name";
/// Resource attributes, rendered.
pub const RESOURCE: &str = "resource";
/// Instrumentation scope's name.
pub const SCOPE_NAME: &str = "scope_name";
/// Instrumentation scope's version.
pub const SCOPE_VERSION: &str = "scope_version";
/// Instrumentation scope's attributes, rendered.
pub const SCOPE: &str = "scope";
/// Point attributes, rendered.
pub const ATTRIBUTES: &str = "attributes";
/// Types of the rendered values of resource, scope and attributes, one letter each in their order, when any of them
/// is not a string: s string, b bool, i int, d double, D double by its bits in hex, x bytes in hex, j array or map as
/// OTLP JSON, e empty.
pub const VALUE_TYPES: &str = "value_types";

/// 0 = the list is in ms, 1 = ns.
pub const TIME_UNIT: &str = "unit";
/// How many times.
pub const N: &str = "n";
/// First time, ns.
pub const T_MIN: &str = "t_min";
/// Last time, ns.
pub const T_MAX: &str = "t_max";
/// The times.
pub const TS: &str = "ts";

/// Start time or width, ns, by [`START_RULE`].
pub const START: &str = "start";
/// How start times are given.
pub const START_RULE: &str = "start_rule";
/// Timeline of start times.
pub const START_TL: &str = "start_tl";
/// How values are given.
pub const KIND: &str = "kind";
/// Decimal exponent.
pub const E: &str = "e";
/// First value.
pub const FIRST: &str = "first";
/// Mantissa differences that fit 32 bits.
pub const D32: &str = "d32";
/// Mantissa differences that do not.
pub const D64: &str = "d64";
/// Values as they are.
pub const VAL: &str = "val";

/// Explicit upper bounds, or those of custom buckets; null for an exponential layout.
pub const BOUNDS: &str = "bounds";
/// OTLP scale; null for an explicit layout.
pub const SCALE: &str = "scale";
/// Width of the zero bucket.
pub const ZERO_THRESHOLD: &str = "zero_threshold";
/// Index of the first positive bucket.
pub const POSITIVE_OFFSET: &str = "positive_offset";
/// How many buckets are positive; they stand first.
pub const POSITIVE_LEN: &str = "positive_len";
/// Index of the first negative bucket.
pub const NEGATIVE_OFFSET: &str = "negative_offset";
/// How many buckets there are.
pub const BUCKETS: &str = "buckets";
/// 0 = counts as they are (delta), 1 = each bucket's first count, then increments (cumulative).
pub const COUNTS_KIND: &str = "counts_kind";
/// Bucket counts, bucket-major, when they fit 32 bits.
pub const C32: &str = "c32";
/// Bucket counts, bucket-major, when they do not.
pub const C64: &str = "c64";
/// Counts of all observations; null when they are the sum of buckets and zero bucket.
pub const COUNT: &str = "count";
/// Counts of the zero bucket; null when all are 0.
pub const ZERO_COUNT: &str = "zero_count";
/// Bucket counts of float histograms as they are, bucket-major; null for whole ones.
pub const COUNTS_F64: &str = "cf64";
/// Counts of all observations of float histograms; null for whole ones.
pub const COUNT_F64: &str = "count_f64";
/// Counts of the zero bucket of float histograms; null when all are 0.
pub const ZERO_COUNT_F64: &str = "zero_count_f64";
/// [`HistogramMarks`](crate::HistogramMarks) of each point; null when none has any.
pub const MARKS: &str = "marks";
/// Sums.
pub const SUM: &str = "sum";
/// Smallest observations; null when none was sent.
pub const MIN: &str = "min";
/// Largest observations; null when none was sent.
pub const MAX: &str = "max";

/// When it was observed, ns.
pub const TIME: &str = "time";
/// The observed value.
pub const VALUE: &str = "value";
/// Trace id, 16 bytes; null when none.
pub const TRACE_ID: &str = "trace_id";
/// Span id, 8 bytes; null when none.
pub const SPAN_ID: &str = "span_id";

/// A string column that repeats itself.
#[must_use]
pub fn dictionary_text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// A list of values that are never null.
#[must_use]
pub fn list_of(item: DataType) -> DataType {
    DataType::List(list_item(item))
}

/// The item field of [`list_of`].
#[must_use]
pub fn list_item(item: DataType) -> FieldRef {
    Arc::new(Field::new("item", item, false))
}

/// Rendered attributes, key to text.
#[must_use]
pub fn text_map() -> DataType {
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(text_map_fields()), false)), false)
}

/// Key and value fields of [`text_map`].
#[must_use]
pub fn text_map_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Utf8, false)])
}

fn table(columns: Vec<Field>) -> SchemaRef {
    let mut fields = vec![Field::new(TENANT, dictionary_text(), false), Field::new(PART, dictionary_text(), false)];
    fields.extend(columns);
    Arc::new(Schema::new(fields))
}

/// One row per series.
#[must_use]
pub fn series() -> SchemaRef {
    table(vec![
        Field::new(SID, DataType::UInt32, false),
        Field::new(METRIC, dictionary_text(), false),
        Field::new(TYPE, dictionary_text(), false),
        Field::new(UNIT, dictionary_text(), false),
        Field::new(TEMPORALITY, dictionary_text(), false),
        Field::new(SERVICE_NAME, dictionary_text(), true),
        Field::new(SCOPE_NAME, dictionary_text(), false),
        Field::new(SCOPE_VERSION, dictionary_text(), false),
        Field::new(SCOPE, text_map(), false),
        Field::new(RESOURCE, text_map(), false),
        Field::new(ATTRIBUTES, text_map(), false),
        Field::new(VALUE_TYPES, DataType::Utf8, true),
    ])
}

/// One row per distinct list of times.
#[must_use]
pub fn timelines() -> SchemaRef {
    table(vec![
        Field::new(TL, DataType::UInt32, false),
        Field::new(TIME_UNIT, DataType::Int8, false),
        Field::new(N, DataType::UInt32, false),
        Field::new(T_MIN, DataType::Int64, false),
        Field::new(T_MAX, DataType::Int64, false),
        Field::new(TS, list_of(DataType::Int64), false),
    ])
}

/// The columns that say whose chunk it is and when.
fn chunk_fields() -> Vec<Field> {
    vec![
        Field::new(SID, DataType::UInt32, false),
        Field::new(TL, DataType::UInt32, false),
        Field::new(START, DataType::Int64, true),
        Field::new(START_RULE, DataType::Int8, false),
        Field::new(START_TL, DataType::UInt32, true),
    ]
}

/// One row per chunk of numbers.
#[must_use]
pub fn samples() -> SchemaRef {
    let mut fields = chunk_fields();
    fields.extend([
        Field::new(KIND, DataType::Int8, false),
        Field::new(E, DataType::Int8, false),
        Field::new(FIRST, DataType::Float64, false),
        Field::new(D32, list_of(DataType::Int32), true),
        Field::new(D64, list_of(DataType::Int64), true),
        Field::new(VAL, list_of(DataType::Float64), true),
    ]);
    table(fields)
}

/// One row per chunk of histograms.
#[must_use]
pub fn histograms() -> SchemaRef {
    let mut fields = chunk_fields();
    fields.extend([
        Field::new(BOUNDS, list_of(DataType::Float64), true),
        Field::new(SCALE, DataType::Int32, true),
        Field::new(ZERO_THRESHOLD, DataType::Float64, true),
        Field::new(POSITIVE_OFFSET, DataType::Int32, true),
        Field::new(POSITIVE_LEN, DataType::UInt32, true),
        Field::new(NEGATIVE_OFFSET, DataType::Int32, true),
        Field::new(BUCKETS, DataType::UInt32, false),
        Field::new(COUNTS_KIND, DataType::Int8, false),
        Field::new(C32, list_of(DataType::Int32), true),
        Field::new(C64, list_of(DataType::Int64), true),
        Field::new(COUNT, list_of(DataType::UInt64), true),
        Field::new(ZERO_COUNT, list_of(DataType::UInt64), true),
        Field::new(SUM, list_of(DataType::Float64), false),
        Field::new(MIN, list_of(DataType::Float64), true),
        Field::new(MAX, list_of(DataType::Float64), true),
        Field::new(COUNTS_F64, list_of(DataType::Float64), true),
        Field::new(COUNT_F64, list_of(DataType::Float64), true),
        Field::new(ZERO_COUNT_F64, list_of(DataType::Float64), true),
        Field::new(MARKS, list_of(DataType::UInt8), true),
    ]);
    table(fields)
}

/// One row per exemplar.
#[must_use]
pub fn exemplars() -> SchemaRef {
    table(vec![
        Field::new(SID, DataType::UInt32, false),
        Field::new(TIME, DataType::Int64, false),
        Field::new(VALUE, DataType::Float64, false),
        Field::new(TRACE_ID, DataType::FixedSizeBinary(16), true),
        Field::new(SPAN_ID, DataType::FixedSizeBinary(8), true),
        Field::new(ATTRIBUTES, text_map(), false),
        Field::new(VALUE_TYPES, DataType::Utf8, true),
    ])
}
