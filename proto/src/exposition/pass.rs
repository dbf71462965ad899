//! One page being read, line by line.

use std::sync::Arc;

use super::family::{Family, FamilyType, temporality};
use super::line::{self, SeriesText, start_of};
use super::memory::{Is, NONE, PageMemory, Seen, index, push};
use super::number;
use super::{MetricRelabel, Page, PageOutcome, ReadError, TargetIdentity};
use crate::attribute::{Attributes, KeyValue};
use crate::batch::MetricBatch;
use crate::identity::{Scope, SeriesIdentity, SeriesParts};
use crate::read::Reason;

/// The label that holds the metric's name.
const METRIC_NAME: &str = "__name__";

/// Labels of a sample while they are put together.
type Labels = Vec<(Arc<str>, Arc<str>)>;

/// Whose page is read.
#[derive(Clone, Copy)]
pub(super) struct Whose<'r> {
    pub(super) target: &'r TargetIdentity,
    /// The target's `job` and `instance`.
    pub(super) identifying: &'r [(Arc<str>, Arc<str>)],
}

/// One page being read.
pub(super) struct Pass<'r> {
    memory: &'r mut PageMemory,
    whose: Whose<'r>,
    page: &'r Page<'r>,
    relabel: Option<&'r dyn MetricRelabel>,
    into: &'r mut MetricBatch,
    scope: Arc<Scope>,
    is_openmetrics: bool,
    /// Where the next line begins.
    at: usize,
    /// Its number, from 1.
    line: usize,
    previous: u32,
    family: u32,
    is_ended: bool,
    outcome: PageOutcome,
}

impl<'r> Pass<'r> {
    pub(super) fn new(
        memory: &'r mut PageMemory,
        whose: Whose<'r>,
        page: &'r Page<'r>,
        into: &'r mut MetricBatch,
    ) -> Self {
        Self {
            memory,
            whose,
            page,
            relabel: None,
            into,
            scope: super::scope(),
            is_openmetrics: page.content_type.trim_start().starts_with("application/openmetrics-text"),
            at: 0,
            line: 0,
            previous: NONE,
            family: 0,
            is_ended: false,
            outcome: PageOutcome::default(),
        }
    }

    pub(super) fn relabelled(mut self, relabel: Option<&'r dyn MetricRelabel>) -> Self {
        self.relabel = relabel;
        self
    }

    pub(super) fn read(mut self) -> Result<PageOutcome, ReadError> {
        while self.at < self.page.body.len() {
            self.line += 1;
            self.next_line().map_err(|what| ReadError::BadLine { line: self.line, what })?;
        }
        if self.is_openmetrics && !self.is_ended {
            return Err(ReadError::BadLine { line: self.line, what: "the page does not end with # EOF".to_owned() });
        }
        Ok(self.outcome)
    }

    #[inline]
    fn next_line(&mut self) -> Result<(), String> {
        self.memory.count_line();
        let rest = &self.page.body[self.at..];
        if !self.is_ended
            && let Some((slot, bytes, is)) = self.memory.predicted(self.previous, self.family)
            && rest.starts_with(bytes)
        {
            self.previous = slot;
            self.at += bytes.len();
            return self.follow(is);
        }
        self.unpredicted_line(rest)
    }

    /// Goes on behind the remembered bytes of a line.
    #[inline]
    fn follow(&mut self, is: Is) -> Result<(), String> {
        match is {
            Is::Comment { family } => {
                self.family = family;
                Ok(())
            }
            Is::Sample { series } => self.tail(Some(series)),
            Is::Dropped => self.tail(None),
        }
    }

    fn unpredicted_line(&mut self, rest: &'r [u8]) -> Result<(), String> {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = &rest[..end];
        let with_newline = &rest[..(end + 1).min(rest.len())];
        if self.is_ended {
            return Err("text after # EOF".to_owned());
        }
        match line.get(line::blank(line, 0)) {
            None if self.is_openmetrics => Err("a blank line, which OpenMetrics does not allow".to_owned()),
            None => {
                self.at += with_newline.len();
                Ok(())
            }
            Some(b'#') => {
                let is = match self.memory.find(self.family, with_newline) {
                    Some((slot, is)) => {
                        self.step(slot);
                        is
                    }
                    None => self.new_comment(line, with_newline)?,
                };
                self.at += with_newline.len();
                self.follow(is)
            }
            Some(_) => {
                let len = line::prefix_len(line).ok_or_else(|| wrong_line(line))?;
                let prefix = &line[..len];
                let is = match self.memory.find(self.family, prefix) {
                    Some((slot, is)) => {
                        self.step(slot);
                        is
                    }
                    None => self.new_sample(prefix)?,
                };
                self.at += len;
                self.follow(is)
            }
        }
    }

