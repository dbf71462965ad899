//! Relabelling, exactly as Prometheus does it, for targets (`relabel_configs`) and samples (`metric_relabel_configs`).
//! Source: Prometheus' model/relabel/relabel.go.

use std::sync::Arc;

use md5::{Digest, Md5};
use regex::Regex;
use weir_proto::config::{RelabelAction, RelabelConfig};
use weir_proto::exposition::MetricRelabel;

/// Labels in no particular order, each name at most once; an empty value is the same as no label.
pub type Labels = Vec<(Arc<str>, Arc<str>)>;

/// A rule that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("rule {rule}: {message}")]
pub struct RelabelError {
    /// Which one, from 1.
    pub rule: usize,
    /// What is wrong.
    pub message: String,
}

/// Compiled rules, applied one after another.
#[derive(Clone, Debug, Default)]
pub struct Relabeling {
    rules: Arc<[Rule]>,
}

#[derive(Debug)]
struct Rule {
    config: RelabelConfig,
    regex: Regex,
}

impl Relabeling {
    /// Compiles the rules of a file.
    ///
    /// # Errors
    /// When a regex does not compile or a rule lacks what its action needs.
    pub fn compile(configs: &[RelabelConfig]) -> Result<Self, RelabelError> {
        let compile = |(at, config): (usize, &RelabelConfig)| {
            Rule::compile(config).map_err(|message| RelabelError { rule: at + 1, message })
        };
        Ok(Self { rules: configs.iter().enumerate().map(compile).collect::<Result<_, _>>()? })
    }

    /// Whether there are no rules.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Changes `labels`; false when a rule drops them.
    pub fn apply(&self, labels: &mut Labels) -> bool {
        self.rules.iter().all(|rule| rule.apply(labels))
    }
}

impl PartialEq for Relabeling {
    /// By what was configured.
    fn eq(&self, other: &Self) -> bool {
        self.rules.iter().map(|rule| &rule.config).eq(other.rules.iter().map(|rule| &rule.config))
    }
}

impl MetricRelabel for Relabeling {
    fn relabel(&self, labels: &mut Labels) -> bool {
        self.apply(labels)
    }
}

