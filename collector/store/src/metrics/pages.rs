//! The lists of the samples table, page by page, without Arrow's detour over levels and list arrays.
//!
//! ```text
//! page = repetition levels │ definition levels │ values: every list of the page, one after another, split by byte
//!                                                first bytes │ second bytes │ …
//! ```
//! How long each list is, the reader knows already: one less than the timeline of its row, or as long where it holds
//! raw values. Definition levels tell only whether a row has a list at all; repetition levels say nothing new. So a
//! list is a stretch of the values, and decoding it is putting its bytes together.
//!
//! Pages that were unpacked are kept for the next reader ([`PageCache`]): neighbours of a scan share a page, and a
//! dashboard asks for the same ones again.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parquet::basic::Encoding;
use parquet::column::page::Page;

use super::file::{PageReader, TableFile};
use super::heads::HeadBlock;
use crate::error::StoreError;

/// Bytes of unpacked pages that all parts together keep: 16 million increments.
const KEPT_BYTES_MAX: usize = 64 << 20;
/// The definition level of a value in a list.
const PRESENT: u8 = 2;
/// Bits of a definition level.
const LEVEL_BITS: u8 = 2;

/// Unpacked pages of all parts; the oldest goes first. The mutex guards look-ups; whoever misses a page unpacks it in
/// its slot, where others who want the same one wait for it.
#[derive(Debug, Default)]
pub(crate) struct PageCache {
    tables: AtomicU64,
    kept: Mutex<KeptPages>,
}

#[derive(Debug, Default)]
struct KeptPages {
    pages: HashMap<PageKey, Slot, RandomState>,
    order: VecDeque<(PageKey, usize)>,
    bytes: usize,
}

/// Empty while its page is unpacked.
type Slot = Arc<Mutex<Option<Cached>>>;

/// What is kept.
#[derive(Clone, Debug)]
pub(crate) enum Cached {
    /// A page of lists.
    Lists(Arc<ListPage>),
    /// What a block of rows says beside its lists.
    Heads(Arc<HeadBlock>),
}

impl Cached {
    fn bytes(&self) -> usize {
        match self {
            Self::Lists(page) => page.bytes(),
            Self::Heads(block) => block.bytes(),
        }
    }
}

/// Which page: of which open table, which row group, column, and page there.
pub(crate) type PageKey = (u64, usize, usize, usize);

/// One unpacked page of lists.
#[derive(Debug)]
pub(crate) struct ListPage {
    /// First row and one past the last, within the table.
    rows: Range<usize>,
    values: Bytes,
    /// Values of all lists of the page.
    count: usize,
    /// For each row the first of its values; `u32::MAX` for a row without a list. Filled by whoever unpacks.
    begins: Vec<u32>,
    lens: Vec<u32>,
}

/// The bytes of one list: `width` planes of `len` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planes<'a> {
    values: &'a [u8],
    count: usize,
    begin: usize,
    len: usize,
}

impl<'a> Planes<'a> {
    /// The list at `begin` of `count` values that are split by byte.
    #[cfg(test)]
    pub(crate) fn new(values: &'a [u8], count: usize, begin: usize, len: usize) -> Self {
        Self { values, count, begin, len }
    }

