//! The envelope of Prometheus' API: `{status, data, errorType, error, warnings, infos}`, with its status codes.
//! Source: Prometheus web/api/v1/api.go.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::number::push_text;

/// More notes than this are counted, not listed. Source: Prometheus util/annotations, `AsStrings`.
const NOTES_MAX: usize = 10;

/// What kind of failure, in Prometheus' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorType {
    /// The request cannot be understood.
    BadData,
    /// The query was understood and failed.
    Execution,
    /// The query ran past its deadline.
    Timeout,
    /// The query was cancelled.
    Canceled,
    /// Data could not be read, or a defect of ours.
    Internal,
    /// Nothing there.
    NotFound,
}

/// A failed answer.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    /// Kind.
    pub(crate) kind: ErrorType,
    /// What went wrong with what.
    pub(crate) text: String,
}

/// A good answer: `data` is JSON already.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The JSON of `data`.
    pub(crate) data: String,
    /// Warnings, as shown.
    pub(crate) warnings: Vec<String>,
    /// Infos, as shown.
    pub(crate) infos: Vec<String>,
}

impl ErrorType {
    /// The text of `errorType`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Internal => "internal",
            Self::NotFound => "not_found",
        }
    }

    /// The HTTP status that goes with it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Canceled => StatusCode::from_u16(499).expect("499 is a valid status code"),
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NotFound => StatusCode::NOT_FOUND,
        }
    }
}

impl ApiError {
    /// A request that cannot be understood.
    pub(crate) fn bad_data(text: impl Into<String>) -> Self {
        Self { kind: ErrorType::BadData, text: text.into() }
    }

    /// A parameter that cannot be understood, in Prometheus' wording.
    pub(crate) fn parameter(name: &str, text: &str) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {text}"))
    }

    /// The body, without the status.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::from("{\"status\":\"error\",\"errorType\":");
        push_text(&mut out, self.kind.as_str());
        out.push_str(",\"error\":");
        push_text(&mut out, &self.text);
        out.push('}');
        out
    }
}

impl Answer {
    /// An answer without notes.
    pub(crate) fn new(data: String) -> Self {
        Self { data, warnings: Vec::new(), infos: Vec::new() }
    }

    /// The body.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.data.len() + 64);
        out.push_str("{\"status\":\"success\",\"data\":");
        out.push_str(&self.data);
        push_notes(&mut out, "warnings", &self.warnings, "warning");
        push_notes(&mut out, "infos", &self.infos, "info");
        out.push('}');
        out
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        json_response(self.kind.status(), self.to_json())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, self.to_json())
    }
}

/// A JSON body with its content type.
pub(crate) fn json_response(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}

fn push_notes(out: &mut String, field: &str, notes: &[String], what: &str) {
    if notes.is_empty() {
        return;
    }
    out.push_str(",\"");
    out.push_str(field);
    out.push_str("\":[");
    for (at, note) in notes.iter().take(NOTES_MAX).enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_text(out, note);
    }
    if notes.len() > NOTES_MAX {
        out.push(',');
        push_text(out, &format!("{} more {what} annotations omitted", notes.len() - NOTES_MAX));
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_prometheus_types_and_codes() {
        let error = ApiError::parameter("start", "cannot parse \"x\" to a valid timestamp");
        assert_eq!(error.kind.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            error.to_json(),
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"start\": cannot parse \"x\" to a valid timestamp"}"#
        );
        assert_eq!(ErrorType::Canceled.status().as_u16(), 499);
    }

    #[test]
    fn empty_notes_are_left_out_and_the_eleventh_is_counted() {
        assert_eq!(Answer::new("[]".into()).to_json(), r#"{"status":"success","data":[]}"#);
        let warnings = (0..12).map(|at| format!("w{at}")).collect();
        let text = Answer { data: "1".into(), warnings, infos: vec!["i".into()] }.to_json();
        assert!(text.contains("\"w9\",\"2 more warning annotations omitted\"]"), "{text}");
        assert!(text.ends_with(",\"infos\":[\"i\"]}"), "{text}");
    }
}
