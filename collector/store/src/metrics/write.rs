//! Writes a metrics part: series in their order, each with all its points.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_proto::{SeriesIdentity, Temporality, Value, semconv};

use super::exemplars::ExemplarWriter;
use super::file::Shape;
use super::histograms::HistogramWriter;
use super::memtable::SeriesPoints;
use super::order;
use super::samples::SampleWriter;
use super::series_table::SeriesWriter;
use super::timelines::TimelineWriter;
use crate::durable;
use crate::error::StoreError;
use crate::part::{PartEntry, SERVICES_MAX, Signal};

/// Writes the five tables of one part.
pub(crate) struct PartWriter {
    dir: PathBuf,
    series: SeriesWriter,
    timelines: TimelineWriter,
    samples: SampleWriter,
    histograms: HistogramWriter,
    exemplars: ExemplarWriter,
    entry: PartEntry,
    services: BTreeSet<Arc<str>>,
    last: Option<Arc<SeriesIdentity>>,
}

/// Where and as what a part is written.
#[derive(Clone, Debug)]
pub(crate) struct PartPlace<'a> {
    /// The data directory.
    pub(crate) root: &'a Path,
    /// UTC day of all rows.
    pub(crate) day: &'a str,
    /// 0 for a flush.
    pub(crate) level: u8,
    /// Unique name.
    pub(crate) id: String,
}

impl PartWriter {
    pub(crate) fn create(place: &PartPlace<'_>) -> Result<Self, StoreError> {
        let path = PartEntry::path_of(Signal::Metrics, place.day, place.level, &place.id);
        let dir = place.root.join(&path);
        durable::create_dir_all(place.root, &dir)?;
        let shape = if place.level == 0 { Shape::FRESH } else { Shape::COMPACTED };
        // Differs from part to part, which is all that it is for.
        let seed = crc32fast::hash(place.id.as_bytes()).into();
        Ok(Self {
            series: SeriesWriter::create(&dir, shape)?,
            timelines: TimelineWriter::create(&dir, shape, seed)?,
            samples: SampleWriter::create(&dir, shape)?,
            histograms: HistogramWriter::create(&dir, shape)?,
            exemplars: ExemplarWriter::create(&dir, shape)?,
            entry: PartEntry {
                id: place.id.clone(),
                path,
                day: place.day.to_owned(),
                level: place.level,
                time_min_ns: i64::MAX,
                time_max_ns: i64::MIN,
                ..PartEntry::default()
            },
            dir,
            services: BTreeSet::new(),
            last: None,
        })
    }

    /// Writes the next series; one without points is left out.
    pub(crate) fn push(&mut self, points: &SeriesPoints) -> Result<(), StoreError> {
        let SeriesPoints { identity, numbers, histograms, exemplars } = points;
        if numbers.is_empty() && histograms.is_empty() && exemplars.is_empty() {
            return Ok(());
        }
        debug_assert!(
            self.last.as_ref().is_none_or(|last| order::compare(last, identity).is_lt()),
            "series come in their order, each once"
        );
        let sid = self.series.push(identity)?;
        let cumulative = identity.temporality == Temporality::Cumulative;
        self.samples.push(sid, numbers, &mut self.timelines)?;
        self.histograms.push(sid, histograms, cumulative, &mut self.timelines)?;
        self.exemplars.push(sid, exemplars)?;
        self.entry.rows += (numbers.len() + histograms.len()) as u64;
        let ends = [numbers.times.first(), numbers.times.last(), histograms.times.first(), histograms.times.last()];
        let times = ends.into_iter().flatten().copied().chain(exemplars.iter().map(|exemplar| exemplar.time_ns));
        for time in times {
            self.entry.time_min_ns = self.entry.time_min_ns.min(time);
            self.entry.time_max_ns = self.entry.time_max_ns.max(time);
        }
        self.note_service(identity);
        self.last = Some(Arc::clone(identity));
        Ok(())
    }

    /// Series of one sender follow each other within a metric, so most are looked at no further than their resource.
    fn note_service(&mut self, identity: &SeriesIdentity) {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(&last.resource, &identity.resource)) {
            return;
        }
        let service = identity.resource.attributes.find(semconv::SERVICE_NAME).and_then(Value::as_str);
        let service = service.unwrap_or_default();
        if self.services.len() <= SERVICES_MAX && !self.services.contains(service) {
            self.services.insert(service.into());
        }
    }

    /// Makes the part durable; `None`, and nothing on disk, when it holds nothing.
    pub(crate) fn finish(mut self) -> Result<Option<PartEntry>, StoreError> {
        self.entry.series = self.series.count();
        self.samples.finish()?;
        self.histograms.finish()?;
        self.exemplars.finish()?;
        self.timelines.finish()?;
        self.series.finish()?;
        if self.entry.series == 0 {
            std::fs::remove_dir(&self.dir).map_err(|error| StoreError::io(&self.dir, error))?;
            return Ok(None);
        }
        let services = || self.services.iter().map(ToString::to_string).collect();
        self.entry.services = (self.services.len() <= SERVICES_MAX).then(services);
        durable::sync_dir(&self.dir)?;
        self.entry.seal(&self.dir)?;
        Ok(Some(self.entry))
    }
}
