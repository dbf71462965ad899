//! Expressions at random, all of them right.

use super::data::{Random, World};

/// Names and times are of this world; the same seed gives the same expression in another.
pub(super) struct Writer<'a> {
    pub(super) random: &'a mut Random,
    pub(super) world: World,
}

const ELEMENTWISE: &[&str] =
    &["abs", "ceil", "sgn", "exp", "sqrt", "round", "atan", "histogram_sum", "histogram_count"];
const ROLLUPS: &[&str] = &[
    "rate",
    "increase",
    "irate",
    "delta",
    "idelta",
    "sum_over_time",
    "avg_over_time",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "stddev_over_time",
    "changes",
    "resets",
    "last_over_time",
    "first_over_time",
    "present_over_time",
    "deriv",
    "mad_over_time",
];
const AGGREGATIONS: &[&str] =
    &["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar", "topk(2,", "bottomk(3,", "quantile(0.7,"];

impl Writer<'_> {
    fn metric(&mut self) -> &'static str {
        self.random.one(&["calls_total", "warmth", "warmth", "size"])
    }

    fn selector(&mut self) -> String {
        let World { job, instance, .. } = self.world;
        let metric = self.metric();
        match self.random.below(5) {
            0 => format!("{metric}{{{job}=\"api\"}}"),
            1 => format!("{metric}{{{instance}=~\"a|b\"}}"),
            2 => format!("{metric}{{{job}!=\"db\", {instance}!~\"c.*\"}}"),
            _ => metric.to_owned(),
        }
    }

    /// `offset` and `@`, sometimes.
    fn shifted(&mut self) -> String {
        match self.random.below(8) {
            0 => " offset 5m".to_owned(),
            1 => " offset -90s".to_owned(),
            2 => format!(" @ {}", self.world.begin + 1800),
            3 => format!(" @ {} offset 1m", self.world.begin + 2400),
            _ => String::new(),
        }
    }

    fn rollup(&mut self, depth: usize) -> String {
        let function = self.random.one(ROLLUPS);
        let range = if depth > 0 && self.random.below(4) == 0 {
            format!("({})[10m:{}]", self.vector(depth - 1), self.random.one(&["1m", "30s", "2m"]))
        } else {
            format!("{}[{}]", self.selector(), self.random.one(&["1m", "5m", "7m30s"]))
        };
        format!("{function}({range}{})", self.shifted())
    }

    fn aggregation(&mut self, depth: usize) -> String {
        let World { job, instance, .. } = self.world;
        let op = self.random.one(AGGREGATIONS);
        let inner = self.vector(depth - 1);
        let inner = if op.contains('(') { format!("{inner})") } else { format!("({inner})") };
        match self.random.below(4) {
            0 => format!("{op}{inner} by ({job})"),
            1 => format!("{op}{inner} without ({instance})"),
            2 => format!("{op}{inner} by ({job}, {instance})"),
            _ => format!("{op}{inner}"),
        }
    }

    fn binary(&mut self, depth: usize) -> String {
        let World { job, instance, .. } = self.world;
        let left = self.vector(depth - 1);
        let right = self.vector(depth - 1);
        match self.random.below(13) {
            7 => format!("({left}) / ({left})"),
            8 => format!("({left}) > -20 and ({left}) < 300"),
            9 => self.same_twice(),
            10 => format!("sum by (zone) (({left}) * on ({job}, {instance}) group_left (zone) place_info)"),
            11 => format!("{} {} on ({job}) {}", self.selector(), self.random.one(&["and", "unless"]), self.selector()),
            12 => format!("{} / {}", self.selector(), self.selector()),
            0 => format!("({left}) {} 3.7", self.random.one(&["+", "-", "*", "/", "%", "^"])),
            1 => format!("({left}) {} 41.37", self.random.one(&[">", "<", ">= bool", "<= bool", "!="])),
            2 => format!("({left}) {} ({right})", self.random.one(&["+", "-", "*", "/"])),
            3 => format!("({left}) {} ({right})", self.random.one(&["and", "or", "unless"])),
            4 => format!("({left}) * on ({job}) group_left sum by ({job}) ({right})"),
            5 => format!("({left}) / ignoring ({instance}) group_left max without ({instance}) ({right})"),
            _ => format!("({left}) unless on ({job}) ({right})"),
        }
    }

    /// One selector in two places.
    fn same_twice(&mut self) -> String {
        let selector = self.selector();
        match self.random.below(4) {
            0 => format!("{selector} - {selector} offset 10m"),
            1 => format!("rate({selector}[5m]) + increase({selector}[5m])"),
            2 => format!("{selector} / ({selector} offset 17s)"),
            _ => format!("max_over_time({selector}[5m]) - min_over_time({selector}[5m] offset -2m)"),
        }
    }

    /// A label written by a function.
    fn relabelled(&mut self, depth: usize) -> String {
        let World { job, instance, .. } = self.world;
        let inner = self.vector(depth - 1);
        let name = self.random.one(&["place", instance]);
        match self.random.below(2) {
            0 => format!("sum by ({name}) (label_replace({inner}, \"{name}\", \"x$1\", \"{job}\", \"(.).*\"))"),
            _ => format!("count by ({name}) (label_join({inner}, \"{name}\", \"-\", \"{job}\", \"zone\"))"),
        }
    }

    pub(super) fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            let shifted = self.shifted();
            return format!("{}{shifted}", self.selector());
        }
        match self.random.below(10) {
            9 => self.relabelled(depth),
            0 | 1 => self.rollup(depth),
            2..=4 => self.aggregation(depth),
            5 | 6 => self.binary(depth),
            7 => format!("histogram_quantile(0.8, {})", self.quantiled()),
            _ => format!("{}({})", self.random.one(ELEMENTWISE), self.vector(depth - 1)),
        }
    }

    fn quantiled(&mut self) -> String {
        let World { job, .. } = self.world;
        match self.random.below(3) {
            0 => format!("sum by (le, {job}) (rate(wait_bucket[5m]))"),
            1 => "rate(wait_bucket[2m])".to_owned(),
            _ => "sum(rate(size[5m]))".to_owned(),
        }
    }
}
