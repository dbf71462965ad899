//! The syntax tree: what was written, with the position of every node. Nothing is resolved here; durations that are
//! arithmetic stay arithmetic until the query's range and step are known (`plan`).

use std::fmt;
use std::sync::Arc;

use crate::functions::Function;
use crate::position::Span;
use crate::source::{MatchOp, Matcher};
use crate::value::ValueType;

/// Binary and unary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Eql,
    /// `!=`
    Neq,
    /// `>`
    Gtr,
    /// `<`
    Lss,
    /// `>=`
    Gte,
    /// `<=`
    Lte,
    /// `</`: what lies below in a histogram
    TrimUpper,
    /// `>/`: what lies above in a histogram
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl Op {
    /// As it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eql => "==",
            Self::Neq => "!=",
            Self::Gtr => ">",
            Self::Lss => "<",
            Self::Gte => ">=",
            Self::Lte => "<=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether it compares.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(self, Self::Eql | Self::Neq | Self::Gtr | Self::Lss | Self::Gte | Self::Lte)
    }

    /// Whether it combines sets of series.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether its result is another quantity than its left side, so that name, type and unit no longer fit.
    #[must_use]
    pub fn changes_schema(self) -> bool {
        matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div | Self::Mod | Self::Pow | Self::Atan2)
    }

    /// Binding strength; higher binds tighter.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eql
            | Self::Neq
            | Self::Gtr
            | Self::Lss
            | Self::Gte
            | Self::Lte
            | Self::TrimUpper
            | Self::TrimLower => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aggregation {
    /// `avg`
    Avg,
    /// `bottomk`
    Bottomk,
    /// `count`
    Count,
    /// `count_values`
    CountValues,
    /// `group`
    Group,
    /// `limit_ratio`
    LimitRatio,
    /// `limitk`
    Limitk,
    /// `max`
    Max,
    /// `min`
    Min,
    /// `quantile`
    Quantile,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `sum`
    Sum,
    /// `topk`
    Topk,
}

impl Aggregation {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 14] = [
        ("avg", Self::Avg),
        ("bottomk", Self::Bottomk),
        ("count", Self::Count),
        ("count_values", Self::CountValues),
        ("group", Self::Group),
        ("limit_ratio", Self::LimitRatio),
        ("limitk", Self::Limitk),
        ("max", Self::Max),
        ("min", Self::Min),
        ("quantile", Self::Quantile),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("sum", Self::Sum),
        ("topk", Self::Topk),
    ];

    /// As it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// Whether it takes a parameter before its vector.
    #[must_use]
    pub fn has_parameter(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::CountValues | Self::Quantile | Self::Limitk | Self::LimitRatio
        )
    }

    /// Whether it selects among its input's series instead of combining them.
    #[must_use]
    pub fn selects(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio)
    }

    /// Whether it needs `promql-experimental-functions`.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// How series of the two sides of a binary operator pair up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Cardinality {
    /// One left, one right.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// The modifiers of a binary operator.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Matching {
    /// How series pair up.
    pub cardinality: Cardinality,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<Arc<str>>,
    /// Whether they are those of `on`.
    pub on: bool,
    /// Labels that `group_left` or `group_right` copies from the one side.
    pub include: Vec<Arc<str>>,
    /// Value for a left side that is missing.
    pub fill_left: Option<f64>,
    /// Value for a right side that is missing.
    pub fill_right: Option<f64>,
}

/// Functions that stand for a number in a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurationOp {
    /// An arithmetic operator; without a left side it is a sign.
    Arithmetic(Op),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `min_of(a, b)`
    Min,
    /// `max_of(a, b)`
    Max,
}

/// A duration as written.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationExpr {
    /// A number of seconds or a duration literal.
    Literal(NumberLiteral),
    /// Arithmetic, resolved when range and step of the query are known.
    Node {
        /// What to compute.
        op: DurationOp,
        /// Left operand; absent for a sign, `step()` and `range()`.
        left: Option<Box<DurationExpr>>,
        /// Right operand; absent for `step()` and `range()`.
        right: Option<Box<DurationExpr>>,
        /// Whether it stands in parentheses.
        wrapped: bool,
        /// Where.
        span: Span,
    },
}

impl DurationExpr {
    /// Where it stands.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Literal(literal) => literal.span,
            Self::Node { span, .. } => *span,
        }
    }

    /// The milliseconds of a literal.
    #[must_use]
    pub fn literal_ms(&self) -> Option<i64> {
        match self {
            Self::Literal(literal) => Some(seconds_to_ms(literal.value)),
            Self::Node { .. } => None,
        }
    }
}

/// Seconds to whole milliseconds: rounded to the nanosecond, then cut, as Prometheus' durations are.
pub(crate) fn seconds_to_ms(seconds: f64) -> i64 {
    let nanos = (seconds * 1e9).round();
    (nanos / 1e6).trunc() as i64
}

