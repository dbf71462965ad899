//! Exemplars of the series that match, grouped by series: the way from a chart to a trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use weir_promql::labels::Labels;
use weir_promql::source::{Budget, Matcher, SourceError};

use super::StoreSource;
use super::lookup::Output;
use super::matcher::Compiled;
use super::read::Window;
use crate::text::{hex, value_text};

/// Exemplars of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesExemplars {
    /// The series.
    pub labels: Labels,
    /// In time order.
    pub exemplars: Vec<Exemplar>,
}

/// One exemplar.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// `trace_id`, `span_id` and the filtered attributes.
    pub labels: Labels,
    /// The observed value.
    pub value: f64,
    /// When, ms.
    pub t_ms: i64,
}

/// More exemplars than this are not given back; a chart shows some hundred.
const EXEMPLARS_MAX: usize = 10_000;

impl StoreSource {
    /// The exemplars of all series that one of `selectors` finds, by labels.
    ///
    /// # Errors
    /// When a limit of the budget is met or the data cannot be read.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        (start_ms, end_ms): (i64, i64),
        budget: &Budget,
    ) -> Result<Vec<SeriesExemplars>, SourceError> {
        let window = Window { start_ms, end_ms, spacing_ms: 0, stats_only: true };
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        for selector in selectors {
            let matchers = Compiled::all(selector)?;
            let (outputs, _) = self.look_up(&matchers, &window, budget)?;
            for output in &outputs {
                self.read_exemplars(output, &window, found.entry(output.labels.clone()).or_default())?;
                budget.check()?;
            }
        }
        let mut left = EXEMPLARS_MAX;
        let series = found.into_iter().filter_map(|(labels, mut exemplars)| {
            exemplars.sort_by_key(|exemplar| exemplar.t_ms);
            exemplars.dedup();
            exemplars.truncate(left);
            left -= exemplars.len();
            (!exemplars.is_empty()).then_some(SeriesExemplars { labels, exemplars })
        });
        Ok(series.collect())
    }

    fn read_exemplars(&self, output: &Output, window: &Window, into: &mut Vec<Exemplar>) -> Result<(), SourceError> {
        let (from_ns, to_ns) = window.nanoseconds();
        for member in &output.members {
            let partition = &self.snapshot.metrics[member.partition as usize];
            for exemplar in partition.exemplars(&RoaringBitmap::from_iter([member.sid]), from_ns, to_ns) {
                let exemplar = exemplar.map_err(|error| SourceError::Storage(error.to_string()))?;
                let mut labels: Vec<(Arc<str>, Arc<str>)> =
                    exemplar.attributes.iter().map(|pair| (Arc::clone(&pair.key), value_text(&pair.value))).collect();
                if exemplar.trace_id != [0; 16] {
                    labels.push(("trace_id".into(), hex(&exemplar.trace_id).into()));
                }
                if exemplar.span_id != [0; 8] {
                    labels.push(("span_id".into(), hex(&exemplar.span_id).into()));
                }
                let t_ms = exemplar.time_ns.div_euclid(1_000_000);
                into.push(Exemplar { labels: Labels::new(labels), value: exemplar.value, t_ms });
            }
        }
        Ok(())
    }
}
