//! Why a panel is empty, in words: each selector of its query is looked up, and the first one that finds nothing is
//! explained.
//!
//! ```text
//! name never seen ─▶ renamed? (folded old name, other unit, known alias) ─▶ never_seen
//! name seen, matchers take all away ─▶ filtered: which matcher, what there is instead
//! series there, no samples in range ─▶ older_than_retention, sender_silent since t
//! samples there, answer still empty ─▶ zero_events (a ratio of nothing), or the query itself
//! ```

use std::sync::Arc;

use serde::Serialize;
use weir_promql::ast::{Expr, VectorSelector};
use weir_promql::labels::METRIC_NAME;
use weir_promql::parse::parse;
use weir_promql::source::{MatchOp, Matcher, SelectHints, SelectRequest, SeriesSource};

use crate::engine::{Engine, QueryContext};
use crate::error::QueryError;
use crate::source::{Span, StoreSource};

/// How many names or values a text lists.
const LISTED: usize = 5;
/// Names this similar are offered, see [`similarity`].
const SIMILAR: f64 = 0.6;

/// Why an answer is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No series was ever stored under this name.
    NeverSeen,
    /// The same thing is stored under another name.
    Renamed,
    /// A matcher takes all series away.
    Filtered,
    /// Series and samples are there, but nothing happened that could be counted.
    ZeroEvents,
    /// The range lies before the oldest data that is kept.
    OlderThanRetention,
    /// Its sender stopped.
    SenderSilent,
    /// The query is not PromQL.
    Invalid,
    /// The answer is not empty.
    NotEmpty,
}

/// A reason with its explanation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Why {
    /// The reason.
    pub reason: Reason,
    /// What to tell the reader.
    pub text: String,
}

impl Why {
    fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}

impl Engine {
    /// Why `query` shows nothing in the range.
    ///
    /// # Errors
    /// When a look-up meets a limit or data cannot be read. A query that is no PromQL is an answer, not an error.
    pub fn why(&self, query: &str, span: Span, context: &QueryContext) -> Result<Why, QueryError> {
        let expression = match parse(query, &self.options().language) {
            Ok(expression) => expression,
            Err(error) => return Ok(Why::new(Reason::Invalid, error.to_string())),
        };
        let mut selectors = Vec::new();
        collect(&expression, &mut selectors);
        let doctor = Doctor { engine: self, source: self.source(), span, context };
        let mut all_have_samples = true;
        for selector in &selectors {
            if let Some(why) = doctor.examine(selector)? {
                return Ok(why);
            }
            all_have_samples &= doctor.has_samples(&selector.matchers, doctor.span)?;
        }
        if selectors.is_empty() || !all_have_samples {
            return Ok(Why::new(Reason::ZeroEvents, "the query selects series, but none has a sample here"));
        }
        Ok(Why::new(
            Reason::ZeroEvents,
            "every series of the query has samples here, but nothing came of them: no events in the window, sides of \
             an operator that do not match, or a comparison that holds nowhere",
        ))
    }
}

/// Examines one selector after another.
struct Doctor<'a> {
    engine: &'a Engine,
    source: StoreSource,
    span: Span,
    context: &'a QueryContext,
}

