//! The columns of the samples table that have one value per row, decoded a block of rows at a time and kept beside
//! the unpacked pages: a question for a few series would else unpack eight columns again and again.

use std::sync::Arc;

use arrow::datatypes::{Float64Type, Int8Type};
use weir_proto::schema::metrics as columns;

use super::array::Rows;
use super::codec::Kind;
use super::cut::{HEAD, HeadReader, StoredStart};
use super::pages::{Cached, TablePages};
use crate::error::StoreError;

/// Rows of a block: whole pages of both shapes.
const BLOCK_ROWS: usize = 2_048;
/// The columns that are read.
const HEADS: [&str; 8] = [HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[4], columns::KIND, columns::E, columns::FIRST];

/// What a row says beside its list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowHead {
    pub(crate) kind: Kind,
    pub(crate) exponent: i8,
    pub(crate) first: f64,
    pub(crate) start: StoredStart,
}

/// The heads of [`BLOCK_ROWS`] rows.
#[derive(Debug, Default)]
pub(crate) struct HeadBlock(Vec<RowHead>);

impl HeadBlock {
    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<RowHead>() * self.0.len() + 64
    }

    fn read(pages: TablePages<'_>, block: usize) -> Result<Self, StoreError> {
        let rows = block * BLOCK_ROWS..pages.table.rows().min((block + 1) * BLOCK_ROWS);
        let mut heads = Vec::with_capacity(rows.len());
        for batch in pages.table.read(&HEADS, Some(&[rows]))? {
            let batch = batch?;
            let rows = Rows { batch: &batch, path: pages.table.path() };
            let head = HeadReader::new(rows)?;
            let kinds = rows.numbers::<Int8Type>(columns::KIND)?;
            let exponents = rows.numbers::<Int8Type>(columns::E)?;
            let firsts = rows.numbers::<Float64Type>(columns::FIRST)?;
            for at in 0..batch.num_rows() {
                heads.push(RowHead {
                    kind: Kind::from_i8(kinds.value(at)).ok_or_else(|| rows.bad_row(at, "no such kind"))?,
                    exponent: exponents.value(at),
                    first: firsts.value(at),
                    start: head.start(at)?,
                });
            }
        }
        Ok(Self(heads))
    }
}

/// Finds the heads of ascending rows.
pub(crate) struct Heads<'a> {
    pages: TablePages<'a>,
    block: Option<(usize, Arc<HeadBlock>)>,
}

impl<'a> Heads<'a> {
    pub(crate) fn new(pages: TablePages<'a>) -> Self {
        Self { pages, block: None }
    }

    /// The head of `row`.
    pub(crate) fn row(&mut self, row: usize) -> Result<RowHead, StoreError> {
        let at = row / BLOCK_ROWS;
        let block = match &mut self.block {
            Some((block, heads)) if *block == at => heads,
            block => &mut block.insert((at, load(self.pages, at)?)).1,
        };
        let absent = || StoreError::corrupt(self.pages.table.path(), format_args!("there is no row {row}"));
        block.0.get(row % BLOCK_ROWS).copied().ok_or_else(absent)
    }
}

fn load(pages: TablePages<'_>, block: usize) -> Result<Arc<HeadBlock>, StoreError> {
    // No list column has this number.
    let key = (pages.id, usize::MAX, 0, block);
    match pages.cache.find_or(key, || HeadBlock::read(pages, block).map(|block| Cached::Heads(Arc::new(block))))? {
        Cached::Heads(block) => Ok(block),
        Cached::Lists(_) => Err(StoreError::Internal("a page is kept under the key of heads".to_owned())),
    }
}
