//! The series table: identities as rows, exactly, and readable in SQL.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringBuilder, StringDictionaryBuilder, UInt32Array};
use arrow::datatypes::Int32Type;
use foldhash::fast::RandomState;
use hashbrown::HashSet;
use weir_proto::identity::SeriesParts;
use weir_proto::schema::metrics as columns;
use weir_proto::{Attributes, MetricKind, Resource, Scope, SeriesIdentity, Temporality, Value, semconv};

use super::array::Rows;
use super::attributes::{TextMapBuilder, Texts, letters_column, push_map, text_map_builder};
use super::file::{BATCH_ROWS, Shape, TableFile, TableWriter};
use crate::error::StoreError;

/// Name of the table.
pub(crate) const TABLE: &str = "series";

type Dictionary = StringDictionaryBuilder<Int32Type>;

/// Writes series; sids count up from 0.
pub(crate) struct SeriesWriter {
    table: TableWriter,
    next: u32,
    sids: Vec<u32>,
    texts: [Dictionary; 7],
    maps: [TextMapBuilder; 3],
    letters: StringBuilder,
}

impl SeriesWriter {
    pub(crate) fn create(dir: &Path, shape: Shape) -> Result<Self, StoreError> {
        Ok(Self {
            table: TableWriter::create(dir, TABLE, columns::series(), shape)?,
            next: 0,
            sids: Vec::new(),
            texts: std::array::from_fn(|_| Dictionary::new()),
            maps: std::array::from_fn(|_| text_map_builder()),
            letters: StringBuilder::new(),
        })
    }

    /// Writes a series and gives its sid.
    pub(crate) fn push(&mut self, identity: &SeriesIdentity) -> Result<u32, StoreError> {
        let sid = self.next;
        self.next =
            sid.checked_add(1).ok_or_else(|| StoreError::Internal("more series than a part can hold".to_owned()))?;
        self.sids.push(sid);
        let service = identity.resource.attributes.find(semconv::SERVICE_NAME).and_then(Value::as_str);
        let scope = &identity.scope;
        let texts = [
            Some(identity.name.as_ref()),
            Some(identity.kind.as_str()),
            Some(identity.unit.as_ref()),
            Some(identity.temporality.as_str()),
            service,
            Some(scope.name.as_ref()),
            Some(scope.version.as_ref()),
        ];
        for (column, text) in self.texts.iter_mut().zip(texts) {
            column.append_option(text);
        }
        let mut letters = String::new();
        let [scope_map, resource_map, attribute_map] = &mut self.maps;
        push_map(resource_map, &mut letters, &identity.resource.attributes);
        push_map(scope_map, &mut letters, &scope.attributes);
        push_map(attribute_map, &mut letters, &identity.attributes);
        self.letters.append_option(letters_column(&letters));
        if self.sids.len() == BATCH_ROWS {
            self.write()?;
        }
        Ok(sid)
    }

    /// How many series were written.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.next)
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let mut all: Vec<ArrayRef> = vec![Arc::new(UInt32Array::from(std::mem::take(&mut self.sids)))];
        all.extend(self.texts.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        all.extend(self.maps.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        all.push(Arc::new(self.letters.finish()));
        self.table.write(all)
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        self.write()?;
        self.table.finish()
    }
}

/// All series of a part, by sid.
pub(crate) fn load(dir: &Path) -> Result<Vec<Arc<SeriesIdentity>>, StoreError> {
    let path = dir.join(format!("{TABLE}.parquet"));
    let table =
        TableFile::open(path.clone())?.ok_or_else(|| StoreError::corrupt(&path, "the part has no series table"))?;
    let mut shared = Shared::default();
    let mut series = Vec::with_capacity(table.rows());
    let read = [
        columns::METRIC,
        columns::TYPE,
        columns::UNIT,
        columns::TEMPORALITY,
        columns::SCOPE_NAME,
        columns::SCOPE_VERSION,
        columns::SCOPE,
        columns::RESOURCE,
        columns::ATTRIBUTES,
        columns::VALUE_TYPES,
    ];
    for batch in table.read(&read, None)? {
        let batch = batch?;
        shared.read(Rows { batch: &batch, path: &path }, &mut series)?;
    }
    Ok(series)
}

/// What the rows of a part repeat.
#[derive(Default)]
struct Shared {
    texts: Texts,
    resources: HashSet<Arc<Resource>, RandomState>,
    scopes: HashSet<Arc<Scope>, RandomState>,
}

impl Shared {
    fn read(&mut self, rows: Rows<'_>, into: &mut Vec<Arc<SeriesIdentity>>) -> Result<(), StoreError> {
        let (metrics, kinds) = (rows.text(columns::METRIC)?, rows.text(columns::TYPE)?);
        let (units, temporalities) = (rows.text(columns::UNIT)?, rows.text(columns::TEMPORALITY)?);
        let (scope_names, versions) = (rows.text(columns::SCOPE_NAME)?, rows.text(columns::SCOPE_VERSION)?);
        let (scopes, resources) = (rows.map(columns::SCOPE)?, rows.map(columns::RESOURCE)?);
        let (attributes, letters) = (rows.map(columns::ATTRIBUTES)?, rows.text(columns::VALUE_TYPES)?);
        for row in 0..rows.batch.num_rows() {
            let bad = || rows.bad_row(row, "a value does not fit its type");
            let mut letters = letters.is_valid(row).then(|| letters.value(row).chars());
            let resource = self.texts.pairs(resources.row(row), &mut letters).ok_or_else(bad)?;
            let scope = self.texts.pairs(scopes.row(row), &mut letters).ok_or_else(bad)?;
            let point = self.texts.pairs(attributes.row(row), &mut letters).ok_or_else(bad)?;
            let scope = Scope {
                name: self.texts.intern(scope_names.value(row)),
                version: self.texts.intern(versions.value(row)),
                attributes: Attributes::new(scope),
            };
            into.push(Arc::new(SeriesIdentity::new(SeriesParts {
                name: self.texts.intern(metrics.value(row)),
                unit: self.texts.intern(units.value(row)),
                kind: kind_of(kinds.value(row)).ok_or_else(|| rows.bad_row(row, "no such type"))?,
                temporality: temporality_of(temporalities.value(row))
                    .ok_or_else(|| rows.bad_row(row, "no such temporality"))?,
                resource: shared(&mut self.resources, Resource { attributes: Attributes::new(resource) }),
                scope: shared(&mut self.scopes, scope),
                attributes: Attributes::new(point),
            })));
        }
        Ok(())
    }
}

fn shared<T: Eq + std::hash::Hash>(known: &mut HashSet<Arc<T>, RandomState>, value: T) -> Arc<T> {
    let value = Arc::new(value);
    Arc::clone(known.get_or_insert(value))
}

fn kind_of(text: &str) -> Option<MetricKind> {
    (0..=u8::MAX).map_while(MetricKind::from_u8).find(|kind| kind.as_str() == text)
}

fn temporality_of(text: &str) -> Option<Temporality> {
    (0..=u8::MAX).map_while(Temporality::from_u8).find(|temporality| temporality.as_str() == text)
}