impl Doctor<'_> {
    /// What is wrong with a selector; `None` when it finds samples.
    fn examine(&self, selector: &VectorSelector) -> Result<Option<Why>, QueryError> {
        if self.has_samples(&selector.matchers, self.span)? {
            return Ok(None);
        }
        let ever = Span { start_ms: i64::MIN / 1_000_000, end_ms: i64::MAX / 1_000_000 };
        let name = selector.matchers.iter().find(|m| m.name.as_ref() == METRIC_NAME && m.op == MatchOp::Equal);
        let Some(name) = name else { return Ok(Some(self.nothing_matches(&selector.matchers))) };
        let by_name = std::slice::from_ref(name);
        if self.count(by_name, ever)? == 0 {
            return self.unknown_name(&name.value).map(Some);
        }
        if let Some(why) = self.taken_away(&name.value, &selector.matchers, ever)? {
            return Ok(Some(why));
        }
        self.out_of_range(&name.value, &selector.matchers).map(Some)
    }

    /// No series has this name.
    fn unknown_name(&self, name: &str) -> Result<Why, QueryError> {
        let (names, _) = self.source.label_values(
            METRIC_NAME,
            &[],
            Span { start_ms: i64::MIN / 1_000_000, end_ms: i64::MAX / 1_000_000 },
            &self.context.budget,
        )?;
        if let Some(instead) = renamed(name, &names) {
            return Ok(Why::new(
                Reason::Renamed,
                format!("nothing is called {name}, but {instead} is here: ask for that"),
            ));
        }
        if names.is_empty() {
            return Ok(Why::new(Reason::NeverSeen, format!("{name} was never seen: no metric has arrived yet")));
        }
        let mut similar: Vec<(f64, &Arc<str>)> = names.iter().map(|other| (similarity(name, other), other)).collect();
        similar.retain(|(score, _)| *score >= SIMILAR);
        similar.sort_by(|a, b| b.0.total_cmp(&a.0));
        let similar: Vec<&str> = similar.into_iter().take(LISTED).map(|(_, other)| other.as_ref()).collect();
        let text = match similar.as_slice() {
            [] => format!("{name} was never seen"),
            similar => format!("{name} was never seen; similar: {}", similar.join(", ")),
        };
        Ok(Why::new(Reason::NeverSeen, text))
    }

    /// Which matcher takes the last series away.
    fn taken_away(&self, name: &str, matchers: &[Matcher], ever: Span) -> Result<Option<Why>, QueryError> {
        let others = matchers.iter().filter(|m| m.name.as_ref() != METRIC_NAME);
        let mut kept: Vec<Matcher> = matchers.iter().filter(|m| m.name.as_ref() == METRIC_NAME).cloned().collect();
        for matcher in others {
            let before = kept.clone();
            kept.push(matcher.clone());
            if self.count(&kept, ever)? > 0 {
                continue;
            }
            let (values, _) =
                self.source.label_values(&matcher.name, std::slice::from_ref(&before), ever, &self.context.budget)?;
            let written = format!("{}{}\"{}\"", matcher.name, symbol(matcher.op), matcher.value);
            let text = if values.is_empty() {
                format!("{name} is here, but has no label {}: {written} matches nothing", matcher.name)
            } else {
                format!("{name} is here, but {written} matches nothing; {} is {}", matcher.name, listed(&values))
            };
            return Ok(Some(Why::new(Reason::Filtered, text)));
        }
        Ok(None)
    }

    /// The series are there, but not now.
    fn out_of_range(&self, name: &str, matchers: &[Matcher]) -> Result<Why, QueryError> {
        let snapshot = self.engine.snapshot();
        let oldest_ns = snapshot.metrics.iter().map(|partition| partition.time_range().0).min().unwrap_or(i64::MAX);
        let retention_ms = self.engine.retention_ms();
        if self.span.end_ms < oldest_ns / 1_000_000 && retention_ms > 0 {
            let days = retention_ms as f64 / 86_400_000.0;
            return Ok(Why::new(
                Reason::OlderThanRetention,
                format!("the range ends before the oldest data here; metrics are kept for {days} days"),
            ));
        }
        let last = self.last_sample(matchers)?;
        let text = match last {
            Some(t_ms) if t_ms < self.span.start_ms => {
                let minutes = (self.span.end_ms - t_ms) / 60_000;
                format!(
                    "{name} was last sent {} before the end of this range: its sender is silent since",
                    ago(minutes)
                )
            }
            _ => format!("{name} has samples, but none in this range"),
        };
        Ok(Why::new(Reason::SenderSilent, text))
    }

    fn nothing_matches(&self, matchers: &[Matcher]) -> Why {
        let written: Vec<String> =
            matchers.iter().map(|m| format!("{}{}\"{}\"", m.name, symbol(m.op), m.value)).collect();
        Why::new(Reason::Filtered, format!("no series with samples here matches {{{}}}", written.join(",")))
    }

    fn count(&self, matchers: &[Matcher], span: Span) -> Result<usize, QueryError> {
        let selectors = [matchers.to_vec()];
        Ok(self.source.series(&selectors, span, &self.context.budget)?.0.len())
    }

    fn has_samples(&self, matchers: &[Matcher], span: Span) -> Result<bool, QueryError> {
        let selection = self.source.select(&request(matchers, span), &self.context.budget)?;
        for batch in selection.batches {
            if !batch?.t_ms.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Time of the newest sample before the range ends.
    fn last_sample(&self, matchers: &[Matcher]) -> Result<Option<i64>, QueryError> {
        let span = Span { start_ms: i64::MIN / 1_000_000, end_ms: self.span.end_ms };
        let selection = self.source.select(&request(matchers, span), &self.context.budget)?;
        let mut last = None;
        for batch in selection.batches {
            last = last.max(batch?.t_ms.iter().max().copied());
        }
        Ok(last)
    }
}

fn request(matchers: &[Matcher], span: Span) -> SelectRequest {
    SelectRequest {
        matchers: matchers.to_vec(),
        start_ms: span.start_ms,
        end_ms: span.end_ms,
        hints: SelectHints { histogram_stats_only: true, ..SelectHints::default() },
    }
}

/// All selectors of an expression, left to right.
fn collect<'a>(expression: &'a Expr, into: &mut Vec<&'a VectorSelector>) {
    match expression {
        Expr::Vector(selector) => into.push(selector),
        Expr::Matrix(matrix) => into.push(&matrix.selector),
        Expr::Subquery(subquery) => collect(&subquery.expr, into),
        Expr::Aggregate(aggregate) => collect(&aggregate.expr, into),
        Expr::Binary(binary) => {
            collect(&binary.left, into);
            collect(&binary.right, into);
        }
        Expr::Call(call) => call.args.iter().for_each(|arg| collect(arg, into)),
        Expr::Unary { expr, .. } | Expr::Paren { expr, .. } => collect(expr, into),
        Expr::Number(_) | Expr::Text { .. } => {}
    }
}