    /// Remembers that the line `slot` follows the one before.
    fn step(&mut self, slot: u32) {
        self.memory.link(self.previous, slot);
        self.previous = slot;
    }

    /// Reads a comment that was not seen before in this family.
    fn new_comment(&mut self, line: &[u8], with_newline: &[u8]) -> Result<Is, String> {
        let text = std::str::from_utf8(line).map_err(|_| "text that is not UTF-8".to_owned())?;
        let comment = text.trim_start_matches([' ', '\t']).strip_prefix('#').unwrap_or_default();
        let words = comment.trim_start_matches([' ', '\t']);
        let (keyword, rest) = words.split_once([' ', '\t']).unwrap_or((words, ""));
        let rest = rest.trim_start_matches([' ', '\t']);
        // `#TYPE` and a keyword with nothing behind it are ordinary comments, as they are to Prometheus.
        let describes = words.len() < comment.len() && !rest.is_empty();
        if self.is_openmetrics && text == "# EOF" {
            self.is_ended = true;
            return Ok(Is::Comment { family: self.family });
        }
        let family = match keyword {
            "HELP" | "TYPE" | "UNIT" if describes => self.described_family(keyword, rest)?,
            _ => self.family,
        };
        let is = Is::Comment { family };
        // Without its line end a comment could be taken for the beginning of a longer one.
        if with_newline.ends_with(b"\n") {
            let slot = self.memory.insert(self.family, with_newline, is);
            self.step(slot);
        }
        Ok(is)
    }

