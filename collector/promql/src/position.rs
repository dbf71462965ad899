//! Where a piece of an expression stands: byte offsets into the query text, shown to people as `line:column`.

/// A half-open range of byte offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// A range from `start` to `end`.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// `line:column` of the first byte, both counted from 1; columns count bytes, as Prometheus does.
    #[must_use]
    pub fn line_column(self, query: &str) -> String {
        if self.start > query.len() {
            return "invalid position".to_owned();
        }
        let before = &query.as_bytes()[..self.start];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        format!("{line}:{}", self.start - line_start + 1)
    }
}
