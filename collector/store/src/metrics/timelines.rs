//! The timelines table: each distinct list of times once.
//!
//! All series of one scrape have the same times; storing them once is the largest saving of the format. Lists are
//! recognised by a 128-bit hash seeded per part, so that a part with a billion private times needs 20 bytes per
//! list in memory, not the list, and nobody can send two lists that collide.
//!
//! A reader that wants milliseconds ([`Timelines::shared`]) gets lists that are decoded once and kept with the part,
//! since every series of a target has the same few.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{ArrayRef, Int8Array, Int64Array, Int64Builder, ListBuilder, UInt32Array};
use arrow::datatypes::{DataType, Int8Type, Int64Type, UInt32Type};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use weir_proto::schema::metrics as columns;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::array::Rows;
use super::file::{BATCH_ROWS, Shape, TableFile, TableWriter, ranges_of};
use crate::error::StoreError;

const NS_PER_MS: i64 = 1_000_000;
const UNIT_MS: i8 = 0;
const UNIT_NS: i8 = 1;
/// Times buffered before they go to the Parquet writer.
const BATCH_TIMES: usize = 262_144;
/// Times kept decoded for one part (8 MB); past it the cache begins anew.
const KEPT_TIMES_MAX: usize = 1 << 20;

/// Interns lists of times and writes each new one.
pub(crate) struct TimelineWriter {
    table: TableWriter,
    ids: HashMap<u128, u32, RandomState>,
    seed: u64,
    last: Option<(Vec<i64>, u32)>,
    rows: Pending,
}

#[derive(Default)]
struct Pending {
    ids: Vec<u32>,
    units: Vec<i8>,
    counts: Vec<u32>,
    firsts: Vec<i64>,
    lasts: Vec<i64>,
    lists: Vec<Vec<i64>>,
    times: usize,
}

impl TimelineWriter {
    pub(crate) fn create(dir: &Path, shape: Shape, seed: u64) -> Result<Self, StoreError> {
        let table = TableWriter::create(dir, "timelines", columns::timelines(), shape)?;
        Ok(Self { table, ids: HashMap::default(), seed, last: None, rows: Pending::default() })
    }

    /// The id of a list of at least one time, ascending.
    pub(crate) fn intern(&mut self, times: &[i64]) -> Result<u32, StoreError> {
        if let Some((last, id)) = &self.last
            && last == times
        {
            return Ok(*id);
        }
        let hash = xxh3_128_with_seed(as_bytes(times).as_slice(), self.seed);
        let next = u32::try_from(self.ids.len()).map_err(|_| StoreError::Internal("too many timelines".to_owned()))?;
        let id = *self.ids.entry(hash).or_insert(next);
        if id == next {
            self.rows.push(id, times);
            if self.rows.ids.len() == BATCH_ROWS || self.rows.times >= BATCH_TIMES {
                self.table.write(std::mem::take(&mut self.rows).into_columns())?;
            }
        }
        self.last = Some((times.to_vec(), id));
        Ok(id)
    }

    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        self.table.write(std::mem::take(&mut self.rows).into_columns())?;
        self.table.finish()
    }
}

fn as_bytes(times: &[i64]) -> Vec<u8> {
    times.iter().flat_map(|time| time.to_le_bytes()).collect()
}

impl Pending {
    fn push(&mut self, id: u32, times: &[i64]) {
        let whole_ms = times.iter().all(|time| time % NS_PER_MS == 0);
        self.ids.push(id);
        self.units.push(if whole_ms { UNIT_MS } else { UNIT_NS });
        self.counts.push(u32::try_from(times.len()).unwrap_or(u32::MAX));
        self.firsts.push(times[0]);
        self.lasts.push(times[times.len() - 1]);
        self.lists.push(if whole_ms { times.iter().map(|time| time / NS_PER_MS).collect() } else { times.to_vec() });
        self.times += times.len();
    }

    fn into_columns(self) -> Vec<ArrayRef> {
        let mut lists = ListBuilder::new(Int64Builder::new()).with_field(columns::list_item(DataType::Int64));
        for list in &self.lists {
            lists.values().append_slice(list);
            lists.append(true);
        }
        vec![
            Arc::new(UInt32Array::from(self.ids)),
            Arc::new(Int8Array::from(self.units)),
            Arc::new(UInt32Array::from(self.counts)),
            Arc::new(Int64Array::from(self.firsts)),
            Arc::new(Int64Array::from(self.lasts)),
            Arc::new(lists.finish()),
        ]
    }
}

/// The timelines of a part: their ends in memory, the lists read when they are needed.
#[derive(Debug)]
pub(crate) struct Timelines {
    table: Option<TableFile>,
    ends: Vec<(i64, i64)>,
    counts: Vec<u32>,
    kept: Mutex<Kept>,
}

/// Timelines that were decoded. The mutex guards look-ups; lists are read outside of it.
#[derive(Debug, Default)]
struct Kept {
    lists: HashMap<u32, Arc<Timeline>, RandomState>,
    times: usize,
}

/// One list of times in whole ms, the ns beside it where they say more.
#[derive(Debug)]
pub struct Timeline {
    ms: Box<[i64]>,
    ns: Option<Box<[i64]>>,
    ascending: bool,
}

impl Timeline {
    fn of(unit: i8, list: &[i64]) -> Self {
        let (ms, ns): (Box<[i64]>, _) = match unit {
            UNIT_MS => (list.into(), None),
            _ => (list.iter().map(|time| time.div_euclid(NS_PER_MS)).collect(), Some(list.into())),
        };
        let ascending = ms.windows(2).all(|pair| pair[0] < pair[1]);
        Self { ms, ns, ascending }
    }

