//! Which attributes become labels, and how many values each may take.
//!
//! A label's values are admitted first come, first served, per service, up to a cap; what is not admitted becomes
//! [`OVERFLOW`]. Two generations of about an hour make the cap forget: a value lives while it is seen, so that
//! last month's routes do not keep out today's.

use std::hash::{BuildHasher, Hash};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use weir_proto::{Value, semconv};

/// The value of a label whose values passed the cap, and the name of the service that stands for too many.
pub const OVERFLOW: &str = "__overflow__";

/// How long a generation lasts, so that a value is forgotten one to two of these after it was last seen.
const GENERATION_NS: i64 = 3_600_000_000_000;

/// Attributes that become labels, in today's names. All of them have few values by their convention; paths, ids,
/// statements and addresses are not among them.
pub const ATTRIBUTE_LABELS: [&str; 12] = [
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "rpc.system",
    "rpc.service",
    "rpc.method",
    "rpc.grpc.status_code",
    "db.system.name",
    "db.operation.name",
    "db.collection.name",
    "messaging.system",
    "messaging.destination.name",
];

/// Place in [`ATTRIBUTE_LABELS`] of labels whose value is a whole number by convention, though some senders send
/// it as text: equal numbers must be one series.
const NUMBER_LABELS: [usize; 2] = [2, 6];

/// Label of the span's name, counted behind the attributes.
pub const SPAN_NAME_LABEL: usize = ATTRIBUTE_LABELS.len();

/// What of a resource identifies a service rather than one of its instances.
const RESOURCE_KEYS: [&str; 6] = [
    "service.namespace",
    "service.name",
    "service.version",
    "k8s.namespace.name",
    "k8s.deployment.name",
    "deployment.environment.name",
];

/// Which label an attribute feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Place in [`ATTRIBUTE_LABELS`].
    pub(crate) at: u8,
    /// Sent under an old name; today's name wins where a span has both.
    pub(crate) old: bool,
}

/// The label that the attribute `key` feeds, if any.
pub(crate) fn label_of(key: &str) -> Option<Label> {
    let (name, old) = match semconv::canonical_key(key) {
        Some(name) => (name, true),
        None => (key, false),
    };
    let at = ATTRIBUTE_LABELS.iter().position(|label| *label == name)?;
    Some(Label { at: u8::try_from(at).expect("there are twelve labels"), old })
}

/// The label form of an attribute value: scalars only, numbers as numbers, texts as today's conventions spell them.
/// `None` when it can be no label.
pub(crate) fn label_value(at: usize, value: &Value) -> Option<Value> {
    match value {
        Value::String(text) if NUMBER_LABELS.contains(&at) => {
            Some(text.parse().map_or_else(|_| value.clone(), Value::Int))
        }
        Value::String(text) => {
            Some(semconv::canonical_value(ATTRIBUTE_LABELS[at], text).map_or_else(|| value.clone(), Value::from))
        }
        Value::Int(_) | Value::Bool(_) => Some(value.clone()),
        Value::Empty | Value::Double(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => None,
    }
}

/// The today's name under which a resource attribute identifies its service, if it does.
pub(crate) fn resource_key(key: &str) -> Option<&'static str> {
    let name = semconv::canonical_key(key).unwrap_or(key);
    RESOURCE_KEYS.into_iter().find(|kept| *kept == name)
}

/// A map that forgets: entries not asked for during a whole generation are gone after the next.
#[derive(Debug)]
pub(crate) struct Generations<K, V> {
    current: Generation<K, V>,
    previous: Generation<K, V>,
}

#[derive(Debug)]
struct Generation<K, V> {
    /// Value and its weight in bytes.
    entries: HashMap<K, (V, usize), FixedState>,
    bytes: usize,
}

impl<K, V> Default for Generation<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::default(), bytes: 0 }
    }
}

impl<K, V> Default for Generations<K, V> {
    fn default() -> Self {
        Self { current: Generation::default(), previous: Generation::default() }
    }
}

impl<K: Hash + Eq, V> Generations<K, V> {
    /// The value of `key`, now alive for another generation.
    pub(crate) fn touch<Q>(&mut self, key: &Q) -> Option<&mut V>
    where
        Q: Hash + hashbrown::Equivalent<K> + ?Sized,
    {
        if !self.current.entries.contains_key(key)
            && let Some((key, (value, bytes))) = self.previous.entries.remove_entry(key)
        {
            self.previous.bytes -= bytes;
            self.insert(key, value, bytes);
        }
        self.current.entries.get_mut(key).map(|(value, _)| value)
    }

