//! Rows of the samples table for whoever brings the columns: where each row's points belong is known before any value
//! is read, so values are decoded once, straight to their place.
//!
//! ```text
//! sids, times ─▶ NumberRows [sid │ timeline │ which of its points]      from memory: directory, timelines
//!                     └─ read ─▶ RowValues (a row as it is stored) ─write─▶ the reader's own columns
//! ```

use std::ops::Range;
use std::sync::Arc;

use weir_proto::schema::metrics as columns;

use super::codec::{self, Kind, Row, Stored};
use super::cut::StoredStart;
use super::heads::Heads;
use super::pages::ListColumn;
use super::read::Loaded;
use super::timelines::Timeline;
use crate::error::StoreError;

const NS_PER_MS: i64 = 1_000_000;

/// Rows of a part with numbers of some series, ordered by (sid, time).
#[derive(Debug)]
pub struct NumberRows {
    loaded: Arc<Loaded>,
    rows: Vec<NumberRow>,
}

/// One row: some numbers of one series.
#[derive(Clone, Debug)]
pub struct NumberRow {
    /// The series within its partition.
    pub sid: u32,
    /// Its times.
    pub times: Arc<Timeline>,
    /// Which of them are within the stretch that was asked for; never empty.
    pub points: Range<usize>,
    /// Its number in the table.
    row: usize,
}

/// The values of a row as they are stored.
pub struct RowValues<'a> {
    row: Row<'a>,
    times: &'a Timeline,
    start: StoredStart,
    /// Starts one by one, for [`StoredStart::Each`].
    each: Option<&'a Timeline>,
}

impl NumberRows {
    /// Rows number `rows` of the part with their timelines, as far as they have points in `from_ms..=to_ms`.
    pub(crate) fn new(
        loaded: &Arc<Loaded>,
        rows: impl Iterator<Item = (u32, usize, u32)>,
        (from_ms, to_ms): (i64, i64),
    ) -> Result<Self, StoreError> {
        let rows: Vec<(u32, usize, u32)> = rows.collect();
        let timelines = loaded.timelines.shared(rows.iter().map(|row| row.2).collect())?;
        let mut kept = Vec::with_capacity(rows.len());
        for (sid, row, timeline) in rows {
            let times = timelines.get(&timeline).ok_or_else(|| loaded.corrupt("a row's timeline is absent"))?;
            let points = times.between(from_ms, to_ms);
            if !points.is_empty() {
                kept.push(NumberRow { sid, times: Arc::clone(times), points, row });
            }
        }
        Ok(Self { loaded: Arc::clone(loaded), rows: kept })
    }

    /// The rows.
    #[must_use]
    pub fn as_slice(&self) -> &[NumberRow] {
        &self.rows
    }

    /// Reads the rows whose index in [`Self::as_slice`] is in `wanted` (ascending) and hands them to `take`.
    ///
    /// # Errors
    /// When the part cannot be read.
    pub fn read(
        &self,
        wanted: &[usize],
        take: &mut dyn FnMut(usize, &RowValues<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.read_rows(wanted, take).inspect_err(|error| self.loaded.report(error))
    }

    fn read_rows(
        &self,
        wanted: &[usize],
        take: &mut dyn FnMut(usize, &RowValues<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Some(pages) = self.loaded.sample_pages() else { return Ok(()) };
        let mut lists = Lists {
            loaded: &self.loaded,
            narrow: ListColumn::open(pages, columns::D32, size_of::<i32>())?,
            wide: ListColumn::open(pages, columns::D64, size_of::<i64>())?,
            raw: ListColumn::open(pages, columns::VAL, size_of::<f64>())?,
        };
        let mut heads = Heads::new(pages);
        let mut each: Option<(u32, Arc<Timeline>)> = None;
        for &index in wanted {
            let found = &self.rows[index];
            let head = heads.row(found.row)?;
            if let StoredStart::Each(id) = head.start
                && each.as_ref().is_none_or(|each| each.0 != id)
            {
                each = self.loaded.timelines.shared(vec![id])?.remove(&id).map(|timeline| (id, timeline));
            }
            let row = Row {
                kind: head.kind,
                exponent: head.exponent,
                first: head.first,
                list: lists.of(head.kind, found.row)?,
            };
            let each = each.as_ref().map(|each| each.1.as_ref());
            take(index, &RowValues { row, times: &found.times, start: head.start, each })?;
        }
        Ok(())
    }

    /// The error of a row that [`RowValues`] could not write.
    #[must_use]
    pub fn bad_row(&self) -> StoreError {
        let error = self.loaded.corrupt("a row's values do not fit its kind and timeline");
        self.loaded.report(&error);
        error
    }
}

/// The three list columns; of each row one is read at most.
struct Lists<'a> {
    loaded: &'a Loaded,
    narrow: ListColumn<'a>,
    wide: ListColumn<'a>,
    raw: ListColumn<'a>,
}

impl Lists<'_> {
    fn of(&mut self, kind: Kind, row: usize) -> Result<Stored<'_>, StoreError> {
        let loaded = self.loaded;
        let points = |row| loaded.points_of_row(row);
        let increments = |row| loaded.points_of_row(row).saturating_sub(1);
        Ok(match kind {
            Kind::Constant => Stored::None,
            Kind::Raw => self.raw.list(row, points)?.map_or(Stored::None, Stored::Raw),
            Kind::Increments | Kind::Offsets => match self.narrow.list(row, increments)? {
                Some(list) => Stored::Narrow(list),
                None => self.wide.list(row, increments)?.map_or(Stored::None, Stored::Wide),
            },
        })
    }
}

impl RowValues<'_> {
    /// Writes the values of `points` to `into`, which is as long; false when the row is not what a writer of ours
    /// makes.
    #[must_use]
    pub fn write(&self, points: Range<usize>, into: &mut [f64]) -> bool {
        codec::decode_into(&self.row, self.times.as_ms().len(), points, into)
    }

    /// Whether a start time was sent with any of the points.
    #[must_use]
    pub fn has_starts(&self) -> bool {
        self.start != StoredStart::Constant(0)
    }

    /// Writes the start times of `points` in ms, 0 where none was sent; false as in [`Self::write`].
    #[must_use]
    pub fn write_starts(&self, points: Range<usize>, into: &mut [i64]) -> bool {
        let start_ns = |at: usize| match self.start {
            StoredStart::Constant(start) => Some(start),
            StoredStart::Chained(first) if at == 0 => Some(first),
            StoredStart::Chained(_) => Some(self.times.ns(at - 1)),
            StoredStart::Width(width) => Some(self.times.ns(at).wrapping_sub(width)),
            StoredStart::Each(_) => self.each.filter(|each| at < each.as_ms().len()).map(|each| each.ns(at)),
        };
        for (start_ms, at) in into.iter_mut().zip(points) {
            let Some(ns) = start_ns(at) else { return false };
            *start_ms = ns.div_euclid(NS_PER_MS);
        }
        true
    }
}
