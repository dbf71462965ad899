//! What a reader says about input it could not take: [`ReadError`] when nothing of it could be read, [`Refused`]
//! when single points or spans were left out and the rest was kept.
//!
//! Every refusal has a reason: a stable word for counters, and a sentence that tells the sender what to do.
//! The first refusal of a body is described with the thing in hand, since that is what `partial_success` carries.

/// What the caller must do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The input is wrong; the same bytes will never be taken.
    Invalid,
    /// A limit was met.
    Full,
    /// Stored or sent bytes are damaged: stop, keep them.
    Corrupt,
}

/// Why a whole body could not be read. Nothing of it was added to the batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The bytes are not a protobuf message of the expected type.
    #[error("body is not the protobuf message that was expected: {what} at byte {at}")]
    NotProtobuf {
        /// Offset into the body.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The body is larger than the reader's limit.
    #[error("body of {bytes} bytes is larger than the {limit} bytes allowed; send smaller batches")]
    TooLarge {
        /// Size of the body.
        bytes: usize,
        /// [`ReaderLimits::body_bytes_max`](crate::otlp::ReaderLimits::body_bytes_max) or the like.
        limit: usize,
    },
    /// A line of an exposition page is wrong; as in Prometheus, the whole page is then not used.
    #[error("line {line} of the page: {what}")]
    BadLine {
        /// Line number, from 1.
        line: usize,
        /// What is wrong, with the text at fault.
        what: String,
    },
    /// A page has more samples than its job's `sample_limit`; as in Prometheus, none is used.
    #[error("the page has {samples} samples after relabelling, sample_limit is {limit}")]
    TooManySamples {
        /// Samples that relabelling kept.
        samples: u64,
        /// The limit.
        limit: u64,
    },
}

impl ReadError {
    /// What the caller must do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotProtobuf { .. } | Self::BadLine { .. } => ErrorKind::Invalid,
            Self::TooLarge { .. } | Self::TooManySamples { .. } => ErrorKind::Full,
        }
    }
}

/// What was left out of an otherwise good body.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Refused {
    /// How many points or spans were refused: OTLP's `rejected_data_points` and `rejected_spans`.
    pub count: u64,
    /// How often each reason was met, in the order first met. Parts (exemplars, events, links) that were left out
    /// of a kept point or span are listed here and not in `count`.
    pub reasons: Vec<(&'static str, u64)>,
    /// The first refusal: what, where, what to do. Empty when nothing was refused.
    pub message: String,
}

/// Why one point, span or part of one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    TimeOutOfRange,
    NoTime,
    NoValue,
    EmptyName,
    BadUtf8,
    TooManyAttributes,
    NestedTooDeep,
    AttributeTooLong,
    IdentityTooLong,
    UnknownTemporality,
    UnknownType,
    BadBuckets,
    TooManyBuckets,
    BadScale,
    BadTraceId,
    BadSpanId,
    BadParentSpanId,
    ExemplarTime,
    ExemplarValue,
    ExemplarId,
    ExemplarAttributes,
    EventTime,
    EventText,
    LinkId,
    LinkText,
    DuplicateSample,
    DuplicateLabel,
    EmptyLabelName,
    BadReference,
    MillisOutOfRange,
    BadSchema,
    BadNativeBuckets,
    CountMismatch,
}

