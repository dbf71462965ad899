//! Rows of outputs with histograms, appended to the columns that the engine reads.

use std::ops::Range;

use weir_promql::histogram::FloatHistogram;
use weir_promql::source::{HistogramRows, SeriesBatch};
use weir_proto::batch::STALE_NAN_BITS;

use super::rows::{Point, Reading, Row, Sampled, Summed, rows_of};

/// Collects the rows of one batch. Series come in ascending id.
#[derive(Default)]
pub(crate) struct BatchBuilder {
    batch: SeriesBatch,
    starts: Vec<i64>,
    histograms: HistogramRows,
}

impl BatchBuilder {
    /// A series of numbers.
    fn numbers(&mut self, id: u32, points: Vec<Point<f64>>, reading: Reading) {
        for row in rows_of(points, reading) {
            self.float(row.t_ms, row.start_ms, row.value);
        }
        self.close(id);
    }

    /// A series of native histograms, or of numbers made of histograms, or first of the one, then of the other.
    pub(crate) fn mixed(&mut self, id: u32, numbers: Vec<Point<f64>>, points: Vec<Point<Sampled>>, reading: Reading) {
        if points.is_empty() {
            self.numbers(id, numbers, reading);
            return;
        }
        let mut floats = rows_of(numbers, reading).into_iter().peekable();
        for mut row in rows_of(points, reading) {
            while let Some(float) = floats.next_if(|float| float.t_ms < row.t_ms) {
                self.float(float.t_ms, float.start_ms, float.value);
                row.value.detach();
            }
            // At one time the histogram stands: it says more.
            floats.next_if(|float| float.t_ms == row.t_ms);
            self.histogram(&row);
        }
        for float in floats {
            self.float(float.t_ms, float.start_ms, float.value);
        }
        self.close(id);
    }

    /// One series for each bound.
    pub(crate) fn buckets(&mut self, ids: Range<u32>, bounds: &[f64], points: Vec<Point<Sampled>>, reading: Reading) {
        let rows = rows_of(points, reading);
        let counts: Vec<Option<Vec<Option<f64>>>> = rows
            .iter()
            .map(|row| match &row.value {
                Sampled::Histogram(all) => Some(all.cumulative(bounds)),
                Sampled::Stale => None,
            })
            .collect();
        for (at, id) in ids.enumerate() {
            for (row, counts) in rows.iter().zip(&counts) {
                let count = match counts {
                    None => Some(f64::from_bits(STALE_NAN_BITS)),
                    Some(counts) => counts[at],
                };
                count.into_iter().for_each(|count| self.float(row.t_ms, row.start_ms, count));
            }
            self.close(id);
        }
    }

    /// What its native histograms take.
    pub(crate) fn histogram_bytes(&self) -> u64 {
        let floats =
            |one: &FloatHistogram| one.positive_buckets.len() + one.negative_buckets.len() + one.custom_values.len();
        self.histograms.values.iter().map(|one| (size_of::<FloatHistogram>() + 8 * floats(one)) as u64).sum()
    }

    /// The batch. Start times and histograms only where there are any.
    pub(crate) fn finish(self) -> SeriesBatch {
        let mut batch = self.batch;
        if batch.offsets.is_empty() {
            batch.offsets.push(0);
        }
        batch.start_ms = self.starts.iter().any(|&start| start != 0).then_some(self.starts);
        if !self.histograms.values.is_empty() {
            let mut histograms = self.histograms;
            histograms.row.resize(batch.t_ms.len(), 0);
            batch.histograms = Some(histograms);
        }
        batch
    }

    fn float(&mut self, t_ms: i64, start_ms: i64, value: f64) {
        self.batch.t_ms.push(t_ms);
        self.batch.value.push(value);
        self.starts.push(start_ms);
    }

    fn histogram(&mut self, row: &Row<Sampled>) {
        let Some(native) = row.value.native() else {
            self.float(row.t_ms, row.start_ms, f64::from_bits(STALE_NAN_BITS));
            return;
        };
        // Rows before the first histogram, and floats between histograms, are 0.
        self.histograms.row.resize(self.batch.t_ms.len(), 0);
        self.float(row.t_ms, row.start_ms, 0.0);
        self.histograms.values.push(native);
        self.histograms.row.push(u32::try_from(self.histograms.values.len()).unwrap_or(u32::MAX));
    }

    /// Ends the series `id`; one without rows is left out.
    fn close(&mut self, id: u32) {
        if self.batch.offsets.is_empty() {
            self.batch.offsets.push(0);
        }
        let end = u32::try_from(self.batch.t_ms.len()).unwrap_or(u32::MAX);
        if self.batch.offsets.last() != Some(&end) {
            self.batch.ids.push(id);
            self.batch.offsets.push(end);
        }
    }
}
