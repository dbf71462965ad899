//! Which stored series answer a request, under which labels and which face.
//!
//! The canonical name of a series is its Prometheus translation; an explicit histogram has three (`_bucket`,
//! `_count`, `_sum`), an exponential one is native under its plain name. Patterns and negative matchers see only
//! those. An equality on `__name__` also finds, and gives back as asked:
//!
//! ```text
//! asked                          found                                   face
//! http.server.request.duration   the metric sent under that name         number, native histogram
//! x  (x_bucket is canonical)     an explicit histogram                   native with custom bounds
//! x_bucket, x_count, x_sum       an exponential histogram x              classic
//! traces_spanmetrics_…           what Weir derives from spans            see `alias`
//! ```
//! What came from Prometheus (scraped, remote-written) has the one name it came with.

use std::sync::Arc;

use hashbrown::HashMap;
use weir_promql::labels::{Labels, METRIC_NAME};
use weir_proto::{Fingerprint, MetricKind, SeriesIdentity, Temporality};
use weir_store::{IndexedSeries, LabelMatcher, LabelTest, SeriesIndex};

use super::alias::{Alias, alias};
use super::matcher::{BOUND, Compiled, all_accept, name_of};

/// The face under which a stored series is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum View {
    /// The number as it is.
    Number,
    /// A native histogram.
    Native,
    /// Cumulative counts by `le`.
    Bucket,
    /// How many observations.
    Count,
    /// Their sum.
    Sum,
}

/// A stored series that belongs to an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Index of the partition in the snapshot, in commit order.
    pub(crate) partition: u32,
    /// The series there.
    pub(crate) sid: u32,
    /// Which identity, of all that were found.
    pub(crate) stream: u32,
    /// The face.
    pub(crate) view: View,
    /// Whether a point covers only its own interval.
    pub(crate) delta: bool,
}

/// One series of the answer; one for each `le`, which is not among the labels yet, where it is `buckets`.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Labels with the name as asked.
    pub(crate) labels: Labels,
    /// Whether its members are classic buckets; else none is.
    pub(crate) buckets: bool,
    /// Unit as sent.
    pub(crate) unit: Arc<str>,
    /// Points of one instant add up.
    pub(crate) additive: bool,
    /// Whether a member has explicit bounds.
    pub(crate) explicit: bool,
    /// Whether a member has exponential buckets.
    pub(crate) exponential: bool,
    /// Where its points are, partitions in commit order.
    pub(crate) members: Vec<Member>,
}

/// Collects outputs over the partitions of a snapshot.
pub(crate) struct Lookup<'a> {
    matchers: &'a [Compiled],
    /// Matchers that hold for the finished labels but for `le`.
    finished: Vec<Compiled>,
    outputs: Vec<Output>,
    by_labels: HashMap<(Labels, bool), u32>,
    streams: HashMap<(Fingerprint, View), Option<(u32, u32)>>,
    streams_seen: u32,
}

impl<'a> Lookup<'a> {
    /// Begins a look-up.
    pub(crate) fn new(matchers: &'a [Compiled]) -> Self {
        let finished = matchers.iter().filter(|matcher| matcher.name.as_ref() != BOUND).cloned().collect();
        Self {
            matchers,
            finished,
            outputs: Vec::new(),
            by_labels: HashMap::new(),
            streams: HashMap::new(),
            streams_seen: 0,
        }
    }