impl Reason {
    /// The word for counters.
    pub(crate) fn as_str(self) -> &'static str {
        self.describe().0
    }

    /// What is wrong and what to do about it.
    pub(crate) fn advice(self) -> &'static str {
        self.describe().1
    }

    fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::TimeOutOfRange => {
                ("time_out_of_range", "a time is past the year 2262; send unix time in nanoseconds")
            }
            Self::NoTime => ("no_time", "the time is 0; set it to unix time in nanoseconds"),
            Self::NoValue => ("no_value", "the point has neither a value nor the no-recorded-value flag; set one"),
            Self::EmptyName => ("empty_name", "the metric has no name; name it"),
            Self::BadUtf8 => ("bad_utf8", "a text is not UTF-8; send binary data as a bytes value"),
            Self::TooManyAttributes => ("too_many_attributes", "there are more attributes than allowed; send fewer"),
            Self::NestedTooDeep => ("nested_too_deep", "an attribute value is nested too deep; flatten it"),
            Self::AttributeTooLong => ("attribute_too_long", "an attribute key or value is too long; shorten it"),
            Self::IdentityTooLong => ("identity_too_long", "the attributes of one series are too long; shorten them"),
            Self::UnknownTemporality => {
                ("unknown_temporality", "the aggregation temporality is neither delta nor cumulative; set it")
            }
            Self::UnknownType => ("unknown_type", "the metric has no data of a known type; upgrade Weir or the sender"),
            Self::BadBuckets => {
                ("bad_buckets", "bounds must ascend and there must be one count more than bounds; repair the sender")
            }
            Self::TooManyBuckets => ("too_many_buckets", "the histogram has more buckets than allowed; use fewer"),
            Self::BadScale => {
                ("bad_scale", "the exponential histogram's scale is outside -10 to 20; repair the sender")
            }
            Self::BadTraceId => ("bad_trace_id", "the trace id must be 16 bytes that are not all zero"),
            Self::BadSpanId => ("bad_span_id", "the span id must be 8 bytes that are not all zero"),
            Self::BadParentSpanId => ("bad_parent_span_id", "the parent span id must be empty or 8 bytes"),
            Self::ExemplarTime => ("exemplar_time", "an exemplar's time is past the year 2262"),
            Self::ExemplarValue => ("exemplar_value", "an exemplar has no value"),
            Self::ExemplarId => ("exemplar_id", "an exemplar's trace id is not 16 or its span id not 8 bytes"),
            Self::ExemplarAttributes => {
                ("exemplar_attributes", "an exemplar's attributes are too many, too long or no text")
            }
            Self::EventTime => ("event_time", "a span event's time is past the year 2262"),
            Self::EventText => ("event_text", "a span event's name or attributes are too many, too long or no text"),
            Self::LinkId => ("link_id", "a span link's trace id is not 16 or its span id not 8 bytes"),
            Self::DuplicateSample => ("duplicate_sample", "the page has this series twice; the first one counts"),
            Self::DuplicateLabel => ("duplicate_label", "a label stands twice; send it once"),
            Self::EmptyLabelName => ("empty_label_name", "a label has no name; name it"),
            Self::BadReference => ("bad_reference", "a label refers to a symbol that was not sent; repair the sender"),
            Self::MillisOutOfRange => {
                ("time_out_of_range", "a time is not between the years 1678 and 2262; send unix time in milliseconds")
            }
            Self::BadSchema => {
                ("bad_schema", "the native histogram's schema is not -4 to 8 or -53, or it has bounds of another one")
            }
            Self::BadNativeBuckets => {
                ("bad_native_buckets", "spans, counts or bounds of the native histogram do not fit; repair the sender")
            }
            Self::CountMismatch => {
                ("count_mismatch", "the native histogram's count is not the sum of its buckets; repair the sender")
            }
            Self::LinkText => ("link_text", "a span link's state or attributes are too many, too long or no text"),
        }
    }
}

impl Refused {
    /// Counts a refused point or span; `place` says where, and is asked for the first refusal only.
    pub(crate) fn refuse(&mut self, reason: Reason, place: impl FnOnce() -> String) {
        self.count += 1;
        self.note(reason, place);
    }

    /// Counts a part that was left out of something kept.
    pub(crate) fn note(&mut self, reason: Reason, place: impl FnOnce() -> String) {
        if self.message.is_empty() {
            self.message = format!("{}: {}", place(), reason.advice());
        }
        let word = reason.as_str();
        match self.reasons.iter_mut().find(|known| known.0 == word) {
            Some(known) => known.1 += 1,
            None => self.reasons.push((word, 1)),
        }
    }

    /// Adds what another body's reading refused.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        if self.message.is_empty() {
            self.message.clone_from(&other.message);
        }
        for &(word, times) in &other.reasons {
            match self.reasons.iter_mut().find(|known| known.0 == word) {
                Some(known) => known.1 += times,
                None => self.reasons.push((word, times)),
            }
        }
    }
}