    /// The times in ms, ns cut off.
    #[must_use]
    pub fn as_ms(&self) -> &[i64] {
        &self.ms
    }

    /// Whether no two times lie within one ms.
    #[must_use]
    pub fn is_ascending(&self) -> bool {
        self.ascending
    }

    /// Time number `at` in ns.
    pub(crate) fn ns(&self, at: usize) -> i64 {
        self.ns.as_ref().map_or_else(|| self.ms[at].saturating_mul(NS_PER_MS), |ns| ns[at])
    }

    /// Where the times with `from_ms <= time <= to_ms` are.
    pub(crate) fn between(&self, from_ms: i64, to_ms: i64) -> Range<usize> {
        let ends = (self.ms.first(), self.ms.last());
        if let (Some(&first), Some(&last)) = ends
            && from_ms <= first
            && last <= to_ms
        {
            return 0..self.ms.len();
        }
        self.ms.partition_point(|&ms| ms < from_ms)..self.ms.partition_point(|&ms| ms <= to_ms)
    }
}

/// Decoded timelines by id.
pub(crate) type SharedTimelines = HashMap<u32, Arc<Timeline>, RandomState>;

/// Lists by id, as read for some rows.
pub(crate) type TimelineLists = HashMap<u32, Arc<[i64]>, RandomState>;

impl Timelines {
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let table = TableFile::open(dir.join("timelines.parquet"))?;
        let (mut ends, mut counts) = (Vec::new(), Vec::new());
        if let Some(table) = &table {
            for batch in table.read(&[columns::N, columns::T_MIN, columns::T_MAX], None)? {
                let batch = batch?;
                let rows = Rows { batch: &batch, path: table.path() };
                let firsts = rows.numbers::<Int64Type>(columns::T_MIN)?;
                let lasts = rows.numbers::<Int64Type>(columns::T_MAX)?;
                counts.extend_from_slice(rows.numbers::<UInt32Type>(columns::N)?.values());
                ends.extend(firsts.values().iter().copied().zip(lasts.values().iter().copied()));
            }
        }
        Ok(Self { table, ends, counts, kept: Mutex::default() })
    }

    /// How many times timeline `id` has.
    pub(crate) fn count(&self, id: u32) -> u32 {
        self.counts.get(id as usize).copied().unwrap_or(0)
    }

    /// The timelines `wanted`, by id; those that no reader asked for lately are read. An id that the part does not
    /// have is absent.
    pub(crate) fn shared(&self, mut wanted: Vec<u32>) -> Result<SharedTimelines, StoreError> {
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = SharedTimelines::default();
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            found.extend(wanted.iter().filter_map(|id| Some((*id, Arc::clone(kept.lists.get(id)?)))));
            wanted.retain(|id| !found.contains_key(id));
        }
        let mut read = Vec::new();
        self.read_lists(wanted.into_iter().map(|id| id as usize).collect(), |id, unit, list| {
            read.push((id, Arc::new(Timeline::of(unit, list))));
        })?;
        if read.is_empty() {
            return Ok(found);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, list) in read {
            let times = list.ms.len();
            if kept.times + times > KEPT_TIMES_MAX {
                *kept = Kept::default();
            }
            if times <= KEPT_TIMES_MAX && kept.lists.insert(id, Arc::clone(&list)).is_none() {
                kept.times += times;
            }
            found.insert(id, list);
        }
        Ok(found)
    }

    /// Whether a chunk on timeline `id` may have points in `from <= time <= to`.
    pub(crate) fn overlaps(&self, id: u32, from: i64, to: i64) -> bool {
        self.ends.get(id as usize).is_none_or(|ends| ends.0 <= to && from <= ends.1)
    }

    /// Adds the lists of `wanted` that are not in `lists` yet.
    pub(crate) fn load(&self, wanted: &[u32], lists: &mut TimelineLists) -> Result<(), StoreError> {
        let mut missing: Vec<usize> =
            wanted.iter().filter(|id| !lists.contains_key(*id)).map(|&id| id as usize).collect();
        missing.sort_unstable();
        missing.dedup();
        self.read_lists(missing, |id, unit, list| {
            let list: Arc<[i64]> = match unit {
                UNIT_MS => list.iter().map(|time| time.saturating_mul(NS_PER_MS)).collect(),
                _ => list.into(),
            };
            lists.insert(id, list);
        })
    }

    /// Hands the lists `missing` (ascending, each once) to `take`, with their id and unit.
    fn read_lists(&self, mut missing: Vec<usize>, mut take: impl FnMut(u32, i8, &[i64])) -> Result<(), StoreError> {
        let Some(table) = &self.table else { return Ok(()) };
        missing.retain(|&id| id < self.ends.len());
        if missing.is_empty() {
            return Ok(());
        }
        let read = [columns::TL, columns::TIME_UNIT, columns::TS];
        for batch in table.read(&read, Some(&ranges_of(missing)))? {
            let batch = batch?;
            let rows = Rows { batch: &batch, path: table.path() };
            let ids = rows.numbers::<UInt32Type>(columns::TL)?;
            let units = rows.numbers::<Int8Type>(columns::TIME_UNIT)?;
            let times = rows.list::<Int64Type>(columns::TS)?;
            for row in 0..batch.num_rows() {
                let list = times.row(row).ok_or_else(|| rows.bad_row(row, "no times"))?;
                take(ids.value(row), units.value(row), list);
            }
        }
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (20 * self.ends.len() + 16 * kept.times + 64 * kept.lists.len()) as u64
    }
}
