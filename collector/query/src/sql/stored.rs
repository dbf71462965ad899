//! The tables `spans` and `traces`: memtables and Parquet parts as one.
//!
//! Ids are shown as hexadecimal text. `traces` has one row per trace: the parts' rows of one trace are merged. A file
//! that lacks a column is read as null there.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use datafusion::prelude::{SessionContext, col};
use weir_proto::schema::traces as schema;
use weir_store::Snapshot;

use super::hexadecimal::hex;
use crate::error::QueryError;

/// Rows of one trace are merged: the earliest root stands, counts add up.
const TRACES_VIEW: &str = "
    SELECT trace_id, min(start) AS start,
           max(arrow_cast(start, 'Int64') + duration_ns) - min(arrow_cast(start, 'Int64')) AS duration_ns,
           min(root_service) AS root_service, min(root_name) AS root_name,
           sum(span_count) AS span_count, sum(error_count) AS error_count,
           array_sort(array_distinct(flatten(array_agg(services)))) AS services
    FROM stored_traces GROUP BY trace_id";

/// Registers both tables.
pub(super) async fn register(session: &SessionContext, snapshot: &Snapshot) -> Result<(), QueryError> {
    let memtables = &snapshot.traces.memtables;
    let spans = memtables.iter().flat_map(|memtable| memtable.record_batches()).collect();
    let summaries = memtables.iter().map(|memtable| memtable.summary_rows()).collect();
    let files = |table: &str| snapshot.traces.parts.iter().map(|part| part.part().table(table)).collect();
    let spans = Stored::new(schema::spans(), spans, files("spans"))?;
    let traces = Stored::new(schema::traces(), summaries, files("traces"))?;
    session.register_table("spans", shown(session, spans)?)?;
    session.register_table("stored_traces", shown(session, traces)?)?;
    let view = session.sql(TRACES_VIEW).await?.into_view();
    session.deregister_table("stored_traces")?;
    session.register_table("traces", view)?;
    Ok(())
}

/// The table with ids as text, without the columns that speak of files.
fn shown(session: &SessionContext, table: Stored) -> Result<Arc<dyn TableProvider>> {
    let hex = hex();
    let shown =
        table.schema.fields().iter().filter(|field| ![schema::TENANT, schema::PART].contains(&field.name().as_str()));
    let columns: Vec<Expr> = shown
        .map(|field| {
            let column = col(field.name());
            match field.data_type() {
                DataType::FixedSizeBinary(_) => hex.call(vec![column]).alias(field.name()),
                _ => column,
            }
        })
        .collect();
    Ok(session.read_table(Arc::new(table))?.select(columns)?.into_view())
}

/// Record batches in memory and Parquet files of one schema.
#[derive(Debug)]
struct Stored {
    schema: SchemaRef,
    memory: MemTable,
    files: Option<ListingTable>,
}

impl Stored {
    fn new(schema: SchemaRef, memory: Vec<RecordBatch>, files: Vec<PathBuf>) -> Result<Self> {
        let memory = MemTable::try_new(Arc::clone(&schema), vec![memory])?;
        let urls = files.iter().map(|path| ListingTableUrl::parse(path.to_string_lossy()));
        let urls = urls.collect::<Result<Vec<_>>>()?;
        let files = if urls.is_empty() {
            None
        } else {
            let options = ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
            let config = ListingTableConfig::new_with_multi_paths(urls)
                .with_listing_options(options)
                .with_schema(Arc::clone(&schema));
            Some(ListingTable::try_new(config)?)
        };
        Ok(Self { schema, memory, files })
    }
}

#[async_trait]
impl TableProvider for Stored {
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
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // Filters are applied again above, so a limit cannot go below them.
        let limit = if filters.is_empty() { limit } else { None };
        let memory = self.memory.scan(session, projection, &[], limit).await?;
        match &self.files {
            None => Ok(memory),
            Some(files) => UnionExec::try_new(vec![memory, files.scan(session, projection, filters, limit).await?]),
        }
    }
}
