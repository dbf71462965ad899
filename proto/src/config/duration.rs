//! Durations and sizes as Prometheus writes them: `1h30m`, `15s`, `100ms`; `512MB`, `1GB` (powers of 1024).

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error};

/// A duration in Prometheus' notation, ms exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PromDuration(pub Duration);

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Units from long to short; a duration names each at most once and in this order.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// `KB` and `KiB` are both 1024, as in Prometheus.
const SIZES: [(&str, u32); 11] = [
    ("B", 0),
    ("KB", 10),
    ("KiB", 10),
    ("MB", 20),
    ("MiB", 20),
    ("GB", 30),
    ("GiB", 30),
    ("TB", 40),
    ("TiB", 40),
    ("PB", 50),
    ("PiB", 50),
];

impl PromDuration {
    /// This many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Parses `text`.
    ///
    /// # Errors
    /// When it is not a duration.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a valid duration; write it like 15s, 1m30s or 2h");
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut rest = text;
        let mut unit_from = 0;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let at = UNITS.iter().position(|unit| unit.0 == &rest[..end]).ok_or_else(wrong)?;
            if at < unit_from {
                return Err(wrong());
            }
            unit_from = at + 1;
            total = number.checked_mul(UNITS[at].1).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
            rest = &rest[end..];
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Self(Duration::from_millis(total))) }
    }
}

impl ByteSize {
    /// Parses `text`.
    ///
    /// # Errors
    /// When it is not a size.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a valid size; write it like 512MB or 1GiB");
        if text == "0" {
            return Ok(Self(0));
        }
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let shift = SIZES.iter().find(|unit| unit.0 == &text[digits..]).ok_or_else(wrong)?.1;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for PromDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl JsonSchema for PromDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^((([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?|0)$"
        })
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9]+([KMGTP]i?B|B)|0)$" })
    }
}
