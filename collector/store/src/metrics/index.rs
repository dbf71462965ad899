//! Finds series by their PromQL labels: an inverted index over one partition, built once, then only read.
//!
//! ```text
//! label name ─▶ label value ─▶ roaring bitmap of sids        (`__name__` holds canonical names, an explicit
//! metric name as sent ─▶ bitmap                               histogram under its three: _bucket, _count, _sum)
//! ```
//! A label that a series does not have is the empty string, as in Prometheus. Sids are dense from `first`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use weir_proto::SeriesIdentity;
use weir_proto::prometheus::Translated;

use super::labels::canonical_names;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// How a matcher tests a label value. Regular expressions come as closures, compiled (and cached) by the caller.
#[derive(Clone)]
pub enum LabelTest {
    /// `=`
    Equal(Arc<str>),
    /// `!=`
    NotEqual(Arc<str>),
    /// One of these, for a regex that is an alternation of literals.
    OneOf(Arc<[Arc<str>]>),
    /// `=~` and `!~`: whether the value is taken.
    Accept(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

/// One label matcher.
#[derive(Clone)]
pub struct LabelMatcher {
    /// Label name; [`METRIC_NAME`] for the metric.
    pub name: Arc<str>,
    /// The test of its value.
    pub test: LabelTest,
}

/// One series of a partition.
#[derive(Clone, Debug)]
pub struct IndexedSeries {
    /// As sent.
    pub identity: Arc<SeriesIdentity>,
    /// As PromQL sees it.
    pub labels: Arc<Translated>,
}

/// The series of one partition and the way to find them.
#[derive(Debug, Default)]
pub struct SeriesIndex {
    first: u32,
    series: Vec<IndexedSeries>,
    postings: HashMap<Arc<str>, BTreeMap<Arc<str>, RoaringBitmap>>,
    sent_names: HashMap<Arc<str>, RoaringBitmap>,
    all: RoaringBitmap,
}

impl SeriesIndex {
    /// Indexes `series`, whose sids count up from `first`.
    #[must_use]
    pub fn build(first: u32, series: Vec<IndexedSeries>) -> Self {
        let mut index = Self { first, ..Self::default() };
        for (sid, entry) in (first..).zip(&series) {
            index.all.insert(sid);
            index.sent_names.entry_ref(&entry.identity.name).or_default().insert(sid);
            for name in canonical_names(&entry.labels, entry.identity.kind) {
                post(&mut index.postings, &Arc::from(METRIC_NAME), &name, sid);
            }
            for (name, value) in entry.labels.labels.iter() {
                post(&mut index.postings, name, value, sid);
            }
        }
        index.series = series;
        index
    }

    /// The identity of `sid`, as sent.
    ///
    /// # Panics
    /// When `sid` is not of this partition.
    #[must_use]
    pub fn identity(&self, sid: u32) -> &Arc<SeriesIdentity> {
        &self.entry(sid).identity
    }

    /// Name and labels of `sid`, as PromQL sees them.
    ///
    /// # Panics
    /// When `sid` is not of this partition.
    #[must_use]
    pub fn labels(&self, sid: u32) -> &Arc<Translated> {
        &self.entry(sid).labels
    }

    /// All of it about `sid`.
    ///
    /// # Panics
    /// When `sid` is not of this partition.
    #[must_use]
    pub fn entry(&self, sid: u32) -> &IndexedSeries {
        &self.series[(sid - self.first) as usize]
    }

    /// How many series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Every sid.
    #[must_use]
    pub fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The series for which every matcher holds.
    #[must_use]
    pub fn select(&self, matchers: &[LabelMatcher]) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        // Equality first: it is one look-up and leaves the least for the rest.
        let (equal, rest): (Vec<_>, Vec<_>) =
            matchers.iter().partition(|matcher| matches!(matcher.test, LabelTest::Equal(_) | LabelTest::OneOf(_)));
        for matcher in equal.into_iter().chain(rest) {
            let holds = self.holding(matcher);
            let narrowed = match found.take() {
                None => holds,
                Some(before) => before & holds,
            };
            if narrowed.is_empty() {
                return narrowed;
            }
            found = Some(narrowed);
        }
        found.unwrap_or_else(|| self.all.clone())
    }

    /// The series whose metric was sent under `name` (`http.server.request.duration`).
    #[must_use]
    pub fn sent_as(&self, name: &str) -> RoaringBitmap {
        self.sent_names.get(name).cloned().unwrap_or_default()
    }

    /// Names of all labels, sorted, [`METRIC_NAME`] among them.
    #[must_use]
    pub fn label_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.postings.keys().map(Arc::clone).collect();
        names.sort_unstable();
        names
    }

    /// Values of one label, sorted.
    #[must_use]
    pub fn label_values(&self, name: &str) -> Vec<Arc<str>> {
        self.postings.get(name).map(|values| values.keys().map(Arc::clone).collect()).unwrap_or_default()
    }

    /// Values of one label, sorted, with the series that have each.
    pub fn values_with_series(&self, name: &str) -> impl Iterator<Item = (&Arc<str>, &RoaringBitmap)> {
        self.postings.get(name).into_iter().flatten()
    }

