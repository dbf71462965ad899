//! What a query's predicates say about metric and time, so that only those chunks are decoded. Everything found here
//! is applied again above: it may only be too wide, never too narrow.

use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::scalar::ScalarValue;

/// The part of the data that can pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// First ns.
    pub(super) from_ns: i64,
    /// Last ns.
    pub(super) to_ns: i64,
    /// Texts that columns must be one of.
    pub(super) texts: Vec<(String, Vec<String>)>,
}

impl Bounds {
    /// Reads the predicates, all of which must hold; `time` is the name of the time column.
    pub(super) fn of(filters: &[Expr], time: &str) -> Self {
        let mut bounds = Self { from_ns: i64::MIN, to_ns: i64::MAX, texts: Vec::new() };
        filters.iter().for_each(|filter| bounds.narrow(filter, time));
        bounds
    }

    /// Whether a row with `value` in `column` can pass.
    pub(super) fn admits(&self, column: &str, value: &str) -> bool {
        self.texts.iter().filter(|text| text.0 == column).all(|text| text.1.iter().any(|wanted| wanted == value))
    }

    fn narrow(&mut self, filter: &Expr, time: &str) {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                self.narrow(left, time);
                self.narrow(right, time);
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                if let (Expr::Column(column), Expr::Literal(value, _)) = (left.as_ref(), right.as_ref()) {
                    self.compare(&column.name, *op, value, time);
                } else if let (Expr::Literal(value, _), Expr::Column(column)) = (left.as_ref(), right.as_ref())
                    && let Some(op) = op.swap()
                {
                    self.compare(&column.name, op, value, time);
                }
            }
            Expr::Between(between) if !between.negated => {
                if let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                    (between.expr.as_ref(), between.low.as_ref(), between.high.as_ref())
                {
                    self.compare(&column.name, Operator::GtEq, low, time);
                    self.compare(&column.name, Operator::LtEq, high, time);
                }
            }
            Expr::InList(list) if !list.negated => {
                let Expr::Column(column) = list.expr.as_ref() else { return };
                let values: Option<Vec<String>> = list.list.iter().map(literal_text).collect();
                if let Some(values) = values {
                    self.texts.push((column.name.clone(), values));
                }
            }
            _ => {}
        }
    }

    fn compare(&mut self, column: &str, op: Operator, value: &ScalarValue, time: &str) {
        if column == time {
            let Some(ns) = nanoseconds(value) else { return };
            match op {
                Operator::Eq => (self.from_ns, self.to_ns) = (self.from_ns.max(ns), self.to_ns.min(ns)),
                Operator::Gt | Operator::GtEq => self.from_ns = self.from_ns.max(ns),
                Operator::Lt | Operator::LtEq => self.to_ns = self.to_ns.min(ns),
                _ => {}
            }
        } else if let (Operator::Eq, Some(text)) = (op, value.try_as_str().flatten()) {
            self.texts.push((column.to_owned(), vec![text.to_owned()]));
        }
    }
}

fn literal_text(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

fn nanoseconds(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampNanosecond(ns, _) => *ns,
        ScalarValue::TimestampMicrosecond(us, _) => us.and_then(|us| us.checked_mul(1_000)),
        ScalarValue::TimestampMillisecond(ms, _) => ms.and_then(|ms| ms.checked_mul(1_000_000)),
        ScalarValue::TimestampSecond(s, _) => s.and_then(|s| s.checked_mul(1_000_000_000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn equalities_and_times_narrow_and_the_rest_is_left_alone() {
        let at = |ns| lit(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        let filter = col("metric").eq(lit("up")).and(col("time").gt_eq(at(5))).and(at(9).gt(col("time")));
        let bounds = Bounds::of(&[filter, col("value").gt(lit(1.0)), col("time").eq(at(7)).or(lit(true))], "time");
        assert_eq!((bounds.from_ns, bounds.to_ns), (5, 9));
        assert!(bounds.admits("metric", "up") && !bounds.admits("metric", "down") && bounds.admits("name", "x"));
        let bounds = Bounds::of(&[col("metric").in_list(vec![lit("a"), lit("b")], false)], "time");
        assert!(bounds.admits("metric", "b") && !bounds.admits("metric", "c"));
        assert!(Bounds::of(&[col("metric").not_eq(lit("a"))], "time").admits("metric", "b"));
    }
}
