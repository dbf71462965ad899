//! Label matchers, compiled once per request: for the index of a partition, and for finished label sets.
//!
//! Patterns are the engine's own. One that is only literals joined by `|` is not run as a pattern: it is looked up.

use std::sync::Arc;

use weir_promql::labels::{Labels, METRIC_NAME};
use weir_promql::matchers::CompiledMatcher;
use weir_promql::source::{MatchOp, Matcher, SourceError};
use weir_store::{LabelMatcher, LabelTest};

/// The label of classic histogram bounds.
pub(crate) const BOUND: &str = "le";

/// One matcher, ready to test.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    /// Label name.
    pub(crate) name: Arc<str>,
    /// How it compares.
    op: MatchOp,
    test: CompiledMatcher,
}

impl Compiled {
    /// Compiles one matcher.
    pub(crate) fn new(matcher: &Matcher) -> Result<Self, SourceError> {
        let test = CompiledMatcher::new(matcher).map_err(SourceError::Limit)?;
        Ok(Self { name: Arc::clone(&matcher.name), op: matcher.op, test })
    }

    /// Compiles all.
    pub(crate) fn all(matchers: &[Matcher]) -> Result<Vec<Self>, SourceError> {
        matchers.iter().map(Self::new).collect()
    }

    /// The one text that the label must be, where the matcher is an equality.
    pub(crate) fn as_equal(&self) -> Option<&Arc<str>> {
        match (self.op, self.test.literals()) {
            (MatchOp::Equal, Some([value])) => Some(value),
            _ => None,
        }
    }

    /// Whether a label value passes; a label that is not there is the empty text.
    pub(crate) fn accepts(&self, value: &str) -> bool {
        match self.as_equal() {
            Some(wanted) => wanted.as_ref() == value || self.same_bound(wanted, value),
            None => self.test.matches(value),
        }
    }

    /// `le="1"` and `le="1.0"` are one bound, whoever wrote it.
    fn same_bound(&self, wanted: &str, value: &str) -> bool {
        if self.name.as_ref() != BOUND {
            return false;
        }
        match (wanted.parse::<f64>(), value.parse::<f64>()) {
            (Ok(wanted), Ok(value)) => wanted == value,
            _ => false,
        }
    }

    /// For the index of a partition, under `name`.
    pub(crate) fn for_index(&self, name: &Arc<str>) -> LabelMatcher {
        let test = match (self.op, self.test.literals()) {
            (MatchOp::Equal, Some([value])) => LabelTest::Equal(Arc::clone(value)),
            (_, Some(values)) => LabelTest::OneOf(values.into()),
            (_, None) => {
                let this = self.clone();
                LabelTest::Accept(Arc::new(move |value| this.accepts(value)))
            }
        };
        LabelMatcher { name: Arc::clone(name), test }
    }
}

/// Whether `labels` pass all matchers.
pub(crate) fn all_accept(matchers: &[Compiled], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.accepts(labels.value(&matcher.name)))
}

/// The text that `__name__` must be, where one matcher says so.
pub(crate) fn name_of(matchers: &[Compiled]) -> Option<&Arc<str>> {
    let name = matchers.iter().filter(|matcher| matcher.name.as_ref() == METRIC_NAME).find_map(Compiled::as_equal);
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(op: MatchOp, pattern: &str, value: &str) -> bool {
        let matcher = Matcher { name: "a".into(), op, value: pattern.into() };
        Compiled::new(&matcher).unwrap().accepts(value)
    }

    #[test]
    fn patterns_are_anchored_and_a_dot_takes_a_line_end() {
        assert!(accepts(MatchOp::Regex, "a.b", "a\nb"));
        assert!(!accepts(MatchOp::Regex, "a.b", "xa.b"));
        assert!(accepts(MatchOp::Regex, "a|b", "b"));
        assert!(!accepts(MatchOp::Regex, "a|b", "ab"));
        assert!(accepts(MatchOp::NotRegex, "a|b", ""));
        assert!(accepts(MatchOp::Regex, "", ""));
        assert!(accepts(MatchOp::Regex, "5..", "503"));
        assert!(!accepts(MatchOp::NotRegex, "5..", "503"));
    }

    #[test]
    fn bounds_are_compared_as_numbers() {
        let matcher = Matcher { name: BOUND.into(), op: MatchOp::Equal, value: "1".into() };
        let compiled = Compiled::new(&matcher).unwrap();
        assert!(compiled.accepts("1.0") && compiled.accepts("1") && !compiled.accepts("10.0"));
    }
}