    /// About how many bytes this takes, for the bound on what is cached.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let postings: usize = self.postings.values().flat_map(BTreeMap::values).map(|p| p.serialized_size() + 96).sum();
        (self.series.len() * size_of::<IndexedSeries>() + postings) as u64
    }

    fn holding(&self, matcher: &LabelMatcher) -> RoaringBitmap {
        let name = matcher.name.as_ref();
        let with = |value: &str| self.postings.get(name).and_then(|values| values.get(value));
        match &matcher.test {
            LabelTest::Equal(value) if value.is_empty() => self.without(name),
            LabelTest::Equal(value) => with(value).cloned().unwrap_or_default(),
            LabelTest::NotEqual(value) if value.is_empty() => &self.all - self.without(name),
            // An explicit histogram answers to three names; it is left out only for those that are asked about,
            // which whoever reads it does by name. Here it stays in.
            LabelTest::NotEqual(value) if name == METRIC_NAME => self.accepting(name, &|other| other != value.as_ref()),
            LabelTest::NotEqual(value) => match with(value) {
                Some(holds) => &self.all - holds,
                None => self.all.clone(),
            },
            LabelTest::OneOf(values) => {
                let mut holds = RoaringBitmap::new();
                for value in values.iter() {
                    if value.is_empty() {
                        holds |= self.without(name);
                    } else if let Some(more) = with(value) {
                        holds |= more;
                    }
                }
                holds
            }
            LabelTest::Accept(accept) => self.accepting(name, accept.as_ref()),
        }
    }

    fn accepting(&self, name: &str, accept: &dyn Fn(&str) -> bool) -> RoaringBitmap {
        let mut holds = if accept("") { self.without(name) } else { RoaringBitmap::new() };
        for (value, series) in self.values_with_series(name) {
            if accept(value) {
                holds |= series;
            }
        }
        holds
    }

    /// The series that do not have the label `name`.
    fn without(&self, name: &str) -> RoaringBitmap {
        let mut rest = self.all.clone();
        for (_, series) in self.values_with_series(name) {
            rest -= series;
        }
        rest
    }
}

fn post(
    postings: &mut HashMap<Arc<str>, BTreeMap<Arc<str>, RoaringBitmap>>,
    name: &Arc<str>,
    value: &Arc<str>,
    sid: u32,
) {
    let values = postings.entry_ref(name).or_default();
    match values.get_mut(value) {
        Some(series) => {
            series.insert(sid);
        }
        None => {
            values.insert(Arc::clone(value), RoaringBitmap::from_iter([sid]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::testing::series;
    use weir_proto::prometheus::{Promotion, translate};

    fn index() -> SeriesIndex {
        let all = [
            series("up", &[("job", "a"), ("instance", "1")]),
            series("up", &[("job", "b"), ("instance", "1")]),
            series("up", &[("job", "b")]),
            series("down", &[("job", "c"), ("x", "y")]),
        ];
        let entries = all
            .into_iter()
            .map(|identity| IndexedSeries { labels: Arc::new(translate(&identity, &Promotion::default())), identity });
        SeriesIndex::build(10, entries.collect())
    }

    fn sids(index: &SeriesIndex, matchers: &[(&str, LabelTest)]) -> Vec<u32> {
        let matchers: Vec<_> =
            matchers.iter().map(|(name, test)| LabelMatcher { name: (*name).into(), test: test.clone() }).collect();
        index.select(&matchers).into_iter().collect()
    }

    #[test]
    fn a_missing_label_is_the_empty_string() {
        let index = index();
        assert_eq!(sids(&index, &[("instance", LabelTest::Equal("".into()))]), [12, 13]);
        assert_eq!(sids(&index, &[("instance", LabelTest::NotEqual("".into()))]), [10, 11]);
        assert_eq!(sids(&index, &[("instance", LabelTest::NotEqual("1".into()))]), [12, 13]);
        assert_eq!(sids(&index, &[("nowhere", LabelTest::Accept(Arc::new(str::is_empty)))]), [10, 11, 12, 13]);
        assert_eq!(sids(&index, &[("x", LabelTest::OneOf(Arc::new(["".into(), "y".into()])))]), [10, 11, 12, 13]);
    }

    #[test]
    fn matchers_narrow_each_other() {
        let index = index();
        let up = ("__name__", LabelTest::Equal("up".into()));
        assert_eq!(sids(&index, std::slice::from_ref(&up)), [10, 11, 12]);
        assert_eq!(sids(&index, &[("job", LabelTest::Accept(Arc::new(|job| job > "a"))), up.clone()]), [11, 12]);
        assert_eq!(sids(&index, &[up, ("job", LabelTest::Equal("c".into()))]), [0_u32; 0]);
        assert_eq!(sids(&index, &[]), [10, 11, 12, 13]);
        assert_eq!(index.label_values("job"), ["a".into(), "b".into(), "c".into()] as [Arc<str>; 3]);
        assert_eq!(index.sent_as("down").into_iter().collect::<Vec<_>>(), [13]);
    }
}
