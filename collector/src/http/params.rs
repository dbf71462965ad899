//! Request parameters as Prometheus reads them: the URL's query and, for POST, the form body, body first; times
//! as unix seconds or RFC 3339, durations as seconds or in Prometheus' notation.
//! Source: Prometheus web/api/v1/api.go (`parseTime`, `parseDuration`), prometheus/common model/time.go.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use http::{Method, header};

use super::envelope::{ApiError, ErrorType};

/// A body may be this long: Go's `ParseForm` stops there too.
const BODY_BYTES_MAX: usize = 10 << 20;
/// How long a body may take to arrive; as for OTLP.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What Prometheus takes for the smallest and largest time. Source: web/api/v1/api.go, MinTime and MaxTime.
const TIME_MIN_TEXT: &str = "-292273086-05-16T16:47:06Z";
const TIME_MAX_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";
/// Milliseconds that stand for them; far outside of any data, and safe to add a range to.
pub(crate) const TIME_MIN_MS: i64 = i64::MIN / 1_000_000;
/// The largest time, see [`TIME_MIN_MS`].
pub(crate) const TIME_MAX_MS: i64 = i64::MAX / 1_000_000;

/// All parameters of a request, in order; a form body's come before the URL's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// From texts, form body first.
    pub(crate) fn parse(body: &[u8], query: &str) -> Self {
        let mut pairs: Vec<(String, String)> = form_urlencoded::parse(body).into_owned().collect();
        pairs.extend(form_urlencoded::parse(query.as_bytes()).into_owned());
        Self { pairs }
    }

    /// The first value of `name`; empty when there is none, as Go's `FormValue` has it.
    pub(crate) fn value(&self, name: &str) -> &str {
        self.pairs.iter().find(|pair| pair.0 == name).map_or("", |pair| pair.1.as_str())
    }

    /// All values of `name`.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.pairs.iter().filter(|pair| pair.0 == name).map(|pair| pair.1.as_str()).collect()
    }

    /// A time in ms that must be there.
    pub(crate) fn time(&self, name: &str) -> Result<i64, ApiError> {
        parse_time(self.value(name)).map_err(|text| ApiError::parameter(name, &text))
    }

    /// A time in ms, or `otherwise` where none is given. Prometheus words the error of such a one otherwise.
    pub(crate) fn time_or(&self, name: &str, otherwise: i64) -> Result<i64, ApiError> {
        if self.value(name).is_empty() {
            return Ok(otherwise);
        }
        parse_time(self.value(name))
            .map_err(|text| ApiError::parameter(name, &format!("Invalid time value for '{name}': {text}")))
    }

    /// A duration in ms that must be there.
    pub(crate) fn duration(&self, name: &str) -> Result<i64, ApiError> {
        parse_duration(self.value(name)).map_err(|text| ApiError::parameter(name, &text))
    }

    /// A duration in ms where one is given.
    pub(crate) fn duration_if_given(&self, name: &str) -> Result<Option<i64>, ApiError> {
        if self.value(name).is_empty() { Ok(None) } else { self.duration(name).map(Some) }
    }

    /// `limit`, where 0 and absent mean none.
    pub(crate) fn limit(&self, name: &str) -> Result<Option<usize>, ApiError> {
        let text = self.value(name);
        if text.is_empty() {
            return Ok(None);
        }
        let number: i64 = text
            .parse()
            .map_err(|_| ApiError::parameter(name, &format!("strconv.Atoi: parsing \"{text}\": invalid syntax")))?;
        if number < 0 {
            return Err(ApiError::parameter(name, "limit must be non-negative"));
        }
        Ok(usize::try_from(number).ok().filter(|&number| number > 0))
    }
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let is_form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded"));
        if request.method() != Method::POST || !is_form {
            return Ok(Self::parse(b"", &query));
        }
        let body = body_of(request).await?;
        Ok(Self::parse(&body, &query))
    }
}

/// The body of a question, within [`BODY_BYTES_MAX`] and [`BODY_TIMEOUT`].
pub(crate) async fn body_of(request: Request) -> Result<Bytes, ApiError> {
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX);
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(ApiError::bad_data("error parsing form values: http: request body too large")),
        Err(_) => {
            let text = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(ApiError { kind: ErrorType::Timeout, text })
        }
    }
}

/// Unix seconds (fractions are cut to ms) or RFC 3339, as ms.
pub(crate) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ms = (seconds * 1000.0).round();
        if ms.is_finite() && ms.abs() < TIME_MAX_MS as f64 {
            return Ok(ms as i64);
        }
    }
    match text {
        TIME_MIN_TEXT => Ok(TIME_MIN_MS),
        TIME_MAX_TEXT => Ok(TIME_MAX_MS),
        _ => parse_rfc3339(text).ok_or_else(|| format!("cannot parse \"{text}\" to a valid timestamp")),
    }
}

