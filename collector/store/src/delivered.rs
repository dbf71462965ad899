//! Which batches have been taken: per agent a floor and the ranges above it.
//!
//! Agents send their newest batches first after an outage, so the taken positions have holes, and a high-water mark
//! would drop the history that follows. What the agent says is its lowest unacked position raises the floor.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::options::Delivery;

/// Most ranges kept of one agent. Its queue delivers in runs, so real agents have a handful.
const RANGES_MAX: usize = 65_536;
/// An agent that was silent for this long, and its positions, are forgotten.
const FORGET_NS: i64 = 30 * 86_400 * 1_000_000_000;

/// Taken positions of all agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    agents: HashMap<[u8; 16], AgentTaken, RandomState>,
}

/// Taken positions of one agent: all below the floor, and these ranges (first, one past the last).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct AgentTaken {
    floor: u64,
    ranges: BTreeMap<u64, u64>,
    seen_ns: i64,
}

/// One agent in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TakenEntry {
    agent: String,
    floor: u64,
    ranges: Vec<(u64, u64)>,
    seen_ns: i64,
}

impl Taken {
    /// Whether this batch was taken before.
    pub(crate) fn contains(&self, delivery: &Delivery) -> bool {
        self.agents.get(&delivery.agent).is_some_and(|agent| agent.contains(delivery.position))
    }

    /// Whether one more hole in this agent's positions could not be remembered.
    pub(crate) fn is_full(&self, delivery: &Delivery) -> bool {
        self.agents.get(&delivery.agent).is_some_and(|agent| agent.ranges.len() >= RANGES_MAX)
    }

    /// Notes that this batch is durable.
    pub(crate) fn insert(&mut self, delivery: &Delivery, now_ns: i64) {
        let agent = self.agents.entry(delivery.agent).or_default();
        agent.seen_ns = agent.seen_ns.max(now_ns);
        agent.insert(delivery.position, delivery.position.saturating_add(1));
        agent.raise_floor(delivery.lowest_unacked);
    }

    /// Adds what another record of the same agents knows.
    pub(crate) fn merge(&mut self, entries: &[TakenEntry]) {
        for entry in entries {
            let Some(id) = agent_id(&entry.agent) else { continue };
            let agent = self.agents.entry(id).or_default();
            agent.seen_ns = agent.seen_ns.max(entry.seen_ns);
            for &(from, to) in &entry.ranges {
                agent.insert(from, to);
            }
            agent.raise_floor(entry.floor);
        }
    }

    /// As the manifest holds it, sorted by agent.
    pub(crate) fn to_entries(&self) -> Vec<TakenEntry> {
        let mut entries: Vec<_> = self
            .agents
            .iter()
            .map(|(id, agent)| TakenEntry {
                agent: id.iter().map(|byte| format!("{byte:02x}")).collect(),
                floor: agent.floor,
                ranges: agent.ranges.iter().map(|(&from, &to)| (from, to)).collect(),
                seen_ns: agent.seen_ns,
            })
            .collect();
        entries.sort_by(|a, b| a.agent.cmp(&b.agent));
        entries
    }

    /// Forgets agents that have been silent too long.
    pub(crate) fn forget_silent(&mut self, now_ns: i64) {
        self.agents.retain(|_, agent| agent.seen_ns >= now_ns.saturating_sub(FORGET_NS));
    }
}

impl AgentTaken {
    fn contains(&self, position: u64) -> bool {
        position < self.floor || self.ranges.range(..=position).next_back().is_some_and(|(_, &to)| position < to)
    }

    /// Adds `from..to`, joining the ranges that it touches.
    fn insert(&mut self, mut from: u64, mut to: u64) {
        if to <= self.floor {
            return;
        }
        if let Some((&before, &end)) = self.ranges.range(..=from).next_back()
            && end >= from
        {
            from = before;
            to = to.max(end);
        }
        while let Some((&next, &end)) = self.ranges.range(from..=to).next() {
            self.ranges.remove(&next);
            to = to.max(end);
        }
        self.ranges.insert(from, to);
        self.raise_floor(self.floor);
    }

    fn raise_floor(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        while let Some((&from, &to)) = self.ranges.first_key_value()
            && from <= self.floor
        {
            self.ranges.pop_first();
            self.floor = self.floor.max(to);
        }
    }
}

fn agent_id(hex: &str) -> Option<[u8; 16]> {
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn delivery(position: u64, lowest_unacked: u64) -> Delivery {
        Delivery { agent: [0xab; 16], position, lowest_unacked }
    }

    #[test]
    fn newest_first_leaves_holes_that_history_fills() {
        let mut taken = Taken::default();
        for position in [7, 8, 5, 6] {
            taken.insert(&delivery(position, 3), 0);
        }
        assert_eq!(taken.to_entries()[0].ranges, [(5, 9)]);
        assert!(taken.contains(&delivery(2, 0)), "below the agent's lowest unacked position");
        assert!(!taken.contains(&delivery(4, 0)));
        taken.insert(&delivery(3, 3), 0);
        taken.insert(&delivery(4, 3), 0);
        assert_eq!((taken.to_entries()[0].floor, taken.to_entries()[0].ranges.len()), (9, 0));
    }

    #[test]
    fn silent_agents_are_forgotten() {
        let mut taken = Taken::default();
        taken.insert(&delivery(1, 0), 5);
        taken.forget_silent(5 + FORGET_NS);
        assert!(taken.contains(&delivery(1, 0)));
        taken.forget_silent(6 + FORGET_NS);
        assert!(!taken.contains(&delivery(1, 0)));
    }

    proptest! {
        #[test]
        fn it_is_a_set(positions in prop::collection::vec(0_u64..60, 0..80), floor in 0_u64..20) {
            let mut taken = Taken::default();
            let mut set: BTreeSet<u64> = BTreeSet::new();
            for &position in &positions {
                taken.insert(&delivery(position, floor), 0);
                set.insert(position);
                set.extend(0..floor);
            }
            let mut restored = Taken::default();
            restored.merge(&taken.to_entries());
            for position in 0..70 {
                prop_assert_eq!(taken.contains(&delivery(position, 0)), set.contains(&position));
                prop_assert_eq!(restored.contains(&delivery(position, 0)), set.contains(&position));
            }
        }
    }
}
