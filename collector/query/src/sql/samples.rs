//! The tables `samples` and `series`: what the metrics store holds, as rows.
//!
//! `samples` has one row per number point as it was sent (deltas stay deltas), merged over partitions as PromQL merges
//! them: a point that was stored twice is one row. Predicates on `metric`, `name` and `time` decide what is decoded;
//! a column that is not asked for is not built.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, MapBuilder, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
    TimestampNanosecondArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use datafusion::prelude::SessionContext;
use weir_promql::source::{Budget, SourceError};
use weir_proto::SeriesIdentity;
use weir_store::{IndexedSeries, Snapshot};

use super::predicate::Bounds;
use crate::error::QueryError;
use crate::source::raw::{RawPoints, RawSeries};
use crate::text::value_text;

/// Rows of `series` in one batch.
const SERIES_ROWS: usize = 4096;
/// The column that predicates on time are about.
const TIME: &str = "time";

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Samples,
    Series,
}

/// One of the tables over one snapshot.
struct MetricsTable {
    kind: Kind,
    schema: SchemaRef,
    snapshot: Arc<Snapshot>,
    budget: Arc<Budget>,
}

/// A scan of it: only the columns of `schema`.
struct Scan {
    kind: Kind,
    schema: SchemaRef,
    snapshot: Arc<Snapshot>,
    budget: Arc<Budget>,
    bounds: Bounds,
}

/// Registers both tables.
pub(super) fn register(
    session: &SessionContext,
    snapshot: &Arc<Snapshot>,
    budget: &Arc<Budget>,
) -> Result<(), QueryError> {
    for (name, kind) in [("samples", Kind::Samples), ("series", Kind::Series)] {
        let table =
            MetricsTable { kind, schema: kind.schema(), snapshot: Arc::clone(snapshot), budget: Arc::clone(budget) };
        session.register_table(name, Arc::new(table))?;
    }
    Ok(())
}

impl Kind {
    fn schema(self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8, false);
        let time = |name, null| Field::new(name, DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), null);
        Arc::new(Schema::new(match self {
            Self::Samples => vec![
                time(TIME, false),
                text("metric"),
                text("name"),
                map("labels"),
                Field::new("value", DataType::Float64, false),
                time("start", true),
            ],
            Self::Series => vec![
                text("metric"),
                text("name"),
                text("type"),
                text("unit"),
                text("temporality"),
                text("scope_name"),
                text("scope_version"),
                map("labels"),
                map("resource"),
                map("attributes"),
            ],
        }))
    }
}

#[async_trait]
impl TableProvider for MetricsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let scan = Scan {
            kind: self.kind,
            schema: Arc::clone(&schema),
            snapshot: Arc::clone(&self.snapshot),
            budget: Arc::clone(&self.budget),
            bounds: Bounds::of(filters, TIME),
        };
        let exec = StreamingTableExec::try_new(schema, vec![Arc::new(scan)], None, [], false, None)?;
        Ok(Arc::new(exec))
    }
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches: Box<dyn Iterator<Item = Result<RecordBatch>> + Send> = match self.start() {
            Ok(batches) => batches,
            Err(error) => Box::new(std::iter::once(Err(DataFusionError::External(Box::new(error))))),
        };
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), futures::stream::iter(batches)))
    }
}

impl Scan {
    fn start(&self) -> Result<Box<dyn Iterator<Item = Result<RecordBatch>> + Send>, SourceError> {
        let bounds = self.bounds.clone();
        let wanted = move |entry: &IndexedSeries| {
            bounds.admits("metric", &entry.identity.name) && bounds.admits("name", &entry.labels.name)
        };
        let range = (self.bounds.from_ns, self.bounds.to_ns);
        let numbers_only = self.kind == Kind::Samples;
        let raw = RawPoints::find(&self.snapshot, range, numbers_only, &wanted, &self.budget)?;
        let schema = Arc::clone(&self.schema);
        if self.kind == Kind::Series {
            let series = raw.into_series();
            let starts = (0..series.len()).step_by(SERIES_ROWS);
            return Ok(Box::new(starts.map(move |from| {
                let rows = &series[from..(from + SERIES_ROWS).min(series.len())];
                series_batch(&schema, rows)
            })));
        }
        Ok(Box::new(raw.into_groups(Arc::clone(&self.budget))?.map(move |group| {
            let (series, rows) = group.map_err(|error| DataFusionError::External(Box::new(error)))?;
            samples_batch(&schema, &series, &rows)
        })))
    }
}

/// One group of series with its points; `rows` are (series in the group, time, start, value).
fn samples_batch(schema: &SchemaRef, series: &[RawSeries], rows: &[(u32, i64, i64, f64)]) -> Result<RecordBatch> {
    let of_series = UInt32Array::from_iter_values(rows.iter().map(|row| row.0));
    let spread = |values: ArrayRef| take(&values, &of_series, None).map_err(DataFusionError::from);
    let columns = schema.fields().iter().map(|field| {
        let column: ArrayRef = match field.name().as_str() {
            TIME => {
                Arc::new(TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.1)).with_timezone("UTC"))
            }
            "start" => {
                let starts = rows.iter().map(|row| (row.2 > 0).then_some(row.2));
                Arc::new(starts.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
            }
            "value" => Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.3))),
            other => spread(series_column(other, series)?)?,
        };
        Ok(column)
    });
    batch(schema, columns.collect::<Result<Vec<ArrayRef>>>()?, rows.len())
}

fn series_batch(schema: &SchemaRef, series: &[RawSeries]) -> Result<RecordBatch> {
    let columns = schema.fields().iter().map(|field| series_column(field.name(), series));
    batch(schema, columns.collect::<Result<Vec<ArrayRef>>>()?, series.len())
}

fn series_column(name: &str, series: &[RawSeries]) -> Result<ArrayRef> {
    let text = |of: fn(&SeriesIdentity) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(series.iter().map(|one| of(&one.identity))))
    };
    Ok(match name {
        "metric" => text(|identity| &identity.name),
        "type" => text(|identity| identity.kind.as_str()),
        "unit" => text(|identity| &identity.unit),
        "temporality" => text(|identity| identity.temporality.as_str()),
        "scope_name" => text(|identity| &identity.scope.name),
        "scope_version" => text(|identity| &identity.scope.version),
        "name" => Arc::new(StringArray::from_iter_values(series.iter().map(|one| &one.labels.name))),
        "labels" => map_of(series, |one, add| one.labels.labels.iter().for_each(|label| add(&label.0, &label.1)))?,
        "resource" => map_of(series, |one, add| {
            one.identity.resource.attributes.iter().for_each(|pair| add(&pair.key, &value_text(&pair.value)));
        })?,
        "attributes" => map_of(series, |one, add| {
            one.identity.attributes.iter().for_each(|pair| add(&pair.key, &value_text(&pair.value)));
        })?,
        other => return Err(DataFusionError::Internal(format!("no column {other} in the metrics tables"))),
    })
}

fn map(name: &str) -> Field {
    let pair = vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)];
    let entries = Field::new("entries", DataType::Struct(pair.into()), false);
    Field::new(name, DataType::Map(Arc::new(entries), false), false)
}

fn map_of(series: &[RawSeries], pairs: impl Fn(&RawSeries, &mut dyn FnMut(&str, &str))) -> Result<ArrayRef> {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for one in series {
        pairs(one, &mut |key, value| {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        });
        builder.append(true)?;
    }
    Ok(Arc::new(builder.finish()))
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

impl std::fmt::Debug for MetricsTable {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", self.kind)
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?} {:?}", self.kind, self.bounds)
    }
}