    /// Plane `at`, a byte of each value.
    #[inline]
    pub(crate) fn plane(&self, at: usize) -> &'a [u8] {
        let from = at * self.count + self.begin;
        &self.values[from..from + self.len]
    }

    /// How many values.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl ListPage {
    /// Unpacks a page of lists `width` bytes wide whose rows have lists of `lens` values, if they have any.
    fn new(page: Page, rows: Range<usize>, width: usize, lens: Vec<u32>) -> Result<Self, &'static str> {
        let Page::DataPageV2 { buf, num_values, num_nulls, encoding, def_levels_byte_len, rep_levels_byte_len, .. } =
            page
        else {
            return Err("not a data page of version 2");
        };
        if encoding != Encoding::BYTE_STREAM_SPLIT && num_values != num_nulls {
            return Err("its values are not split by byte");
        }
        let (repetition, definition) = (rep_levels_byte_len as usize, def_levels_byte_len as usize);
        if repetition + definition > buf.len() || num_nulls > num_values {
            return Err("its levels are cut off");
        }
        let count = (num_values - num_nulls) as usize;
        let values = buf.slice(repetition + definition..);
        if values.len() < count * width {
            return Err("its values are cut off");
        }
        let mut levels = Levels::new(&buf[repetition..repetition + definition]);
        let mut begins = Vec::with_capacity(lens.len());
        let mut next = 0_u32;
        for &len in &lens {
            let level = levels.next(1).ok_or("it has fewer levels than rows")?;
            if level != PRESENT {
                begins.push(u32::MAX);
                continue;
            }
            if len > 1 && levels.next(len as usize - 1) != Some(PRESENT) {
                return Err("a list is shorter than its timeline");
            }
            begins.push(next);
            next = next.checked_add(len).ok_or("it has too many values")?;
        }
        if next as usize != count {
            return Err("its lists do not have the lengths of their timelines");
        }
        Ok(Self { rows, values, count, begins, lens })
    }

    /// The list of a row of the table; none for null.
    pub(crate) fn list(&self, row: usize) -> Option<Planes<'_>> {
        let at = row.checked_sub(self.rows.start)?;
        let begin = *self.begins.get(at)?;
        (begin != u32::MAX).then(|| Planes {
            values: &self.values,
            count: self.count,
            begin: begin as usize,
            len: self.lens[at] as usize,
        })
    }

    fn bytes(&self) -> usize {
        self.values.len() + 8 * self.begins.len() + 64
    }
}

impl PageCache {
    /// A number for a table that no other table has.
    pub(crate) fn next_table(&self) -> u64 {
        self.tables.fetch_add(1, Ordering::Relaxed)
    }

    /// What is kept under `key`, made by `make` where it is not there.
    pub(crate) fn find_or(
        &self,
        key: PageKey,
        make: impl FnOnce() -> Result<Cached, StoreError>,
    ) -> Result<Cached, StoreError> {
        let slot = Arc::clone(lock(&self.kept).pages.entry(key).or_default());
        let mut page = lock(&slot);
        if let Some(page) = &*page {
            return Ok(page.clone());
        }
        let made = make().inspect_err(|_| drop(lock(&self.kept).pages.remove(&key)))?;
        *page = Some(made.clone());
        drop(page);
        lock(&self.kept).keep(key, made.bytes());
        Ok(made)
    }
}

impl KeptPages {
    /// Counts a page that was unpacked, and lets go of the oldest ones past the bound.
    fn keep(&mut self, key: PageKey, bytes: usize) {
        self.order.push_back((key, bytes));
        self.bytes += bytes;
        while self.bytes > KEPT_BYTES_MAX
            && let Some((oldest, bytes)) = self.order.pop_front()
        {
            self.pages.remove(&oldest);
            self.bytes -= bytes;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pages of one table of one part.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TablePages<'a> {
    pub(crate) table: &'a TableFile,
    pub(crate) cache: &'a PageCache,
    /// Tells this table from all others in the cache.
    pub(crate) id: u64,
}

/// One list column of a table, for ascending rows.
pub(crate) struct ListColumn<'a> {
    pages: TablePages<'a>,
    leaf: usize,
    width: usize,
    reader: Option<(usize, PageReader)>,
    page: Option<Arc<ListPage>>,
}

impl<'a> ListColumn<'a> {
    /// The list column `name` with values of `width` bytes.
    pub(crate) fn open(pages: TablePages<'a>, name: &str, width: usize) -> Result<Self, StoreError> {
        let leaf = pages.table.leaf(name)?;
        Ok(Self { pages, leaf, width, reader: None, page: None })
    }

    /// The list of `row`, which is not before that of the last call; `len_of` tells how long the list of a row is, if
    /// it has one.
    pub(crate) fn list(&mut self, row: usize, len_of: impl Fn(usize) -> u32) -> Result<Option<Planes<'_>>, StoreError> {
        if !self.page.as_ref().is_some_and(|page| page.rows.contains(&row)) {
            self.page = Some(self.load(row, len_of)?);
        }
        Ok(self.page.as_ref().and_then(|page| page.list(row)))
    }

    fn load(&mut self, row: usize, len_of: impl Fn(usize) -> u32) -> Result<Arc<ListPage>, StoreError> {
        let TablePages { table, cache, id } = self.pages;
        let (leaf, width, reader) = (self.leaf, self.width, &mut self.reader);
        let place = table.page_of(leaf, row)?;
        let unpack = || {
            let reader = match reader {
                Some((group, reader)) if *group == place.group => reader,
                reader => &mut reader.insert((place.group, table.page_reader(place.group, leaf)?)).1,
            };
            let lens = place.rows.clone().map(len_of).collect();
            let page = ListPage::new(reader.page(place.page)?, place.rows.clone(), width, lens)
                .map_err(|what| bad_page(table.path(), place.page, what))?;
            Ok(Cached::Lists(Arc::new(page)))
        };
        match cache.find_or((id, place.group, leaf, place.page), unpack)? {
            Cached::Lists(page) => Ok(page),
            Cached::Heads(_) => Err(StoreError::Internal("heads are kept under the key of a page".to_owned())),
        }
    }
}