    /// Adds what `index`, partition number `partition`, has.
    pub(crate) fn partition(&mut self, partition: u32, index: &SeriesIndex) {
        let Some(name) = name_of(self.matchers).map(Arc::clone) else {
            self.canonical(partition, index);
            return;
        };
        let equal = |name: &str| LabelMatcher { name: METRIC_NAME.into(), test: LabelTest::Equal(name.into()) };
        let rest = self.index_matchers(None);
        let with_name = |name: &str| {
            let mut all = rest.clone();
            all.insert(0, equal(name));
            index.select(&all)
        };
        for sid in with_name(&name) {
            let entry = index.entry(sid);
            if let Some(view) = canonical_view(entry, &name) {
                self.found(entry, (partition, sid), view, &name);
            }
        }
        for sid in with_name(&format!("{name}_bucket")) {
            let entry = index.entry(sid);
            if entry.identity.kind == MetricKind::Histogram && entry.labels.name == name {
                self.found(entry, (partition, sid), View::Native, &name);
            }
        }
        if let Some((base, view)) = classic_suffix(&name) {
            for sid in with_name(base) {
                let entry = index.entry(sid);
                let identity = &entry.identity;
                if identity.kind == MetricKind::ExponentialHistogram && !identity.has_prometheus_names() {
                    self.found(entry, (partition, sid), view, &name);
                }
            }
        }
        self.as_sent(partition, index, &name);
        if let Some(alias) = alias(&name) {
            self.aliased(partition, index, alias);
        }
    }

    /// How many outputs there are so far.
    pub(crate) fn len(&self) -> u64 {
        self.outputs.len() as u64
    }

    /// The outputs, in the order found.
    pub(crate) fn into_outputs(self) -> Vec<Output> {
        self.outputs
    }

    /// Every canonical name that passes.
    fn canonical(&mut self, partition: u32, index: &SeriesIndex) {
        let mut matchers = self.index_matchers(None);
        let names = self.matchers.iter().filter(|matcher| matcher.name.as_ref() == METRIC_NAME);
        matchers.extend(names.map(|matcher| matcher.for_index(&matcher.name)));
        for sid in index.select(&matchers) {
            let entry = index.entry(sid);
            match entry.identity.kind {
                MetricKind::Histogram => {
                    for (suffix, view) in CLASSIC {
                        let name = Arc::from(format!("{}{suffix}", entry.labels.name));
                        self.found(entry, (partition, sid), view, &name);
                    }
                }
                MetricKind::ExponentialHistogram => {
                    self.found(entry, (partition, sid), View::Native, &entry.labels.name);
                }
                _ => self.found(entry, (partition, sid), View::Number, &entry.labels.name),
            }
        }
    }

    /// Metrics that were sent under `name`, where that is not the canonical one.
    fn as_sent(&mut self, partition: u32, index: &SeriesIndex, name: &Arc<str>) {
        let plain = (name.as_ref(), None);
        for (sent, view) in
            [Some(plain), classic_suffix(name).map(|(base, view)| (base, Some(view)))].into_iter().flatten()
        {
            let sids = index.sent_as(sent);
            if sids.is_empty() {
                continue;
            }
            for sid in sids & index.select(&self.index_matchers(None)) {
                let entry = index.entry(sid);
                let histogram = entry.identity.is_histogram();
                let view = match view {
                    None if histogram => View::Native,
                    None => View::Number,
                    Some(view) if histogram => view,
                    Some(_) => continue,
                };
                if entry.labels.name.as_ref() != sent {
                    self.found(entry, (partition, sid), view, name);
                }
            }
        }
    }

    fn aliased(&mut self, partition: u32, index: &SeriesIndex, alias: &'static Alias) {
        let sids = index.sent_as(alias.sent);
        if sids.is_empty() {
            return;
        }
        for sid in sids & index.select(&self.index_matchers(Some(alias))) {
            let entry = index.entry(sid);
            self.add(entry, (partition, sid), alias.view, |labels| {
                alias.relabel(labels)?;
                Some(alias.name.into())
            });
        }
    }

    /// What can be asked of the index: everything but the name and `le`.
    fn index_matchers(&self, alias: Option<&Alias>) -> Vec<LabelMatcher> {
        self.finished
            .iter()
            .filter(|matcher| matcher.name.as_ref() != METRIC_NAME)
            .filter_map(|matcher| match alias {
                None => Some(matcher.for_index(&matcher.name)),
                Some(alias) => alias.stored_label(&matcher.name).map(|name| matcher.for_index(&name)),
            })
            .collect()
    }

    fn found(&mut self, entry: &IndexedSeries, place: (u32, u32), view: View, name: &Arc<str>) {
        self.add(entry, place, view, |_| Some(Arc::clone(name)));
    }