    /// Puts an entry that [`Self::touch`] did not find, which takes about `bytes`.
    pub(crate) fn insert(&mut self, key: K, value: V, bytes: usize) {
        self.current.bytes += bytes;
        self.current.entries.insert(key, (value, bytes));
    }

    /// Entries alive in this generation.
    pub(crate) fn alive(&self) -> usize {
        self.current.entries.len()
    }

    /// Bytes of all entries remembered, estimated.
    pub(crate) fn bytes(&self) -> usize {
        self.current.bytes + self.previous.bytes
    }

    /// Begins a generation and forgets the one before the last.
    pub(crate) fn turn(&mut self) {
        self.previous = std::mem::take(&mut self.current);
    }
}

/// Says when a generation is over; time only moves it forward.
#[derive(Debug, Default)]
pub struct Calendar {
    ends_ns: i64,
}

impl Calendar {
    /// Whether `now_ns` is past the generation; the next one begins.
    pub fn turns(&mut self, now_ns: i64) -> bool {
        if now_ns < self.ends_ns {
            return false;
        }
        let first = self.ends_ns == 0;
        self.ends_ns = now_ns.saturating_add(GENERATION_NS);
        !first
    }
}

/// A value seen under a label of a service. Text is kept as a hash: the set only answers "seen before", and 64 bits
/// over at most a few hundred values do not collide in practice; if they did, one value more would be admitted.
type Seen = (u32, u8, u64);
/// A hash table's slot for it, at a load of one half.
const SEEN_BYTES: usize = 64;

/// Admits label values up to a cap per service and label.
#[derive(Debug, Default)]
pub struct Admission {
    seen: Generations<Seen, ()>,
    /// Values alive per (service, label).
    alive: HashMap<(u32, u8), usize, FixedState>,
    hasher: FixedState,
}

impl Admission {
    /// Whether `value` may stand under label `at` of `service`: it is known, or `room` allows a new one.
    pub fn admits(&mut self, service: u32, at: u8, value: &Value, room: Room) -> bool {
        if let Value::String(text) = value
            && text.len() > room.bytes_max
        {
            return false;
        }
        let key = (service, at, self.hasher.hash_one(value));
        let before = self.seen.alive();
        let known = self.seen.touch(&key).is_some();
        if known && self.seen.alive() == before {
            return true;
        }
        let alive = self.alive.entry((service, at)).or_default();
        if !known && *alive >= room.values_max {
            return false;
        }
        *alive += 1;
        if !known {
            self.seen.insert(key, (), SEEN_BYTES);
        }
        true
    }

    /// Bytes of all values remembered, estimated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.seen.bytes()
    }

    /// Begins a generation.
    pub fn turn(&mut self) {
        self.seen.turn();
        self.alive.clear();
    }
}

/// What a value may take.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Longest text in bytes.
    pub bytes_max: usize,
    /// Values alive per service and label; 0 admits only known ones.
    pub values_max: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_names_feed_one_label() {
        let new = label_of("http.request.method").unwrap();
        let old = label_of("http.method").unwrap();
        assert_eq!(new.at, old.at);
        assert!(old.old && !new.old);
        assert_eq!(label_of("http.target"), None);
        assert_eq!(label_value(2, &"404".into()), Some(Value::Int(404)));
        assert_eq!(label_value(7, &"mssql".into()), Some("microsoft.sql_server".into()));
        assert_eq!(label_value(0, &Value::Double(1.0)), None);
        assert_eq!(resource_key("deployment.environment"), Some("deployment.environment.name"));
        assert_eq!(resource_key("host.name"), None);
    }

    #[test]
    fn a_value_is_admitted_to_the_cap_and_forgotten_after_two_generations() {
        let mut admission = Admission::default();
        let room = Room { bytes_max: 10, values_max: 2 };
        let admits = |admission: &mut Admission, text: &str| admission.admits(1, 0, &text.into(), room);
        assert!(admits(&mut admission, "a") && admits(&mut admission, "b") && admits(&mut admission, "a"));
        assert!(!admits(&mut admission, "c"), "the cap");
        assert!(!admits(&mut admission, "longer than ten"), "a long value");
        admission.turn();
        assert!(admits(&mut admission, "a"), "lives on while seen");
        assert!(admits(&mut admission, "c"), "b was not seen in this generation: there is room");
        assert!(!admits(&mut admission, "d"));
        admission.turn();
        admission.turn();
        assert_eq!(admission.bytes(), 0);
    }

    #[test]
    fn generations_turn_with_time_alone() {
        let mut calendar = Calendar::default();
        assert!(!calendar.turns(10));
        assert!(!calendar.turns(GENERATION_NS));
        assert!(calendar.turns(GENERATION_NS + 10));
        assert!(!calendar.turns(GENERATION_NS + 11));
    }
}