    /// The family after `# keyword rest`.
    fn described_family(&mut self, keyword: &str, rest: &str) -> Result<u32, String> {
        let (name, value) = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').ok_or_else(|| "a quoted text that is not closed".to_owned())? + 2;
            let braces = format!("{{{}}}", &rest[..end]);
            let mut series = SeriesText { name: "".into(), labels: Vec::new() };
            line::labels(&braces, &mut series)?;
            (series.name.into_owned(), &rest[end..])
        } else {
            let (name, value) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
            (name.to_owned(), value)
        };
        let current = self.memory.family(self.family);
        let mut family = if current.name == name { current.clone() } else { Family { name, ..Family::default() } };
        let value = value.trim_matches([' ', '\t']);
        match keyword {
            "TYPE" => {
                family.kind = FamilyType::parse(value).ok_or_else(|| format!("invalid metric type {value:?}"))?;
            }
            "UNIT" => value.clone_into(&mut family.unit),
            _ => {}
        }
        Ok(self.memory.family_id(family))
    }

    /// Reads name and labels of a sample that was not seen before in this family.
    fn new_sample(&mut self, prefix: &[u8]) -> Result<Is, String> {
        let text = line::series(prefix)?;
        let family = self.memory.family(self.family);
        let kind = family.kind_of(&text.name);
        let number_label = family.number_label(&text.name);
        let unit = if kind == crate::identity::MetricKind::Unknown { String::new() } else { family.unit.clone() };
        let mut labels: Labels = Vec::with_capacity(text.labels.len() + self.whose.target.labels.len() + 3);
        for (name, value) in &text.labels {
            let is_number = number_label.is_some_and(|label| label.name() == name);
            let normalised = if is_number { number::normalised_bound(value) } else { None };
            let value = self.memory.text(normalised.as_deref().unwrap_or(value));
            labels.push((self.memory.text(name), value));
        }
        let Whose { target, identifying } = self.whose;
        add_target_labels(&mut labels, target, identifying);
        labels.retain(|label| !label.1.is_empty());
        labels.push((METRIC_NAME.into(), self.memory.text(&text.name)));
        labels.sort();
        let keep = self.relabel.is_none_or(|relabel| relabel.relabel(&mut labels));
        let is = if keep {
            let name = take_name(&mut labels)?;
            let identity = SeriesIdentity::new(SeriesParts {
                name,
                unit: self.memory.text(&unit),
                kind,
                temporality: temporality(kind),
                resource: Arc::clone(&target.resource),
                scope: Arc::clone(&self.scope),
                attributes: attributes(labels, identifying),
            });
            Is::Sample { series: self.memory.series_id(identity) }
        } else {
            Is::Dropped
        };
        let slot = self.memory.insert(self.family, prefix, is);
        self.step(slot);
        Ok(is)
    }

    /// Reads value, time and exemplar, up to the line's end.
    #[inline]
    fn tail(&mut self, series: Option<u32>) -> Result<(), String> {
        let body = self.page.body;
        let (token, mut rest) = line::token(&body[self.at..]);
        let value = number::value(token).ok_or_else(|| format!("invalid value {:?}", shown(token)))?;
        let (mut time, mut exemplar) = (None, None);
        if !matches!(rest.first(), None | Some(b'\n')) {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            (time, exemplar) = self.behind_value(&rest[..end])?;
            rest = &rest[end..];
        }
        self.at = body.len() - rest.len() + usize::from(!rest.is_empty());
        self.outcome.scraped += 1;
        let Some(series) = series else { return Ok(()) };
        self.outcome.after_relabel += 1;
        self.keep(series, time, value);
        if let Some(exemplar) = exemplar {
            self.exemplar(series, exemplar, time)?;
        }
        Ok(())
    }

    #[inline]
    fn keep(&mut self, series: u32, time: Option<i64>, value: f64) {
        let (at, seen) = self.memory.see(series, time.is_some(), self.into);
        match seen {
            Seen::OnThisPage if time.is_none() => {
                let line = self.line;
                self.outcome.refused.refuse(Reason::DuplicateSample, || format!("line {line} of the page"));
                return;
            }
            Seen::NotLately => self.outcome.added += 1,
            Seen::OnThisPage | Seen::OnLastPage => {}
        }
        push(self.into, at, time.unwrap_or(self.page.at_ns), value);
    }

    /// Time (when it counts) and exemplar of `rest`, which begins behind the value.
    fn behind_value<'t>(&self, rest: &'t [u8]) -> Result<(Option<i64>, Option<&'t [u8]>), String> {
        let rest = &rest[line::blank(rest, 0)..];
        let (token, after) = if rest.starts_with(b"#") { (&rest[..0], rest) } else { line::token(rest) };
        let time = match token {
            [] => None,
            token if self.is_openmetrics => Some(seconds(token)?),
            token => Some(milliseconds(token)?),
        };
        let after = &after[line::blank(after, 0)..];
        match after {
            [] => Ok((time.filter(|_| self.whose.target.honor_timestamps), None)),
            [b'#', exemplar @ ..] if self.is_openmetrics => {
                Ok((time.filter(|_| self.whose.target.honor_timestamps), Some(exemplar)))
            }
            _ => Err(format!("unexpected {:?} behind the value", shown(after))),
        }
    }

    /// Appends the exemplar `{labels} value [time]`.
    fn exemplar(&mut self, series: u32, text: &[u8], time: Option<i64>) -> Result<(), String> {
        let len = line::prefix_len(text).ok_or_else(|| "an exemplar without a value".to_owned())?;
        let braces = std::str::from_utf8(&text[..len]).map_err(|_| "text that is not UTF-8".to_owned())?;
        let braces = braces.trim_matches([' ', '\t']);
        if !braces.starts_with('{') {
            return Err(format!("an exemplar without labels: {:?}", start_of(braces)));
        }
        let mut labels = SeriesText { name: "exemplar".into(), labels: Vec::new() };
        line::labels(braces, &mut labels)?;
        let (token, rest) = line::token(&text[len..]);
        let value = number::value(token).ok_or_else(|| format!("invalid exemplar value {:?}", shown(token)))?;
        let (own_time, rest) = line::token(&rest[line::blank(rest, 0)..]);
        if line::blank(rest, 0) < rest.len() {
            return Err(format!("unexpected {:?} behind the exemplar", shown(rest)));
        }
        let own_time = if own_time.is_empty() { None } else { Some(seconds(own_time)?) };
        let (at, _) = self.memory.see(series, time.is_some(), self.into);
        let into = &mut self.into.exemplars;
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        for (name, value) in &labels.labels {
            let is_id = match name.as_ref() {
                "trace_id" => hex(value, &mut trace_id),
                "span_id" => hex(value, &mut span_id),
                _ => false,
            };
            if !is_id {
                into.attributes.push(KeyValue::new(name.as_ref(), value.as_ref()));
            }
        }
        into.series.push(at);
        into.time_ns.push(own_time.or(time).unwrap_or(self.page.at_ns));
        into.value.push(value);
        into.trace_id.push(trace_id);
        into.span_id.push(span_id);
        into.attribute_offsets.push(index(into.attributes.len()));
        Ok(())
    }
}