/// What `@` was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// A time in ms.
    Time(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// A number, possibly written as a duration.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    /// Its value; seconds for a duration.
    pub value: f64,
    /// Whether it was written as a duration.
    pub duration: bool,
    /// Where.
    pub span: Span,
}

/// `name{matchers}` with its modifiers.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The name outside the braces; empty when there is none.
    pub name: Arc<str>,
    /// The matchers in the braces, then one for the name outside.
    pub matchers: Vec<Matcher>,
    /// `offset`
    pub offset: Option<DurationExpr>,
    /// `@`
    pub at: Option<At>,
    /// `anchored`
    pub anchored: bool,
    /// `smoothed`
    pub smoothed: bool,
    /// Whether it may match everything: the second argument of `info()` only names labels.
    pub may_match_empty: bool,
    /// Where.
    pub span: Span,
}

/// `selector[range]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// The selector before the bracket; offset and `@` after the bracket are kept in it.
    pub selector: VectorSelector,
    /// The range.
    pub range: DurationExpr,
    /// Where it ends, modifiers included.
    pub end: usize,
}

/// `expression[range:step]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated.
    pub expr: Box<Expr>,
    /// Over how long.
    pub range: DurationExpr,
    /// At which step.
    pub step: Option<DurationExpr>,
    /// `offset`
    pub offset: Option<DurationExpr>,
    /// `@`
    pub at: Option<At>,
    /// Where it ends, modifiers included.
    pub end: usize,
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: Aggregation,
    /// The vector.
    pub expr: Box<Expr>,
    /// What stands before the vector.
    pub parameter: Option<Box<Expr>>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<Arc<str>>,
    /// Whether they are those of `without`.
    pub without: bool,
    /// Where.
    pub span: Span,
}

/// A binary operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Which.
    pub op: Op,
    /// Left side.
    pub left: Box<Expr>,
    /// Right side.
    pub right: Box<Expr>,
    /// `bool`
    pub return_bool: bool,
    /// How vectors pair up; absent when a side is a scalar.
    pub matching: Option<Matching>,
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which.
    pub function: &'static Function,
    /// Its arguments.
    pub args: Vec<Expr>,
    /// Where.
    pub span: Span,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number.
    Number(NumberLiteral),
    /// A text.
    Text {
        /// Without quotes and escapes.
        value: Arc<str>,
        /// Where.
        span: Span,
    },
    /// An instant selector.
    Vector(VectorSelector),
    /// A range selector.
    Matrix(MatrixSelector),
    /// A subquery.
    Subquery(Subquery),
    /// A function call.
    Call(Call),
    /// An aggregation.
    Aggregate(Aggregate),
    /// A binary operation.
    Binary(Binary),
    /// A sign.
    Unary {
        /// `+` or `-`.
        op: Op,
        /// What it stands before.
        expr: Box<Expr>,
        /// Where.
        span: Span,
    },
    /// Parentheses.
    Paren {
        /// What they hold.
        expr: Box<Expr>,
        /// Where.
        span: Span,
    },
}

impl Expr {
    /// Where it stands.
    #[must_use]
    pub fn span(&self) -> Span {
        match self {
            Self::Number(literal) => literal.span,
            Self::Text { span, .. } | Self::Unary { span, .. } | Self::Paren { span, .. } => *span,
            Self::Vector(selector) => selector.span,
            Self::Matrix(matrix) => Span::new(matrix.selector.span.start, matrix.end),
            Self::Subquery(subquery) => Span::new(subquery.expr.span().start, subquery.end),
            Self::Call(call) => call.span,
            Self::Aggregate(aggregate) => aggregate.span,
            Self::Binary(binary) => binary.left.span().to(binary.right.span()),
        }
    }

    /// Its type.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Number(_) => ValueType::Scalar,
            Self::Text { .. } => ValueType::String,
            Self::Vector(_) | Self::Aggregate(_) => ValueType::Vector,
            Self::Matrix(_) | Self::Subquery(_) => ValueType::Matrix,
            Self::Call(call) => call.function.returns,
            Self::Binary(binary) => {
                let both_scalar =
                    binary.left.value_type() == ValueType::Scalar && binary.right.value_type() == ValueType::Scalar;
                if both_scalar { ValueType::Scalar } else { ValueType::Vector }
            }
            Self::Unary { expr, .. } | Self::Paren { expr, .. } => expr.value_type(),
        }
    }

    /// The expression without the parentheses around it.
    #[must_use]
    pub fn unwrapped(&self) -> &Self {
        let mut expr = self;
        while let Self::Paren { expr: inner, .. } = expr {
            expr = inner;
        }
        expr
    }
}

/// A matcher for a name outside braces.
pub(crate) fn name_matcher(name: &Arc<str>) -> Matcher {
    Matcher { name: Arc::from(crate::labels::METRIC_NAME), op: MatchOp::Equal, value: Arc::clone(name) }
}