    fn add(
        &mut self,
        entry: &IndexedSeries,
        (partition, sid): (u32, u32),
        view: View,
        name: impl FnOnce(&mut Vec<(Arc<str>, Arc<str>)>) -> Option<Arc<str>>,
    ) {
        let identity = &entry.identity;
        let known = self.streams.get(&(identity.fingerprint, view)).copied();
        let place = match known {
            Some(place) => place,
            None => {
                let place = self.place(entry, view, name);
                self.streams.insert((identity.fingerprint, view), place);
                place
            }
        };
        let Some((output, stream)) = place else { return };
        let members = &mut self.outputs[output as usize].members;
        let delta = identity.temporality == Temporality::Delta;
        let member = Member { partition, sid, stream, view, delta };
        if members.last() != Some(&member) {
            members.push(member);
        }
    }

    /// The output of an identity that was not seen before; `None` when its labels do not pass.
    fn place(
        &mut self,
        entry: &IndexedSeries,
        view: View,
        name: impl FnOnce(&mut Vec<(Arc<str>, Arc<str>)>) -> Option<Arc<str>>,
    ) -> Option<(u32, u32)> {
        let mut pairs = entry.labels.labels.to_vec();
        let name = name(&mut pairs)?;
        pairs.push((METRIC_NAME.into(), name));
        let labels = Labels::new(pairs);
        if !all_accept(&self.finished, &labels) || !self.may_have_bound(view, &labels) {
            return None;
        }
        let next = u32::try_from(self.outputs.len()).ok()?;
        let identity = &entry.identity;
        let buckets = view == View::Bucket;
        let output = *self.by_labels.entry((labels.clone(), buckets)).or_insert(next);
        if output == next {
            self.outputs.push(Output::new(labels, buckets, identity));
        }
        let shown = &mut self.outputs[output as usize];
        shown.additive &= identity.is_additive();
        shown.explicit |= identity.kind == MetricKind::Histogram;
        shown.exponential |= identity.kind == MetricKind::ExponentialHistogram;
        let stream = self.streams_seen;
        self.streams_seen += 1;
        Some((output, stream))
    }

    /// `le` is tested here for all but classic buckets, whose bounds are known only when they are read.
    fn may_have_bound(&self, view: View, labels: &Labels) -> bool {
        view == View::Bucket || {
            let mut bounds = self.matchers.iter().filter(|matcher| matcher.name.as_ref() == BOUND);
            bounds.all(|matcher| matcher.accepts(labels.value(BOUND)))
        }
    }
}

/// The three faces of a classic histogram.
pub(crate) const CLASSIC: [(&str, View); 3] = [("_bucket", View::Bucket), ("_count", View::Count), ("_sum", View::Sum)];

impl Output {
    /// Whether a member is a histogram, however it is shown.
    pub(crate) fn has_histograms(&self) -> bool {
        self.explicit || self.exponential
    }

    fn new(labels: Labels, buckets: bool, identity: &SeriesIdentity) -> Self {
        Self {
            labels,
            buckets,
            unit: Arc::clone(&identity.unit),
            additive: true,
            explicit: false,
            exponential: false,
            members: Vec::new(),
        }
    }
}

/// `x_bucket` is `x` seen as classic buckets, and so on.
fn classic_suffix(name: &str) -> Option<(&str, View)> {
    CLASSIC.iter().find_map(|&(suffix, view)| Some((name.strip_suffix(suffix)?, view)))
}

/// The face that `name` has in the canonical names of `entry`.
fn canonical_view(entry: &IndexedSeries, name: &str) -> Option<View> {
    match entry.identity.kind {
        MetricKind::Histogram => {
            let suffix = name.strip_prefix(entry.labels.name.as_ref())?;
            CLASSIC.iter().find(|classic| classic.0 == suffix).map(|classic| classic.1)
        }
        MetricKind::ExponentialHistogram => Some(View::Native),
        _ => Some(View::Number),
    }
}