impl Rule {
    fn compile(config: &RelabelConfig) -> Result<Self, String> {
        use RelabelAction as Act;
        let regex = Regex::new(&format!("^(?s:{})$", config.regex)).map_err(|error| error.to_string())?;
        let needs_target = matches!(
            config.action,
            Act::Replace | Act::HashMod | Act::Lowercase | Act::Uppercase | Act::KeepEqual | Act::DropEqual
        );
        if needs_target && config.target_label.is_empty() {
            return Err(format!("relabel configuration for {:?} action requires 'target_label' value", config.action));
        }
        if config.action == Act::HashMod && config.modulus == 0 {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        Ok(Self { config: config.clone(), regex })
    }

    fn apply(&self, labels: &mut Labels) -> bool {
        use RelabelAction as Act;
        let config = &self.config;
        let joined = || join(labels, &config.source_labels, &config.separator);
        match config.action {
            Act::Keep => return self.regex.is_match(&joined()),
            Act::Drop => return !self.regex.is_match(&joined()),
            Act::KeepEqual => return find(labels, &config.target_label) == joined(),
            Act::DropEqual => return find(labels, &config.target_label) != joined(),
            Act::Replace => self.replace(labels),
            Act::Lowercase => set(labels, &config.target_label, &joined().to_lowercase()),
            Act::Uppercase => set(labels, &config.target_label, &joined().to_uppercase()),
            Act::HashMod => set(labels, &config.target_label, &(hash(&joined()) % config.modulus).to_string()),
            Act::LabelMap => self.map(labels),
            Act::LabelDrop => labels.retain(|(name, _)| !self.regex.is_match(name)),
            Act::LabelKeep => labels.retain(|(name, _)| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut Labels) {
        let value = join(labels, &self.config.source_labels, &self.config.separator);
        let Some(captures) = self.regex.captures(&value) else { return };
        let (mut target, mut replacement) = (String::new(), String::new());
        captures.expand(&self.config.target_label, &mut target);
        if target.is_empty() {
            return;
        }
        captures.expand(&self.config.replacement, &mut replacement);
        set(labels, &target, &replacement);
    }

    fn map(&self, labels: &mut Labels) {
        let mapped: Labels = labels
            .iter()
            .filter(|(name, _)| self.regex.is_match(name))
            .map(|(name, value)| {
                (self.regex.replace_all(name, self.config.replacement.as_str()).as_ref().into(), Arc::clone(value))
            })
            .collect();
        for (name, value) in mapped {
            set(labels, &name, &value);
        }
    }
}

/// The value of a label; empty when it is not there.
pub(super) fn find<'l>(labels: &'l Labels, name: &str) -> &'l str {
    labels.iter().find(|(known, _)| **known == *name).map_or("", |(_, value)| value)
}

/// Sets a label; an empty value removes it.
pub(super) fn set(labels: &mut Labels, name: &str, value: &str) {
    let at = labels.iter().position(|(known, _)| **known == *name);
    match at {
        Some(at) if value.is_empty() => drop(labels.remove(at)),
        Some(at) => labels[at].1 = value.into(),
        None if value.is_empty() => {}
        None => labels.push((name.into(), value.into())),
    }
}

fn join(labels: &Labels, sources: &[String], separator: &str) -> String {
    let values: Vec<_> = sources.iter().map(|source| find(labels, source)).collect();
    values.join(separator)
}

/// The last eight bytes of the MD5, as Prometheus takes them: sharding by `hashmod` agrees with its.
fn hash(value: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(value.as_bytes()).into();
    let [.., a, b, c, d, e, f, g, h] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn rule(action: RelabelAction, sources: &[&str]) -> RelabelConfig {
        let source_labels = sources.iter().map(ToString::to_string).collect();
        RelabelConfig { action, source_labels, ..RelabelConfig::default() }
    }

    /// Applies one rule to a=foo, b=bar, c=baz and shows what is left, sorted.
    fn shown(config: RelabelConfig) -> String {
        let mut labels = labels(&[("a", "foo"), ("b", "bar"), ("c", "baz")]);
        if !Relabeling::compile(&[config]).unwrap().apply(&mut labels) {
            return "dropped".to_owned();
        }
        let mut shown: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        shown.sort();
        shown.join(" ")
    }

    // The cases are those of Prometheus' relabel_test.go, by meaning.
    #[test]
    fn replace_expands_groups_in_value_and_target_and_an_empty_result_removes() {
        let base = rule(RelabelAction::Replace, &["a"]);
        let with = |regex: &str, target: &str, replacement: &str| RelabelConfig {
            regex: regex.into(),
            target_label: target.into(),
            replacement: replacement.into(),
            ..base.clone()
        };
        assert_eq!(shown(with("f(.*)", "d", "ch${1}-ch${1}")), "a=foo b=bar c=baz d=choo-choo");
        assert_eq!(shown(with("no(.*)", "d", "x")), "a=foo b=bar c=baz", "anchored, and no match changes nothing");
        assert_eq!(shown(with("o", "d", "x")), "a=foo b=bar c=baz");
        assert_eq!(shown(with("(f).*", "${1}_new", "v")), "a=foo b=bar c=baz f_new=v");
        assert_eq!(shown(with("foo", "a", "")), "b=bar c=baz");
        let joined =
            RelabelConfig { source_labels: vec!["a".into(), "none".into(), "b".into()], ..with("(.*)", "d", "$1") };
        assert_eq!(shown(joined), "a=foo b=bar c=baz d=foo;;bar");
    }

    #[test]
    fn keep_and_drop_and_their_equals() {
        let with = |action, regex: &str| RelabelConfig { regex: regex.into(), ..rule(action, &["a"]) };
        assert_eq!(shown(with(RelabelAction::Keep, "f.o")), "a=foo b=bar c=baz");
        assert_eq!(shown(with(RelabelAction::Keep, "f")), "dropped");
        assert_eq!(shown(with(RelabelAction::Drop, "f.o|x")), "dropped");
        assert_eq!(shown(with(RelabelAction::Drop, "f")), "a=foo b=bar c=baz");
        let equal = |action, target: &str| RelabelConfig { target_label: target.into(), ..rule(action, &["a"]) };
        assert_eq!(shown(equal(RelabelAction::KeepEqual, "b")), "dropped");
        assert_eq!(shown(equal(RelabelAction::DropEqual, "b")), "a=foo b=bar c=baz");
    }

    #[test]
    fn names_are_mapped_dropped_kept_and_values_change_case() {
        let with = |action, regex: &str, replacement: &str| RelabelConfig {
            regex: regex.into(),
            replacement: replacement.into(),
            ..rule(action, &[])
        };
        assert_eq!(shown(with(RelabelAction::LabelMap, "(a|b)", "map_$1")), "a=foo b=bar c=baz map_a=foo map_b=bar");
        assert_eq!(shown(with(RelabelAction::LabelDrop, "a|b.*", "")), "c=baz");
        assert_eq!(shown(with(RelabelAction::LabelKeep, "a|b", "")), "a=foo b=bar");
        let upper = RelabelConfig { target_label: "a".into(), ..rule(RelabelAction::Uppercase, &["b"]) };
        assert_eq!(shown(upper), "a=BAR b=bar c=baz");
    }

    #[test]
    fn hashmod_agrees_with_prometheus() {
        let config = RelabelConfig { target_label: "d".into(), modulus: 1000, ..rule(RelabelAction::HashMod, &["c"]) };
        assert_eq!(shown(config), "a=foo b=bar c=baz d=976");
    }

    #[test]
    fn a_wrong_rule_is_named() {
        let broken = RelabelConfig { regex: "(".into(), ..rule(RelabelAction::Keep, &["a"]) };
        let error = Relabeling::compile(&[rule(RelabelAction::Keep, &["a"]), broken]).unwrap_err();
        assert_eq!(error.rule, 2);
        let error = Relabeling::compile(&[rule(RelabelAction::HashMod, &["a"])]).unwrap_err();
        assert!(error.to_string().contains("target_label"), "{error}");
    }
}
