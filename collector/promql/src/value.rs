//! What a query answers: the four value types of PromQL, as the HTTP API and rules consume them.

use std::sync::Arc;

use crate::annotations::Annotations;
use crate::histogram::FloatHistogram;
use crate::labels::Labels;

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// One number per step.
    Scalar,
    /// A text.
    String,
    /// One sample per series and step.
    Vector,
    /// Several samples per series and step.
    Matrix,
    /// Nothing; an expression that did not parse.
    None,
}

impl ValueType {
    /// The name in Prometheus' documentation and error messages.
    #[must_use]
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::None => "none",
        }
    }

    /// The name in the HTTP API's `resultType`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::None => "none",
        }
    }
}

/// The value of one sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels, the metric's name among them.
    pub labels: Labels,
    /// Milliseconds since the epoch.
    pub t_ms: i64,
    /// Its value.
    pub point: Point,
}

/// One series of a range vector or of a range query's answer.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Series {
    /// Its labels, the metric's name among them.
    pub labels: Labels,
    /// Float samples in time order.
    pub floats: Vec<(i64, f64)>,
    /// Histogram samples in time order; never at the time of a float.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// The answer to a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number at a time.
    Scalar {
        /// Milliseconds since the epoch.
        t_ms: i64,
        /// The number.
        value: f64,
    },
    /// A text at a time.
    String {
        /// Milliseconds since the epoch.
        t_ms: i64,
        /// The text.
        value: Arc<str>,
    },
    /// Samples at one time; in order of evaluation, which is the order asked for with `sort` and the like.
    Vector(Vec<Sample>),
    /// Series sorted by labels.
    Matrix(Vec<Series>),
}

impl Value {
    /// Its type.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Self::Scalar { .. } => ValueType::Scalar,
            Self::String { .. } => ValueType::String,
            Self::Vector(_) => ValueType::Vector,
            Self::Matrix(_) => ValueType::Matrix,
        }
    }
}

/// What a query cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Samples read from the source.
    pub samples_read: u64,
    /// The most samples held at one time.
    pub samples_peak: u64,
    /// The most bytes reserved at one time.
    pub bytes_peak: u64,
}

/// A query's answer with what the reader should know about it.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    /// The answer.
    pub value: Value,
    /// Warnings and infos, with positions.
    pub annotations: Annotations,
    /// What it cost.
    pub stats: QueryStats,
}