/// The name under which the same thing is stored: with or without the suffixes that translation adds, in another
/// unit, or as RED of spans.
fn renamed<'a>(name: &str, names: &'a [Arc<str>]) -> Option<&'a str> {
    const SUFFIXES: [&str; 9] =
        ["_total", "_seconds", "_milliseconds", "_bytes", "_ratio", "_bucket", "_count", "_sum", "_percent"];
    let stem = |name: &str| {
        let mut stem = name.replace('.', "_");
        while let Some(shorter) = SUFFIXES.iter().find_map(|suffix| stem.strip_suffix(suffix)) {
            stem = shorter.to_owned();
        }
        stem
    };
    let wanted = stem(name);
    let same = names.iter().find(|other| stem(other) == wanted);
    let folded = match wanted.as_str() {
        "http_server_duration" => "http_server_request_duration",
        "http_client_duration" => "http_client_request_duration",
        "calls" | "latency" | "traces_spanmetrics_calls" | "traces_spanmetrics_latency" | "duration" => {
            "traces_span_metrics_duration"
        }
        _ => "",
    };
    same.or_else(|| names.iter().find(|other| !folded.is_empty() && stem(other) == folded)).map(AsRef::as_ref)
}

/// Part of words that two names share, 0 to 1.
fn similarity(a: &str, b: &str) -> f64 {
    let words = |name: &str| name.split(['_', '.', ':']).map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    let (a, b) = (words(a), words(b));
    a.intersection(&b).count() as f64 / a.len().max(b.len()) as f64
}

fn symbol(op: MatchOp) -> &'static str {
    match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    }
}

fn listed(values: &[Arc<str>]) -> String {
    let shown: Vec<&str> = values.iter().take(LISTED).map(AsRef::as_ref).collect();
    match values.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} or {more} others", shown.join(", ")),
    }
}

fn ago(minutes: i64) -> String {
    match minutes {
        0..=1 => "a minute".to_owned(),
        2..=119 => format!("{minutes} minutes"),
        120..=2879 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_without_their_suffixes() {
        let names: Vec<Arc<str>> = ["http_server_request_duration_seconds_bucket", "up", "jobs_done_total"]
            .into_iter()
            .map(Arc::from)
            .collect();
        assert_eq!(renamed("jobs_done", &names), Some("jobs_done_total"));
        assert_eq!(renamed("jobs.done", &names), Some("jobs_done_total"));
        assert_eq!(renamed("http_server_duration_milliseconds", &names), Some(names[0].as_ref()));
        assert_eq!(renamed("nothing", &names), None);
    }

    #[test]
    fn similar_names_share_words() {
        assert!(similarity("node_cpu_seconds_total", "node_cpu_guest_seconds_total") >= SIMILAR);
        assert!(similarity("up", "down") < SIMILAR);
    }
}