fn bad_page(path: &Path, page: usize, what: &str) -> StoreError {
    StoreError::corrupt(path, format_args!("page {page}: {what}"))
}

/// Walks levels as Parquet packs them: runs of one level, or groups of eight in two bits each.
/// Source: parquet-format `Encodings.md`, "Run Length Encoding / Bit-Packing Hybrid".
struct Levels<'a> {
    rest: &'a [u8],
    run: Run<'a>,
}

#[derive(Clone, Copy)]
enum Run<'a> {
    Same { level: u8, left: usize },
    Packed { bytes: &'a [u8], at: usize, end: usize },
}

impl<'a> Levels<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, run: Run::Same { level: 0, left: 0 } }
    }

    /// Takes `n > 0` levels that must be equal; `None` when they are not, or there are fewer.
    fn next(&mut self, mut n: usize) -> Option<u8> {
        let mut found: Option<u8> = None;
        while n > 0 {
            let (level, taken) = match &mut self.run {
                Run::Same { left: 0, .. } => {
                    self.next_run()?;
                    continue;
                }
                Run::Same { level, left } => {
                    let taken = n.min(*left);
                    *left -= taken;
                    (*level, taken)
                }
                Run::Packed { at, end, .. } if at == end => {
                    self.next_run()?;
                    continue;
                }
                Run::Packed { bytes, at, .. } => {
                    let level = (bytes.get(*at / 4)? >> (*at % 4 * usize::from(LEVEL_BITS))) & 3;
                    *at += 1;
                    (level, 1)
                }
            };
            if found.is_some_and(|found| found != level) {
                return None;
            }
            found = Some(level);
            n -= taken;
        }
        found
    }

    fn next_run(&mut self) -> Option<()> {
        let mut header = 0_usize;
        for shift in (0..35).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            header |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let n = header >> 1;
        if header & 1 == 0 {
            let (&level, rest) = self.rest.split_first()?;
            self.rest = rest;
            self.run = Run::Same { level, left: n };
            return (n > 0).then_some(());
        }
        let length = (n * usize::from(LEVEL_BITS)).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.run = Run::Packed { bytes, at: 0, end: n * 8 };
        (n > 0).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_pages_go_and_a_failure_leaves_nothing() {
        let cache = PageCache::default();
        let page = || {
            let values = Bytes::from(vec![0; 20 << 20]);
            Cached::Lists(Arc::new(ListPage { rows: 0..1, values, count: 0, begins: vec![0], lens: vec![0] }))
        };
        let key = |at| (0, 0, 0, at);
        for at in 0..5 {
            cache.find_or(key(at), || Ok(page())).unwrap();
        }
        assert!(lock(&cache.kept).bytes <= KEPT_BYTES_MAX);
        cache.find_or(key(4), || panic!("it is kept")).unwrap();
        let failed = || Err(StoreError::Internal("x".to_owned()));
        assert!(cache.find_or(key(0), failed).is_err(), "it was the oldest");
        assert!(cache.find_or(key(9), failed).is_err());
        let kept = lock(&cache.kept);
        assert_eq!(kept.pages.len(), kept.order.len());
    }

    #[test]
    fn levels_are_walked_through_runs_and_packed_groups() {
        // Five 2s; then eight packed: 2 0 2 2 0 0 2 2; then three 0s.
        let packed = [2 | 2 << 4 | 2 << 6, 2 << 4 | 2 << 6];
        let bytes = [5 << 1, 2, 1 << 1 | 1, packed[0], packed[1], 3 << 1, 0];
        let mut levels = Levels::new(&bytes);
        let expected = [(6, 2), (1, 0), (2, 2), (2, 0), (2, 2), (3, 0)];
        for (n, level) in expected {
            assert_eq!(levels.next(n), Some(level));
        }
        assert_eq!(levels.next(1), None);
        assert_eq!(Levels::new(&bytes).next(7), None, "they differ");
    }
}