/// Joins the target's labels with those of the page, whose labels of the same name win or are renamed.
fn add_target_labels(labels: &mut Labels, target: &TargetIdentity, identifying: &[(Arc<str>, Arc<str>)]) {
    let own = labels.len();
    for label in identifying.iter().chain(&target.labels).filter(|label| !label.1.is_empty()) {
        match labels[..own].iter().position(|known| known.0 == label.0) {
            None => labels.push(label.clone()),
            Some(_) if target.honor_labels => {}
            Some(at) => {
                let mut exported = format!("exported_{}", label.0);
                while labels.iter().any(|known| known.0.as_ref() == exported) {
                    exported.insert_str(0, "exported_");
                }
                labels[at].0 = exported.into();
                labels.push(label.clone());
            }
        }
    }
}

/// Takes `__name__` out of the labels.
fn take_name(labels: &mut Labels) -> Result<Arc<str>, String> {
    let at = labels.iter().position(|label| label.0.as_ref() == METRIC_NAME && !label.1.is_empty());
    at.map(|at| labels.swap_remove(at).1).ok_or_else(|| "relabelling left a sample without a name".to_owned())
}

/// The labels as attributes. `job` and `instance` stand in the resource already; one that relabelling removed is
/// kept empty, since else the resource's would be shown.
fn attributes(labels: Labels, identifying: &[(Arc<str>, Arc<str>)]) -> Attributes {
    let removed = identifying.iter().filter(|id| !id.1.is_empty() && !labels.iter().any(|label| label.0 == id.0));
    let removed: Vec<_> = removed.map(|id| KeyValue::new(Arc::clone(&id.0), "")).collect();
    let kept = labels.into_iter().filter(|label| !label.1.is_empty() && !identifying.contains(label));
    kept.map(|(name, value)| KeyValue::new(name, value)).chain(removed).collect()
}

/// A time in milliseconds, as nanoseconds.
fn milliseconds(token: &[u8]) -> Result<i64, String> {
    let number = std::str::from_utf8(token).ok().and_then(|text| text.parse::<i64>().ok());
    let time = number.filter(|number| *number >= 0).and_then(|number| number.checked_mul(1_000_000));
    time.ok_or_else(|| format!("invalid timestamp {:?}", shown(token)))
}

/// A time in seconds, with a fraction, as nanoseconds; Prometheus keeps milliseconds of it, and so do we.
fn seconds(token: &[u8]) -> Result<i64, String> {
    let number = number::value(token).filter(|number| number.is_finite()).map(|number| number * 1e3);
    let time = number.filter(|ms| ms.abs() < 9.0e12).map(|ms| ms as i64 * 1_000_000);
    time.ok_or_else(|| format!("invalid timestamp {:?}", shown(token)))
}

/// Reads exactly `id.len()` bytes of hexadecimal.
pub(crate) fn hex(text: &str, id: &mut [u8]) -> bool {
    if text.len() != 2 * id.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return false;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap_or_default();
    }
    true
}

fn wrong_line(line: &[u8]) -> String {
    format!("no sample: {:?}", shown(line))
}

fn shown(bytes: &[u8]) -> String {
    start_of(&String::from_utf8_lossy(&bytes[..bytes.len().min(200)]))
}