/// Seconds or Prometheus' notation (`1h30m`), as ms.
pub(crate) fn parse_duration(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanos = seconds * 1e9;
        if nanos.is_nan() || nanos.abs() > i64::MAX as f64 {
            return Err(format!("cannot parse \"{text}\" to a valid duration. It overflows int64"));
        }
        return Ok((nanos / 1e6) as i64);
    }
    parse_units(text).ok_or_else(|| format!("cannot parse \"{text}\" to a valid duration"))
}

/// `1y2w3d4h5m6s7ms`: units in this order, each at most once.
fn parse_units(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let (mut rest, mut next, mut total) = (text, 0, 0i64);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_len = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let at = UNITS.iter().position(|unit| unit.0 == &rest[..unit_len])?;
        if at < next {
            return None;
        }
        next = at + 1;
        total = total.checked_add(number.checked_mul(UNITS[at].1)?)?;
        rest = &rest[unit_len..];
    }
    // Go holds durations in ns.
    (total <= i64::MAX / 1_000_000).then_some(total)
}

/// `2015-07-01T20:10:51.781Z`, `…+02:00`; the fraction may have nine digits and is cut to ms.
fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| bytes.get(at) != Some(&byte)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &text[19..];
    let mut ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let len = fraction.find(|c: char| !c.is_ascii_digit())?;
        if len == 0 {
            return None;
        }
        ms = format!("{:0<3}", &fraction[..len])[..3].parse().ok()?;
        rest = &fraction[len..];
    }
    let offset = parse_offset(rest)?;
    let days = days_from_civil(year, month, day);
    Some(((days * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1000 + ms)
}

/// `Z` or `+hh:mm`, in minutes east.
fn parse_offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':')?;
    let valid = hours.len() == 2 && minutes.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit() || b == b':');
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (valid && hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a Gregorian date. Source: Howard Hinnant, chrono-compatible date algorithms.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_or_rfc3339() {
        assert_eq!(parse_time("1435781430.781"), Ok(1_435_781_430_781));
        assert_eq!(parse_time("1435781430"), Ok(1_435_781_430_000));
        assert_eq!(parse_time("2015-07-01T20:10:30.781Z"), Ok(1_435_781_430_781));
        assert_eq!(parse_time("2015-07-01T22:10:30.781+02:00"), Ok(1_435_781_430_781));
        assert_eq!(parse_time("1969-12-31T23:59:59Z"), Ok(-1000));
        assert_eq!(parse_time("2024-02-29T00:00:00Z"), Ok(1_709_164_800_000));
        assert_eq!(parse_time(TIME_MIN_TEXT), Ok(TIME_MIN_MS));
        for bad in
            ["", "x", "2015-07-01", "2023-02-29T00:00:00Z", "2015-07-01T20:10:30", "2015-07-01T20:10:30.Z", "NaN"]
        {
            assert_eq!(parse_time(bad), Err(format!("cannot parse \"{bad}\" to a valid timestamp")));
        }
    }

    #[test]
    fn durations_are_seconds_or_units_in_order() {
        assert_eq!(parse_duration("1.5"), Ok(1500));
        assert_eq!(parse_duration("1h30m"), Ok(5_400_000));
        assert_eq!(parse_duration("1y2w3d4h5m6s7ms"), Ok(31_536_000_000 + 1_209_600_000 + 259_200_000 + 14_706_007));
        for bad in ["", "1h1h", "1m1h", "h", "1", "1hx", "-5m", "5 m"].iter().filter(|text| **text != "1") {
            assert_eq!(parse_duration(bad), Err(format!("cannot parse \"{bad}\" to a valid duration")), "{bad}");
        }
        assert!(parse_duration("1e20").unwrap_err().ends_with("It overflows int64"));
        assert!(parse_duration("1000y").is_err());
    }

    #[test]
    fn the_form_body_comes_before_the_url() {
        let params = Params::parse(b"query=a%2Bb&match[]=x", "query=c&match[]=y");
        assert_eq!(params.value("query"), "a+b");
        assert_eq!(params.values("match[]"), ["x", "y"]);
        assert_eq!(params.value("none"), "");
    }

    #[test]
    fn limits_are_counts_and_zero_is_none() {
        let limit = |text: &str| Params::parse(b"", text).limit("limit");
        assert_eq!(limit("limit=0").unwrap(), None);
        assert_eq!(limit("").unwrap(), None);
        assert_eq!(limit("limit=7").unwrap(), Some(7));
        assert!(limit("limit=-1").is_err());
        assert!(limit("limit=x").is_err());
    }
}
